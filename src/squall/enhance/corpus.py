"""What a run is made of: utterances chosen from a corpus, and its noises as files of one form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from squall.audio.noise import load_noises, make_babble, make_speech_shaped_noise, read_noise
from squall.audio.reading import SAMPLE_RATE_HZ
from squall.corpora.manifest import Utterance, read_utterance
from squall.enhance.settings import NoiseConfig
from squall.files import atomic_path

__all__ = [
    "choose_talkers",
    "choose_utterances",
    "cut_utterance",
    "read_samples",
    "write_noises",
    "write_wav",
]

Samples = NDArray[np.float32]


def choose_utterances(utterances: Sequence[Utterance], count: int | None) -> list[Utterance]:
    """Take utterances from all speakers in turn, in the order of their ids.

    Args:
        utterances: of one split.
        count: how many; None takes all.

    Returns:
        The utterances, sorted by id.
    """
    of_speaker = defaultdict(list)
    for utterance in sorted(utterances, key=lambda u: u.id):
        of_speaker[utterance.speaker].append(utterance)
    rounds = zip_longest(*(of_speaker[speaker] for speaker in sorted(of_speaker)))
    in_turn = [utterance for taken in rounds for utterance in taken if utterance is not None]
    return sorted(in_turn[:count], key=lambda u: u.id)


def cut_utterance(utterance: Utterance, max_s: float | None) -> Utterance:
    """The first `max_s` seconds of an utterance; its text is then that of the whole."""
    if max_s is None or utterance.duration_s <= max_s:
        return utterance
    return replace(utterance, duration_s=max_s)


def choose_talkers(
    utterances: Sequence[Utterance], talkers: int, seed: int
) -> tuple[list[Utterance], list[Utterance]]:
    """Set the talkers of the babble apart from the speakers whose speech is trained on.

    Args:
        utterances: of the training split.
        talkers: how many; 0 for none.
        seed: of the draw.

    Returns:
        The utterances that are left to train on, and those of the talkers.

    Raises:
        ValueError: there are no more speakers than talkers.
    """
    speakers = sorted({utterance.speaker for utterance in utterances})
    if talkers >= len(speakers):
        raise ValueError(
            f"noise.talkers is {talkers}, but there are {len(speakers)} training speakers: babble "
            "needs talkers who are not trained on. Lower noise.talkers, or leave out babble"
        )
    drawn = set(np.random.default_rng(seed).permutation(speakers)[:talkers])
    return (
        [utterance for utterance in utterances if utterance.speaker not in drawn],
        [utterance for utterance in utterances if utterance.speaker in drawn],
    )


def read_samples(utterance: Utterance) -> Samples:
    """The samples of an utterance at the rate of the enhancement flow, 16 kHz.

    Raises:
        AudioError: the file is missing, corrupt or shorter than the utterance, or has samples that
            are not finite numbers.
    """
    return read_utterance(utterance, sample_rate_hz=SAMPLE_RATE_HZ).samples


def write_noises(
    directory: Path,
    noise: NoiseConfig,
    *,
    recordings: Sequence[Path],
    training: Sequence[Utterance],
    talkers: Sequence[Utterance],
    seed: int,
    remove_mean: bool = True,
) -> dict[str, int]:
    """Write every noise of a run as a 32-bit float WAV file of one channel at 16 kHz.

    Args:
        directory: where the files go, `<name>.wav`.
        noise: which noises.
        recordings: folders of the recorded ones.
        training: the training utterances, whose spectrum speech-shaped noise has.
        talkers: the utterances of those who speak in the babble.
        seed: seed of the noises that are made.
        remove_mean: take the mean of the speech away from which they are made.

    Returns:
        Length in samples by name.

    Raises:
        ValueError: a recording is missing.
        AudioError: a recording cannot be read, is silent or has samples that are not finite.
    """
    noises: dict[str, Samples] = {}
    if noise.recorded:
        if not recordings:
            raise ValueError(
                f"the noises {', '.join(noise.recorded)} are recordings: give their folder with "
                "--noise-dir, or name only babble and ssn in noise.seen"
            )
        for name, path in load_noises(recordings, noise.recorded).items():
            noises[name] = read_noise(path, sample_rate_hz=SAMPLE_RATE_HZ)
    noises |= _made(noise, training, talkers, seed, remove_mean)
    for name, samples in noises.items():
        write_wav(directory / f"{name}.wav", samples)
    return {name: len(samples) for name, samples in noises.items()}


def _made(
    noise: NoiseConfig,
    training: Sequence[Utterance],
    talkers: Sequence[Utterance],
    seed: int,
    remove_mean: bool,
) -> dict[str, Samples]:
    how: dict[str, Any] = {"duration_s": noise.made_s, "seed": seed, "remove_mean": remove_mean}
    made = {}
    if "babble" in noise.seen:
        of_talker = defaultdict(list)
        for utterance in talkers:
            of_talker[utterance.speaker].append(read_samples(utterance))
        made["babble"] = make_babble(list(of_talker.values()), **how)
    if "ssn" in noise.seen:
        speech = [read_samples(utterance) for utterance in training]
        made["ssn"] = make_speech_shaped_noise(speech, **how)
    return made


def write_wav(path: Path, samples: Samples) -> None:
    """Write one channel at 16 kHz as 32-bit floats, which keep every bit."""
    with atomic_path(path) as temporary:
        soundfile.write(temporary, samples, SAMPLE_RATE_HZ, subtype="FLOAT", format="WAV")
