"""`squall transcribe`: what is printed where, in which format. The recogniser is a stand-in."""

from __future__ import annotations

import json
import math
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from squall.asr.settings import RecognitionConfig
from squall.cli import main
from squall.cli import transcribe as transcribe_module
from squall.cli.transcript_formats import FORMATS
from squall.engine.experiment import Experiment, RunOptions
from squall.text.captions import TimedWord


@dataclass(frozen=True)
class _Word:
    text: str
    confidence: float


@dataclass(frozen=True)
class _Hypothesis:
    text: str = "GO ON"
    confidence: float = 0.875
    words: tuple[_Word, ...] = ()
    tokens: tuple[str, ...] = ("GO", "ON")
    token_probs: tuple[float, ...] = (0.5, 0.75)


HEARD = _Hypothesis(words=(_Word("GO", 0.5), _Word("ON", 0.75)))


@dataclass
class _Spoken:
    """Two words, of a quarter of a second each."""

    start_s: float = 0.0
    end_s: float = 1.0
    hypothesis: _Hypothesis = HEARD

    @property
    def words(self) -> tuple[TimedWord, ...]:
        at = self.start_s
        return (TimedWord("GO", 0.5, at, at + 0.25), TimedWord("ON", 0.75, at + 0.5, at + 0.75))


@dataclass
class _Transcript:
    path: str
    duration_s: float = 1.23456
    hypothesis: _Hypothesis | None = None
    conversions: tuple[str, ...] = ()
    segments: tuple[_Spoken, ...] = ()
    problem: str | None = None


