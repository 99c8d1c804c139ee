"""Noises to mix with: a folder of recordings, babble of many talkers, speech-shaped noise."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from squall.audio.offset import subtract_mean
from squall.audio.reading import AUDIO_SUFFIXES, AudioError, read_audio, unread_hint

__all__ = ["load_noises", "make_babble", "make_speech_shaped_noise", "read_noise"]

_log = logging.getLogger(__name__)

Samples = NDArray[np.float32]

_PEAK = 0.5
_SEGMENT_S = 0.128


def load_noises(
    directory: Path | Sequence[Path], names: Sequence[str] | None = None
) -> dict[str, Path]:
    """Find the noise recordings of folders; the name of a noise is its file's without the ending.

    Args:
        directory: the folder, or several; folders inside are not searched.
        names: the noises wanted; None takes all.

    Returns:
        Path by name: in the order of `names`, or sorted by name.

    Raises:
        FileNotFoundError: there is no such folder, or no recording in it.
        ValueError: a noise is missing (the message lists those there are), `names` is empty, or two
            files have the same name.
    """
    folders = [Path(directory)] if isinstance(directory, str | Path) else list(directory)
    said = ", ".join(map(str, folders))
    found: dict[str, Path] = {}
    paths: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: there is no such folder of noise recordings")
        paths += sorted(folder.iterdir())
    for path in paths:
        if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith(".") or path.is_dir():
            continue
        if path.stem in found:
            other = found[path.stem]
            named = other.name if other.parent == path.parent else other
            raise ValueError(f"{path} and {named} are both the noise {path.stem!r}: rename one")
        found[path.stem] = path
    if not found:
        looked_for = ", ".join(AUDIO_SUFFIXES)
        raise FileNotFoundError(
            f"{said}: no recording in it (looked for {looked_for}){unread_hint(paths)}"
        )
    if names is None:
        return dict(sorted(found.items()))
    if not names:
        raise ValueError(f"no noise is asked for; {said} has {', '.join(sorted(found))}")
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"{said}: no noise {', '.join(missing)}; there are {', '.join(sorted(found))}"
            f"{unread_hint(path for path in paths if path.stem in missing)}"
        )
    return {name: found[name] for name in names}


def read_noise(path: Path, *, sample_rate_hz: int = 16000) -> Samples:
    """Read a noise recording.

    Returns:
        (N,) one channel at the rate asked for.

    Raises:
        AudioError: the file cannot be read, or is silent; the message names it.
    """
    audio = read_audio(path, sample_rate_hz=sample_rate_hz)
    for doubt in audio.doubts:
        _log.warning("%s: %s", path, doubt)
    samples = audio.samples
    if not np.ptp(samples):
        raise AudioError(
            f"{path} is silent: every sample is {samples[0]:g}, so no SNR can be set with it"
        )
    return samples


def make_babble(
    talkers: Sequence[Sequence[Samples]],
    *,
    duration_s: float,
    seed: int,
    sample_rate_hz: int = 16000,
    remove_mean: bool = True,
) -> Samples:
    """Let many people talk at once.

    Each talker says all of their utterances in random order, and again in another order until the
    time is filled, beginning in the middle of one so that they do not all start together. All
    talkers have the same RMS level.

    Args:
        talkers: for each talker their utterances, (N,) floats; silence at the ends is kept.
        duration_s: length of the babble in seconds.
        seed: the same seed gives the same babble, and what a talker says does not
            depend on the other talkers.
        sample_rate_hz: the sampling rate of the utterances and of the babble.
        remove_mean: take the mean of each utterance away first; a constant offset would make its
            talker faint, and a click of every joint.

    Returns:
        (N,) float32 with a largest magnitude of 0.5.

    Raises:
        ValueError: there are fewer than two talkers, a talker has no utterance, is silent or has
            samples that are not finite, or the duration is not positive.
    """
    length = _length(duration_s, sample_rate_hz)
    if len(talkers) < 2:
        raise ValueError(f"babble needs at least 2 talkers, there is {len(talkers)}")
    babble = np.zeros(length)
    for number, utterances in enumerate(talkers):
        who = f"talker {number} of {len(talkers)} (counted from 0)"
        checked = _checked(who, utterances, remove_mean)
        voice = _talk(checked, length, np.random.default_rng([seed, number]))
        level = math.sqrt(np.mean(np.square(voice)))
        if level == 0:
            raise ValueError(f"{who} is silent: it is zeros or a constant")
        babble += voice / level
    return _normalised(babble)


def make_speech_shaped_noise(
    utterances: Sequence[Samples],
    *,
    duration_s: float,
    seed: int,
    sample_rate_hz: int = 16000,
    remove_mean: bool = True,
) -> Samples:
    """Gaussian noise with the long-term average spectrum of speech.

    The spectrum is Welch's estimate over all utterances (Hann windows of 128 ms, half overlapping),
    weighted by their lengths. White noise is shaped by its square root in the frequency domain, in
    one piece, so that there is no filter to ring at the ends.

    Args:
        utterances: the speech, (N,) floats each.
        duration_s: length of the noise in seconds.
        seed: the same seed gives the same noise.
        sample_rate_hz: the sampling rate of speech and noise.
        remove_mean: take the mean of each utterance away first; a constant offset would become
            noise below 8 Hz.

    Returns:
        (N,) float32 with a largest magnitude of 0.5.

    Raises:
        ValueError: there is no speech, it is silent or has samples that are not finite, or the
            duration is not positive.
    """
    length = _length(duration_s, sample_rate_hz)
    speech = _checked("the speech", utterances, remove_mean)
    frequencies, power = _long_term_spectrum(speech, sample_rate_hz)
    if not power.any():
        raise ValueError("the speech is silent: it is zeros or a constant")
    # A short noise is cut from a longer one: its few frequencies would not have the shape.
    drawn = max(length, round(sample_rate_hz * 1.0))
    white = np.random.default_rng(seed).standard_normal(drawn)
    grid_hz = np.fft.rfftfreq(drawn, 1 / sample_rate_hz)
    shape = np.sqrt(np.interp(grid_hz, frequencies, power))
    return _normalised(np.fft.irfft(np.fft.rfft(white) * shape, drawn)[:length])


def _long_term_spectrum(
    utterances: Sequence[NDArray[np.float64]], sample_rate_hz: int
) -> tuple[NDArray[np.floating[Any]], NDArray[np.float64]]:
    segment = round(_SEGMENT_S * sample_rate_hz)
    frequencies = np.fft.rfftfreq(segment, 1 / sample_rate_hz)
    total = np.zeros(len(frequencies))
    for samples in utterances:
        padded = np.pad(samples, (0, max(0, segment - len(samples))))
        _, power = scipy.signal.welch(padded, sample_rate_hz, nperseg=segment, detrend=False)
        total += power * len(padded)
    return frequencies, total


def _talk(
    utterances: Sequence[NDArray[np.float64]], length: int, random: np.random.Generator
) -> NDArray[np.float64]:
    order = random.permutation(len(utterances))
    start = int(random.integers(len(utterances[order[0]])))
    said, total = [utterances[order[0]][start:]], len(utterances[order[0]]) - start
    remaining = list(order[1:])
    while total < length:
        if not remaining:
            remaining = list(random.permutation(len(utterances)))
        said.append(utterances[remaining.pop(0)])
        total += len(said[-1])
    return np.concatenate(said)[:length]


def _checked(
    who: str, utterances: Sequence[Samples], remove_mean: bool
) -> list[NDArray[np.float64]]:
    if not len(utterances):
        raise ValueError(f"{who} has no utterance")
    for number, samples in enumerate(utterances):
        if np.ndim(samples) != 1 or not len(samples):
            shape = np.shape(samples)
            raise ValueError(f"{who}: utterance {number} has shape {shape}, one channel expected")
        if not np.isfinite(samples).all():
            raise ValueError(f"{who}: utterance {number} has samples that are not finite numbers")
    prepared = map(subtract_mean, utterances) if remove_mean else utterances
    return [np.asarray(samples, np.float64) for samples in prepared]


def _length(duration_s: float, sample_rate_hz: int) -> int:
    if not (math.isfinite(duration_s) and round(duration_s * sample_rate_hz) > 0):
        raise ValueError(f"duration_s is {duration_s}: give a number of seconds above 0")
    return round(duration_s * sample_rate_hz)


def _normalised(samples: NDArray[np.float64]) -> Samples:
    scaled: Samples = (samples * (_PEAK / np.abs(samples).max())).astype(np.float32)
    return scaled
