"""The check at the end of every preparation: all problems of a corpus, each with its utterance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from squall.audio.reading import AudioError
from squall.corpora.manifest import Utterance, read_utterance

__all__ = ["Problem", "ValidationError", "leave_out", "validate"]

DURATION_TOLERANCE_S = 0.02
"""Largest accepted difference between a manifest's duration and the samples in the file."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one utterance.

    Args:
        split: name of the split.
        utterance: id of the utterance.
        message: what is wrong, and where it helps, what to do.
    """

    split: str
    utterance: str
    message: str

    def __str__(self) -> str:
        return f"{self.split}/{self.utterance}: {self.message}"


class ValidationError(ValueError):
    """A corpus has problems; the message lists them all."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(
            f"{len(problems)} problem(s) in the corpus:\n{lines}\n"
            "Mend them, or run again with --skip-bad to leave these utterances out and list them"
        )


def validate(
    splits: Mapping[str, Sequence[Utterance]],
    *,
    read: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Problem]:
    """List every problem of a corpus.

    Args:
        splits: utterances of each split.
        read: decode each file to its end. This is what finds truncated and corrupt audio.
        progress: told (files read, files in all).

    Returns:
        Problems: missing, corrupt or truncated audio, zero length, silence in every sample, empty
        text, duplicate id, white space in an id or speaker, a speaker in two splits, a duration
        that disagrees with the file. Empty when the corpus is sound.
    """
    problems = [*_labels(splits), *_duplicates(splits), *_shared_speakers(splits)]
    if read:
        total = sum(map(len, splits.values()))
        done = 0
        for split, utterances in splits.items():
            for utterance in utterances:
                message = _audio_problem(utterance)
                if message:
                    problems.append(Problem(split, utterance.id, message))
                done += 1
                progress(done, total)
    return problems


def leave_out(
    splits: Mapping[str, Sequence[Utterance]], problems: Sequence[Problem]
) -> dict[str, list[Utterance]]:
    """The splits without the utterances that have a problem."""
    bad = {(problem.split, problem.utterance) for problem in problems}
    return {
        split: [utterance for utterance in utterances if (split, utterance.id) not in bad]
        for split, utterances in splits.items()
    }


def _labels(splits: Mapping[str, Sequence[Utterance]]) -> Iterator[Problem]:
    for split, utterances in splits.items():
        for utterance in utterances:
            if not utterance.text.strip():
                yield Problem(split, utterance.id, "its text is empty")
            if utterance.duration_s <= 0:
                yield Problem(split, utterance.id, f"its duration is {utterance.duration_s} s")
            for field in ("id", "speaker"):
                value = getattr(utterance, field)
                if not value or len(value.split()) != 1:
                    yield Problem(split, utterance.id, f"its {field} {value!r} is not one word")


def _duplicates(splits: Mapping[str, Sequence[Utterance]]) -> Iterator[Problem]:
    counts = Counter(utterance.id for utterances in splits.values() for utterance in utterances)
    for split, utterances in splits.items():
        for identifier in sorted({u.id for u in utterances if counts[u.id] > 1}):
            yield Problem(split, identifier, f"its id occurs {counts[identifier]} times")


def _shared_speakers(splits: Mapping[str, Sequence[Utterance]]) -> Iterator[Problem]:
    homes: dict[str, list[str]] = {}
    for split, utterances in splits.items():
        for speaker in sorted({utterance.speaker for utterance in utterances}):
            homes.setdefault(speaker, []).append(split)
    for split, utterances in splits.items():
        for utterance in utterances:
            others = [home for home in homes[utterance.speaker] if home != split]
            if others and split != "train":
                yield Problem(
                    split, utterance.id, f"speaker {utterance.speaker} is in {others[0]} too"
                )


def _audio_problem(utterance: Utterance) -> str | None:
    try:
        audio = read_utterance(utterance, sample_rate_hz=None)
    except (AudioError, OSError) as error:
        return str(error)
    if audio.sample_rate_hz != utterance.sample_rate_hz:
        return (
            f"the manifest says {utterance.sample_rate_hz} Hz, "
            f"{utterance.audio_path} has {audio.sample_rate_hz} Hz"
        )
    if abs(audio.duration_s - utterance.duration_s) > DURATION_TOLERANCE_S:
        return (
            f"the manifest says {utterance.duration_s:.3f} s, "
            f"{utterance.audio_path} has {audio.duration_s:.3f} s"
        )
    if not audio.samples.any():
        return f"{utterance.audio_path} is silent: every sample is zero"
    return None
