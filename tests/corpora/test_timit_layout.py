"""TIMIT's layout: exact times from a tiny tree, and an error with file and line for each fault."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from macos import litter
from squall.corpora.manifest import Interval
from squall.corpora.timit_layout import (
    SampleInterval,
    find_recordings,
    read_intervals,
    read_prompt,
    read_recording,
    write_intervals,
)
from squall.corpora.validation import validate


@pytest.fixture(params=[str.upper, str.lower], ids=["upper", "lower"])
def recording(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    spell = request.param
    folder = tmp_path / spell("TRAIN/DR1/FAAA0")
    folder.mkdir(parents=True)
    path = folder / spell("SX3.WAV")
    soundfile.write(path, np.zeros(16000, np.int16), 16000, format="NIST")
    path.with_suffix(spell(".TXT")).write_text("0 16000 Oh, no.\n")
    path.with_suffix(spell(".WRD")).write_text("1600 4800 oh\n4000 8000 no\n")
    path.with_suffix(spell(".PHN")).write_text("0 1600 h#\n1600 8000 ow\n8000 16000 h#\n")
    return path


def test_an_utterance_has_times_in_seconds(recording: Path) -> None:
    utterance = read_recording(recording, utterance_id="FAAA0_SX3", speaker="FAAA0")
    assert (utterance.id, utterance.speaker) == ("FAAA0_SX3", "FAAA0")
    assert (utterance.text, utterance.duration_s) == ("Oh, no.", 1.0)
    assert utterance.words == (Interval("oh", 0.1, 0.3), Interval("no", 0.25, 0.5))
    phones = (Interval("h#", 0, 0.1), Interval("ow", 0.1, 0.5), Interval("h#", 0.5, 1))
    assert utterance.phones == phones


def test_recordings_are_found_in_either_case(tmp_path: Path, recording: Path) -> None:
    assert find_recordings(tmp_path) == [recording]
    with pytest.raises(FileNotFoundError, match=r"no \.WAV file"):
        find_recordings(tmp_path / "absent")


def test_a_missing_companion(recording: Path) -> None:
    next(p for p in recording.parent.iterdir() if p.suffix.lower() == ".wrd").unlink()
    with pytest.raises(FileNotFoundError, match=r"no \.WRD file beside it"):
        read_recording(recording, utterance_id="a", speaker="b")


def test_a_broken_recording_is_left_to_validation(recording: Path) -> None:
    recording.write_bytes(recording.read_bytes()[:100])
    utterance = read_recording(recording, utterance_id="u", speaker="s")
    assert utterance.duration_s == 0.0
    (problem,) = validate({"train": [utterance]})
    assert str(recording) in problem.message


def test_labels_that_end_after_the_recording(recording: Path) -> None:
    (path,) = (p for p in recording.parent.iterdir() if p.suffix.lower() == ".phn")
    path.write_text("0 8000 ow\n8000 16001 h#\n")
    utterance = read_recording(recording, utterance_id="a", speaker="b")
    assert utterance.phones[-1] == Interval("h#", 0.5, 1.0)
    path.write_text("0 8000 ow\n8000 18000 h#\n")
    with pytest.raises(ValueError, match=r"(?i)sx3\.phn:2: 'h#' ends at 1\.125 s, .* has 1\.000 s"):
        read_recording(recording, utterance_id="a", speaker="b")


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("converted", [False, True], ids=["16 kHz times", "converted times"])
@pytest.mark.parametrize("name", ["SX3.WAV", "SX3.WAV.wav"])
def test_a_copy_at_another_rate_has_the_same_times(
    recording: Path, rate_hz: int, converted: bool, name: str
) -> None:
    before = read_recording(recording, utterance_id="a", speaker="b")
    recording.unlink()
    copy = recording.with_name(name if recording.name.isupper() else name.lower())
    soundfile.write(copy, np.zeros(rate_hz), rate_hz, format="WAV")
    if converted:
        for path in recording.parent.iterdir():
            if path.suffix.lower() in (".txt", ".wrd", ".phn"):
                lines = [line.split(None, 2) for line in path.read_text().splitlines()]
                path.write_text(
                    "".join(
                        f"{round(int(a) * rate_hz / 16000)} {round(int(b) * rate_hz / 16000)} {c}\n"
                        for a, b, c in lines
                    )
                )
    after = read_recording(copy, utterance_id="a", speaker="b")
    assert (after.sample_rate_hz, after.duration_s) == (rate_hz, 1.0)
    for old, new in zip(before.phones + before.words, after.phones + after.words, strict=True):
        assert new.label == old.label
        assert (new.start_s, new.end_s) == pytest.approx((old.start_s, old.end_s), abs=1e-4)


def test_files_of_macos_are_no_recordings(tmp_path: Path, recording: Path) -> None:
    litter(tmp_path)
    assert find_recordings(tmp_path) == [recording]


@pytest.mark.parametrize("kind", [".txt", ".wrd", ".phn"])
def test_a_file_that_is_not_utf8_is_named(recording: Path, kind: str) -> None:
    (path,) = (p for p in recording.parent.iterdir() if p.suffix.lower() == kind)
    path.write_bytes(path.read_bytes() + b"\n8000 9000 caf\xe9\n")
    with pytest.raises(ValueError, match=rf"{path.name}:\d: not UTF-8 \(byte 0xe9\)"):
        read_recording(recording, utterance_id="a", speaker="b")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1600 h#", "start sample, end sample and label expected"),
        ("1600 x h#", "start sample, end sample and label expected"),
        ("-5 3000 h#", "start sample, end sample and label expected"),
        ("1600 1600 h#", "ends at sample 1600, which is not after 1600"),
        ("1600 3200 h# h#", "one label expected"),
        ("100 3200 h#", "before the line above it"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "A.PHN"
    path.write_text(f"0 500 h#\n500 1600 a\n{line}\n")
    with pytest.raises(ValueError, match=rf"A\.PHN:3: .*{reason}"):
        read_intervals(path)


def test_a_prompt_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "A.TXT"
    path.write_text("0 100 She had\n0 100 your\n")
    with pytest.raises(ValueError, match="there are 2"):
        read_prompt(path)


def test_intervals_round_trip(tmp_path: Path) -> None:
    intervals = [SampleInterval(0, 10, "h#"), SampleInterval(10, 30, "@2")]
    write_intervals(tmp_path / "A.PHN", intervals)
    assert read_intervals(tmp_path / "A.PHN") == intervals


@pytest.mark.corpus
def test_real_timit_sentences() -> None:
    root = Path(os.environ.get("SQUALL_DATA", "../shared/data")) / "timit-nltk"
    if not root.is_dir():
        pytest.skip(f"no TIMIT sample in {root}")
    utterances = [
        read_recording(p, utterance_id=p.stem, speaker=p.parent.name) for p in find_recordings(root)
    ]
    assert len(utterances) == 160
    assert sum(len(u.phones) for u in utterances) == 6185
