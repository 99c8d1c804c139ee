"""Frames of many mixtures as arrays on disk, and the frames that a model is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squall.audio.features import extract
from squall.enhance.settings import EnhancementConfig
from squall.files import atomic_path, read_array, read_json, write_json

__all__ = ["FrameSet", "average_windows", "draw_frames", "features_of", "mask_windows"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class FrameSet:
    """The frames of the mixtures of one split and condition.

    Args:
        mixtures: ids of the mixtures, in the order of their frames.
        counts: frames of each.
        features: (N, D) features, not yet normalised.
        masks: (N, F) ideal masks.
    """

    mixtures: Sequence[str]
    counts: Sequence[int]
    features: Array
    masks: Array

    def __len__(self) -> int:
        return int(sum(self.counts))

    def spans(self) -> Iterator[tuple[str, slice]]:
        """Each mixture with the rows of its frames."""
        ends = np.cumsum(self.counts)
        for mixture, count, end in zip(self.mixtures, self.counts, ends, strict=True):
            yield mixture, slice(int(end) - count, int(end))

    def write(self, directory: Path) -> None:
        """Write the arrays as `.npy` files and the mixtures as `frames.json`."""
        for name in ("features", "masks"):
            with atomic_path(directory / f"{name}.npy") as path, path.open("wb") as file:
                np.save(file, getattr(self, name), allow_pickle=False)
        index = {"mixtures": list(self.mixtures), "counts": list(self.counts)}
        write_json(directory / "frames.json", index)

    @classmethod
    def read(cls, directory: Path) -> FrameSet:
        """Read what `write` wrote; the arrays stay on disk until they are used.

        Raises:
            ValueError: the files do not belong together.
        """
        index = read_json(directory / "frames.json")
        arrays = {
            name: read_array(
                directory / f"{name}.npy", mapped=True, remedy="run stage 3 with --force"
            )
            for name in ("features", "masks")
        }
        found = cls(index["mixtures"], index["counts"], **arrays)
        if not len(found) == len(found.features) == len(found.masks):
            raise ValueError(
                f"{directory}: frames.json names {len(found)} frames, features.npy has "
                f"{len(found.features)} and masks.npy {len(found.masks)}: run stage 3 with --force"
            )
        return found


def draw_frames(
    sets: Sequence[FrameSet], *, context: int, mask_context: int, limit: int, seed: int
) -> tuple[Array, Array]:
    """Features and targets of a model, from at most `limit` frames of some sets.

    Args:
        sets: frames of the conditions that the model is for.
        context: frames on each side that stand beside a frame's features.
        mask_context: frames on each side whose masks are targets too.
        limit: the most frames; where there are more, they are drawn without replacement.
        seed: seed of the draw.

    Returns:
        (N, D * (2 context + 1)) features and (N, F * (2 mask_context + 1)) targets as
        `mask_windows` arranges them, in the order of the sets.
    """
    from squall.audio.features.context import context_window

    total = sum(map(len, sets))
    chosen = np.ones(total, np.bool_)
    if total > limit:
        drawn = np.random.default_rng(seed).choice(total, limit, replace=False)
        chosen = np.zeros(total, np.bool_)
        chosen[drawn] = True
    places, mask_places = 2 * context + 1, 2 * mask_context + 1
    # Filled part by part: a million frames are not held twice.
    number = int(chosen.sum())
    features = np.empty((number, sets[0].features.shape[1] * places), np.float32)
    targets = np.empty((number, sets[0].masks.shape[1] * mask_places), np.float32)
    seen = done = 0
    for frames in sets:
        for _, rows in frames.spans():
            count = rows.stop - rows.start
            kept = chosen[seen : seen + count]
            seen += count
            own = slice(done, done + int(kept.sum()))
            done = own.stop
            if kept.any():
                window = context_window(np.asarray(frames.features[rows]), context, context)
                features[own] = window[kept]
                targets[own] = mask_windows(np.asarray(frames.masks[rows]), mask_context)[kept]
    return features, targets


def mask_windows(masks: Array, context: int) -> Array:
    """The masks of a frame and its neighbours side by side.

    Args:
        masks: (T, F) of one utterance.
        context: frames on each side, c; beyond the ends the first and last frame are repeated.

    Returns:
        (T, F * (2c + 1)); channel by channel, so that a range of columns is a subband.
    """
    places = _places(len(masks), context)  # (T, 2c+1)
    return np.ascontiguousarray(masks[places].transpose(0, 2, 1)).reshape(len(masks), -1)


def average_windows(estimates: Array, context: int) -> Array:
    """The mean of all estimates that a frame got, its own and its neighbours'.

    Args:
        estimates: (T, F * (2c + 1)) in the arrangement of `mask_windows`.
        context: c.

    Returns:
        (T, F).
    """
    frames = len(estimates)
    windows = estimates.reshape(frames, -1, 2 * context + 1)  # (T, F, 2c+1)
    total = np.zeros(windows.shape[:2], np.float32)
    seen = np.zeros((frames, 1), np.float32)
    for shift in range(-context, context + 1):
        first = max(0, -shift)
        last = max(first, min(frames, frames - shift))  # none where it is beyond both ends
        total[first + shift : last + shift] += windows[first:last, :, shift + context]
        seen[first + shift : last + shift] += 1
    total /= seen
    return total


def _places(frames: int, context: int) -> NDArray[np.intp]:
    offsets = np.arange(-context, context + 1)
    places: NDArray[np.intp] = np.clip(np.arange(frames)[:, None] + offsets, 0, frames - 1)
    return places


def features_of(
    samples: NDArray[np.float32], config: EnhancementConfig, *, gain: float | None = None
) -> NDArray[np.float32]:
    """The features (T, D) of a signal (N,) at 16 kHz, without context, as the settings say.

    Args:
        samples: a whole signal, whose level and mean are measured, or a part of one.
        config: the settings that a model is trained with.
        gain: of the whole signal, for a part of it, whose mean was then taken away before.

    Raises:
        ValueError: as `squall.audio.features.extract` does.
    """
    settings = config.features
    return extract(
        samples,
        settings.sets,
        deltas=settings.deltas,
        arma_order=settings.arma_order,
        level_over=settings.level_over,
        gain=gain,
        remove_mean=config.remove_mean if gain is None else False,
    )
