"""What every kernel machine of this package does: prepare, choose kernels, solve, predict, keep."""

from __future__ import annotations

import json
import math
import os
import time
from abc import abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args

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

from squall.kernels.apart import (
    Apart,
    Checkpoint,
    Read,
    batch_rows,
    check_memory,
    least_memory,
    most_centres,
)
from squall.kernels.bandwidth import BANDWIDTHS, GAMMAS, START, Search, Trial, search
from squall.kernels.components import FEWEST_CHANNELS, Components
from squall.kernels.functions import (
    ExponentialPowerKernel,
    Points,
    fill_squared_distances,
    median_distance,
    squared_distances,
)
from squall.kernels.low_rank import first_of_each
from squall.kernels.metric import learn_metric, principal_factor, under_metric
from squall.kernels.plan import Plan, Subband, by_kernel
from squall.kernels.rows import fits
from squall.kernels.samples import READ_ROWS, Samples, first_not_finite
from squall.kernels.saving import whole_file
from squall.kernels.solver import Task
from squall.kernels.together import Solution, solve_together
from squall.kernels.windows import Layout, find_layout

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn 1.5

    def validate_data(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        """The method that scikit-learn 1.6 made a function."""
        return estimator._validate_data(*args, **kwargs)


__all__ = ["Auto", "Centres", "KernelMachine", "Metric", "Progress", "Validation"]

Auto = Literal["auto"]
Metric = Literal["euclidean", "principal", "learned", "diagonal"]
Progress = Callable[[dict[str, float]], None]
OnEpoch = Callable[..., None]
Validation = tuple[ArrayLike, ArrayLike]
Centres = int | float | ArrayLike | Auto

FILE_FORMAT = 1
# Metrics under which windows of frames still overlap.
OVERLAPPING = ("euclidean", "diagonal")
# Of the eigenvalues or weights of a learned metric. 0.5 is the source's; where thousands of numbers
# are learnt from a sample, 0.25 trusts it less.
POWERS = {"diagonal": 0.5, "learned": 0.25}
ARRAYS = ("centres_", "alpha_", "intercept_", "feature_mean_", "metric_factor_")
FLOATS = (np.float64, np.float32)
MEDIAN_ROWS = 1000
PREDICT_ROWS = 1024
WINDOWS_FROM = 64  # rows, from which looking for windows among them costs nothing beside the rest
# The eigenproblem holds about this many float64 matrices of the subsample.
EIGEN_BYTES = 4 * 8
# A CPU multiplies no faster in larger batches, which need more eigenpairs; a GPU does, but those
# beyond half of the default subsample outgrow the preconditioner.
BATCH_ROWS = {"cpu": 512, "cuda": 1024}
# More centres than these would make a pass over a million samples take more than some minutes.
AUTO_CENTRES = 20_000
LEAST_CENTRES = 100
# Of the centres alone at most, however many passes may follow: those go on from it all the same.
START_EPOCHS = 20
# The most rows that are held out.
HELD_ROWS = 10_000


@dataclass(frozen=True)
class Order:
    """What is drawn once for a fit: the order of training and validation rows, and a seed."""

    rows: NDArray[np.intp]
    held: NDArray[np.intp]
    seed: int


class KernelMachine(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Base of the estimators; see `EigenProRegressor` and `SubbandKernelMachine`."""

    centres: Centres
    epochs: int
    patience: float | None
    validation_fraction: float
    subsample_size: int
    batch_size: int | Auto
    memory_gb: float
    metric: Metric
    metric_rank: int
    metric_rounds: int
    metric_power: float | Auto
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

    _flat: bool
    _apart: bool = False
    _reduce: bool = True  # whether targets are solved for in fewer directions
    _steps: int = 0  # that `partial_fit` goes on after
    _passed: Apart | None = None  # what `partial_fit` goes on with

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
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit to the training data, keeping the coefficients of each subband's best epoch.

        Args:
            X: (N, D) features. Where centres are apart from them, a memory map of float32 or
                float64 stays on disk; other types are converted in memory.
            y: (N,) or (N, F) targets.
            validation: features and targets by which epochs, and kernels where they are chosen
                automatically, are judged. None holds out `validation_fraction` of the rows.
            on_progress: called after every epoch with the new entry of `history_`.
            checkpoint: file that a fit with centres apart from samples is kept in after each
                epoch, and goes on from to the same bits, also to more epochs; that of a fit with
                other parameters or data, all of which are read for it, is replaced. Where all
                samples are centres, and without a `random_state` that repeats, it is of no use.

        Raises:
            ValueError: a parameter is out of range, the data are no finite matrices of fitting
                shapes, or the memory bound does not hold a batch or the centres.
        """
        new = copy(self)  # an error leaves what was fitted before as it is
        samples = new._checked_pair(X, y, reset=True)
        rng = check_random_state(self.random_state)
        if validation is None:
            samples, held = self._hold_out(samples, rng)
        else:
            held = new._checked_pair(*validation, reset=False)
            if held.y.shape[1:] != samples.y.shape[1:]:
                raise ValueError(
                    f"validation targets {held.y.shape} do not fit targets {samples.y.shape}"
                )
        path = None if checkpoint is None else Path(checkpoint)
        new._fit(samples, held, rng, self.epochs, on_progress, path)
        self.__dict__ = new.__dict__  # without what the earlier fit had and this one has not
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Make one pass over a batch of samples.

        The first call fixes the mean of features and targets, the metric and the kernels, from its
        batch; there is no validation and no early stopping. What was learnt from earlier batches
        stays. `fit` starts anew. If `centres` is less than the rows of the first batch, centres
        are drawn from that, and samples are forgotten once they were seen. Else the samples become
        further centres, so that memory and time of a call grow with the number of samples seen.

        Args:
            X: (N, D) features.
            y: (N,) or (N, F) targets.

        Raises:
            ValueError: as `fit`, or the shapes differ from those of the first call.
        """
        if not hasattr(self, "alpha_"):
            first = self._checked_pair(X, y, reset=True)
            none = Samples(first.X[:0], first.y[:0])
            rng = check_random_state(self.random_state)
            self._passed = self._fit(first, none, rng, epochs=1, on_progress=None, reduce=False)
            return self
        samples = self._checked_pair(X, y, reset=False)
        samples = samples.with_columns()
        targets = samples.y
        if targets.shape[1] != self.alpha_.shape[1]:
            raise ValueError(
                f"{targets.shape[1]} outputs, but {self.alpha_.shape[1]} in the first batch"
            )
        started = time.perf_counter()
        rng = check_random_state(self.random_state)
        tell = self._record_epochs(started, None, validated=False)
        components = Components.all([band.columns for band in self.subbands_])
        if self._apart:
            self._pass_by(samples, _seed(rng), tell)
            return self
        order = rng.permutation(len(samples))
        x = self._prepare(samples.X)[order]
        t = self._prepare_targets(targets)[order]
        centres = Points.of(torch.cat([self._tensor(self.centres_), x]))
        nothing = Points.of(x[:0]), t[:0]
        alpha = self._tensor(self.alpha_)
        plan = self._plan(components, len(centres), apart=False)
        solution = solve_together(
            plan, centres, t, nothing, alpha=alpha, seed=_seed(rng), epochs=1, on_epoch=tell
        )
        self._keep(solution, centres)
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
            for kernel, bands in by_kernel(self.subbands_, self.feature_scale_):
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
        if np.ndim(parameters["centres"]):
            parameters["centres"] = len(self.centres_)
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
            "apart": self._apart,
            "steps": self._steps,
        }
        if hasattr(self, "feature_names_in_"):
            metadata["feature_names"] = self.feature_names_in_
        arrays = {name: getattr(self, name) for name in ARRAYS}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        with whole_file(target) as unfinished, unfinished.open("wb") as file:
            np.savez(file, metadata=np.array(json.dumps(metadata, default=_plain)), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            OSError: it cannot be read.
            ValueError: the file is damaged, or holds another class, an unknown format or objects.
        """
        try:
            return cls._loaded(path)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) or str(path) in str(error):
                raise
            raise ValueError(f"{path} is damaged: {error}; fit again") from error
        except Exception as error:  # numpy, zipfile and zlib raise many kinds
            raise ValueError(f"{path} is damaged: {error!r}; fit again") from error

    @classmethod
    def _loaded(cls, path: str | os.PathLike[str]) -> Self:
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
        model._apart, model._steps = metadata.get("apart", False), metadata.get("steps", 0)
        if "feature_names" in metadata:
            model.feature_names_in_ = np.array(metadata["feature_names"], dtype=object)
        return model

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_passed"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _more_tags(self) -> dict[str, bool]:  # scikit-learn 1.5
        return {"multioutput": True}

    def _fit(
        self,
        samples: Samples,
        held: Samples,
        rng: np.random.RandomState,
        epochs: int,
        on_progress: Progress | None,
        checkpoint: Path | None = None,
        *,
        reduce: bool = True,
    ) -> Apart | None:
        """Fit from scratch; with centres apart from the samples give what is needed to go on."""
        started = time.perf_counter()
        self._check_parameters()
        self._flat = samples.y.ndim == 1
        samples, held = samples.with_columns(), held.with_columns()
        number = self._number_of_centres(samples, len(held))
        self._apart, self._passed = number is not None, None
        if number is None:
            samples = samples.gathered()
        order = Order(rng.permutation(len(samples)), rng.permutation(len(held)), _seed(rng))
        self._reduce = reduce
        self.feature_mean_, self.feature_scale_ = samples.mean_and_scale("X")
        self.intercept_, self.target_scale_ = samples.mean_and_scale("y")
        self.metric_factor_, self.history_ = None, []
        tell = self._record_epochs(started, on_progress, validated=len(held) > 0)
        if number is not None:
            return self._fit_apart(samples, held, order, epochs, tell, number, checkpoint)
        self._fit_together(samples, held, order, epochs, tell)
        return None

    def _fit_together(
        self, samples: Samples, held: Samples, order: Order, epochs: int, tell: OnEpoch
    ) -> None:
        """With all samples as centres."""
        layout, held_layout = self._layouts(samples.X, held.X)
        rows, held_rows = order.rows, order.held
        self._share_mean(layout)
        if layout is None:  # shuffled once, any first rows are a sample
            samples, rows = samples.take(rows), np.arange(len(rows))
        if held_layout is None:
            held, held_rows = held.take(held_rows), np.arange(len(held_rows))
        x, held_x = self._prepare(samples.X), self._prepare(held.X)
        t, held_t = self._prepare_targets(samples.y), self._prepare_targets(held.y)
        first, held_first = self._first(rows, held_rows)
        components = self._choose_all(
            (x[first], t[first]),
            (held_x[held_first], held_t[held_first]),
            order.seed,
            places=1 if layout is None else layout.places,
        )
        if self.metric_factor_ is not None:
            factor = self._tensor(self.metric_factor_)
            x, held_x = under_metric(x, factor), under_metric(held_x, factor)
        centres = Points.of(x, layout)
        solution = solve_together(
            self._plan(components, len(x), apart=False),
            centres,
            t,
            (Points.of(held_x, held_layout), held_t),
            alpha=t[:0],
            seed=order.seed,
            epochs=epochs,
            on_epoch=tell,
        )
        self._keep(solution, centres)

    def _keep(self, solution: Solution, centres: Points) -> None:
        """Set what was solved for."""
        self.subbands_, self.n_iter_ = solution.subbands, solution.epochs
        self.centres_ = centres.rows.cpu().numpy()
        self.alpha_ = solution.alpha.cpu().numpy()

    def _fit_apart(
        self,
        samples: Samples,
        held: Samples,
        order: Order,
        epochs: int,
        tell: OnEpoch,
        number: int,
        checkpoint: Path | None,
    ) -> Apart:
        """With centres apart from the samples, which are read batch by batch."""
        first, held_first = self._first(order.rows, order.held)
        some, held_some = samples.take(first), held.take(held_first)
        layout = find_layout(samples.X[:READ_ROWS]) if self.metric in OVERLAPPING else None
        self._share_mean(layout)
        components = self._choose_all(
            (self._prepare(some.X), self._prepare_targets(some.y)),
            (self._prepare(held_some.X), self._prepare_targets(held_some.y)),
            order.seed,
            places=1 if layout is None else layout.places,
        )
        if self._drawn():
            drawn = samples.take(order.rows[:number])
            given = drawn.X
        else:  # in any order: the first ones are a sample
            given = self._given_centres()
            given = given[np.random.default_rng(order.seed).permutation(number)]
        centres = self._prepare(given)
        kept = first_of_each(centres)
        centres = centres[kept]
        plan = self._plan(components, len(centres), apart=True)
        check_memory(plan, len(centres))
        points, validation = Points.of(centres), Points.of(self._prepare(held.X))
        held_t = self._prepare_targets(held.y)
        task = Task.of(components, self._prepare_targets(some.y), held_t)
        state = self._checkpoint(checkpoint, samples, held, plan, centres, order.seed)
        saved, start, errors = state.read(), None, []
        if saved is None and self._drawn() and len(held):
            # A pass begins from what the centres teach alone, which costs little beside it.
            start = solve_together(
                self._plan(components, len(centres), apart=False),
                points,
                self._prepare_targets(drawn.y)[kept],
                (validation, held_t),
                alpha=held_t[:0],
                seed=order.seed,
                epochs=START_EPOCHS,
                on_epoch=lambda *both: errors.append(both),
                directly=False,
            )
        apart = Apart.of(plan, points)
        others = order.rows[number:] if self._drawn() else order.rows
        unseen = samples.take(others[-apart.batch_size :])
        apart.measure(Points.of(self._prepare(unseen.X)))
        earlier_s = 0.0

        def on_epoch(train_mse: float, validation_mse: float, **words: int) -> None:
            tell(train_mse, validation_mse, earlier_s, centres=len(centres), **words)
            state.write(
                {
                    "history": self.history_,
                    "heads": apart.state(),
                    "train_mse": task.train_mse,
                    "validation_mse": task.validation_mse,
                }
            )

        if saved is not None:
            apart.restore(saved["heads"])
            task.train_mse.copy_(saved["train_mse"])
            task.validation_mse.copy_(saved["validation_mse"])
            self.history_ = saved["history"]
            earlier_s = self.history_[-1]["seconds"]
        elif start is not None:
            apart.begin_with(start)
            channels = [(band.last - band.first) * band.validation_mse for band in start.subbands]
            error = sum(channels) / held_t.shape[1] * self.target_scale_**2
            on_epoch(min(errors, key=lambda both: both[1])[0], error, epoch=0)
        made = int(self.history_[-1]["epoch"]) if self.history_ else 0
        apart.train(
            samples,
            self._reader(samples, components),
            task,
            validation,
            seed=order.seed,
            epochs=range(made, max(epochs, made)),
            on_epoch=on_epoch,
        )
        self._take_over(apart)
        return apart

    def _pass_by(self, samples: Samples, seed: int, tell: OnEpoch) -> None:
        """One pass over further samples with the centres that there are."""
        apart = self._passed
        if apart is None:  # a model that was loaded
            components = Components.all([band.columns for band in self.subbands_])
            plan = self._plan(components, len(self.centres_), apart=True)
            apart = Apart.of(plan, Points.of(self._tensor(self.centres_)))
        some = np.random.default_rng(seed).permutation(len(samples))[: apart.batch_size]
        apart.measure(Points.of(self._prepare(samples.take(some).X)))
        apart.begin(self._tensor(self.alpha_), self._steps)
        self._passed = None  # until the pass is complete
        components = apart.plan.components
        targets = self._prepare_targets(samples.y)
        apart.train(
            samples,
            self._reader(samples, components),
            Task.of(components, targets, targets[:0]),
            apart.centres[:0],
            seed=seed,
            epochs=range(1),
            epoch_rows=len(samples),
            on_epoch=lambda train, held: tell(train, held, centres=len(apart.centres)),
        )
        self._take_over(apart)
        self._passed = apart

    def _take_over(self, apart: Apart) -> None:
        """Set what was learnt."""
        self.subbands_, self.n_iter_ = apart.subbands(), max(head.epoch for head in apart.heads)
        self._steps = apart.steps
        self.centres_ = apart.centres.rows.cpu().numpy()
        self.alpha_ = apart.alpha().cpu().numpy()

    def _reader(self, samples: Samples, components: Components) -> Read:
        """Features and components of the targets of some rows."""

        def read(rows: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
            part = samples.take(rows)
            if (wrong := first_not_finite(part.X)) is not None:
                raise ValueError(f"row {rows[wrong]} of X holds NaN or infinity")
            return self._prepare(part.X), components.of(self._prepare_targets(part.y))

        return read

    def _plan(self, components: Components, centres: int, *, apart: bool) -> Plan:
        if self.batch_size == "auto":
            suits = batch_rows(centres) if apart else 0
            batch_size = max(BATCH_ROWS[self._device().type], suits)
        else:
            batch_size = self.batch_size
        return Plan(
            self.subbands_,
            components,
            feature_scale=self.feature_scale_,
            target_scale=self.target_scale_,
            patience=self.patience or np.inf,
            sample_size=self._sample_size(centres),
            batch_size=batch_size,
            memory_bytes=self._memory_bytes(),
        )

    def _first(
        self, rows: NDArray[np.intp], held: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The samples of training and validation rows that choices are made on."""
        count = max(self._sample_size(len(rows)), MEDIAN_ROWS)
        return rows[:count], held[:count]

    def _choose_all(
        self, sample: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], seed: int, places: int = 1
    ) -> Components:
        """Choose the metric and the kernels on a sample; give the directions of the targets."""
        if self.metric == "principal":
            factor = principal_factor(sample[0])
        else:
            components = self._choose_kernels(*sample, *held, at_start=self.metric != "euclidean")
            if self.metric == "euclidean":
                return components
            factor = self._learn_metric(*sample, components, seed, places)
        self.metric_factor_ = factor.cpu().numpy()
        x, held_x = under_metric(sample[0], factor), under_metric(held[0], factor)
        return self._choose_kernels(x, sample[1], held_x, held[1])

    def _drawn(self) -> bool:
        """Whether centres are rows of the training data, not given."""
        return np.ndim(self.centres) == 0

    def _given_centres(self) -> NDArray[Any]:
        """The centres that the user gave."""
        centres: NDArray[Any] = check_array(self.centres, dtype=FLOATS, input_name="centres")
        if centres.shape[1] != self.n_features_in_:
            raise ValueError(
                f"centres have {centres.shape[1]} columns, X has {self.n_features_in_}"
            )
        return centres

    def _number_of_centres(self, samples: Samples, held: int) -> int | None:
        """How many centres there are; None where all samples are."""
        if not self._drawn():
            return len(self._given_centres())
        n, given = len(samples), self.centres
        if given == "auto":
            if fits(n, held, self._memory_bytes()):
                return None
            kernels = len(self._groups(samples.y.shape[1]))
            number = min(AUTO_CENTRES, most_centres(self._memory_bytes(), kernels))
            if number < (least := min(LEAST_CENTRES, n)):
                raise ValueError(
                    f"memory_gb = {self.memory_gb:g} holds {number} centres; use at least "
                    f"{least_memory(least, kernels) / 1e9:.2g} for {least} of them"
                )
        elif isinstance(given, Integral) and not isinstance(given, bool):
            number = int(given)
        elif isinstance(given, Real) and not isinstance(given, bool) and given <= 1:
            number = math.ceil(float(given) * n)
        else:
            number = 0
        if number < 1:
            raise ValueError(
                f"centres is {given!r}; use 'auto', a number from 1, a share of the samples in "
                "(0, 1], or an array of rows"
            )
        return number if number < n else None

    def _checkpoint(
        self,
        path: Path | None,
        samples: Samples,
        held: Samples,
        plan: Plan,
        centres: Tensor,
        seed: int,
    ) -> Checkpoint:
        """Where the state of a fit goes, under what decides it: data, kernels, directions."""
        settings = {
            **{k: v for k, v in self.get_params().items() if k not in ("epochs", "centres")},
            "random_state": seed,
            "device": self._device().type,
            "samples": len(samples),
            "subbands": plan.subbands,
            "torch": torch.__version__,
        }
        bases = [basis.cpu().numpy() for basis in plan.components.bases if basis is not None]
        means = self.feature_mean_, self.intercept_
        data = samples.X, samples.y, centres.cpu().numpy(), held.X, held.y, *means, *bases
        return Checkpoint.of(path, settings, *data)

    def _share_mean(self, layout: Layout | None) -> None:
        """Give all places of a window one mean, with which equal frames stay equal."""
        if layout is not None:
            means = self.feature_mean_.reshape(layout.places, layout.width)
            self.feature_mean_ = np.tile(means.mean(0), layout.places)

    def _layouts(
        self, X: NDArray[Any], held_X: NDArray[Any]
    ) -> tuple[Layout | None, Layout | None]:
        """How training and validation rows overlap, where distances take advantage of it."""
        if self.metric not in OVERLAPPING or not fits(len(X), len(held_X), self._memory_bytes()):
            return None, None
        layout = find_layout(X)
        if layout is None:
            return None, None
        held_layout = find_layout(held_X, layout.width) if len(held_X) else None
        return layout, held_layout

    def _choose_kernels(
        self, x: Tensor, t: Tensor, held_x: Tensor, held_t: Tensor, *, at_start: bool = False
    ) -> Components:
        """Set `subbands_`, by a search where gamma or bandwidth is `auto`.

        Args:
            x: (s, D) features of a sample of the training rows.
            t: (s, F) its targets.
            held_x: (v, D) features of a sample of the validation rows.
            held_t: (v, F) its targets.
            at_start: take the kernel that a search would start from, without one.

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
        first, width = (
            start if isinstance(given, str) else given
            for given, start in zip(parameters[0], START, strict=True)
        )
        if at_start:
            parameters = [(first, width)] * len(groups)
        searched = any("auto" in pair for pair in parameters)
        reduced = self._reduce and t.shape[1] >= FEWEST_CHANNELS
        components = Components.all(groups)
        if searched or reduced:
            s = self._sample_size(len(x))
            validation = (held_x[:s], held_t[:s])
            if not len(held_x):
                half = (s + 1) // 2
                validation, s = (x[s - half : s], t[s - half : s]), half
            trial = Trial.of(x[:s], t[:s], validation)
            if reduced:
                kernel = ExponentialPowerKernel(first, width * scaled**first)
                components = trial.find_components(kernel, groups)
        if searched:
            gamma, bandwidth = parameters[0]
            self.search_ = search(
                trial,
                components,
                median=scaled,
                gammas=GAMMAS if isinstance(gamma, str) else (gamma,),
                bandwidths=BANDWIDTHS if isinstance(bandwidth, str) else (bandwidth,),
            )
            parameters = [(best.gamma, best.bandwidth) for best in self.search_.best]
        self.subbands_ = tuple(
            _subband(group, float(gamma), float(bandwidth), median)
            for group, (gamma, bandwidth) in zip(groups, parameters, strict=True)
            if not isinstance(gamma, str) and not isinstance(bandwidth, str)
        )
        return components

    def _learn_metric(
        self, x: Tensor, t: Tensor, components: Components, seed: int, places: int
    ) -> Tensor:
        """The factor of a metric from models of a sample of the training rows."""
        s = self._sample_size(len(x))
        ((kernel, _), *_) = by_kernel(self.subbands_, self.feature_scale_)
        return learn_metric(
            x[:s],
            components.of(t[:s]),
            kernel,
            rank=self.metric_rank,
            power=POWERS[self.metric] if self.metric_power == "auto" else self.metric_power,
            rounds=self.metric_rounds,
            diagonal=self.metric == "diagonal",
            places=places,
            seed=seed,
        )

    def _record_epochs(
        self, started: float, on_progress: Progress | None, *, validated: bool
    ) -> OnEpoch:
        """What writes `history_`, given the errors of training and validation of an epoch."""

        def tell(
            train_mse: float, validation_mse: float, earlier_s: float = 0.0, **words: int
        ) -> None:
            entry = {
                "epoch": self.history_[-1]["epoch"] + 1 if self.history_ else 1,
                "seconds": earlier_s + time.perf_counter() - started,
                "train_mse": self._in_units(train_mse),
            }
            if validated:
                entry["validation_mse"] = self._in_units(validation_mse)
            entry |= words
            self.history_.append(entry)
            if on_progress is not None:
                on_progress(entry)

        return tell

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
            rows = under_metric(rows, self._tensor(self.metric_factor_, dtype))
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

    def _checked_pair(self, X: ArrayLike, y: ArrayLike, *, reset: bool) -> Samples:
        least = 2 if reset else 1
        try:
            features = validate_data(self, X, dtype=FLOATS, reset=reset, ensure_min_samples=least)
        except ValueError as error:
            raise _with_row(error, X) from None
        if y is None:
            raise ValueError("a kernel machine requires y to be passed, but the target y is None")
        try:
            targets = check_array(y, dtype=FLOATS, ensure_2d=False, input_name="y")
        except ValueError as error:
            if "convert" not in str(error):
                raise _with_row(error, y) from None
            raise ValueError(
                f"y: {error}. A kernel machine takes numbers: give labels as columns of 0 and 1"
            ) from None
        check_consistent_length(features, targets)
        return Samples(features, targets)

    def _hold_out(self, samples: Samples, rng: np.random.RandomState) -> tuple[Samples, Samples]:
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction is {self.validation_fraction}; use 0 to less than 1"
            )
        order = rng.permutation(len(samples))
        held, used = np.split(order, [min(int(self.validation_fraction * len(samples)), HELD_ROWS)])
        if not len(held):
            return samples, Samples(samples.X[:0], samples.y[:0])
        return Samples(samples.X, samples.y, np.sort(used)), samples.take(held)

    def _check_parameters(self) -> None:
        for name in (
            "epochs",
            "subsample_size",
            "memory_gb",
            "metric_rank",
            "metric_rounds",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use a number above 0")
        power = self.metric_power
        if power != "auto" and not (isinstance(power, Real) and float(power) > 0):
            raise ValueError(f"metric_power is {power!r}; use 'auto' or a number above 0")
        if self.metric not in get_args(Metric):
            raise ValueError(f"metric is {self.metric!r}; use one of {', '.join(get_args(Metric))}")
        for name in ("epochs", "subsample_size", "metric_rank", "metric_rounds"):
            if not isinstance(getattr(self, name), Integral):
                raise ValueError(f"{name} is {getattr(self, name)}; use a whole number")
        if self.batch_size != "auto" and not (
            isinstance(self.batch_size, Integral) and self.batch_size > 0
        ):
            raise ValueError(
                f"batch_size is {self.batch_size}; use 'auto' or a whole number above 0"
            )
        if self.patience is not None and not self.patience > 0:
            raise ValueError(f"patience is {self.patience}; use None or a number above 0")

    def _sample_size(self, available: int) -> int:
        bound = int((self.memory_gb * 1e9 / EIGEN_BYTES) ** 0.5)
        return max(1, min(self.subsample_size, available, bound))

    def _memory_bytes(self) -> int:
        return int(self.memory_gb * 1e9)

    def _device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def _tensor(self, array: NDArray[Any], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device(), dtype)


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


def _seed(rng: np.random.RandomState) -> int:
    return int(rng.randint(2**31 - 1))


def _with_row(error: ValueError, values: Any) -> ValueError:
    """The error of scikit-learn, with the row where it is about a value that is not finite."""
    if isinstance(values, np.ndarray) and values.ndim and values.dtype.kind == "f":
        row = first_not_finite(values)
        if row is not None:
            return ValueError(f"row {row}: {error}")
    return error
