"""A scikit-learn classifier with the losses of `squall.losses`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from squall.losses import TokenLoss, build_loss
from squall.networks.batches import Problem
from squall.networks.scaling import varying_inputs
from squall.networks.stack import NetworkSettings, NetworkStack
from squall.networks.training import Score, TrainedNetworks, train_networks
from squall.scoring.temperature import softmax

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.class_weight import compute_class_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise ImportError(
        f"squall.sklearn needs scikit-learn ({error}): pip install 'squall[enhance]'"
    ) from error
try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn 1.5

    def validate_data(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        """The method that scikit-learn 1.6 made a function."""
        return estimator._validate_data(*args, **kwargs)


from typing_extensions import Self

__all__ = ["SquentropyClassifier"]

Floats = NDArray[np.float64]


class SquentropyClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A small fully connected network, trained with squentropy or another of the losses.

    The network of the tabular study: layers with ReLU, stochastic gradient descent with momentum,
    a constant learning rate. The defaults are those of `squall.networks.stack.NetworkSettings`,
    which gives the reasons.

    Args:
        loss: name in `squall.losses.LOSSES` (ce, square, rescaled_square, ccql, squentropy) or in
            `BASELINE_LOSSES`.
        loss_params: parameters of the loss, e.g. `{"alpha": 0.1}` for squentropy or
            `{"k": 1.0, "M": 5.0}`, the source's choice for tables, for rescaled_square. None for
            its defaults.
        hidden: units of the hidden layers; a number for one layer.
        epochs: passes over the training data, at most.
        batch_size: samples of a step.
        learning_rate: above 0.
        momentum: in [0, 1).
        nesterov: whether the momentum looks ahead.
        weight_decay: at least 0.
        standardize: whether the inputs get mean 0 and standard deviation 1 over the training data.
            An input that is constant there is then left out. Without, the inputs should be scaled
            before.
        class_weight: weight of each class's samples in the loss, a dict or `balanced` (in inverse
            proportion to their number). Only the ratios count: the mean over the samples is made 1,
            so that the step size stays what it is. None for equal weights.
        early_stopping: whether to hold out samples, stop when their loss no longer falls, and keep
            the weights of the best epoch.
        validation_fraction: share of the samples that is held out, the same for each class; in
            (0, 1). As many as there are classes are held out at least, and left to train on.
        patience: epochs without a better loss after which training stops.
        random_state: an int for the same result at every call of `fit`, a RandomState, or None.

    After `fit`:
        classes_: (C,) the labels, sorted.
        coefs_, intercepts_: of each layer, (inputs, outputs) and (outputs,) float32.
        feature_mean_, feature_scale_: (D,); the network sees (X - feature_mean_) * feature_scale_.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.
        loss_: the loss, a `squall.losses.TokenLoss`.
        n_iter_: epochs that were trained.
        best_epoch_: the one whose weights were kept; the last without early stopping.
        loss_curve_: (n_iter_,) mean training loss of each epoch.
        validation_loss_curve_: (n_iter_,) loss of the held-out samples after each epoch; None
            without early stopping.

    Convention: probabilities are the softmax of the logits for every loss, as in the sources. The
    square losses draw the logits of the wrong classes to 0 and that of the true one to M, so that
    theirs are far from 1 unless M is large: 0.73 for two classes and M = 1. The logits of
    `logit_norm` are the normalised ones.

    Source: Hui, Belkin and Wright 2023 (ICML); Hui 2023 (thesis), section 4.3.3.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SquentropyClassifier(epochs=50, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    >>> model.predict_proba(X).shape
    (150, 3)
    """

    classes_: NDArray[Any]
    coefs_: list[NDArray[np.float32]]
    intercepts_: list[NDArray[np.float32]]
    feature_mean_: Floats
    feature_scale_: Floats
    loss_: TokenLoss
    n_iter_: int
    best_epoch_: int
    loss_curve_: Floats
    validation_loss_curve_: Floats | None

    def __init__(
        self,
        loss: str = "squentropy",
        *,
        loss_params: Mapping[str, Any] | None = None,
        hidden: int | Sequence[int] = (64, 128, 64),
        epochs: int = 400,
        batch_size: int = 64,
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 5e-4,
        standardize: bool = True,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 20,
        random_state: Any = None,
    ) -> None:
        self.loss = loss
        self.loss_params = loss_params
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.standardize = standardize
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train the network anew.

        Args:
            X: (N, D) finite numbers.
            y: (N,) labels of two classes at least, numbers or strings.

        Raises:
            ValueError: X or y is of another form, a parameter is out of range, a class has too few
                samples for one to be held out, or the training diverged.
        """
        features, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, targets = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class only, {self.classes_[0]!r}; it needs at least two")
        settings = self._settings()
        given = {**(self.loss_params or {}), "reduction": "none", "class_dim": -1}
        self.loss_ = build_loss(self.loss, **given)
        random = check_random_state(self.random_state)
        weights = self._row_weights(targets)
        kept, held = self._split(targets, random)
        self._learn_scale(features[kept])
        inputs = self._scaled(features).astype(np.float32)
        problem = Problem(
            torch.from_numpy(inputs[kept]),
            torch.from_numpy(targets[kept]),
            ("classifier", int(random.randint(2**31 - 1))),
            None if weights is None else torch.from_numpy(weights[kept]),
        )
        held_weights = None if weights is None else weights[held]
        trained = train_networks(
            [problem],
            {self.loss: self.loss_},
            settings,
            classes=len(self.classes_),
            score=_held_out_loss(self.loss_, inputs[held], targets[held], held_weights),
            patience=self.patience,
            on_epoch=None if len(held) else lambda _, stack: not stack.finite().all(),
        )
        self._keep(trained)
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """The logits (N, C); for two classes (N,), that of the second less that of the first.

        Computed in float64, so that a row's result does not depend on the rows beside it.

        Raises:
            ValueError: X is no finite matrix of as many columns as in `fit`.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probabilities (N, C) of `classes_`, the softmax of the logits; ValueError as above."""
        return softmax(logits=self._logits(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The labels (N,) with the largest logit; ValueError as above."""
        best = self._logits(X).argmax(axis=1)  # first, as it is what tells that nothing was fitted
        predicted: NDArray[Any] = self.classes_[best]
        return predicted

    def _settings(self) -> NetworkSettings:
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction is {self.validation_fraction}; it must be between 0 and 1"
            )
        if self.patience < 1:
            raise ValueError(f"patience is {self.patience}; it must be at least 1")
        return NetworkSettings(
            hidden=tuple(np.atleast_1d(self.hidden).tolist()),
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )

    def _row_weights(self, targets: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Weights (N,) of mean 1."""
        if self.class_weight is None:
            return None
        labels = self.classes_[targets]
        of_class = compute_class_weight(self.class_weight, classes=self.classes_, y=labels)
        weights = of_class[targets]
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise ValueError(
                f"class_weight is {self.class_weight!r}; weights must be finite, at least 0, and "
                "not all 0"
            )
        found: NDArray[np.float32] = (weights / weights.mean()).astype(np.float32)
        return found

    def _split(
        self, targets: NDArray[np.int64], random: np.random.RandomState
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows that are trained on, and those that are held out."""
        rows = np.arange(len(targets))
        if not self.early_stopping:
            return rows, rows[:0]
        counts = np.bincount(targets)
        if counts.min() < 2:
            raise ValueError(
                f"the class {self.classes_[counts.argmin()]!r} has one sample; early_stopping "
                "needs two, one to train on and one to hold out"
            )
        share = math.ceil(self.validation_fraction * len(rows))
        size = min(max(share, len(counts)), len(rows) - len(counts))  # one of each class in both
        kept, held = train_test_split(rows, test_size=size, stratify=targets, random_state=random)
        return kept, held

    def _learn_scale(self, features: Floats) -> None:
        columns = features.shape[1]
        self.feature_mean_, self.feature_scale_ = np.zeros(columns), np.ones(columns)
        if self.standardize:
            self.feature_mean_, deviations = features.mean(axis=0), features.std(axis=0)
            varies = varying_inputs(features)
            self.feature_scale_ = np.where(varies, 1 / np.where(varies, deviations, 1), 0.0)

    def _scaled(self, features: Floats) -> Floats:
        return (features - self.feature_mean_) * self.feature_scale_

    def _keep(self, trained: TrainedNetworks) -> None:
        epoch = int(trained.diverged[0, 0])
        if epoch:
            raise ValueError(
                f"the loss is not finite any more in epoch {epoch}: take a smaller learning_rate"
                + ("" if self.standardize else " or scale the inputs")
            )
        self.coefs_ = [w[0].numpy() for w in trained.stack.weights]
        self.intercepts_ = [b[0, 0].numpy() for b in trained.stack.offsets]
        self.n_iter_ = len(trained.train_loss)
        self.loss_curve_ = trained.train_loss[:, 0, 0]
        self.validation_loss_curve_ = trained.scores
        self.best_epoch_ = trained.best_epoch

    def _logits(self, X: ArrayLike) -> Floats:
        check_is_fitted(self)
        hidden = self._scaled(validate_data(self, X, dtype=np.float64, reset=False))
        for layer, (weights, offsets) in enumerate(zip(self.coefs_, self.intercepts_, strict=True)):
            if layer:
                hidden = np.maximum(hidden, 0)
            hidden = hidden @ weights.astype(np.float64) + offsets.astype(np.float64)
        logits: Floats = self.loss_.softmax_logits(torch.from_numpy(hidden)).numpy()
        return logits


def _held_out_loss(
    loss: TokenLoss,  # one value per sample
    inputs: NDArray[np.float32],
    targets: NDArray[np.int64],
    weights: NDArray[np.float32] | None,
) -> Score | None:
    """The mean loss of the one network of a stack on samples; None if there are no samples."""
    if not len(inputs):
        return None
    held, classes = torch.from_numpy(inputs), torch.from_numpy(targets)
    row_weights = None if weights is None else torch.from_numpy(weights)

    def score(stack: NetworkStack) -> float:
        values = loss(torch.from_numpy(stack.predict(held)[0]), classes)
        return float((values if row_weights is None else values * row_weights).mean())

    return score
