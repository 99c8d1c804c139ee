"""LibriSpeech: a tiny tree in its layout gives an exact manifest, and each broken one an error."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from squall.config import CorpusConfig
from squall.corpora.librispeech import prepare_librispeech
from squall.corpora.manifest import Utterance
from squall.corpora.preparation import prepare_corpus
from squall.corpora.validation import validate

# set, id, words, samples
ROWS = [
    ("train-clean-100", "84-7-0001", "AND SO IT'S HERE", 1700),
    ("train-clean-100", "84-7-0000", "GO ON", 1600),
    ("train-clean-100", "84-12-0000", "YES", 2400),
    ("train-other-500", "99-1-0000", "OTHERS TOO", 1900),
    ("dev-clean", "174-5-0000", "NO", 1800),
    ("test-clean", "61-3-0000", "MAYBE", 2000),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "LibriSpeech"
    for folder, identifier, words, samples in ROWS:
        path = _path(root, folder, identifier)
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(samples).uniform(-0.5, 0.5, samples)
        soundfile.write(path, noise, 16000)
        transcript = _transcript(root, folder, identifier)
        before = transcript.read_text() if transcript.exists() else ""
        transcript.write_text(f"{before}{identifier} {words}\n")
    (root / "SPEAKERS.TXT").write_text("; a list\n")
    return tmp_path


def _path(root: Path, folder: str, identifier: str) -> Path:
    speaker, chapter, _ = identifier.split("-")
    return root / folder / speaker / chapter / f"{identifier}.flac"


def _transcript(root: Path, folder: str, identifier: str) -> Path:
    stem = identifier.rsplit("-", 1)[0]
    return _path(root, folder, identifier).with_name(f"{stem}.trans.txt")


def _expected(tree: Path, row: int) -> Utterance:
    folder, identifier, words, samples = ROWS[row]
    path = str(_path(tree / "LibriSpeech", folder, identifier))
    speaker = identifier.split("-")[0]
    return Utterance(identifier, path, 0.0, samples / 16000, 16000, speaker, words)


@pytest.mark.parametrize("below", ["", "LibriSpeech"])
def test_a_tree_gives_its_manifest(tree: Path, below: str) -> None:
    splits = prepare_librispeech(tree / below)
    assert list(splits) == ["train", "dev", "test"]
    assert splits == {
        "train": [_expected(tree, 2), _expected(tree, 1), _expected(tree, 0)],
        "dev": [_expected(tree, 4)],
        "test": [_expected(tree, 5)],
    }
    assert validate(splits) == []


def test_several_sets_are_put_together(tree: Path) -> None:
    config = CorpusConfig(
        name="librispeech", options={"train": ["train-clean-100", "train-other-500"]}
    )
    splits = prepare_corpus(config, tree)
    assert [u.id for u in splits["train"]] == ["84-12-0000", "84-7-0000", "84-7-0001", "99-1-0000"]
    assert prepare_librispeech(tree, train="train-other-500")["train"] == [_expected(tree, 3)]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"test": ["dev-clean"]}, "dev-clean is named twice"),
        ({"train": []}, "each split needs the name of a set"),
        ({"train": 100}, "each split needs the name of a set"),
        ({"train": None}, "each split needs the name of a set"),
        ({"fold": 1}, "'librispeech' has the options train, dev, test, found fold"),
    ],
)
def test_bad_options(tree: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        prepare_corpus(CorpusConfig(name="librispeech", options=options), tree)


def test_a_missing_set_lists_those_there_are(tree: Path) -> None:
    there = "dev-clean, test-clean, train-clean-100, train-other-500"
    with pytest.raises(
        FileNotFoundError, match=f"no folder train-x, test-other; there are {there}"
    ):
        prepare_librispeech(tree, train="train-x", test=("test-clean", "test-other"))
    (tree / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no folder train-clean-100.* are no folders"):
        prepare_librispeech(tree / "empty")
    with pytest.raises(FileNotFoundError, match="absent: there is no such folder"):
        prepare_librispeech(tree / "absent")


def test_a_set_without_transcripts(tree: Path) -> None:
    _transcript(tree / "LibriSpeech", "dev-clean", "174-5-0000").unlink()
    with pytest.raises(FileNotFoundError, match=r"dev-clean: no SPEAKER/CHAPTER/\*\.trans\.txt"):
        prepare_librispeech(tree)


def test_a_transcript_without_audio(tree: Path) -> None:
    _path(tree / "LibriSpeech", "train-clean-100", "84-7-0001").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 utterance\(s\) have no audio: 84/7/84-7-0001\.flac\. Unpack"
    ):
        prepare_librispeech(tree)


def test_audio_without_a_transcript(tree: Path) -> None:
    path = _path(tree / "LibriSpeech", "train-clean-100", "84-7-0001")
    for number in range(2, 9):
        path.with_name(f"84-7-000{number}.flac").write_bytes(path.read_bytes())
    with pytest.raises(
        FileNotFoundError,
        match=r"7 utterance\(s\) have no transcript: 84/7/84-7-0002\.flac, .* and 2 more",
    ):
        prepare_librispeech(tree)


def test_a_chapter_whose_transcript_is_missing(tree: Path) -> None:
    _transcript(tree / "LibriSpeech", "train-clean-100", "84-12-0000").unlink()
    with pytest.raises(FileNotFoundError, match=r"no transcript: 84/12/84-12-0000\.flac"):
        prepare_librispeech(tree)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("84-7-0002", "expected `84-7-NUMBER WORDS`, found '84-7-0002'"),
        ("84-8-0002 OF ANOTHER CHAPTER", "expected `84-7-NUMBER WORDS`"),
        ("84-7-0000 AGAIN", "84-7-0000 is in the transcript already"),
    ],
)
def test_broken_lines_are_named(tree: Path, line: str, reason: str) -> None:
    transcript = _transcript(tree / "LibriSpeech", "train-clean-100", "84-7-0000")
    transcript.write_text(f"{transcript.read_text()}\n{line}\n")
    with pytest.raises(ValueError, match=rf"84-7\.trans\.txt:4: {reason}"):
        prepare_librispeech(tree)


def test_broken_audio_is_left_to_validation(tree: Path) -> None:
    path = _path(tree / "LibriSpeech", "dev-clean", "174-5-0000")
    path.write_bytes(path.read_bytes()[:20])
    splits = prepare_librispeech(tree)
    assert splits["dev"][0].duration_s == 0
    (problem,) = validate(splits)
    assert (problem.split, problem.utterance) == ("dev", "174-5-0000")
    assert str(path) in problem.message


@pytest.mark.corpus
def test_the_real_sample(real_data: Path) -> None:
    splits = prepare_librispeech(real_data / "librispeech-sample")
    assert {split: len(us) for split, us in splits.items()} == {"train": 200, "dev": 25, "test": 25}
    everyone = [u.speaker for us in splits.values() for u in us]
    assert len(set(everyone)) == 250
    hours = sum(u.duration_s for u in splits["train"]) / 3600
    assert math.isclose(hours, 0.70, abs_tol=0.005)
    assert validate(splits, read=False) == []
