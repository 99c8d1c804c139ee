"""LibriSpeech: a tiny tree in its layout gives an exact manifest, and each broken one an error."""

from __future__ import annotations

import hashlib
import io
import logging
import math
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from macos import litter
from squall.corpora import librispeech
from squall.corpora.archive import ArchiveError
from squall.corpora.download import ChecksumError
from squall.corpora.librispeech import PARTS, Part, prepare_librispeech
from squall.corpora.manifest import Utterance
from squall.corpora.preparation import download_corpus, is_downloadable, prepare_corpus
from squall.corpora.settings import CorpusConfig
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


def test_files_of_macos_are_no_part_of_the_corpus(tree: Path) -> None:
    before = prepare_librispeech(tree)
    litter(tree)
    assert prepare_librispeech(tree) == before


def test_a_transcript_that_is_not_utf8_is_named(tree: Path) -> None:
    path = _transcript(tree / "LibriSpeech", "train-clean-100", "84-7-0000")
    path.write_bytes(path.read_bytes() + b"84-7-0002 CAF\xc9\n")
    with pytest.raises(ValueError, match=r"84-7\.trans\.txt:3: not UTF-8 \(byte 0xc9\)"):
        prepare_librispeech(tree)


def test_a_byte_order_mark_is_no_part_of_an_id(tree: Path) -> None:
    before = prepare_librispeech(tree)
    path = _transcript(tree / "LibriSpeech", "train-clean-100", "84-7-0000")
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert prepare_librispeech(tree) == before


def test_several_sets_are_put_together(tree: Path) -> None:
    config = CorpusConfig(
        name="librispeech", options={"train": ["train-clean-100", "train-other-500"]}
    )
    splits = prepare_corpus(config, tree)
    assert [u.id for u in splits["train"]] == ["84-12-0000", "84-7-0000", "84-7-0001", "99-1-0000"]
    assert prepare_librispeech(tree, train="train-other-500")["train"] == [_expected(tree, 3)]


def test_further_sets_are_splits_of_their_own(tree: Path) -> None:
    splits = prepare_librispeech(tree, extra=["train-other-500"])
    assert list(splits) == ["train", "dev", "test", "train-other-500"]
    assert splits["train-other-500"] == [_expected(tree, 3)]


def test_a_subset_takes_the_place_of_the_named_sets(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder train-clean-5, dev-clean-2; there are"):
        prepare_librispeech(tree, train="train-other-500", subset="mini")


def test_a_set_that_is_not_the_published_one_is_told(
    tree: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PARTS, "test-clean", Part(12, 0, "", utterances=1))
    with caplog.at_level(logging.WARNING):
        prepare_librispeech(tree)
    assert "dev-clean has 1 utterances, the published set has 2703" in caplog.text
    assert "test-clean" not in caplog.text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"test": ["dev-clean"]}, "dev-clean is named twice"),
        ({"train": []}, "each split needs the name of a set"),
        ({"train": 100}, "each split needs the name of a set"),
        ({"train": None}, "each split needs the name of a set"),
        ({"extra": "test-clean"}, "test-clean is named twice"),
        ({"subset": "maxi"}, "no subset 'maxi'; there are mini"),
        ({"fold": 1}, "'librispeech' has the options train, dev, test, extra, subset, found fold"),
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


# The sets that the stand-in for OpenSLR has, and those of the tree that are in them.
SERVED = {
    "train-clean-100": "train-clean-100",
    "dev-clean": "dev-clean",
    "test-clean": "test-clean",
    "train-clean-5": "train-other-500",
    "dev-clean-2": "dev-clean",
}


