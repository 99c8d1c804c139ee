"""What every kernel machine of this package does: prepare, choose kernels, solve, predict, keep."""

from __future__ import annotations

import json
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
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

from squall.kernels.bandwidth import (
    BANDWIDTHS,
    GAMMAS,
    Search,
    search_bandwidths,
    solve_directly,
)
from squall.kernels.functions import (
    ExponentialPowerKernel,
    Points,
    fill_squared_distances,
    median_distance,
    squared_distances,
)
from squall.kernels.metric import learn_metric
from squall.kernels.preconditioner import choose_preconditioner
from squall.kernels.rows import KernelRows
from squall.kernels.solver import Head, OutputGroup, solve

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
OnEpoch = Callable[[Tensor, Tensor], None]
Validation = tuple[ArrayLike, ArrayLike]

Pair = tuple[NDArray[Any], NDArray[Any]]

FILE_FORMAT = 1
ARRAYS = ("centres_", "alpha_", "intercept_", "feature_mean_", "metric_factor_")
FLOATS = (np.float64, np.float32)
MEDIAN_ROWS = 1000
PREDICT_ROWS = 1024
# The eigenproblem holds about this many float64 matrices of the subsample.
EIGEN_BYTES = 4 * 8
# A CPU multiplies no faster in larger batches, which need more eigenpairs; a GPU does, but those
# beyond half of the default subsample outgrow the preconditioner.
BATCH_ROWS = {"cpu": 256, "cuda": 1024}


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
    """

    first: int
    last: int
    gamma: float
    bandwidth: float
    sigma: float
    epoch: int = 0
    validation_mse: float = float("nan")

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
    intercept_: NDArray[np.float32]
    feature_mean_: NDArray[np.float32]
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
        centres = torch.cat([self._tensor(self.centres_), x])
        t = self._tensor((targets - self.intercept_)[order])
        alpha = self._tensor(self.alpha_)
        tell = self._record_epochs(started, None, validated=False)
        self._solve(centres, t, (x[:0], t[:0]), alpha=alpha, seed=_seed(rng), epochs=1, tell=tell)
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
        dtype = torch.from_numpy(features[:1]).dtype
        centres = Points.of(self._tensor(self.centres_, dtype))
        alpha = self._tensor(self.alpha_, dtype)
        result = np.empty((len(features), alpha.shape[1]), dtype=features.dtype)
        row_bytes = 2 * features.itemsize * len(centres)
        step = int(min(max(self.memory_gb * 1e9 // row_bytes, 1), PREDICT_ROWS))
        for start in range(0, len(features), step):
            block = Points.of(self._prepare(features[start : start + step], dtype))
            squared = torch.empty(len(block), len(centres), dtype=dtype, device=device)
            fill_squared_distances(block, centres, out=squared)
            values = torch.empty_like(squared)
            for kernel, bands in _by_kernel(self.subbands_):
                kernel(squared, out=values)
                for band in bands:
                    part = values @ alpha[:, band.columns]
                    result[start : start + len(part), band.columns] = part.cpu().numpy()
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
        if not isinstance(parameters["random_state"], int | np.integer | None):
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
        }
        arrays = {name: getattr(self, name) for name in ARRAYS}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        unfinished = target.with_name(target.name + ".part")
        with unfinished.open("wb") as file:
            np.savez(file, metadata=np.array(json.dumps(metadata, default=float)), **arrays)
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
        # Shuffled once, any first rows are a sample and any consecutive rows a batch.
        order, held_order = rng.permutation(len(X)), rng.permutation(len(held_X))
        seed = _seed(rng)
        with np.errstate(over="ignore"):  # what overflows is refused by `_prepare`
            self.feature_mean_ = X.mean(0, dtype=np.float64).astype(np.float32)
        self.intercept_ = y.mean(0, dtype=np.float64).astype(np.float32)
        self.metric_factor_ = None
        x, held_x = self._prepare(X)[order], self._prepare(held_X)[held_order]
        t = self._tensor((y - self.intercept_)[order])
        held_t = self._tensor((held_y - self.intercept_)[held_order])

        self._choose_kernels(x, t, held_x, held_t)
        if self.metric == "learned":
            x, held_x = self._learn_metric(x, t, held_x, seed)
            self._choose_kernels(x, t, held_x, held_t)
        self.history_ = []
        tell = self._record_epochs(started, on_progress, validated=len(held_t) > 0)
        none = x.new_zeros(0, t.shape[1])
        self._solve(x, t, (held_x, held_t), alpha=none, seed=seed, epochs=epochs, tell=tell)
        return self

    def _choose_kernels(self, x: Tensor, t: Tensor, held_x: Tensor, held_t: Tensor) -> None:
        """Set `subbands_`, by a search where gamma or bandwidth is `auto`."""
        groups = self._groups(t.shape[1])
        median = median_distance(squared_distances(x[:MEDIAN_ROWS]))
        parameters = self._parameters(len(groups), median)
        self.search_ = None
        if any("auto" in pair for pair in parameters):
            gamma, bandwidth = parameters[0]
            s = self._sample_size(len(x))
            validation = (held_x[:s], held_t[:s])
            if not len(held_x):
                half = (s + 1) // 2
                validation, s = (x[s - half : s], t[s - half : s]), half
            self.search_ = search_bandwidths(
                x[:s],
                t[:s],
                validation=validation,
                groups=groups,
                median=median,
                gammas=GAMMAS if isinstance(gamma, str) else (gamma,),
                bandwidths=BANDWIDTHS if isinstance(bandwidth, str) else (bandwidth,),
            )
            parameters = [(best.gamma, best.bandwidth) for best in self.search_.best]
        self.subbands_ = tuple(
            Subband(group.start, group.stop, gamma, bandwidth, bandwidth * median**gamma)
            for group, (gamma, bandwidth) in zip(groups, parameters, strict=True)
            if not isinstance(gamma, str) and not isinstance(bandwidth, str)
        )

    def _learn_metric(
        self, x: Tensor, t: Tensor, held_x: Tensor, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Set `metric_factor_` from first models of a subsample; give the features under it."""
        s = self._sample_size(len(x))
        kernel = self.subbands_[0].kernel
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
        return x @ factor, held_x @ factor

    def _record_epochs(
        self, started: float, on_progress: Progress | None, *, validated: bool
    ) -> OnEpoch:
        """What writes `history_`, given the errors (F,) of training and validation of an epoch."""

        def tell(train_mse: Tensor, validation_mse: Tensor) -> None:
            entry = {
                "epoch": len(self.history_) + 1,
                "seconds": time.perf_counter() - started,
                "train_mse": train_mse.mean().item(),
            }
            if validated:
                entry["validation_mse"] = validation_mse.mean().item()
            self.history_.append(entry)
            if on_progress is not None:
                on_progress(entry)

        return tell

    def _solve(
        self,
        centres: Tensor,
        targets: Tensor,
        held: tuple[Tensor, Tensor],
        *,
        alpha: Tensor,
        seed: int,
        epochs: int,
        tell: OnEpoch,
    ) -> None:
        """Train on the last centres, of which `alpha` has the coefficients of the first ones."""
        points, first = Points.of(centres), len(alpha)
        alpha = torch.cat([alpha, torch.zeros_like(targets)])
        rows = KernelRows(
            points,
            Points.of(held[0]),
            [kernel for kernel, _ in _by_kernel(self.subbands_)],
            first=first,
            batch_size=self._batch_size(),
            memory_bytes=int(self.memory_gb * 1e9),
        )
        heads = self._heads(points, alpha, batch_size=rows.batch_size)
        solve(
            rows,
            heads,
            targets=targets,
            validation_targets=held[1],
            epochs=epochs,
            seed=seed,
            on_epoch=tell,
        )
        for head in heads:
            alpha[:, head.columns] = head.best
        outcome = {group.columns.start: group for head in heads for group in head.groups}
        self.subbands_ = tuple(
            replace(
                band,
                epoch=outcome[band.first].best_epoch,
                validation_mse=outcome[band.first].best_mse,
            )
            for band in self.subbands_
        )
        self.n_iter_ = max(head.epoch for head in heads)
        self.centres_, self.alpha_ = centres.cpu().numpy(), alpha.cpu().numpy()

    def _heads(self, points: Points, alpha: Tensor, *, batch_size: int) -> list[Head]:
        """The coefficients of each kernel with its preconditioner and step, from a subsample."""
        s, m = self._sample_size(len(points)), batch_size
        # The last batch stands for points that the preconditioner has not seen.
        unseen = points[len(points) - m :]
        subsample = fill_squared_distances(points[:s], out=alpha.new_empty(s, s))
        across = fill_squared_distances(unseen, points[:s], out=alpha.new_empty(m, s))
        within = fill_squared_distances(unseen, out=alpha.new_empty(m, m))
        heads = []
        for kernel, bands in _by_kernel(self.subbands_):
            preconditioner = choose_preconditioner(kernel(subsample), batch_size=m)
            measured = preconditioner.largest_eigenvalue(kernel(within), kernel(across))
            channels = [torch.arange(band.first, band.last) for band in bands]
            columns = torch.cat(channels).to(alpha.device)
            groups = [OutputGroup(band.columns, self.patience or np.inf) for band in bands]
            step = preconditioner.step_size(m, measured)
            heads.append(Head(groups, columns, alpha[:, columns], preconditioner, step))
        return heads

    def _prepare(self, X: NDArray[Any], dtype: torch.dtype = torch.float32) -> Tensor:
        """Centre, convert and apply the metric."""
        rows = self._tensor(X - self.feature_mean_, dtype)
        if not torch.isfinite(rows).all():
            raise ValueError("a feature exceeds the range of float32; scale the features")
        if self.metric_factor_ is not None:
            rows = rows @ self._tensor(self.metric_factor_, dtype)
        return rows

    def _checked_pair(self, X: ArrayLike, y: ArrayLike, *, reset: bool) -> Pair:
        if reset:
            checked: Pair = validate_data(
                self,
                X,
                y,
                dtype=FLOATS,
                multi_output=True,
                y_numeric=True,
                reset=True,
                ensure_min_samples=2,
            )
            return checked
        features = validate_data(self, X, dtype=FLOATS, reset=False)
        targets = check_array(y, dtype=FLOATS, ensure_2d=False, input_name="y")
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


def _by_kernel(
    subbands: Sequence[Subband],
) -> list[tuple[ExponentialPowerKernel, list[Subband]]]:
    """The distinct kernels, each with the subbands that use it."""
    shared: dict[ExponentialPowerKernel, list[Subband]] = {}
    for band in subbands:
        shared.setdefault(band.kernel, []).append(band)
    return list(shared.items())


def _as_columns(y: NDArray[Any]) -> NDArray[Any]:
    return y[:, None] if y.ndim == 1 else y


def _seed(rng: np.random.RandomState) -> int:
    return int(rng.randint(2**31 - 1))
