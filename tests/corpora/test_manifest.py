"""Manifests: what is written is read back, and what is wrong is named with file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from squall.audio.reading import AudioError
from squall.corpora.manifest import (
    Interval,
    Utterance,
    read_manifest,
    read_utterance,
    write_manifest,
)

RECORD: dict[str, Any] = {
    "id": "u1",
    "audio_path": "u1.wav",
    "duration_s": 1.5,
    "sample_rate_hz": 16000,
    "speaker": "spk1",
    "text": "GO ON",
}

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_seconds = st.floats(min_value=0, max_value=1e6)
_intervals = st.lists(st.builds(Interval, _text, _seconds, _seconds), max_size=3).map(tuple)
_utterances = st.builds(
    Utterance,
    id=_text,
    audio_path=st.from_regex(r"/[a-zé]{1,5}( [a-z]{1,3})?\.wav", fullmatch=True),
    start_s=_seconds,
    duration_s=_seconds,
    sample_rate_hz=st.integers(1, 192000),
    speaker=_text,
    text=_text,
    phones=_intervals,
    words=_intervals,
)


@pytest.mark.slow
@given(st.lists(_utterances, max_size=4, unique_by=lambda u: u.id))
def test_what_is_written_is_read_back_sorted(
    tmp_path_factory: pytest.TempPathFactory, utterances: list[Utterance]
) -> None:
    path = tmp_path_factory.mktemp("manifest") / "train.jsonl"
    write_manifest(path, utterances)
    assert read_manifest(path) == sorted(utterances, key=lambda u: u.id)


def _read(tmp_path: Path, *lines: str | bytes) -> list[Utterance]:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"\n".join(x.encode() if isinstance(x, str) else x for x in lines))
    return read_manifest(path)


def test_optional_fields_have_defaults(tmp_path: Path) -> None:
    (utterance,) = _read(tmp_path, json.dumps(RECORD))
    assert utterance.start_s == 0
    assert utterance.phones == utterance.words == ()


def test_a_relative_path_is_relative_to_the_manifest(tmp_path: Path) -> None:
    (utterance,) = _read(tmp_path, json.dumps(RECORD))
    assert utterance.audio_path == str(tmp_path / "u1.wav")
    (utterance,) = _read(tmp_path, json.dumps({**RECORD, "audio_path": "/far/u1.wav"}))
    assert utterance.audio_path == "/far/u1.wav"


def test_byte_order_mark_line_ends_and_empty_lines_are_accepted(tmp_path: Path) -> None:
    line = json.dumps(RECORD).encode()
    assert len(_read(tmp_path, b"\xef\xbb\xbf" + line + b"\r", b"", line + b"\r", b"")) == 2


def test_a_sampling_rate_may_be_a_whole_float(tmp_path: Path) -> None:
    (utterance,) = _read(tmp_path, json.dumps({**RECORD, "sample_rate_hz": 16000.0}))
    assert type(utterance.sample_rate_hz) is int
    assert utterance.sample_rate_hz == 16000


def test_ids_and_speakers_may_be_numbers(tmp_path: Path) -> None:
    (utterance,) = _read(tmp_path, json.dumps({**RECORD, "id": 7, "speaker": 12}))
    assert (utterance.id, utterance.speaker) == ("7", "12")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"durations": 2}, "unknown field 'durations'"),
        ({"text": None}, "text is None"),
        ({"text": 5}, "text is 5"),
        ({"id": None}, "id is None"),
        ({"speaker": True}, "speaker is True"),
        ({"duration_s": "1.5"}, "duration_s is '1.5'"),
        ({"duration_s": float("nan")}, "duration_s is nan"),
        ({"start_s": float("inf")}, "start_s is inf"),
        ({"sample_rate_hz": 16000.5}, "sample_rate_hz is 16000.5"),
        ({"sample_rate_hz": 0}, "sample_rate_hz is 0"),
        ({"phones": None}, "phones is None"),
        ({"phones": [{"label": "ah"}]}, "start_s"),
        ({"words": [{"label": "a", "start_s": 0, "end_s": 1, "x": 1}]}, "'x'"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match="not a manifest record") as caught:
        _read(tmp_path, json.dumps(RECORD), "", json.dumps({**RECORD, **change}))
    assert str(caught.value).startswith(f"{tmp_path / 'train.jsonl'}:3: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("key", list(RECORD))
def test_a_missing_field_is_named(tmp_path: Path, key: str) -> None:
    record = {k: v for k, v in RECORD.items() if k != key}
    with pytest.raises(ValueError, match=rf"train\.jsonl:1: .*KeyError: '{key}'"):
        _read(tmp_path, json.dumps(record))


@pytest.mark.parametrize("line", ["{", "[]", "3", "null", '"u1"', "u1 GO ON", b"\xff\xfe{"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"train\.jsonl:2: not a manifest record"):
        _read(tmp_path, json.dumps(RECORD), line)


def test_a_missing_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path / "train.jsonl")


def test_a_failed_write_keeps_the_old_manifest(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    utterance = _read(tmp_path, json.dumps(RECORD))[0]
    write_manifest(path, [utterance])
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        write_manifest(path, [utterance, "no utterance"])  # type: ignore[list-item]
    assert path.read_bytes() == before


def _ramp(path: Path, rate_hz: int = 8000) -> Utterance:
    samples = np.arange(rate_hz, dtype=np.int16)
    if path.suffix == ".raw":
        path.write_bytes(samples.astype(">i2").tobytes())
    else:
        soundfile.write(path, samples, rate_hz)
    return Utterance("u1", str(path), 0.25, 0.5, rate_hz, "spk1", "GO ON")


@pytest.mark.parametrize("name", ["u1.wav", "u1.flac", "u1.raw", "u1.RAW"])
def test_the_stretch_of_an_utterance_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("RAW"):
        path.write_bytes(np.arange(8000, dtype=">i2").tobytes())
        utterance = Utterance("u1", str(path), 0.25, 0.5, 8000, "spk1", "GO ON")
    else:
        utterance = _ramp(path)
    audio = read_utterance(utterance, sample_rate_hz=None)
    np.testing.assert_array_equal(audio.samples * 32768, np.arange(2000, 6000))
    assert len(read_utterance(utterance, sample_rate_hz=16000).samples) == 8000


def test_a_stretch_outside_the_file_is_an_error(tmp_path: Path) -> None:
    utterance = _ramp(tmp_path / "u1.wav")
    with pytest.raises(AudioError, match=r"0\.25 s to 2\.25 s is not in its 1 s"):
        read_utterance(Utterance(**{**utterance.__dict__, "duration_s": 2.0}), sample_rate_hz=None)
