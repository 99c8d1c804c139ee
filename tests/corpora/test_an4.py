"""AN4: a tiny tree in its real layout gives an exact manifest, and each broken one an error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from macos import litter
from squall.corpora.an4 import hold_out_speakers, prepare_an4
from squall.corpora.manifest import Utterance
from squall.corpora.validation import leave_out, validate

# file id, transcript line, samples
TRAIN = [
    ("an4_clstk/fash/an251-fash-b.sph", "<s> YES </s> (an251-fash-b)", 1600),
    ("an4_clstk/fash/an253-fash-b.flac", "<s> GO <sil> ON </s> (an253-fash-b)", 3200),
    ("an4_clstk/mjda/cen1-mjda-b.raw", "<s> R u B OUT </s> (cen1-mjda-b)", 4800),
]
TEST = [
    ("an4test_clstk/menk/an391-menk-b.wav", "G N FIFTY SIX (an391-menk-b)", 2400),
    ("an4test_clstk/fcaw/an406-fcaw-b.sph", "RUBOUT T NINE (an406-fcaw-b)", 1700),
]


def _write_audio(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    samples = np.cumsum(rng.integers(-90, 90, count)).astype(np.int16)
    if path.suffix == ".raw":
        path.write_bytes(samples.astype(">i2").tobytes())
    else:
        form = "NIST" if path.suffix == ".sph" else None
        soundfile.write(path, samples, 16000, format=form, subtype="PCM_16")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "an4"
    (root / "etc").mkdir(parents=True)
    for split, rows in (("train", TRAIN), ("test", TEST)):
        ids = [file_id.rsplit(".", 1)[0] for file_id, _, _ in rows]
        (root / "etc" / f"an4_{split}.fileids").write_text("\n".join(ids) + "\n")
        lines = [line for _, line, _ in rows]
        (root / "etc" / f"an4_{split}.transcription").write_text("\n".join(lines) + "\n")
        for file_id, _, count in rows:
            _write_audio(root / "wav" / file_id, count)
    return root


def _replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _utterance(tree: Path, file_id: str, count: int, text: str) -> Utterance:
    path = tree / "wav" / file_id
    return Utterance(path.stem, str(path), 0.0, count / 16000, 16000, path.parent.name, text)


def test_a_tree_gives_its_manifest(tree: Path) -> None:
    splits = prepare_an4(tree, dev_speakers=1)
    assert list(splits) == ["train", "dev", "test"]
    assert splits == {
        "train": [
            _utterance(tree, "an4_clstk/fash/an251-fash-b.sph", 1600, "YES"),
            _utterance(tree, "an4_clstk/fash/an253-fash-b.flac", 3200, "GO ON"),
        ],
        "dev": [_utterance(tree, "an4_clstk/mjda/cen1-mjda-b.raw", 4800, "R U B OUT")],
        "test": [
            _utterance(tree, "an4test_clstk/menk/an391-menk-b.wav", 2400, "G N FIFTY SIX"),
            _utterance(tree, "an4test_clstk/fcaw/an406-fcaw-b.sph", 1700, "RUBOUT T NINE"),
        ],
    }
    assert validate(splits) == []


def test_files_of_macos_are_no_part_of_the_corpus(tree: Path) -> None:
    before = prepare_an4(tree, dev_speakers=1)
    litter(tree)
    assert prepare_an4(tree, dev_speakers=1) == before


@pytest.mark.parametrize("name", ["an4_train.fileids", "an4_test.transcription"])
def test_a_list_that_is_not_utf8_is_named(tree: Path, name: str) -> None:
    path = tree / "etc" / name
    path.write_bytes(path.read_bytes() + b"caf\xe9\n")
    with pytest.raises(ValueError, match=rf"{name}:\d: not UTF-8 \(byte 0xe9\)"):
        prepare_an4(tree, dev_speakers=1)


def test_a_byte_order_mark_is_no_word(tree: Path) -> None:
    path = tree / "etc" / "an4_test.transcription"
    before = prepare_an4(tree, dev_speakers=1)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert prepare_an4(tree, dev_speakers=1) == before


def test_the_parent_folder_is_accepted(tree: Path) -> None:
    assert prepare_an4(tree.parent, dev_speakers=1) == prepare_an4(tree, dev_speakers=1)


def test_another_folder_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no AN4 here .*--corpus-dir.*--download"):
        prepare_an4(tmp_path)


@pytest.mark.parametrize("name", ["an4_test.fileids", "an4_train.transcription"])
def test_a_missing_list_is_named(tree: Path, name: str) -> None:
    (tree / "etc" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        prepare_an4(tree, dev_speakers=1)


def test_a_tree_without_recordings_is_named(tree: Path) -> None:
    (tree / "wav").rename(tree / "elsewhere")
    with pytest.raises(FileNotFoundError, match="wav is missing"):
        prepare_an4(tree, dev_speakers=1)


def test_lists_of_different_length_are_named(tree: Path) -> None:
    _replace_in(tree / "etc" / "an4_test.transcription", TEST[1][1] + "\n", "")
    message = r"an4_test\.fileids has 2 lines and an4_test\.transcription has 1"
    with pytest.raises(ValueError, match=message):
        prepare_an4(tree, dev_speakers=1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(an253-fash-b)", "", r"an4_train\.transcription:2: expected `WORDS \(id\)`, found"),
        ("(an253-fash-b)", "(an253 b)", r"an4_train\.transcription:2: expected"),
        ("(an253-fash-b)", "(an999-fash-b)", r":2: transcript of 'an999-fash-b' stands where"),
    ],
)
def test_a_damaged_transcript_is_named_with_its_line(
    tree: Path, old: str, new: str, message: str
) -> None:
    _replace_in(tree / "etc" / "an4_train.transcription", old, new)
    with pytest.raises(ValueError, match=message):
        prepare_an4(tree, dev_speakers=1)


def test_a_file_id_without_a_speaker_is_named(tree: Path) -> None:
    _replace_in(tree / "etc" / "an4_train.fileids", "an4_clstk/fash/an251", "an251")
    with pytest.raises(ValueError, match="the list has 'an251-fash-b'"):
        prepare_an4(tree, dev_speakers=1)


def _odd(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("file_id", "damage", "message"),
    [
        (TRAIN[0][0], Path.unlink, "no such file"),
        (TRAIN[0][0], _half, "truncated"),
        (TRAIN[1][0], _half, "an253-fash-b.flac"),
        (TRAIN[2][0], _odd, "bytes are not a whole number of samples"),
        (TEST[0][0], lambda path: path.write_text("no audio"), "cannot read it"),
        (TEST[1][0], lambda path: path.write_bytes(b""), "the file is empty"),
    ],
    ids=["missing", "cut sph", "cut flac", "odd raw", "text", "empty"],
)
def test_a_broken_recording_is_found_by_validation(
    tree: Path, file_id: str, damage: object, message: str
) -> None:
    damage(tree / "wav" / file_id)  # type: ignore[operator]
    splits = prepare_an4(tree, dev_speakers=1)
    (problem,) = validate(splits)
    assert problem.utterance == Path(file_id).stem
    assert message in problem.message
    kept = leave_out(splits, [problem])
    assert sum(map(len, kept.values())) == 4
    assert validate(kept) == []


def _speakers(count: int) -> list[Utterance]:
    one = Utterance("", "", 0.0, 1.0, 16000, "", "GO")
    return [replace(one, id=f"u{k}", speaker=f"s{k // 2:03}") for k in range(2 * count)]


@pytest.mark.parametrize("count", [1, 2, 7, 9])
def test_held_out_speakers_are_as_many_as_asked_and_whole(count: int) -> None:
    utterances = _speakers(10)
    kept, held = hold_out_speakers(utterances, count)
    assert len({u.speaker for u in held}) == count
    assert not {u.speaker for u in kept} & {u.speaker for u in held}
    assert sorted([*kept, *held], key=utterances.index) == utterances


def test_held_out_speakers_are_spread_evenly() -> None:
    _, held = hold_out_speakers(_speakers(12), 3)
    assert sorted({u.speaker for u in held}) == ["s002", "s006", "s010"]


@pytest.mark.parametrize("count", [0, -1, 10, 11])
def test_a_number_of_speakers_that_cannot_be_held_out_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"cannot hold out {count} of 10 .*corpus\.dev_speakers"):
        hold_out_speakers(_speakers(10), count)


@pytest.mark.slow
@pytest.mark.corpus
def test_the_real_corpus_is_whole_and_sound(real_data: Path) -> None:
    if not (real_data / "an4").is_dir():
        pytest.skip(f"no AN4 at {real_data}")
    splits = prepare_an4(real_data / "an4")
    assert {split: len(utterances) for split, utterances in splits.items()} == {
        "train": 844,
        "dev": 104,
        "test": 130,
    }
    assert sum(len(u.text.split()) for u in splits["test"]) == 773
    speakers = [{u.speaker for u in utterances} for utterances in splits.values()]
    assert sum(map(len, speakers)) == len(set().union(*speakers)) == 84
    hours = sum(u.duration_s for utterances in splits.values() for u in utterances) / 3600
    assert hours == pytest.approx(0.81, abs=0.005)
    assert validate(splits) == []