def _packed(root: Path, name: str) -> bytes:
    """The archive of a set, as OpenSLR makes it: with the lists of the whole corpus beside it."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        tar.add(root / SERVED[name], f"LibriSpeech/{name}")
        tar.add(root / "SPEAKERS.TXT", "LibriSpeech/SPEAKERS.TXT")
    return written.getvalue()


@pytest.fixture
def server(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for OpenSLR; its first mirror is down."""
    folder = tmp_path / "server"
    monkeypatch.setattr(librispeech, "MIRRORS", [(tmp_path / "down").as_uri(), folder.as_uri()])
    for name, source in SERVED.items():
        content = _packed(tree / "LibriSpeech", name)
        archive = folder / str(PARTS[name].resource) / f"{name}.tar.gz"
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.write_bytes(content)
        count = sum(folder == source for folder, *_ in ROWS)
        part = Part(PARTS[name].resource, len(content), hashlib.md5(content).hexdigest(), count)
        monkeypatch.setitem(PARTS, name, part)
    return folder


def _config(**options: Any) -> CorpusConfig:
    return CorpusConfig(name="librispeech", options=options)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("below", ["corpus", "corpus/LibriSpeech"])
def test_the_sets_that_the_settings_name_are_fetched(
    server: Path, tree: Path, tmp_path: Path, below: str
) -> None:
    told: list[tuple[int, int, str]] = []
    corpus_dir = tmp_path / "new place" / below
    download_corpus(_config(), corpus_dir, progress=lambda *step: told.append(step))
    root = tmp_path / "new place" / "corpus" / "LibriSpeech"
    assert _names(root) == ["SPEAKERS.TXT", "dev-clean", "test-clean", "train-clean-100"]
    splits = prepare_corpus(_config(), corpus_dir)
    assert {split: [u.id for u in us] for split, us in splits.items()} == {
        split: [u.id for u in us] for split, us in prepare_librispeech(tree).items()
    }
    assert {path.name for path in corpus_dir.parent.iterdir()} == {
        corpus_dir.name, "train-clean-100.tar.gz", "dev-clean.tar.gz", "test-clean.tar.gz",
    }  # fmt: skip
    whole = sum(PARTS[name].size_bytes for name in ("train-clean-100", "dev-clean", "test-clean"))
    assert {total for _, total, _ in told} == {whole}
    assert told[-1][0] == whole


def test_the_mini_subset_is_of_two_resources(server: Path, tmp_path: Path) -> None:
    download_corpus(_config(subset="mini"), tmp_path / "mini")
    splits = prepare_corpus(_config(subset="mini"), tmp_path / "mini")
    assert {split: [u.id for u in us] for split, us in splits.items()} == {
        "train": ["99-1-0000"],
        "dev": ["174-5-0000"],
        "test": ["61-3-0000"],
    }


def test_only_what_is_missing_is_fetched(server: Path, tree: Path) -> None:
    root = tree / "LibriSpeech"
    shutil.rmtree(root / "dev-clean")
    (server / "12" / "train-clean-100.tar.gz").unlink()
    (server / "12" / "test-clean.tar.gz").unlink()
    (root / "SPEAKERS.TXT").write_text("; the user's\n")
    download_corpus(_config(), root)
    assert prepare_librispeech(tree)["dev"] == [_expected(tree, 4)]
    assert (root / "SPEAKERS.TXT").read_text() == "; the user's\n"
    shutil.rmtree(server)
    download_corpus(_config(), tree)


def test_a_folder_that_holds_the_sets_under_another_name(server: Path, tree: Path) -> None:
    renamed = (tree / "LibriSpeech").rename(tree / "speech")
    shutil.rmtree(renamed / "dev-clean")
    download_corpus(_config(), renamed)
    assert (renamed / "dev-clean" / "174" / "5" / "174-5-0000.flac").is_file()


def test_an_incomplete_set_is_neither_replaced_nor_taken(server: Path, tree: Path) -> None:
    _path(tree / "LibriSpeech", "train-clean-100", "84-7-0001").unlink()
    with pytest.raises(
        ValueError,
        match=r"train-clean-100 has 2 recordings, OpenSLR's train-clean-100 has 3: remove",
    ):
        download_corpus(_config(), tree)
    assert not _path(tree / "LibriSpeech", "train-clean-100", "84-7-0001").exists()