def _transcribe(
    recogniser: object, path: Path, *, on_part: Callable[..., None], **_: object
) -> _Transcript:
    """Every file is heard but `bad.wav`; `long.wav` has two segments, `cut.wav` a problem."""
    if path.name == "bad.wav":
        return _Transcript(str(path), problem="no such file")
    segments: tuple[_Spoken, ...] = (_Spoken(),)
    if path.name == "long.wav":
        segments = (_Spoken(), _Spoken(10.0, 11.0))
    for number, spoken in enumerate(segments, start=1):
        on_part(number / len(segments), [spoken])
    problem = "truncated" if path.name == "cut.wav" else None
    return _Transcript(str(path), 1.23456, _Hypothesis(), ("resampled",), segments, problem)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment whose recogniser is `_transcribe`, on files in the working directory."""
    config = RecognitionConfig.model_validate(
        {"recipe": "toy", "experiment": "small", "corpus": {"name": "demo"}, "espnet": {}}
    )
    experiment = Experiment(config, RunOptions(exp_dir=str(tmp_path)))
    experiment.write_settings()
    (tmp_path / "here" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    for name in (
        "a.wav",
        "a.flac",
        "b.wav",
        "b/a.wav",
        "b/c.wav",
        "bad.wav",
        "cut.wav",
        "long.wav",
    ):
        Path(name).write_bytes(b"sound")

    def find_audio(paths: list[Path]) -> list[Path]:
        sys.stdout.write("ESPnet talks while it is imported\n")
        return [found for path in paths for found in (sorted(path.glob("*")) or [path])]

    ctc = types.SimpleNamespace(model=types.SimpleNamespace(ctc=object()))
    decoding: Any = types.ModuleType("squall.asr.decoding")
    decoding.load_recogniser = lambda *args, **kwargs: ctc
    transcription: Any = types.ModuleType("squall.asr.transcription")
    transcription.find_audio, transcription.transcribe = find_audio, _transcribe
    monkeypatch.setitem(sys.modules, "squall.asr.decoding", decoding)
    monkeypatch.setitem(sys.modules, "squall.asr.transcription", transcription)
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

    def transcribe(recogniser: object, path: Path, **options: Any) -> _Transcript:
        if path.name == "a.wav":
            return _transcribe(recogniser, path, **options)
        assert output.read_text() == "a.wav\tGO ON\t(0.875)\n"
        options["on_part"](0.5, [_Spoken()])
        assert output.read_text().count("\n") == 2
        raise error

    monkeypatch.setattr(sys.modules["squall.asr.transcription"], "transcribe", transcribe)
    with suppress(KeyError):
        assert main(["transcribe", "a.wav", "b.wav", "--model", str(model), "-o", str(output)])
    assert output.read_text() == "a.wav\tGO ON\t(0.875)\nb.wav\tGO ON\t(0.875)\n"


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
    arguments = ["transcribe", "a.wav", "long.wav", "--model", str(model), "--format", "json"]
    assert main([*arguments, "-o", str(output)]) == 0
    first, second = (json.loads(line) for line in output.read_text().splitlines())
    assert first == {
        "path": "a.wav",
        "duration_s": 1.235,
        "text": "GO ON",
        "confidence": 0.875,
        "words": [],
        "conversions": ["resampled"],
        "segments": [
            {
                "start_s": 0.0,
                "end_s": 1.0,
                "text": "GO ON",
                "confidence": 0.875,
                "tokens": ["GO", "ON"],
                "token_probs": [0.5, 0.75],
                "words": [
                    {"text": "GO", "confidence": 0.5, "start_s": 0.0, "end_s": 0.25},
                    {"text": "ON", "confidence": 0.75, "start_s": 0.5, "end_s": 0.75},
                ],
            }
        ],
    }
    assert [segment["start_s"] for segment in second["segments"]] == [0.0, 10.0]


def test_json_has_an_object_for_a_file_that_failed(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", "bad.wav", "a.wav", "--model", str(model), "--format", "json"]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"path": "bad.wav", "problem": "no such file"}
    assert second["text"] == "GO ON"


@pytest.mark.parametrize("name", ["text", "vtt"])
def test_what_an_output_held_stays_where_nothing_is_recognised(
    model: Path, tmp_path: Path, name: str
) -> None:
    output = tmp_path / "talk"
    output.write_text("of an earlier run\n")
    arguments = ["--model", str(model), "--format", name, "-o", str(output)]
    assert main(["transcribe", "bad.wav", *arguments]) == 1
    assert output.read_text() == "of an earlier run\n"
    assert main(["transcribe", "long.wav", *arguments]) == 0
    assert output.read_text() == EXPECTED[name]


@pytest.mark.parametrize(
    ("given", "name", "made"),
    [
        ("b", "vtt", "out/a.vtt"),
        ("a.wav", "srt", "out"),
        ("a.wav", "text", "out"),
    ],
)
def test_a_folder_that_is_given_or_asked_for_gets_a_file_for_each_input(
    model: Path, given: str, name: str, made: str
) -> None:
    Path("b/c.wav").unlink()
    arguments = ["transcribe", given, "--model", str(model), "--format", name, "-o"]
    assert main([*arguments, "out"]) == 0
    assert Path(made).is_file()
    assert main([*arguments, "new/"]) == 0
    assert [path.stem for path in Path("new").iterdir()] == ["a"]


def test_a_run_that_is_stopped_is_not_said_to_go_on(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["squall.asr.transcription"], "transcribe", stop)
    assert main(["transcribe", "a.wav", "--model", str(model)]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_json_is_strict_where_the_search_found_nothing() -> None:
    @dataclass
    class Nothing:
        text: str = ""
        score: float = -math.inf
        confidence: float = 0.0
        tokens: tuple[str, ...] = ()
        token_probs: tuple[float, ...] = ()

    result: Any = _Transcript("a", hypothesis=Nothing())  # type: ignore[arg-type]
    line = FORMATS["json"]("a", several=False).end(result)
    record = json.loads(line, parse_constant=lambda word: pytest.fail(word))
    assert (record["text"], record["score"], record["confidence"]) == ("", None, 0.0)


def test_json_of_a_model_without_ctc_has_words_without_times() -> None:
    spoken: Any = types.SimpleNamespace(
        start_s=0.0, end_s=1.0, words=None, hypothesis=_Spoken().hypothesis
    )
    result: Any = _Transcript("a", hypothesis=_Hypothesis(), segments=(spoken,))
    record = json.loads(FORMATS["json"]("a", several=False).end(result))
    assert record["segments"][0]["words"] == [
        {"text": "GO", "confidence": 0.5},
        {"text": "ON", "confidence": 0.75},
    ]


EXPECTED = {
    "text": "GO ON\t(0.875)\nGO ON\t(0.875)\n",
    "srt": "1\n00:00:00,000 --> 00:00:01,000\nGO ON\n\n2\n00:00:10,000 --> 00:00:11,000\nGO ON\n\n",
    "vtt": "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nGO ON\n\n"
    "00:00:10.000 --> 00:00:11.000\nGO ON\n\n",
    "ctm": "long 1 0.00 0.25 GO 0.500\nlong 1 0.50 0.25 ON 0.750\n"
    "long 1 10.00 0.25 GO 0.500\nlong 1 10.50 0.25 ON 0.750\n",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_segments_in_every_format(
    model: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["transcribe", "long.wav", "--model", str(model), "--format", name]) == 0
    assert capsys.readouterr().out == EXPECTED[name]


@pytest.mark.parametrize("name", [*EXPECTED, "json"])
def test_a_folder_gets_a_file_for_each_input(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = tmp_path / "results"
    if name in ("text", "json"):  # which go into one file unless the folder is there
        folder.mkdir()
    arguments = ["transcribe", "long.wav", "a.wav", "--model", str(model), "--format", name]
    assert main([*arguments, "-o", str(folder)]) == 0
    suffix = {"text": "txt"}.get(name, name)
    assert sorted(path.name for path in folder.iterdir()) == [f"a.{suffix}", f"long.{suffix}"]
    if name in EXPECTED:
        assert (folder / f"long.{suffix}").read_text() == EXPECTED[name]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"1 of 2: {folder / f'long.{suffix}'}\n" in captured.err


def test_inputs_of_one_name_do_not_overwrite_each_other(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    inputs = ["a.wav", "a.flac", str(Path("b/a.wav")), "b"]
    arguments = ["transcribe", *inputs, "--model", str(model), "--format", "srt"]
    assert main([*arguments, "-o", str(folder)]) == 0
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))
    # The folder is given by a name, so its files keep their places in it, both times.
    assert names == ["a-2.srt", "a.flac.srt", "a.srt", "a.wav.srt", "c.srt"]


def test_a_single_file_goes_to_the_output_itself(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "one.srt"
    arguments = ["transcribe", "long.wav", "--model", str(model), "--format", "srt"]
    assert main([*arguments, "-o", str(output)]) == 0
    assert output.read_text() == EXPECTED["srt"]


def test_recordings_of_one_name_are_told_apart_in_a_ctm(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = ["a.wav", "a.flac", "b.wav"]
    assert main(["transcribe", *inputs, "--model", str(model), "--format", "ctm"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["a.wav", "a.wav", "a.flac", "a.flac", "b", "b"]


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_captions_of_several_files_need_a_folder(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments = ["transcribe", "a.wav", "b.wav", "--model", str(model), "--format", name]
    assert main(arguments) == 1
    assert f"--format {name} of 2 files: give a folder with -o" in capsys.readouterr().err
    output = tmp_path / "file"
    output.write_text("mine")
    assert main([*arguments, "-o", str(output)]) == 1
    assert f"{output} is a file; 2 result(s) of the format {name} need a" in capsys.readouterr().err
    assert output.read_text() == "mine"


def test_what_is_recognised_of_a_damaged_file_is_written(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results"
    inputs = ["bad.wav", "cut.wav", "a.wav"]
    arguments = ["transcribe", *inputs, "--model", str(model), "--format", "vtt"]
    assert main([*arguments, "-o", str(folder)]) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["a.vtt", "cut.vtt"]
    err = capsys.readouterr().err
    assert "cut.wav: truncated\n" in err
    assert "2 of 3 files could not be transcribed, or not to their end\n" in err
    assert main(["transcribe", "cut.wav", "--model", str(model), "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["problem"] == "truncated"


@pytest.mark.fault(
    "Disk",
    "an output of transcribe that cannot be written",
    "told before the work",
)
@pytest.mark.parametrize("several", [False, True])
def test_an_output_that_cannot_be_written_is_told_before_the_work(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    several: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        sys.modules["squall.asr.transcription"],
        "transcribe",
        lambda *_, **__: pytest.fail("worked"),
    )
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "results"
    inputs = ["a.wav", "b.wav"] if several else ["a.wav"]
    arguments = ["transcribe", *inputs, "--model", str(model), "--format", "srt"]
    assert main([*arguments, "-o", str(output)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"squall: {output}: cannot be written (")
    assert err.endswith("give another output\n")


def test_an_unknown_format_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["transcribe", "a.wav", "--model", str(model), "--format", "word"])
    assert ended.value.code == 2
    assert "invalid choice: 'word'" in capsys.readouterr().err


def test_silero_is_named_where_it_is_asked_for_and_absent(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("squall.audio.voice_activity.find_spec", lambda name: None)
    assert main(["transcribe", "a.wav", "--model", str(model), "--vad", "silero"]) == 1
    assert "pip install 'squall[vad]'" in capsys.readouterr().err
    assert main(["transcribe", "a.wav", "--model", str(model)]) == 0


@pytest.mark.parametrize(
    ("options", "longest_s", "name"),
    [
        ([], 20.0, "energy"),
        (["--vad", "none"], 20.0, None),
        (["--segment-s", "1", "9"], 9.0, "energy"),
    ],
)
def test_options_reach_the_recognition(
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    longest_s: float,
    name: str | None,
) -> None:
    told: dict[str, Any] = {}

    def transcribe(recogniser: object, path: Path, **given: Any) -> _Transcript:
        told.update(given)
        return _Transcript(str(path), hypothesis=_Hypothesis())

    monkeypatch.setattr("squall.audio.voice_activity.find_spec", lambda name: None)
    monkeypatch.setattr(sys.modules["squall.asr.transcription"], "transcribe", transcribe)
    assert main(["transcribe", "a.wav", "--model", str(model), *options, "--pause-s", "0.7"]) == 0
    assert (told["pauses"].longest_s, told["pauses"].pause_s) == (longest_s, 0.7)
    assert (told["activity"].name if told["activity"] else None) == name


def test_segments_of_impossible_lengths_are_refused_before_anything_is_loaded(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sys.modules["squall.asr.decoding"].load_recogniser = lambda *_, **__: pytest.fail("loaded")  # type: ignore[attr-defined]
    assert main(["transcribe", "a.wav", "--model", str(model), "--segment-s", "9", "10"]) == 1
    assert "segments of 9 to 10 s: the shortest must have" in capsys.readouterr().err


def test_a_model_without_ctc_has_no_captions(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = types.SimpleNamespace(model=types.SimpleNamespace(ctc=None))
    sys.modules["squall.asr.decoding"].load_recogniser = lambda *_, **__: without  # type: ignore[attr-defined]
    assert main(["transcribe", "a.wav", "--model", str(model), "--format", "srt"]) == 1
    assert "it was trained without CTC. Take text or json" in capsys.readouterr().err


def test_the_bar_counts_bytes(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    told: list[Any] = []

    @contextmanager
    def display(total: float, *, bar: bool) -> Any:
        told.append((total, bar))
        yield lambda text: None, lambda done, name: told.append((done, name))

    monkeypatch.setattr(transcribe_module, "display", display)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    arguments = ["transcribe", "a.wav", "long.wav", "--model", str(model)]
    assert main([*arguments, "-o", str(tmp_path / "found.txt")]) == 0
    assert told == [(10, True), (5.0, "a.wav"), (7.5, "long.wav"), (10.0, "long.wav")]


def test_a_folder_that_is_no_model_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", "a.wav", "--model", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"squall: {tmp_path} is not an experiment")
