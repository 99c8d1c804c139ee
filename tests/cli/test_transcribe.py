"""`squall transcribe`: what is printed where. The recogniser is a stand-in."""

from __future__ import annotations

import json
import math
import sys
import types
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from squall.asr.recogniser import Hypothesis
from squall.asr.settings import RecognitionConfig
from squall.cli import main
from squall.cli.transcribe import _as_json
from squall.engine.experiment import Experiment, RunOptions


@dataclass
class _Hypothesis:
    text: str = "GO ON"
    confidence: float = 0.875


@dataclass
class _Transcript:
    path: str
    duration_s: float = 1.23456
    hypothesis: _Hypothesis | None = None
    conversions: tuple[str, ...] = ()
    problem: str | None = None


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment whose recogniser reads every file but `bad.wav`."""
    config = RecognitionConfig.model_validate(
        {"recipe": "toy", "experiment": "small", "corpus": {"name": "demo"}, "espnet": {}}
    )
    experiment = Experiment(config, RunOptions(exp_dir=str(tmp_path)))
    experiment.write_settings()

    def transcribe(recogniser: object, paths: list[Path]) -> list[_Transcript]:
        return [
            _Transcript(str(path), problem="no such file")
            if path.name == "bad.wav"
            else _Transcript(str(path), hypothesis=_Hypothesis(), conversions=("resampled",))
            for path in paths
        ]

    def find_audio(paths: list[Path]) -> list[Path]:
        sys.stdout.write("ESPnet talks while it is imported\n")
        return paths

    decoding = types.ModuleType("squall.asr.decoding")
    decoding.find_audio = find_audio  # type: ignore[attr-defined]
    decoding.load_recogniser = lambda *args, **kwargs: None  # type: ignore[attr-defined]
    decoding.transcribe = transcribe  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "squall.asr.decoding", decoding)
    return experiment.directory


def test_one_file_prints_its_text_alone(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", "a.wav", "--model", str(model)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "GO ON\t(0.875)\n"
    assert "a.wav: resampled" in captured.err


def test_several_files_are_told_apart(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", "a.wav", "b.wav", "--model", str(model)]) == 0
    assert capsys.readouterr().out == "a.wav\tGO ON\t(0.875)\nb.wav\tGO ON\t(0.875)\n"


def test_a_file_that_cannot_be_read_does_not_stop_the_others(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", "bad.wav", "a.wav", "--model", str(model)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "a.wav\tGO ON\t(0.875)\n"
    assert "bad.wav: no such file" in captured.err
    assert "1 of 2 files could not be transcribed" in captured.err


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, KeyError])
def test_results_are_written_as_they_come(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    output = tmp_path / "found.txt"

    def transcribe(recogniser: object, paths: list[Path]) -> Iterator[_Transcript]:
        yield _Transcript("a.wav", hypothesis=_Hypothesis())
        assert output.read_text() == "a.wav\tGO ON\t(0.875)\n"
        raise error

    monkeypatch.setattr(sys.modules["squall.asr.decoding"], "transcribe", transcribe)
    with suppress(KeyError):
        assert main(["transcribe", "a.wav", "b.wav", "--model", str(model), "-o", str(output)])
    assert output.read_text() == "a.wav\tGO ON\t(0.875)\n"


def test_the_output_must_not_be_an_input(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    assert main(["transcribe", str(path), "--model", str(model), "-o", str(path)]) == 1
    assert f"{path} is one of the inputs" in capsys.readouterr().err
    assert path.read_bytes() == b"sound"


def test_json_has_one_object_per_line(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "text.jsonl"
    arguments = ["transcribe", "a.wav", "b.wav", "--model", str(model), "--format", "json"]
    assert main([*arguments, "-o", str(output)]) == 0
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert records[0] == {
        "path": "a.wav",
        "duration_s": 1.235,
        "text": "GO ON",
        "confidence": 0.875,
        "conversions": ["resampled"],
    }
    assert len(records) == 2


def test_json_is_strict_where_the_search_found_nothing() -> None:
    nothing = Hypothesis("", (), -math.inf, 0.0, ())
    result = types.SimpleNamespace(path="a", duration_s=0.2, hypothesis=nothing, conversions=[])
    record = json.loads(_as_json(result), parse_constant=lambda word: pytest.fail(word))
    assert (record["text"], record["score"], record["confidence"]) == ("", None, 0.0)


def test_a_folder_that_is_no_model_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", "a.wav", "--model", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"squall: {tmp_path} is not an experiment")
