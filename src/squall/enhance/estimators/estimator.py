"""What every estimator of masks can do, and how a fitted one is kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from squall.files import read_json, write_json
from squall.workers import OnProgress

__all__ = [
    "ESTIMATOR_FILE",
    "MaskEstimator",
    "check_features",
    "check_masks",
    "estimator_kind",
    "read_estimator_file",
    "write_estimator_file",
]

ESTIMATOR_FILE = "estimator.json"
"""What an estimator is and its parameters, beside its arrays."""

_Estimator = TypeVar("_Estimator", bound="MaskEstimator")

_FORMAT = 1
_CHECKED_ROWS = 8192  # rows looked at together, so that the check needs no copy of all features


@runtime_checkable
class MaskEstimator(Protocol):
    """Learns a mask from features, frame by frame.

    Features are (N, D) float32 with zero mean and unit variance per dimension, N frames of all
    utterances one after the other; masks are (N, F) float32 in [0, 1], one row per frame, channel 0
    the lowest frequency.

    Attributes:
        history_: one entry per epoch or pass of the solver: `epoch` (from 1; 0 is what passes
            begin from), `seconds` since the fit began, `dev_mse` of the predicted masks, and what
            else the estimator knows (`train_loss`, `train_mse`).
    """

    history_: list[dict[str, float]]

    def fit(
        self: _Estimator,
        features: NDArray[np.float32],
        masks: NDArray[np.float32],
        *,
        dev_features: NDArray[np.float32],
        dev_masks: NDArray[np.float32],
        on_progress: OnProgress | None = None,
        checkpoint: Path | None = None,
    ) -> _Estimator:
        """Learn from training frames; development frames decide when to stop.

        Args:
            features: (N, D) training features.
            masks: (N, F) their masks.
            dev_features: (M, D) development features.
            dev_masks: (M, F) their masks.
            on_progress: called after each epoch or pass.
            checkpoint: a file by which a fit that was stopped can go on, for an estimator whose
                fits are long; it ends with the same bits as one that was not stopped.

        Returns:
            The estimator itself, as it was when the mean square error on the development frames was
            smallest.

        Raises:
            ValueError: shapes that do not fit together, values that are not finite, masks out of
                [0, 1].
        """
        ...

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Estimate the masks of (N, D) features: (N, F) float32 in [0, 1].

        Raises:
            ValueError: not fitted yet, another D than in training, values that are not finite.
        """
        ...

    def size(self) -> dict[str, int]:
        """How large the fitted estimator is, by metrics: `params` (weights), or `centres`.

        Raises:
            ValueError: not fitted yet.
        """
        ...

    def save(self, directory: Path) -> None:
        """Write the fitted estimator into a folder, which is made; arrays and JSON, no pickle.

        Raises:
            ValueError: not fitted yet.
        """
        ...

    @classmethod
    def load(cls: type[_Estimator], directory: Path) -> _Estimator:
        """Read an estimator that `save` wrote; it predicts the same bits.

        Raises:
            ValueError: the folder holds none, one of another kind, or a damaged one.
        """
        ...


def check_features(name: str, features: NDArray[Any], dimensions: int | None = None) -> None:
    """Check that features are (N, D), N >= 1, with finite values, and D as expected.

    Args:
        name: of the argument, for the message.
        features: what was given.
        dimensions: the D expected; None for any.

    Raises:
        ValueError: they are not; the message has the shape or the first bad row.
    """
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"{name} have shape {features.shape}; they must be (frames, dimensions)")
    if dimensions is not None and features.shape[1] != dimensions:
        raise ValueError(f"{name} have {features.shape[1]} dimensions instead of {dimensions}")
    for start in range(0, len(features), _CHECKED_ROWS):
        finite = np.isfinite(features[start : start + _CHECKED_ROWS])
        if not finite.all():
            row = start + int(np.argmin(finite.all(axis=1)))
            raise ValueError(f"{name} have a value that is not finite in row {row}")


def check_masks(
    name: str, masks: NDArray[Any], *, frames: int, channels: int | None = None
) -> None:
    """Check that masks are (N, F) in [0, 1], with N and F as expected.

    Args:
        name: of the argument, for the message.
        masks: what was given.
        frames: the N expected.
        channels: the F expected; None for any.

    Raises:
        ValueError: they are not; the message has the shape or the first bad row.
    """
    if masks.ndim != 2 or 0 in masks.shape:
        raise ValueError(f"{name} have shape {masks.shape}; they must be (frames, channels)")
    if len(masks) != frames:
        raise ValueError(f"{name} have {len(masks)} frames, their features {frames}")
    if channels is not None and masks.shape[1] != channels:
        raise ValueError(f"{name} have {masks.shape[1]} channels instead of {channels}")
    for start in range(0, len(masks), _CHECKED_ROWS):
        block = masks[start : start + _CHECKED_ROWS]
        fine = (block >= 0.0) & (block <= 1.0)  # false for NaN
        if not fine.all():
            row, channel = np.argwhere(~fine)[0]
            raise ValueError(
                f"{name} have {block[row, channel]:g} in row {start + row}, channel {channel}; "
                "masks lie in [0, 1]"
            )


def write_estimator_file(directory: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write what an estimator is, beside its arrays; last of all, so that it stands for the whole.

    Args:
        directory: the estimator's folder.
        kind: a short name such as `dnn`.
        content: whatever JSON can hold, without NaN.
    """
    whole = {"kind": kind, "format": _FORMAT, **content}
    write_json(directory / ESTIMATOR_FILE, whole, indent=2)


def read_estimator_file(directory: Path, kind: str) -> dict[str, Any]:
    """Read what `write_estimator_file` wrote.

    Args:
        directory: the estimator's folder.
        kind: the kind expected.

    Raises:
        ValueError: there is none, it is damaged, of another kind or of another format.
    """
    content = _read(directory)
    path = directory / ESTIMATOR_FILE
    if content["kind"] != kind:
        raise ValueError(f"{path}: an estimator of kind {content['kind']!r}, not {kind!r}")
    if content.get("format") != _FORMAT:
        raise ValueError(
            f"{path}: format {content.get('format')!r}, this version reads {_FORMAT}: train again"
        )
    return content


def estimator_kind(directory: Path) -> str:
    """The kind of the estimator in a folder, as `dnn`.

    Raises:
        ValueError: there is none or it is damaged.
    """
    return str(_read(directory)["kind"])


def _read(directory: Path) -> dict[str, Any]:
    path = directory / ESTIMATOR_FILE
    try:
        content = read_json(path)
    except FileNotFoundError as error:
        raise ValueError(f"{directory}: no estimator was saved here") from error
    except ValueError as error:
        raise ValueError(f"{path}: damaged: {error}") from error
    if not isinstance(content, dict) or "kind" not in content:
        raise ValueError(f"{path}: damaged: it names no kind of estimator")
    return content
