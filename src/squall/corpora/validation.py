"""The check at the end of every preparation: all problems of a corpus, each with its utterance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from squall.audio.reading import END_TOLERANCE_S, AudioError, read_audio
from squall.corpora.manifest import Utterance, raw_format
from squall.files import atomic_write, json_text
from squall.scoring.cells import text_cell

__all__ = ["Problem", "ValidationError", "leave_out", "only_speaker", "validate", "write_left_out"]

DURATION_TOLERANCE_S = END_TOLERANCE_S
"""Largest accepted difference between a manifest's duration and the samples in the file."""

MIN_DURATION_S = 0.1
"""Shortest utterance: less leaves an encoder that subsamples by four without a frame."""

_LONGEST_ID = 200  # bytes: a file system's names have 255, and endings stand behind it


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
        splits: utterances of each split, in the order train, dev, test.
        read: decode each file to its end. This is what finds truncated and corrupt audio.
        progress: told (files read, files in all).

    Returns:
        Problems: missing, corrupt or truncated audio, less than 0.1 s of it, samples beyond full
        scale, channels that cancel when they are mixed down, silence in every sample, another
        sampling rate or duration than the manifest says, empty text, text that is not words with
        single spaces, an id or speaker that is not one word, an id that cannot be a file name, a
        file's name that is not UTF-8, duplicate id, a speaker in two splits. Empty when the corpus
        is sound.

    Convention:
        A speaker in two splits is a problem of the earlier split, and so is an id in two splits:
        training data gives way to dev, and dev to test, so that what `leave_out` keeps is still
        scored on the whole test set. An id that occurs twice in one split is a problem of all its
        utterances, since nothing tells which of them is meant. A corpus of one speaker is sound:
        what is measured on it holds for that voice alone, and `only_speaker` tells it.

        An utterance that starts at 0 and shares its file with no other is taken to be the whole
        file, which must then have its duration; other utterances need only lie inside their file.
    """
    problems = [*_labels(splits), *_duplicates(splits), *_shared_speakers(splits)]
    flat = [(split, utterance) for split, utterances in splits.items() for utterance in utterances]
    users = Counter(utterance.audio_path for _, utterance in flat)
    for done, (split, utterance) in enumerate(flat, start=1):
        if read:
            whole = utterance.start_s == 0 and users[utterance.audio_path] == 1
            message = _audio_problem(utterance, whole=whole)
            progress(done, len(flat))
        else:
            message = _length_problem(utterance.duration_s)
        if message:
            problems.append(Problem(split, utterance.id, message))
    return problems


def only_speaker(splits: Mapping[str, Sequence[Utterance]]) -> str | None:
    """The speaker of all utterances, None where there are several speakers."""
    speakers = {u.speaker for utterances in splits.values() for u in utterances}
    return speakers.pop() if len(speakers) == 1 else None


def leave_out(
    splits: Mapping[str, Sequence[Utterance]], problems: Sequence[Problem]
) -> dict[str, list[Utterance]]:
    """The splits without the utterances that have a problem; see the convention of `validate`."""
    bad = {(problem.split, problem.utterance) for problem in problems}
    return {
        split: [utterance for utterance in utterances if (split, utterance.id) not in bad]
        for split, utterances in splits.items()
    }


def write_left_out(path: Path, problems: Sequence[Problem]) -> None:
    """Write the problems of utterances that were left out as a table with tabs."""
    with atomic_write(path) as file:
        file.write("split\tutterance\tproblem\n")
        for p in problems:
            name = text_cell(" ".join(p.utterance.split()))
            file.write(f"{p.split}\t{name}\t{json_text(p.message)}\n")


def _labels(splits: Mapping[str, Sequence[Utterance]]) -> Iterator[Problem]:
    for split, utterances in splits.items():
        for utterance in utterances:
            if not utterance.text.strip():
                yield Problem(split, utterance.id, "its text is empty")
            elif utterance.text != " ".join(utterance.text.split()):
                message = f"its text {utterance.text!r} is not words with single spaces between"
                yield Problem(split, utterance.id, message)
            if "/" in utterance.id or "\0" in utterance.id:
                yield Problem(split, utterance.id, "its id has a '/' or NUL and cannot name a file")
            if len(utterance.id.encode(errors="surrogatepass")) > _LONGEST_ID:
                message = f"its id has more than {_LONGEST_ID} bytes and cannot name a file"
                yield Problem(split, utterance.id, message)
            for field in ("id", "speaker"):
                value = getattr(utterance, field)
                if not value or len(value.split()) != 1:
                    yield Problem(split, utterance.id, f"its {field} {value!r} is not one word")


def _duplicates(splits: Mapping[str, Sequence[Utterance]]) -> Iterator[Problem]:
    last_home = {u.id: split for split, utterances in splits.items() for u in utterances}
    for split, utterances in splits.items():
        for identifier, count in sorted(Counter(u.id for u in utterances).items()):
            if count > 1:
                yield Problem(split, identifier, f"its id occurs {count} times")
            if last_home[identifier] != split:
                yield Problem(split, identifier, f"its id is in {last_home[identifier]} too")


def _shared_speakers(splits: Mapping[str, Sequence[Utterance]]) -> Iterator[Problem]:
    last_home = {u.speaker: split for split, utterances in splits.items() for u in utterances}
    if len(last_home) == 1:
        return
    for split, utterances in splits.items():
        for utterance in utterances:
            home = last_home[utterance.speaker]
            if home != split:
                yield Problem(split, utterance.id, f"speaker {utterance.speaker} is in {home} too")


def _length_problem(duration_s: float) -> str | None:
    if duration_s >= MIN_DURATION_S:
        return None
    return f"its duration is {duration_s:g} s, less than {MIN_DURATION_S} s"


def _audio_problem(utterance: Utterance, *, whole: bool) -> str | None:
    try:
        audio = read_audio(
            utterance.audio_path,
            start_s=utterance.start_s,
            duration_s=None if whole else utterance.duration_s,
            sample_rate_hz=None,
            raw=raw_format(utterance),
        )
    except UnicodeEncodeError:  # other bytes of a name come as surrogates
        return f"the name of its file is not UTF-8, rename it: {utterance.audio_path!a}"
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
    if audio.doubts:
        return f"{utterance.audio_path}: {'; '.join(audio.doubts)}"
    if not audio.samples.any():
        return f"{utterance.audio_path} is silent: every sample is zero"
    return _length_problem(min(utterance.duration_s, audio.duration_s))
