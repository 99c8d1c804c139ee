"""A corpus as one table: rows to splits, recordings by name or by path, errors with their line."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from squall.corpora.table import read_table
from squall.corpora.validation import validate

HEADER = "id\tspeaker\tsplit\ttext"


def _corpus(folder: Path, *lines: str, audio: str = "audio/u1.flac") -> Path:
    path = folder / audio
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(1600)), 8000)
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("audio", ["audio/u1.flac", "u1.wav", "u1.ogg"])
def test_a_row_is_a_whole_recording(tmp_path: Path, audio: str) -> None:
    corpus = _corpus(tmp_path, HEADER, "u1\tanna\ttrain\tGO ON", audio=audio)
    (utterance,) = read_table(corpus)["train"]
    assert utterance.id == "u1"
    assert utterance.speaker == "anna"
    assert utterance.text == "GO ON"
    assert utterance.audio_path == str(tmp_path / audio)
    assert (utterance.start_s, utterance.duration_s) == (0, 0.2)
    assert utterance.sample_rate_hz == 8000


def test_further_columns_in_any_order_are_not_read(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path, "snr_db\ttext\tid\tsplit\tspeaker", "3\tGO ON\tu1\tdev\tanna")
    (utterance,) = read_table(corpus)["dev"]
    assert (utterance.id, utterance.speaker, utterance.text) == ("u1", "anna", "GO ON")


def test_a_path_says_which_recording_is_meant(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path, f"{HEADER}\tpath", "x\tanna\ttest\tGO\taudio/u1.flac")
    (utterance,) = read_table(corpus)["test"]
    assert utterance.audio_path == str(tmp_path / "audio" / "u1.flac")


def test_quotation_marks_and_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path, f"\ufeff{HEADER}\r", 'u1\tanna\ttrain\t"GO ON\r', "\r")
    (utterance,) = read_table(corpus)["train"]
    assert utterance.text == '"GO ON'


def test_rows_of_other_splits_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rows = ("u1\tanna\ttrain\tGO", "u2\tanna\ttrain-overlap\tON", "u3\tbob\ttrain-overlap\tON")
    splits = read_table(_corpus(tmp_path, HEADER, *rows))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 1, "dev": 0, "test": 0}
    assert "manifest.tsv: 2 rows of the split 'train-overlap' are not used" in caplog.text


def test_a_missing_recording_is_left_to_the_check(tmp_path: Path) -> None:
    splits = read_table(_corpus(tmp_path, HEADER, "u1\ta\ttrain\tGO", "u2\ta\ttrain\tON"))
    (problem,) = validate(splits)
    assert problem.utterance == "u2"
    assert os.fspath(tmp_path / "audio" / "u2") in problem.message


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["id\tspeaker\ttext"], r"manifest\.tsv:1: no column split; .*found id, speaker, text"),
        (["id,speaker,split,text"], r"manifest\.tsv:1: no column id, speaker, split, text; "),
        ([""], r"manifest\.tsv:1: no column .* found nothing"),
        ([HEADER, "u1\tanna\ttrain"], r"manifest\.tsv:2: 3 fields, the header has 4"),
        ([HEADER, "", "u1\ta\ttrain\tGO\tON"], r"manifest\.tsv:3: 5 fields, the header has 4"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(_corpus(tmp_path, *lines))


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    _corpus(tmp_path, HEADER, "u1\tanna\ttrain\tGO", audio="u1.wav")
    with pytest.raises(ValueError, match=r"u1\.wav and audio/u1\.flac are both called u1: name"):
        read_table(_corpus(tmp_path, HEADER, "u1\tanna\ttrain\tGO"))


@pytest.mark.corpus
def test_voxforge_and_librispeech_have_the_utterances_that_their_tables_say(
    real_data: Path,
) -> None:
    voxforge = read_table(real_data / "speech" / "voxforge_en")
    assert {name: len(rows) for name, rows in voxforge.items()} == {
        "train": 1196,
        "dev": 101,
        "test": 117,
    }
    speakers = {name: {u.speaker for u in rows} for name, rows in voxforge.items()}
    assert not speakers["train"] & (speakers["dev"] | speakers["test"])
    assert sum(u.duration_s for u in voxforge["train"]) == pytest.approx(1.627 * 3600, rel=1e-3)
    three = read_table(real_data / "speech" / "librispeech_tc100_3spk")["train"]
    assert len(three) == 364
    assert all(u.duration_s > 1 for u in three)
