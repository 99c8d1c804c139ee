"""From the mixture table to the features and ideal masks of its frames, in several processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squall.audio.frontend import FrontEnd, build_front_end
from squall.audio.masks import ideal_binary_mask, ideal_ratio_mask
from squall.audio.mixing import MixedSignal, Mixture, make_mixture
from squall.audio.noise import read_noise
from squall.corpora.manifest import Utterance
from squall.enhance.corpus import read_samples, write_wav
from squall.enhance.frames import FrameSet, features_of
from squall.enhance.settings import EnhancementConfig, MaskConfig
from squall.workers import map_in_processes

__all__ = ["MixtureSource", "by_condition", "ideal_mask", "write_frames", "write_mixed"]

Samples = NDArray[np.float32]
Progress = Callable[[int, int], None]

_MIXTURES_PER_TASK = 8


@dataclass(frozen=True)
class MixtureSource:
    """What mixtures are made of, small enough to hand to another process.

    Args:
        utterances: the speech by id.
        noise_dir: folder of the noises, `<name>.wav`.
    """

    utterances: Mapping[str, Utterance]
    noise_dir: Path

    def make(self, mixture: Mixture) -> MixedSignal:
        """Make a mixture of the table again, bit for bit.

        Raises:
            ValueError: the recordings are not those that it was made of; the message names it.
        """
        noise = _noise(self.noise_dir / f"{mixture.noise}.wav")
        return make_mixture(
            mixture, speech=read_samples(self.utterances[mixture.utterance]), noise=noise
        )


@lru_cache(maxsize=32)
def _noise(path: Path) -> Samples:
    return read_noise(path)


def by_condition(mixtures: Sequence[Mixture]) -> dict[str, list[Mixture]]:
    """The mixtures of each condition, both in sorted order."""
    ordered = sorted(mixtures, key=lambda m: (m.condition, m.id))
    return {name: list(group) for name, group in groupby(ordered, key=lambda m: m.condition)}


def ideal_mask(
    mixed: MixedSignal, snr_db: float, front_end: FrontEnd, mask: MaskConfig
) -> NDArray[np.float32]:
    """The mask that the settings ask for, (T, F), from the speech and noise before mixing."""
    speech, noise = front_end.energies(mixed.speech), front_end.energies(mixed.noise)
    if mask.name == "irm":
        return ideal_ratio_mask(speech=speech, noise=noise, beta=mask.beta)
    criterion_db = snr_db + mask.criterion_db
    return ideal_binary_mask(speech=speech, noise=noise, local_criterion_db=criterion_db)


def write_mixed(
    source: MixtureSource,
    mixtures: Sequence[Mixture],
    *,
    audio_dir: Path | None,
    workers: int,
    progress: Progress,
) -> list[Mixture]:
    """Make mixtures and find their gains; with a folder, write them as `<condition>/<id>.wav`.

    Args:
        source: speech and noises.
        mixtures: lines of the table without gains.
        audio_dir: where the audio goes, or None.
        workers: processes.
        progress: told (done, all).

    Returns:
        The lines with their gains.
    """
    tasks = [(source, part, audio_dir) for part in _parts(mixtures)]
    filled: list[Mixture] = []
    for part in map_in_processes(_mix, tasks, workers):
        filled += part
        progress(len(filled), len(mixtures))
    return filled


def _mix(task: tuple[MixtureSource, Sequence[Mixture], Path | None]) -> list[Mixture]:
    source, mixtures, audio_dir = task
    filled = []
    for mixture in mixtures:
        mixed = source.make(mixture)
        filled.append(mixture.with_gains(mixed))
        if audio_dir is not None:
            write_wav(audio_dir / mixture.condition / f"{mixture.utterance}.wav", mixed.noisy)
    return filled


def write_frames(
    source: MixtureSource,
    mixtures: Sequence[Mixture],
    directory: Path,
    *,
    config: EnhancementConfig,
    workers: int,
    progress: Progress,
) -> None:
    """Write features and ideal masks of all mixtures, a `FrameSet` for each condition.

    Args:
        source: speech and noises.
        mixtures: lines of the table with their gains.
        directory: where `<condition>/` folders go.
        config: what features and which mask.
        workers: processes.
        progress: told (mixtures done, all).
    """
    conditions = by_condition(mixtures)
    tasks = [(source, part, config) for group in conditions.values() for part in _parts(group)]
    made = (pair for part in map_in_processes(_extract, tasks, workers) for pair in part)
    done = 0
    for condition, group in conditions.items():
        features, masks = [], []
        for pair in islice(made, len(group)):
            features.append(pair[0])
            masks.append(pair[1])
            done += 1
            progress(done, len(mixtures))
        FrameSet(
            [mixture.id for mixture in group],
            [len(rows) for rows in features],
            np.concatenate(features),
            np.concatenate(masks),
        ).write(directory / condition)


def _extract(
    task: tuple[MixtureSource, Sequence[Mixture], EnhancementConfig],
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    source, mixtures, config = task
    front_end = build_front_end(config.frontend.name, **config.frontend.parameters)
    pairs = []
    for mixture in mixtures:
        mixed = source.make(mixture)
        features = features_of(mixed.noisy, config)
        pairs.append((features, ideal_mask(mixed, mixture.snr_db, front_end, config.mask)))
    return pairs


def _parts(mixtures: Sequence[Mixture]) -> list[Sequence[Mixture]]:
    starts = range(0, len(mixtures), _MIXTURES_PER_TASK)
    return [mixtures[start : start + _MIXTURES_PER_TASK] for start in starts]
