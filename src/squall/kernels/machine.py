"""What every kernel machine of this package does: prepare, choose kernels, solve, predict, keep."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
)
from torch import Tensor
from typing_extensions import Self

from squall.kernels.bandwidth import BANDWIDTHS, GAMMAS, START, Search, Trial, search
from squall.kernels.components import FEWEST_CHANNELS, Components
from squall.kernels.direct import solve_directly
from squall.kernels.functions import (
    ExponentialPowerKernel,
    Points,
    fill_squared_distances,
    median_distance,
    squared_distances,
)
from squall.kernels.low_rank import LowRank, count_distinct, has_low_rank
from squall.kernels.metric import learn_metric
from squall.kernels.preconditioner import choose_preconditioner
from squall.kernels.rows import KernelRows, fits, sample_of
from squall.kernels.solver import Head, OutputGroup, Task, solve
from squall.kernels.windows import Layout, find_layout

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn 1.5

    def validate_data(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        """The method that scikit-learn 1.6 made a function."""
        return estimator._validate_data(*args, **kwargs)


__all__ = ["Auto", "KernelMachine", "Metric", "Progress", "Subband", "Validation"]

Auto = Literal["auto"]
Metric = Literal["euclidean", "learned"]
Progress = Callable[[dict[str, float]], None]
OnEpoch = Callable[..., None]
Validation = tuple[ArrayLike, ArrayLike]

Pair = tuple[NDArray[Any], NDArray[Any]]

FILE_FORMAT = 1
ARRAYS = ("centres_", "alpha_", "intercept_", "feature_mean_", "metric_factor_")
FLOATS = (np.float64, np.float32)
MEDIAN_ROWS = 1000
PREDICT_ROWS = 1024
WINDOWS_FROM = 64  # rows, from which looking for windows among them costs nothing beside the rest
# The eigenproblem holds about this many float64 matrices of the subsample.
EIGEN_BYTES = 4 * 8
# A CPU multiplies no faster in larger batches, which need more eigenpairs; a GPU does, but those
# beyond half of the default subsample outgrow the preconditioner.
BATCH_ROWS = {"cpu": 256, "cuda": 1024}
# Squares of what is larger or smaller would leave the range of float32, or its precision.
PLAIN_RANGE = (2.0**-30, 2.0**30)
LARGEST = 1e150  # whose square float64 still holds


@dataclass(frozen=True)
class Subband:
    """Consecutive output channels that share a kernel and stop at the same epoch.

    Args:
        first: its first channel.
        last: one after its last channel.
        gamma: power of the kernel.
        bandwidth: sigma in units of the median distance to the power gamma.
        sigma: scale of the kernel.
        epoch: whose coefficients were kept.
        validation_mse: after that epoch; NaN without validation data.
        ridge: added to the kernel matrix's diagonal where the system was solved directly; 0 where
            it was solved by iteration.
    """

    first: int
    last: int
    gamma: float
    bandwidth: float
    sigma: float
    epoch: int = 0
    validation_mse: float = float("nan")
    ridge: float = 0.0

    @property
    def kernel(self) -> ExponentialPowerKernel:
        """The kernel function."""
        return ExponentialPowerKernel(self.gamma, self.sigma)

    @property
    def columns(self) -> slice:
        """Its channels."""
        return slice(self.first, self.last)


class KernelMachine(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Base of the estimators; see `EigenProRegressor` and `SubbandKernelMachine`."""

    epochs: int
    patience: float | None
    validation_fraction: float
    subsample_size: int
    batch_size: int | Auto
    memory_gb: float
    metric: Metric
    metric_rank: int
    metric_power: float
    random_state: Any
    device: str

    centres_: NDArray[np.float32]
    alpha_: NDArray[np.float32]
    intercept_: NDArray[np.float64]
    feature_mean_: NDArray[np.float64]
    feature_scale_: float
    target_scale_: float
    metric_factor_: NDArray[np.float32] | None
    subbands_: tuple[Subband, ...]
    history_: list[dict[str, float]]
    search_: Search | None
    n_iter_: int

    @abstractmethod
    def _groups(self, outputs: int) -> list[slice]:
        """The channels of each subband."""

    @abstractmethod
    def _parameters(self, groups: int, median: float) -> list[tuple[float | Auto, float | Auto]]:
        """Gamma and bandwidth of each subband, `auto` where the search decides."""

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        validation: Validation | None = None,
        on_progress: Progress | None = None,
    ) -> Self:
        """Fit to the training data, keeping the coefficients of each subband's best epoch.

        Args:
            X: (N, D) features.
            y: (N,) or (N, F) targets.
            validation: features and targets by which epochs, and kernels where they are chosen
                automatically, are judged. None holds out `validation_fraction` of the rows.
            on_progress: called after every epoch with the new entry of `history_`.

        Raises:
            ValueError: a parameter is out of range, the data are no finite matrices of fitting
                shapes, or the memory bound does not hold a batch.
        """
        data = self._checked_pair(X, y, reset=True)
        rng = check_random_state(self.random_state)
        if validation is None:
            data, held = self._hold_out(data, rng)
        else:
            held = self._checked_pair(*validation, reset=False)
            if held[1].shape[1:] != data[1].shape[1:]:
                raise ValueError(
                    f"validation targets {held[1].shape} do not fit targets {data[1].shape}"
                )
        return self._fit(data, held, rng, self.epochs, on_progress)

    def partial_fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Make one pass over a batch of samples, which become further centres.

        The first call fixes the mean of features and targets, the metric and the kernels, from its
        batch; there is no validation and no early stopping. What was learnt from earlier batches
        stays, so memory and time of a call grow with the number of samples seen. `fit` starts anew.

        Args:
            X: (N, D) features.
            y: (N,) or (N, F) targets.

        Raises:
            ValueError: as `fit`, or the shapes differ from those of the first call.
        """
        if not hasattr(self, "alpha_"):
            data = self._checked_pair(X, y, reset=True)
            rng = check_random_state(self.random_state)
            return self._fit(data, (data[0][:0], data[1][:0]), rng, 1, None)
        features, targets = self._checked_pair(X, y, reset=False)
        targets = _as_columns(targets)
        if targets.shape[1] != self.alpha_.shape[1]:
            raise ValueError(
                f"{targets.shape[1]} outputs, but {self.alpha_.shape[1]} in the first batch"
            )
        started = time.perf_counter()
        rng = check_random_state(self.random_state)
        order = rng.permutation(len(features))
        x = self._prepare(features)[order]
        t = self._prepare_targets(targets)[order]
        self._solve(
            Points.of(torch.cat([self._tensor(self.centres_), x])),
            t,
            (Points.of(x[:0]), t[:0]),
            Components.all([band.columns for band in self.subbands_]),
            alpha=self._tensor(self.alpha_),
            seed=_seed(rng),
            epochs=1,
            tell=self._record_epochs(started, None, validated=False),
        )
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict in blocks, in memory that does not grow with the number of rows.

        Distances, kernel values and sums are computed in the precision of X: give float32 for
        speed. In float64 a row's prediction does not depend on the rows beside it, to 1e-7.

        Args:
            X: (N, D) float32 or float64 features; other types are converted to float64.

        Returns:
            (N,) or (N, F), as the targets of `fit` were, in the type of X.

        Raises:
            ValueError: X is no finite matrix of as many columns as in `fit`.
        """
        check_is_fitted(self)
        features: NDArray[Any] = validate_data(self, X, dtype=FLOATS, reset=False)
        device = self._device()
        dtype = torch.float32 if features.dtype == np.float32 else torch.float64
        layout = None
        if len(features) >= WINDOWS_FROM and (found := find_layout(self.centres_)) is not None:
            layout = find_layout(features, found.width)
        centres = Points.of(self._tensor(self.centres_, dtype), None if layout is None else found)
        alpha = self._tensor(self.alpha_, dtype)
        result = np.empty((len(features), alpha.shape[1]), dtype=features.dtype)
        row_bytes = 2 * features.itemsize * len(centres)
        step = int(min(max(self.memory_gb * 1e9 // row_bytes, 1), PREDICT_ROWS))
        for start in range(0, len(features), step):
            rows = self._prepare(features[start : start + step], dtype)
            part = None if layout is None else layout.cut(start, start + len(rows))[0]
            block = Points.of(rows, part)
            squared = torch.empty(len(block), len(centres), dtype=dtype, device=device)
            fill_squared_distances(block, centres, out=squared)
            values = torch.empty_like(squared)
            for kernel, bands in self._by_kernel(self.subbands_):
                kernel(squared, out=values)
                for band in bands:
                    estimate = values @ alpha[:, band.columns]
                    result[start : start + len(block), band.columns] = estimate.cpu().numpy()
        result /= self.target_scale_
        result += self.intercept_
        return result[:, 0] if self._flat else result

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model as one .npz file: arrays, and JSON for all else; no pickle.

        Args:
            path: written under exactly this name, beside it first and renamed when complete.
        """
        check_is_fitted(self)
        target = Path(path)
        parameters = self.get_params()
        if not isinstance(parameters["random_state"], Integral | None):
            parameters["random_state"] = None
        metadata = {
            "format": FILE_FORMAT,
            "class": type(self).__name__,
            "parameters": parameters,
            "subbands": [asdict(band) for band in self.subbands_],
            "history": self.history_,
            "flat": self._flat,
            "n_features": self.n_features_in_,
            "n_iter": self.n_iter_,
            "feature_scale": self.feature_scale_,
            "target_scale": self.target_scale_,
        }
        if hasattr(self, "feature_names_in_"):
            metadata["feature_names"] = self.feature_names_in_
        arrays = {name: getattr(self, name) for name in ARRAYS}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        unfinished = target.with_name(target.name + ".part")
        with unfinished.open("wb") as file:
            np.savez(file, metadata=np.array(json.dumps(metadata, default=_plain)), **arrays)
        unfinished.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: the file holds another class or an unknown format.
        """
        with np.load(path, allow_pickle=False) as file:
            if "metadata" not in file:
                raise ValueError(f"{path} is no saved kernel machine: it has no metadata")
            metadata = json.loads(str(file["metadata"]))
            if metadata["class"] != cls.__name__ or metadata["format"] != FILE_FORMAT:
                raise ValueError(
                    f"{path} holds a {metadata['class']} in format {metadata['format']}, "
                    f"not a {cls.__name__} in format {FILE_FORMAT}"
                )
            model = cls(**metadata["parameters"])
            for name in ARRAYS:
                setattr(model, name, file.get(name))
        model.subbands_ = tuple(Subband(**band) for band in metadata["subbands"])
        model.history_, model.search_ = metadata["history"], None
        model._flat, model.n_features_in_ = metadata["flat"], metadata["n_features"]
        model.n_iter_ = metadata["n_iter"]
        # Files of before these were kept have neither.
        model.feature_scale_ = metadata.get("feature_scale", 1.0)
        model.target_scale_ = metadata.get("target_scale", 1.0)
        if "feature_names" in metadata:
            model.feature_names_in_ = np.array(metadata["feature_names"], dtype=object)
        return model

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _more_tags(self) -> dict[str, bool]:  # scikit-learn 1.5
        return {"multioutput": True}

    def _fit(
        self,
        data: Pair,
        held: Pair,
        rng: np.random.RandomState,
        epochs: int,
        on_progress: Progress | None,
    ) -> Self:
        started = time.perf_counter()
        self._check_parameters()
        (X, y), (held_X, held_y) = data, held
        self._flat = y.ndim == 1
        y, held_y = _as_columns(y), _as_columns(held_y)
        order, held_order = rng.permutation(len(X)), rng.permutation(len(held_X))
        seed = _seed(rng)
        self.feature_mean_, self.feature_scale_ = _mean_and_scale(X)
        self.intercept_, self.target_scale_ = _mean_and_scale(y)
        self.metric_factor_ = None
        layout, held_layout = self._layouts(X, held_X)
        if layout is not None:  # with one mean, equal frames stay equal in all places
            means = self.feature_mean_.reshape(layout.places, layout.width)
            self.feature_mean_ = np.tile(means.mean(0), layout.places)
        if layout is None:  # shuffled once, any first rows are a sample
            X, y = X[order], y[order]
            order = np.arange(len(X))
        if held_layout is None:
            held_X, held_y = held_X[held_order], held_y[held_order]
            held_order = np.arange(len(held_X))
        x, held_x = self._prepare(X), self._prepare(held_X)
        t, held_t = self._prepare_targets(y), self._prepare_targets(held_y)

        first = order[: max(self._sample_size(len(x)), MEDIAN_ROWS)]
        held_first = held_order[: len(first)]
        sample, held_sample = (x[first], t[first]), (held_x[held_first], held_t[held_first])
        components = self._choose_kernels(*sample, *held_sample)
        if self.metric == "learned":
            factor = self._learn_metric(*sample, seed)
            x, held_x = x @ factor, held_x @ factor
            sample, held_sample = (x[first], t[first]), (held_x[held_first], held_t[held_first])
            components = self._choose_kernels(*sample, *held_sample)
        self.history_ = []
        self._solve(
            Points.of(x, layout),
            t,
            (Points.of(held_x, held_layout), held_t),
            components,
            alpha=x.new_zeros(0, t.shape[1]),
            seed=seed,
            epochs=epochs,
            tell=self._record_epochs(started, on_progress, validated=len(held_t) > 0),
        )
        return self

    def _layouts(
        self, X: NDArray[Any], held_X: NDArray[Any]
    ) -> tuple[Layout | None, Layout | None]:
        """How training and validation rows overlap, where distances take advantage of it."""
        if self.metric != "euclidean" or not fits(len(X), len(held_X), self._memory_bytes()):
            return None, None
        layout = find_layout(X)
        if layout is None:
            return None, None
        held_layout = find_layout(held_X, layout.width) if len(held_X) else None
        return layout, held_layout

    def _choose_kernels(self, x: Tensor, t: Tensor, held_x: Tensor, held_t: Tensor) -> Components:
        """Set `subbands_`, by a search where gamma or bandwidth is `auto`.

        Args:
            x: (s, D) features of a sample of the training rows.
            t: (s, F) its targets.
            held_x: (v, D) features of a sample of the validation rows.
            held_t: (v, F) its targets.

        Returns:
            The directions of the targets that are solved for.
        """
        groups = self._groups(t.shape[1])
        scaled = median_distance(squared_distances(x[:MEDIAN_ROWS]))
        median = scaled / self.feature_scale_
        parameters = self._parameters(len(groups), median)
        for name, values in zip(("gamma", "bandwidth"), zip(*parameters, strict=True), strict=True):
            if wrong := [one for one in values if isinstance(one, str) and one != "auto"]:
                raise ValueError(f"{name} is {wrong[0]!r}; use 'auto' or a number")
        self.search_ = None
        searched = any("auto" in pair for pair in parameters)
        components = Components.all(groups)
        if searched or t.shape[1] >= FEWEST_CHANNELS:
            s = self._sample_size(len(x))
            validation = (held_x[:s], held_t[:s])
            if not len(held_x):
                half = (s + 1) // 2
                validation, s = (x[s - half : s], t[s - half : s]), half
            trial = Trial.of(x[:s], t[:s], validation)
            gamma, bandwidth = parameters[0]
            first, width = (
                start if isinstance(given, str) else given
                for given, start in zip((gamma, bandwidth), START, strict=True)
            )
            components = trial.find_components(
                ExponentialPowerKernel(first, width * scaled**first), groups
            )
        if searched:
            self.search_ = search(
                trial,
                groups,
                median=scaled,
                gammas=GAMMAS if isinstance(gamma, str) else (gamma,),
                bandwidths=BANDWIDTHS if isinstance(bandwidth, str) else (bandwidth,),
                components=components,
            )
            parameters = [(best.gamma, best.bandwidth) for best in self.search_.best]
        self.subbands_ = tuple(
            _subband(group, float(gamma), float(bandwidth), median)
            for group, (gamma, bandwidth) in zip(groups, parameters, strict=True)
            if not isinstance(gamma, str) and not isinstance(bandwidth, str)
        )
        return components

    def _learn_metric(self, x: Tensor, t: Tensor, seed: int) -> Tensor:
        """Set and give `metric_factor_`, from a first model of a sample of the training rows."""
        s = self._sample_size(len(x))
        ((kernel, _), *_) = self._by_kernel(self.subbands_)
        alpha = solve_directly(kernel(squared_distances(x[:s])), t[:s])
        factor = learn_metric(
            x[:s],
            x[:s],
            alpha,
            kernel,
            rank=self.metric_rank,
            power=self.metric_power,
            seed=seed,
        )
        self.metric_factor_ = factor.cpu().numpy()
        return factor

    def _record_epochs(
        self, started: float, on_progress: Progress | None, *, validated: bool
    ) -> OnEpoch:
        """What writes `history_`, given the errors of training and validation of an epoch."""

        def tell(train_mse: float, validation_mse: float, direct: int = 0) -> None:
            entry = {
                "epoch": len(self.history_) + 1,
                "seconds": time.perf_counter() - started,
                "train_mse": self._in_units(train_mse),
            }
            if validated:
                entry["validation_mse"] = self._in_units(validation_mse)
            if direct:
                entry["direct"] = direct
            self.history_.append(entry)
            if on_progress is not None:
                on_progress(entry)

        return tell

    def _solve(
        self,
        centres: Points,
        targets: Tensor,
        held: tuple[Points, Tensor],
        components: Components,
        *,
        alpha: Tensor,
        seed: int,
        epochs: int,
        tell: OnEpoch,
    ) -> None:
        """Train on the last centres, of which `alpha` has the coefficients of the first ones."""
        outputs, first = targets.shape[1], len(alpha)
        task = Task.of(components, targets, held[1])
        alpha = torch.cat([components.of(alpha), torch.zeros_like(task.targets)])
        chosen = sample_of(centres, self._sample_size(len(centres)))
        sampled = centres[chosen]
        sample = fill_squared_distances(sampled, out=alpha.new_empty(len(sampled), len(sampled)))

        def on_epoch(direct: int = 0) -> None:
            tell(*(error / outputs for error in task.total_errors()), direct=direct)

        solved = {}
        if not first:
            solved = self._solve_directly(sample, centres.rows, task, held[0].rows, alpha)
            if solved:
                on_epoch(direct=sum(band.last - band.first for band in solved.values()))
        left = [band for band in self.subbands_ if band.first not in solved]
        heads: list[Head] = []
        if left:
            rows = KernelRows(
                centres,
                held[0],
                [kernel for kernel, _ in self._by_kernel(left)],
                first=first,
                batch_size=self._batch_size(),
                memory_bytes=self._memory_bytes(),
            )
            heads = self._heads(left, rows, chosen, sample, task, alpha)
            solve(rows, heads, task, epochs=epochs, seed=seed, on_epoch=on_epoch)
            for head in heads:
                alpha[:, head.columns] = head.best
            outcome = {group.columns.start: group for head in heads for group in head.groups}
            for band, columns in zip(self.subbands_, components.columns, strict=True):
                if band.first not in solved:
                    group = outcome[columns.start]
                    error = self._in_units(group.best_mse / group.outputs)
                    solved[band.first] = replace(
                        band, epoch=group.best_epoch, validation_mse=error, ridge=0.0
                    )
        self.subbands_ = tuple(solved[band.first] for band in self.subbands_)
        self.n_iter_ = max((head.epoch for head in heads), default=1)
        self.centres_ = centres.rows.cpu().numpy()
        self.alpha_ = components.back(alpha).cpu().numpy()

    def _solve_directly(
        self, sample: Tensor, x: Tensor, task: Task, held_x: Tensor, alpha: Tensor
    ) -> dict[int, Subband]:
        """Solve the subbands in whose kernel few rows span all; give those by their first channel.

        Writes their columns of `alpha` and of the task's errors.
        """
        solved = {}
        repeated = count_distinct(x) <= min(len(sample), len(x) // 2)
        columns = self._columns(task)
        for kernel, bands in self._by_kernel(self.subbands_):
            if not (repeated or has_low_rank(kernel, sample)):
                continue
            system = LowRank.find(kernel, x, len(sample))
            if system is None:
                continue
            warnings.warn(
                "the kernel matrix is numerically singular (repeated rows, few distinct values, or "
                f"a smooth kernel): solved directly from {len(system)} of {len(x)} rows, not by "
                "iteration",
                stacklevel=5,  # the line that called `fit`
            )
            held = held_x, task.validation_targets
            solutions = system.solve(task.targets, held, [columns[band.first] for band in bands])
            for band, solution in zip(bands, solutions, strict=True):
                own = columns[band.first]
                alpha[:, own] = solution.alpha.to(alpha)
                task.train_mse[own] = solution.train_mse.to(alpha)
                task.validation_mse[own] = solution.validation_mse.to(alpha)
                error = task.validation_error(own) / (band.last - band.first)
                solved[band.first] = replace(
                    band, epoch=1, validation_mse=self._in_units(error), ridge=solution.ridge
                )
        return solved

    def _heads(
        self,
        subbands: Sequence[Subband],
        rows: KernelRows,
        chosen: slice,
        sample: Tensor,
        task: Task,
        alpha: Tensor,
    ) -> list[Head]:
        """The coefficients of each kernel with its preconditioner and step, from a subsample."""
        columns = self._columns(task)
        points = rows.centres
        sampled = points[chosen]
        s, m = len(sampled), rows.batch_size
        # A batch stands for points that the preconditioner has not seen.
        unseen = points[rows.unseen(chosen)]
        across = fill_squared_distances(unseen, sampled, out=alpha.new_empty(len(unseen), s))
        within = fill_squared_distances(unseen, out=alpha.new_empty(len(unseen), len(unseen)))
        heads = []
        for kernel, bands in self._by_kernel(subbands):
            preconditioner = choose_preconditioner(kernel(sample), batch_size=m)
            measured = preconditioner.largest_eigenvalue(kernel(within), kernel(across))
            own = [columns[band.first] for band in bands]
            channels = [torch.arange(part.start, part.stop) for part in own]
            patience = self.patience or np.inf
            groups = [
                OutputGroup(part, patience, band.last - band.first)
                for part, band in zip(own, bands, strict=True)
            ]
            together = torch.cat(channels).to(alpha.device)
            step = preconditioner.step_size(m, measured)
            heads.append(Head(groups, together, alpha[:, together], preconditioner, chosen, step))
        return heads

    def _columns(self, task: Task) -> dict[int, slice]:
        """The components of each subband, by its first channel."""
        return dict(zip((band.first for band in self.subbands_), task.groups, strict=True))

    def _by_kernel(
        self, subbands: Sequence[Subband]
    ) -> list[tuple[ExponentialPowerKernel, list[Subband]]]:
        """The distinct kernels of scaled features, each with the subbands that use it."""
        shared: dict[ExponentialPowerKernel, list[Subband]] = {}
        for band in subbands:
            sigma = band.sigma * self.feature_scale_**band.gamma
            shared.setdefault(ExponentialPowerKernel(band.gamma, sigma), []).append(band)
        return list(shared.items())

    def _in_units(self, mse: float) -> float:
        """The mean squared error of targets as they were given."""
        return mse / self.target_scale_**2

    def _prepare(self, X: NDArray[Any], dtype: torch.dtype = torch.float32) -> Tensor:
        """Centre, scale, convert and apply the metric."""
        rows = self._tensor(_scaled(X, self.feature_mean_, self.feature_scale_), dtype)
        if not torch.isfinite(rows).all():
            raise ValueError(
                "a feature exceeds the range of float32 beside those of `fit`; scale the features"
            )
        if self.metric_factor_ is not None:
            rows = rows @ self._tensor(self.metric_factor_, dtype)
        return rows

    def _prepare_targets(self, y: NDArray[Any]) -> Tensor:
        """Centre, scale and convert."""
        targets = self._tensor(_scaled(y, self.intercept_, self.target_scale_))
        if not torch.isfinite(targets).all():
            raise ValueError(
                "a target exceeds the range of float32 beside those of the training data; "
                "scale the targets"
            )
        return targets

    def _checked_pair(self, X: ArrayLike, y: ArrayLike, *, reset: bool) -> Pair:
        least = 2 if reset else 1
        features = validate_data(self, X, dtype=FLOATS, reset=reset, ensure_min_samples=least)
        if y is None:
            raise ValueError("a kernel machine requires y to be passed, but the target y is None")
        try:
            targets = check_array(y, dtype=FLOATS, ensure_2d=False, input_name="y")
        except ValueError as error:
            if "convert" not in str(error):
                raise
            raise ValueError(
                f"y: {error}. A kernel machine takes numbers: give labels as columns of 0 and 1"
            ) from None
        check_consistent_length(features, targets)
        return features, targets

    def _hold_out(self, data: Pair, rng: np.random.RandomState) -> tuple[Pair, Pair]:
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction is {self.validation_fraction}; use 0 to less than 1"
            )
        X, y = data
        order = rng.permutation(len(X))
        held, used = np.split(order, [int(self.validation_fraction * len(X))])
        if not len(held):
            return data, (X[:0], y[:0])
        return (X[used], y[used]), (X[held], y[held])

    def _check_parameters(self) -> None:
        for name in ("epochs", "subsample_size", "memory_gb", "metric_rank", "metric_power"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use a number above 0")
        if self.metric not in ("euclidean", "learned"):
            raise ValueError(f"metric is {self.metric!r}; use 'euclidean' or 'learned'")
        if self.batch_size != "auto" and not self.batch_size > 0:
            raise ValueError(f"batch_size is {self.batch_size}; use 'auto' or a number above 0")
        if self.patience is not None and not self.patience > 0:
            raise ValueError(f"patience is {self.patience}; use None or a number above 0")

    def _sample_size(self, available: int) -> int:
        bound = int((self.memory_gb * 1e9 / EIGEN_BYTES) ** 0.5)
        return max(1, min(self.subsample_size, available, bound))

    def _memory_bytes(self) -> int:
        return int(self.memory_gb * 1e9)

    def _batch_size(self) -> int:
        if self.batch_size == "auto":
            return BATCH_ROWS[self._device().type]
        return self.batch_size

    def _device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def _tensor(self, array: NDArray[Any], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device(), dtype)


def _mean_and_scale(values: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """The mean of each column, and the power of two that brings extreme deviations to about 1."""
    least, most = values.min(0).astype(np.float64), values.max(0).astype(np.float64)
    if (extreme := float(np.maximum(-least, most).max())) > LARGEST:
        raise ValueError(f"a value of {extreme:g} is too large to square; scale the data")
    mean = values.mean(0, dtype=np.float64)
    largest = float(np.maximum(most - mean, mean - least).max())
    if not largest or PLAIN_RANGE[0] <= largest <= PLAIN_RANGE[1]:
        return mean, 1.0
    return mean, 2.0 ** -math.frexp(largest)[1]


def _subband(channels: slice, gamma: float, bandwidth: float, median: float) -> Subband:
    sigma = bandwidth * median**gamma
    return Subband(channels.start, channels.stop, gamma, bandwidth, sigma)


def _scaled(values: NDArray[Any], mean: NDArray[np.float64], scale: float) -> NDArray[Any]:
    """Centred in the precision that the values have; float32 holds its own mean well enough."""
    centred: NDArray[Any] = values - mean.astype(values.dtype)
    return centred if scale == 1 else centred * values.dtype.type(scale)


def _plain(value: Any) -> Any:
    """What numpy and pandas hand over, as JSON has it."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else float(value)


def _as_columns(y: NDArray[Any]) -> NDArray[Any]:
    return y[:, None] if y.ndim == 1 else y


def _seed(rng: np.random.RandomState) -> int:
    return int(rng.randint(2**31 - 1))