def test_what_a_killed_run_left_is_put_right(server: Path, tmp_path: Path) -> None:
    root = tmp_path / "corpus" / "LibriSpeech"
    half = root / ".dev-clean.tar.gz.unpacked" / "LibriSpeech" / "dev-clean"
    half.mkdir(parents=True)
    (root / "SPEAKERS.TXT").write_text("")
    (tmp_path / "train-clean-100.tar.gz.part").write_bytes(
        (server / "12" / "train-clean-100.tar.gz").read_bytes()[:50]
    )
    download_corpus(_config(), tmp_path / "corpus")
    assert _names(root) == ["SPEAKERS.TXT", "dev-clean", "test-clean", "train-clean-100"]
    assert [u.id for u in prepare_librispeech(root)["dev"]] == ["174-5-0000"]


def test_another_file_in_the_place_of_a_set_is_named(server: Path, tmp_path: Path) -> None:
    archive = server / "12" / "test-clean.tar.gz"
    archive.write_bytes((server / "12" / "dev-clean.tar.gz").read_bytes())
    with pytest.raises(ChecksumError, match=r"cannot download test-clean\.tar\.gz") as caught:
        download_corpus(_config(), tmp_path / "corpus")
    assert PARTS["test-clean"].md5 in str(caught.value)
    root = tmp_path / "corpus" / "LibriSpeech"
    assert _names(root) == ["SPEAKERS.TXT", "dev-clean", "train-clean-100"]


@pytest.mark.parametrize(
    ("folder", "reason"),
    [("LibriSpeech/dev-clean", "not OpenSLR's test-clean"), ("Speech", "there is Speech")],
)
def test_an_archive_of_something_else_is_named(
    server: Path, tree: Path, tmp_path: Path, folder: str, reason: str
) -> None:
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(tree / "LibriSpeech" / "dev-clean", folder)
    with pytest.raises(ArchiveError, match=rf"other\.tar: has no folder LibriSpeech.*{reason}"):
        librispeech.unpack_part(tmp_path / "other.tar", tmp_path / "new", "test-clean")
    assert not list((tmp_path / "new" / "LibriSpeech").glob(".*"))


def test_a_set_that_openslr_does_not_have(server: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train-x cannot be fetched; OpenSLR has train-clean-100"):
        download_corpus(_config(train="train-x"), tmp_path / "corpus")


def test_a_corpus_of_one_archive_is_fetched_once(tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "an4.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tree / "LibriSpeech" / "SPEAKERS.TXT", "an4/etc/list")
    config = CorpusConfig(name="an4", urls=[archive.as_uri()])
    for _ in range(2):
        download_corpus(config, tmp_path / "new" / "corpus")
        archive.unlink(missing_ok=True)
    assert (tmp_path / "new" / "corpus" / "an4" / "etc" / "list").is_file()


def test_a_corpus_that_has_no_address(tmp_path: Path) -> None:
    config = CorpusConfig(name="timit")
    assert not is_downloadable(config)
    assert is_downloadable(_config())
    with pytest.raises(ValueError, match=r"no address of the corpus 'timit'.*--corpus-dir"):
        download_corpus(config, tmp_path / "corpus")


@pytest.mark.corpus
def test_the_real_sample(real_data: Path) -> None:
    splits = prepare_librispeech(real_data / "librispeech-sample")
    assert {split: len(us) for split, us in splits.items()} == {"train": 200, "dev": 25, "test": 25}
    everyone = [u.speaker for us in splits.values() for u in us]
    assert len(set(everyone)) == 250
    hours = sum(u.duration_s for u in splits["train"]) / 3600
    assert math.isclose(hours, 0.70, abs_tol=0.005)
    assert validate(splits, read=False) == []
