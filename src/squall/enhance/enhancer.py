"""From noisy samples to enhanced samples: features, mask, resynthesis, in blocks of any file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squall.audio.features import MARGIN_S, LevelOver, level_gain
from squall.audio.frames import HOP_S, as_signal
from squall.audio.frontend import FrontEnd, build_front_end
from squall.audio.level import active_rms, frame_powers
from squall.audio.reading import SAMPLE_RATE_HZ
from squall.enhance.frames import features_of
from squall.enhance.model import MaskModel
from squall.enhance.settings import ALL, EnhancementConfig

__all__ = ["Enhancer", "ReadSamples", "find_model", "find_models", "put_mask", "shape_mask"]

Samples = NDArray[np.float32]

ReadSamples = Callable[[int, int], Samples]
"""Gives the samples from the first number up to, but without, the second: (stop - start,)."""

_BLOCK_S = 20.0


def shape_mask(mask: NDArray[np.float32], config: EnhancementConfig) -> NDArray[np.float32]:
    """A mask as it is put on the mixture: cut at one half and floored if asked for.

    Args:
        mask: (T, F) in [0, 1].
        config: the settings `apply.*`.

    Returns:
        (T, F) in [apply.floor, 1].
    """
    used = (mask > 0.5).astype(np.float32) if config.apply.binarise else mask
    shaped: NDArray[np.float32] = np.maximum(used, np.float32(config.apply.floor))
    return shaped


def put_mask(
    samples: Samples,
    mask: NDArray[np.float32],
    *,
    config: EnhancementConfig,
    front_end: FrontEnd,
) -> Samples:
    """Put a mask (T, F) on the samples (N,) that it was estimated for, as `apply.*` says: (N,)."""
    return front_end.apply_mask(samples, shape_mask(mask, config))


@dataclass(frozen=True)
class Enhancer:
    """A mask model with its front end, ready for samples.

    Args:
        model: the trained model.
        config: the settings that it was trained with.
        front_end: what masks are made of.
    """

    model: MaskModel
    config: EnhancementConfig
    front_end: FrontEnd

    @classmethod
    def load(cls, directory: Path, config: EnhancementConfig) -> Enhancer:
        """The enhancer of a model's folder."""
        front_end = build_front_end(config.frontend.name, **config.frontend.parameters)
        return cls(MaskModel.load(directory), config, front_end)

    def __call__(self, samples: Samples) -> Samples:
        """Enhance one channel at 16 kHz that lies in memory.

        Args:
            samples: (N,) the noisy signal.

        Returns:
            (N,) the enhanced signal.

        Raises:
            ValueError: there are no samples, or one is not finite.
        """
        signal = as_signal(samples)
        return np.concatenate(list(self.blocks(lambda a, b: signal[a:b], len(signal))))

    def blocks(self, read: ReadSamples, length: int) -> Iterator[Samples]:
        """Enhance one channel at 16 kHz of any length, in memory that does not grow with it.

        The level of the whole signal is measured first, and its mean, which is taken away where the
        model was trained so (`remove_mean`). It is then worked on in blocks of 20 s, with margins
        on both sides that are long enough for the joints not to be seen: the result is that of the
        whole signal at once, within 1e-3 of its peak (where masks are binary, but for units whose
        estimate is one half).

        Args:
            read: gives a stretch of the noisy signal; every sample is asked for more than once.
            length: its number of samples N, at least 1.

        Yields:
            The enhanced signal, block after block, N samples in all.

        Raises:
            ValueError: there are no samples, or one is not finite.
        """
        if length < 1:
            raise ValueError("the signal is empty")
        if self.config.remove_mean:
            read = _without_mean(read, length)
        gain = _level_gain(read, length, self.config.features.level_over)
        hop, block = round(HOP_S * SAMPLE_RATE_HZ), _block_samples()
        reach = max(self.front_end.margin_samples, round(MARGIN_S * SAMPLE_RATE_HZ))
        context = (self.config.features.context + self.config.mask.context) * hop
        margin = (math.ceil(reach / hop) + 1) * hop + context
        for start in range(0, length, block):
            end = min(start + block, length)
            first, last = max(0, start - margin), min(length, end + margin)
            part = self._whole(read(first, last), gain)
            yield part[start - first : end - first]

    def _whole(self, samples: Samples, gain: float) -> Samples:
        features = features_of(samples, self.config, gain=gain)
        mask = self.model.estimate(features)
        return put_mask(samples, mask, config=self.config, front_end=self.front_end)


def _block_samples() -> int:
    hop = round(HOP_S * SAMPLE_RATE_HZ)
    return math.ceil(_BLOCK_S * SAMPLE_RATE_HZ / hop) * hop


def _read_blocks(read: ReadSamples, length: int) -> Iterator[Samples]:
    block = _block_samples()
    for start in range(0, length, block):
        yield as_signal(read(start, min(start + block, length)))


def _without_mean(read: ReadSamples, length: int) -> ReadSamples:
    total = sum(float(block.sum(dtype=np.float64)) for block in _read_blocks(read, length))
    mean = total / length
    return lambda start, stop: (read(start, stop) - mean).astype(np.float32)


def _level_gain(read: ReadSamples, length: int, over: LevelOver) -> float:
    """What `level_gain` gives for the whole signal."""
    blocks = _read_blocks(read, length)
    if over == "active":
        rms = active_rms(np.concatenate([frame_powers(block) for block in blocks]))
    else:
        exact = (block.astype(np.float64) for block in blocks)
        rms = math.sqrt(sum(float(block @ block) for block in exact) / length)
    return level_gain(np.array([rms], np.float32))


def find_models(train_dir: Path) -> dict[str, Path]:
    """The folders of an experiment's models by name: `all`, or a condition, e.g. `babble/0dB`.

    Args:
        train_dir: folder of the experiment's models.

    Raises:
        FileNotFoundError: the experiment has no trained model.
    """
    models = {
        str(path.parent.relative_to(train_dir)): path.parent
        for path in sorted(train_dir.rglob("training.json"))
    }
    if not models:
        raise FileNotFoundError(f"{train_dir} has no trained model: run the stages up to 5 (train)")
    return models


def find_model(train_dir: Path, name: str | None) -> Path:
    """The folder of one model of an experiment.

    Args:
        train_dir: folder of the experiment's models.
        name: `all` or a condition, e.g. `babble/0dB`; None takes `all`, or the only one.

    Raises:
        FileNotFoundError: the experiment has no trained model.
        ValueError: there is no such model, or several and no name; the message lists them.
    """
    models = find_models(train_dir)
    if name is None and (ALL in models or len(models) == 1):
        name = ALL if ALL in models else next(iter(models))
    if name not in models:
        asked = "which model is to be used is not said" if name is None else f"no model {name!r}"
        raise ValueError(
            f"{train_dir.parent}: {asked}; give --condition, one of {list(models)}, or auto"
        )
    return models[name]
