"""Validation lists every problem with its utterance, and `leave_out` ends them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from squall.corpora.manifest import Utterance, read_utterance
from squall.corpora.validation import (
    Problem,
    ValidationError,
    leave_out,
    only_speaker,
    validate,
)

MakeUtterance = Callable[..., Utterance]
Break = Callable[[Utterance], Utterance]


def _missing(utterance: Utterance) -> Utterance:
    Path(utterance.audio_path).unlink()
    return utterance


def _truncated(utterance: Utterance) -> Utterance:
    path = Path(utterance.audio_path)
    path.write_bytes(path.read_bytes()[:-500])
    return utterance


def _corrupt(utterance: Utterance) -> Utterance:
    Path(utterance.audio_path).write_bytes(b"this is not audio at all" * 20)
    return utterance


def _empty(utterance: Utterance) -> Utterance:
    Path(utterance.audio_path).write_bytes(b"")
    return utterance


def _silent(utterance: Utterance) -> Utterance:
    soundfile.write(utterance.audio_path, np.zeros(1600), 16000)
    return utterance


def _beyond_full_scale(utterance: Utterance) -> Utterance:
    integers = np.linspace(-20000, 20000, 1600)
    soundfile.write(utterance.audio_path, integers, 16000, subtype="FLOAT")
    return utterance


def _cancelling(utterance: Utterance) -> Utterance:
    left = np.linspace(-0.5, 0.5, 1600)
    soundfile.write(utterance.audio_path, np.stack([left, -left], axis=1), 16000)
    return utterance


def _joined(utterance: Utterance) -> Utterance:
    path = Path(utterance.audio_path)
    path.write_bytes(path.read_bytes() * 2)
    return utterance


def _renamed(utterance: Utterance, name: str) -> Utterance:
    path = Path(utterance.audio_path)
    return replace(utterance, audio_path=str(path.rename(path.with_name(name))))


BROKEN: dict[str, tuple[Break, str]] = {
    "missing": (_missing, "no such file"),
    "truncated": (_truncated, "truncated"),
    "corrupt": (_corrupt, "cannot read it"),
    "empty": (_empty, "the file is empty"),
    "silent": (_silent, "is silent: every sample is zero"),
    "beyond-full-scale": (_beyond_full_scale, "its peak is 20000 where full scale is 1"),
    "cancelling": (_cancelling, "its channels cancel when they are mixed down"),
    "joined": (_joined, "its header says 3200 bytes, 6444 are there"),
    "ends-before-0.1-s": (
        lambda u: replace(u, start_s=0.015, duration_s=0.1),
        "its duration is 0.085 s, less than 0.1 s",
    ),
    "no-length": (lambda u: replace(u, duration_s=0.0), "the manifest says 0.000 s"),
    "negative-length": (lambda u: replace(u, duration_s=-1.0), "the manifest says -1.000 s"),
    "too-long": (lambda u: replace(u, duration_s=0.2), "the manifest says 0.200 s"),
    "too-short": (lambda u: replace(u, duration_s=0.05), "the manifest says 0.050 s"),
    "outside": (lambda u: replace(u, start_s=0.05), "0.05 s to 0.15 s is not in its 0.1 s"),
    "rate": (lambda u: replace(u, sample_rate_hz=8000), "the manifest says 8000 Hz"),
    "no-text": (lambda u: replace(u, text=" "), "its text is empty"),
    "line-break": (lambda u: replace(u, text="GO\nON"), "'GO\\nON' is not words with single"),
    "two-spaces": (lambda u: replace(u, text="GO  ON"), "is not words with single spaces"),
    "id-of-two": (lambda u: replace(u, id="a b"), "its id 'a b' is not one word"),
    "no-id": (lambda u: replace(u, id=""), "its id '' is not one word"),
    "id-as-path": (lambda u: replace(u, id="../up"), "cannot name a file"),
    "id-with-nul": (lambda u: replace(u, id="a\0b"), "cannot name a file"),
    "id-too-long": (lambda u: replace(u, id="\u00e9" * 101), "more than 200 bytes"),
    "name-not-utf8": (lambda u: _renamed(u, "caf\udce9.wav"), "its file is not UTF-8, rename it"),
    "no-speaker": (lambda u: replace(u, speaker=""), "its speaker '' is not one word"),
}


@pytest.fixture
def splits(make_utterance: MakeUtterance) -> dict[str, list[Utterance]]:
    """A sound corpus of two utterances and one speaker per split."""
    return {
        split: [make_utterance(f"{split}{number}", speaker=split) for number in (1, 2)]
        for split in ("train", "dev", "test")
    }


def _listed(problems: list[Problem]) -> list[tuple[str, str]]:
    return [(problem.split, problem.utterance) for problem in problems]


def test_a_sound_corpus_has_no_problems(splits: dict[str, list[Utterance]]) -> None:
    assert validate(splits) == []


@pytest.mark.fault(
    "Hostile input",
    "ids that are paths, several words or too long, and broken audio",
    "each listed with its utterance before anything is made of it",
)
@pytest.mark.parametrize("kind", BROKEN)
def test_each_kind_of_problem_is_listed_with_its_utterance(
    splits: dict[str, list[Utterance]], kind: str
) -> None:
    damage, message = BROKEN[kind]
    splits["dev"][1] = broken = damage(splits["dev"][1])
    problems = validate(splits)
    assert _listed(problems) == [("dev", broken.id)]
    assert message in problems[0].message


def test_all_problems_are_listed_at_once(make_utterance: MakeUtterance) -> None:
    sound = [make_utterance(kind) for kind in BROKEN]
    broken = [damage(u) for u, (damage, _) in zip(sound, BROKEN.values(), strict=True)]
    problems = validate({"train": broken})
    assert sorted(_listed(problems)) == sorted(("train", u.id) for u in broken)
    text = str(ValidationError(problems))
    assert text.startswith(f"{len(BROKEN)} problem(s)")
    assert all(str(problem) in text for problem in problems)
    assert "--skip-bad" in text


def test_without_reading_the_audio_the_labels_are_checked(
    splits: dict[str, list[Utterance]],
) -> None:
    splits["dev"] = [_missing(splits["dev"][0]), replace(splits["dev"][1], duration_s=0.0)]
    problems = validate(splits, read=False)
    assert [str(problem) for problem in problems] == [
        "dev/dev2: its duration is 0 s, less than 0.1 s"
    ]


def test_a_stretch_of_a_shared_file_need_not_be_all_of_it(make_utterance: MakeUtterance) -> None:
    whole = make_utterance("u", seconds=0.3)
    first = replace(whole, id="a", duration_s=0.1)
    second = replace(whole, id="b", start_s=0.1, duration_s=0.2)
    assert validate({"train": [first, second]}) == []


@pytest.mark.parametrize(("seconds", "count"), [(0.215, 0), (0.185, 0), (0.225, 1), (0.175, 1)])
def test_rounded_durations_are_accepted(
    make_utterance: MakeUtterance, seconds: float, count: int
) -> None:
    utterance = replace(make_utterance("u", seconds=0.2), duration_s=seconds)
    assert len(validate({"train": [utterance]})) == count


def test_what_is_accepted_can_be_read(make_utterance: MakeUtterance) -> None:
    """A segment that ends up to 20 ms behind its file."""
    whole = make_utterance("u", seconds=0.4)
    for behind_s, is_sound in ((0.019, True), (0.021, False)):
        late = replace(whole, start_s=0.2, duration_s=0.2 + behind_s)
        assert (validate({"train": [late]}) == []) == is_sound
        if is_sound:
            assert len(read_utterance(late, sample_rate_hz=16000).samples) == 3200


def test_progress_counts_every_file(splits: dict[str, list[Utterance]]) -> None:
    told: list[tuple[int, int]] = []
    validate(splits, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 6) for done in range(1, 7)]


def test_an_id_in_two_splits_is_a_problem_of_the_earlier_one(
    splits: dict[str, list[Utterance]],
) -> None:
    splits["train"][0] = replace(splits["train"][0], id="test1")
    splits["dev"][0] = replace(splits["dev"][0], id="train2")
    problems = validate(splits)
    assert [str(problem) for problem in problems] == [
        "train/test1: its id is in test too",
        "train/train2: its id is in dev too",
    ]


def test_an_id_twice_in_a_split_is_a_problem_of_both(splits: dict[str, list[Utterance]]) -> None:
    splits["test"][0] = replace(splits["test"][0], id="test2")
    problems = validate(splits)
    assert [str(problem) for problem in problems] == ["test/test2: its id occurs 2 times"]
    assert leave_out(splits, problems)["test"] == []


def test_a_speaker_in_two_splits_is_a_problem_of_the_earlier_one(
    splits: dict[str, list[Utterance]],
) -> None:
    splits["train"][0] = replace(splits["train"][0], speaker="test")
    splits["dev"][1] = replace(splits["dev"][1], speaker="test")
    problems = validate(splits)
    assert [str(problem) for problem in problems] == [
        "train/train1: speaker test is in test too",
        "dev/dev2: speaker test is in test too",
    ]


def test_a_corpus_of_one_speaker_is_sound(splits: dict[str, list[Utterance]]) -> None:
    assert only_speaker(splits) is None
    alone = {split: [replace(u, speaker="me") for u in us] for split, us in splits.items()}
    assert validate(alone) == []
    assert only_speaker(alone) == "me"
    alone["dev"][0] = replace(alone["dev"][0], speaker="you")
    assert len(validate(alone)) == 3  # two speakers can be kept apart


def test_leaving_out_keeps_the_test_set_and_ends_all_problems(
    splits: dict[str, list[Utterance]],
) -> None:
    splits["train"][0] = replace(splits["train"][0], speaker="test")
    splits["dev"][0] = replace(splits["dev"][0], id="test1")
    splits["train"].append(_corrupt(replace(splits["train"][1], id="train3")))
    splits["train"][1] = replace(splits["train"][1], text="")
    kept = leave_out(splits, validate(splits))
    assert {split: [u.id for u in utterances] for split, utterances in kept.items()} == {
        "train": [],
        "dev": ["dev2"],
        "test": ["test1", "test2"],
    }
    assert validate(kept) == []


def test_leaving_out_touches_only_the_split_of_the_problem(
    splits: dict[str, list[Utterance]],
) -> None:
    kept = leave_out(splits, [Problem("train", "dev1", ""), Problem("dev", "dev2", "")])
    assert [len(utterances) for utterances in kept.values()] == [2, 1, 2]
