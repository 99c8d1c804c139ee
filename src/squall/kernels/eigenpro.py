"""Kernel regression by EigenPro iteration, as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any

from squall.kernels.machine import Auto, Centres, KernelMachine, Metric

__all__ = ["EigenProRegressor"]


class EigenProRegressor(KernelMachine):
    """Regression f(x) = mean + sum_i alpha_i exp(-||x - x_i||^gamma / sigma), one kernel.

    Args:
        gamma: power of the distance in (0, 2], or `auto` to search.
        bandwidth: sigma in units of the median distance^gamma, > 0, or `auto` to search.
        sigma: scale of the kernel in units of the features; None takes it from `bandwidth`.
        centres: samples whose kernel functions the solution is made of: a number of them, which are
            drawn, a share in (0, 1] of the samples that are not held out, an array (p, D), or
            `auto` for all as long as the memory bound holds their kernel matrix, and else what it
            holds, at most 20,000. More than there are samples are all. All samples as centres are
            solved in O(N^2) per epoch; fewer centres p by passes of O(N p) in memory that does not
            grow with N. Where centres are drawn and there are validation rows, passes begin from
            what the centres teach as the only samples, in at most 20 epochs over these. On mask
            features that saves about half of a pass; where targets are mostly noise and samples
            few, errors are some per cent higher than without.
        epochs: the most passes over the data; with centres apart from the samples passes over
            200,000 rows where there are more.
        patience: epochs in a row that lower the best validation error by less than a thousandth
            before stopping; None makes all.
        validation_fraction: rows held out to judge epochs where `fit` is given none; with 0 all
            epochs are made.
        subsample_size: points of the eigensystem, of the search and of the metric.
        batch_size: samples of a step, `auto` for what suits the device and the centres; made
            smaller where the memory bound or, of centres apart from samples, the subsample asks
            for it.
        memory_gb: bound on distances, kernel values and the eigenproblem, beside the data, in
            10^9 bytes. Epochs are fastest where 4 N (N + validation rows) bytes fit.
        metric: of the distances. `principal` is the Euclidean one in the directions that have 99 %
            of the features' variance, of which there are fewer. Two are learnt from the gradients
            of a first model of the subsample, as a recursive feature machine does: `diagonal` gives
            every feature a weight, the same in all places of a window of frames, and `learned`
            multiplies the features by a factor. On masks `diagonal` had the lower validation error
            in all conditions that were tried, for a tenth more time, `learned` in most
            (`benchmarks/kernel_choices.py`); in noise that training had not heard `diagonal` had
            the higher one (recipes/enhance_timit), so that neither is the default.
        metric_rank: most columns of the learned factor.
        metric_rounds: models that the metric is learnt from, each under that of the one before.
        metric_power: of the eigenvalues or weights. `auto` is 0.5, the source's metric, for
            `diagonal` and 0.25 for `learned`, which has more to learn from as few rows.
        random_state: seed; the same seed on the same machine gives the same bits.
        device: `auto`, `cpu`, `cuda` or another of torch.

    Attributes:
        centres_: (p, r) float32, features of the centres in the order of the solver, centred,
            scaled and under the metric; of equal rows that are apart from the samples one.
        alpha_: (p, F) float32 coefficients of scaled targets: of the best epoch the mean over the
            steps, with centres apart from the samples over the steps so far, of which later ones
            count more.
        gamma_, sigma_: of the kernel.
        intercept_: (F,) mean of the targets.
        feature_mean_: (D,), subtracted from features; of windows one mean for all their places.
        feature_scale_, target_scale_: 1, or the power of two that multiplies features or targets
            whose squares float32 does not hold.
        metric_factor_: (D, rank), (D,) of a diagonal metric, or None.
        subbands_: the outputs with their kernel, best epoch, validation error, and ridge where
            they were solved directly.
        search_: all candidates, or None.
        history_: per epoch: epoch, seconds since `fit` began, train_mse (residuals before each
            step) and validation_mse; `direct`, how many outputs were solved at once, where any
            were; `centres`, how many there are, where samples are apart from them. Epoch 0 are
            the centres alone, which its train_mse is of.
        n_iter_: epochs made.

    Convention: where fewer than half of the rows span the kernel matrix (repeated rows, few
    distinct values, a smooth kernel in few dimensions) its small eigenvalues are rounding, and
    iteration would only slowly reach what a direct solution gives at once. `fit` then solves
    directly, with a ridge in the place of early stopping, and warns.

    Example:
        >>> import numpy as np
        >>> X = np.linspace(0, 3, 200)[:, None]
        >>> model = EigenProRegressor().fit(X, np.sin(X[:, 0]))
        >>> bool(model.score(X, np.sin(X[:, 0])) > 0.99)
        True

    Source: Ma, Belkin 2019; kernel from Hui, Ma, Belkin 2019.
    """

    def __init__(
        self,
        *,
        gamma: float | Auto = 1.0,
        bandwidth: float | Auto = 2.0,
        sigma: float | None = None,
        centres: Centres = "auto",
        epochs: int = 30,
        patience: int | None = 1,
        validation_fraction: float = 0.1,
        subsample_size: int = 2000,
        batch_size: int | Auto = "auto",
        memory_gb: float = 4.0,
        metric: Metric = "euclidean",
        metric_rank: int = 256,
        metric_rounds: int = 1,
        metric_power: float | Auto = "auto",
        random_state: Any = 0,
        device: str = "auto",
    ) -> None:
        self.gamma = gamma
        self.bandwidth = bandwidth
        self.sigma = sigma
        self.centres = centres
        self.epochs = epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.subsample_size = subsample_size
        self.batch_size = batch_size
        self.memory_gb = memory_gb
        self.metric = metric
        self.metric_rank = metric_rank
        self.metric_rounds = metric_rounds
        self.metric_power = metric_power
        self.random_state = random_state
        self.device = device

    @property
    def gamma_(self) -> float:
        """Power of the fitted kernel."""
        return self.subbands_[0].gamma

    @property
    def sigma_(self) -> float:
        """Scale of the fitted kernel."""
        return self.subbands_[0].sigma

    def _groups(self, outputs: int) -> list[slice]:
        return [slice(0, outputs)]

    def _parameters(self, groups: int, median: float) -> list[tuple[float | Auto, float | Auto]]:
        if self.sigma is None:
            return [(self.gamma, self.bandwidth)]
        if isinstance(self.gamma, str):
            raise ValueError(f"sigma = {self.sigma} needs a gamma, not 'auto'; or give a bandwidth")
        return [(self.gamma, self.sigma / median ** float(self.gamma))]
