"""`squall transcribe` on files of every kind and length."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

import tiny

pytest.importorskip("espnet2")

from squall.asr import memory
from squall.asr.decoding import load_recogniser
from squall.asr.memory import MemoryNeed
from squall.asr.recogniser import Hypothesis
from squall.asr.transcription import Spoken, Transcript, find_audio, transcribe
from squall.audio.segments import Pauses
from squall.audio.voice_activity import EnergyActivity
from squall.cli import main
from squall.engine.experiment import Experiment


@pytest.fixture(scope="module")
def speech(trained: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One utterance as it is, at 8 kHz, at 44.1 kHz, in two channels, and as FLAC in a folder."""
    folder = tmp_path_factory.mktemp("speech")
    samples = tiny.first_test_samples(trained)
    soundfile.write(folder / "plain.wav", samples, 16000)
    for rate_hz in (8000, 44100):
        soundfile.write(folder / f"{rate_hz}.wav", soxr.resample(samples, 16000, rate_hz), rate_hz)
    soundfile.write(folder / "stereo.wav", samples[:, None].repeat(2, axis=1), 16000)
    (folder / "inside").mkdir()
    soundfile.write(folder / "inside" / "plain.flac", samples, 16000)
    (folder / "inside" / "notes.txt").write_text("no audio")
    return folder


@pytest.fixture
def squall(trained: Experiment, capsys: pytest.CaptureFixture[str]) -> Any:
    """`squall transcribe ARGUMENTS --model ...`: exit code, standard output and error."""

    def call(*arguments: object, model: Path = trained.directory) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["transcribe", *map(str, arguments), "--model", str(model), "--threads", "1"])
        return code, *capsys.readouterr()

    return call


@pytest.mark.slow
def test_one_file_gives_one_line(squall: Any, speech: Path, trained: Experiment) -> None:
    expected = load_recogniser(trained, device="cpu", threads=1)(
        soundfile.read(speech / "plain.wav", dtype="float32")[0]
    )
    code, out, err = squall(speech / "plain.wav")
    assert code == 0
    assert out == f"{expected.text}\t({expected.confidence:.3f})\n"
    assert "plain.wav" not in err


@pytest.mark.parametrize(
    ("name", "conversion"),
    [
        ("8000.wav", "resampled from 8000 Hz"),
        ("44100.wav", "resampled from 44100 Hz"),
        ("stereo.wav", "mixed down from 2 channels"),
    ],
)
def test_other_formats_are_converted_and_that_is_said(
    squall: Any, speech: Path, name: str, conversion: str
) -> None:
    code, out, err = squall(speech / name)
    assert code == 0
    assert out.count("\n") == 1
    assert f"{speech / name}: {conversion}" in err


@pytest.mark.slow
def test_two_equal_channels_give_the_text_of_one(squall: Any, speech: Path) -> None:
    assert squall(speech / "stereo.wav")[1] == squall(speech / "plain.wav")[1]


def test_samples_beyond_full_scale_and_channels_that_cancel_are_said(
    squall: Any, speech: Path, tmp_path: Path
) -> None:
    samples, _ = soundfile.read(speech / "plain.wav")
    path = tmp_path / "both.wav"
    soundfile.write(path, 1e4 * np.stack([samples, -0.95 * samples], 1), 16000, subtype="FLOAT")
    code, _, err = squall(path)
    assert code == 0
    assert f"{path}: its peak is " in err
    assert f"{path}: its channels cancel when they are mixed down" in err


@pytest.mark.slow
def test_a_folder_is_searched_for_audio(squall: Any, speech: Path) -> None:
    code, out, _ = squall(speech)
    assert code == 0
    names = ["44100.wav", "8000.wav", "inside/plain.flac", "plain.wav", "stereo.wav"]
    assert [line.split("\t")[0] for line in out.splitlines()] == [str(speech / n) for n in names]


@pytest.fixture
def damaged(speech: Path, tmp_path: Path) -> Path:
    """A good file between a truncated, an empty and a short one."""
    data = (speech / "inside" / "plain.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    (tmp_path / "b.flac").write_bytes(data)
    (tmp_path / "c.wav").write_bytes(b"")
    soundfile.write(tmp_path / "d.wav", [0.1] * 800, 16000)
    return tmp_path


def test_damaged_files_are_named_and_the_others_done(squall: Any, damaged: Path) -> None:
    code, out, err = squall(damaged)
    assert code == 1
    assert out.count("\n") == 1
    assert out.startswith(f"{damaged / 'b.flac'}\t")
    assert f"{damaged / 'a.flac'}: " in err
    assert f"{damaged / 'c.wav'}: the file is empty\n" in err
    assert f"{damaged / 'd.wav'}: need at least 1600 samples (0.1 s)" in err
    assert "3 of 4 files could not be transcribed" in err


@pytest.mark.slow
def test_json_has_words_with_confidences(squall: Any, speech: Path) -> None:
    code, out, _ = squall(speech / "8000.wav", speech / "plain.wav", "--format", "json")
    assert code == 0
    first, second = map(json.loads, out.splitlines())
    assert first["path"] == str(speech / "8000.wav")
    assert first["conversions"] == ["resampled from 8000 Hz"]
    assert second["conversions"] == []
    assert second["duration_s"] == pytest.approx(
        soundfile.info(speech / "plain.wav").duration, abs=1e-3
    )
    assert [word["text"] for word in second["words"]] == second["text"].split()
    assert 0 < second["confidence"] <= 1
    assert all(0 <= word["confidence"] <= 1 for word in second["words"])


@pytest.mark.slow
def test_output_goes_to_a_file(squall: Any, speech: Path, tmp_path: Path) -> None:
    expected = squall(speech)[1]
    code, out, _ = squall(speech, "-o", tmp_path / "found.txt")
    assert (code, out) == (0, "")
    assert (tmp_path / "found.txt").read_text() == expected


def test_a_folder_that_is_no_experiment_is_named(squall: Any, speech: Path, tmp_path: Path) -> None:
    code, out, err = squall(speech / "plain.wav", model=tmp_path)
    assert (code, out) == (1, "")
    assert f"{tmp_path} is not an experiment directory" in err


def test_an_experiment_without_a_model_says_which_stage(
    squall: Any, speech: Path, prepared: Experiment
) -> None:
    code, _, err = squall(speech / "plain.wav", model=prepared.directory)
    assert code == 1
    assert "run stage 5 (train) first" in err


@pytest.mark.parametrize("kind", ["missing", "empty folder"])
def test_nothing_to_transcribe_is_an_error(tmp_path: Path, kind: str) -> None:
    if kind == "missing":
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            find_audio([tmp_path / "absent.wav"])
    else:
        with pytest.raises(FileNotFoundError, match=r"no audio in this folder \(looked for \.wav"):
            find_audio([tmp_path])


def test_a_file_is_taken_whatever_its_name(speech: Path, tmp_path: Path) -> None:
    odd = tmp_path / "recording.bin"
    odd.write_bytes((speech / "plain.wav").read_bytes())
    assert find_audio([odd, speech / "inside"]) == [odd, speech / "inside" / "plain.flac"]


def test_a_file_that_is_given_twice_is_one(speech: Path) -> None:
    one = speech / "inside" / "plain.flac"
    assert find_audio([one, speech / "inside", one]) == [one]


class _Waits:
    """Takes up to 3 s of memory for what it recognises, and fails on the file of 2 s."""

    device = "cpu"
    memory_need = MemoryNeed(1e6, 0.0)
    model = type("Model", (), {"ctc": None})

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def encode(self, samples: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
        if self.error is not None and len(samples) == 2 * 16000:
            raise self.error
        return samples

    def search_all(self, encoded: Sequence[Any]) -> list[Hypothesis]:
        return [Hypothesis("GO ON", ("GO", "ON"), 0.0, 1.0, (), (1.0, 1.0), 1.0) for _ in encoded]


def _silence(folder: Path, **seconds: float) -> list[Path]:
    for name, length_s in seconds.items():
        soundfile.write(folder / f"{name}.wav", np.zeros(round(length_s * 16000)), 16000)
    return [folder / f"{name}.wav" for name in seconds]


def test_a_file_too_long_for_the_memory_is_named_with_what_fits_and_the_others_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: 3_000_000)
    paths = _silence(tmp_path, a=1.0, long=60.0, z=2.5)
    first, long, last = (transcribe(_Waits(), path) for path in paths)
    assert [first.problem, last.problem] == [None, None]
    assert long.duration_s == 60.0
    assert long.problem is not None
    assert re.match(r"its 60\.0 s take about .* recordings of up to 3 s fit", long.problem)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (MemoryError(), r"the memory was full before its 2\.0 s were recognised"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
            r"the memory was full before its 2\.0 s were recognised",
        ),
        (RuntimeError("selected index k out of range"), "selected index k out of range"),
        (PermissionError(13, "Permission denied"), r"\[Errno 13\] Permission denied"),
        (ValueError("too short"), "too short"),
    ],
)
def test_whatever_goes_wrong_with_a_file_does_not_cost_the_others(
    tmp_path: Path, error: Exception, problem: str
) -> None:
    paths = _silence(tmp_path, a=1.0, bad=2.0, z=1.5)
    first, bad, last = (transcribe(_Waits(error), path) for path in paths)
    assert [found.hypothesis is None for found in (first, bad, last)] == [False, True, False]
    assert bad.problem is not None
    assert re.match(problem, bad.problem)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_under_a_memory_limit_a_long_file_costs_itself_alone(
    trained: Experiment, speech: Path, tmp_path: Path
) -> None:
    (long,) = _silence(tmp_path, long=600.0)
    code = (
        "import re, resource, sys\n"
        "import squall.asr.decoding\n"  # what is imported is not to count
        "from squall.cli import main\n"
        "size = re.search(r'VmSize:\\s+(\\d+)', open('/proc/self/status').read())[1]\n"
        "limit = 1024 * int(size) + 300 * 10**6\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    output = tmp_path / "found.txt"
    done = subprocess.run(
        [sys.executable, "-c", code, "transcribe", str(long), str(speech / "plain.wav"), "--model",
         str(trained.directory), "--threads", "1", "--vad", "none", "-o", str(output)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(rf"{long}: its 600\.0 s take .* up to \d+ s fit", done.stderr)
    assert output.read_text().startswith(f"{speech / 'plain.wav'}\t")


def test_standard_input_is_a_file(
    squall: Any, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = speech / "plain.wav"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(plain.read_bytes())))
    code, out, err = squall("-", plain)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first.startswith("-\t")
    assert second == first.replace("-", str(plain), 1)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no audio at all")))
    code, out, err = squall("-")
    assert (code, out) == (1, "")
    assert "\n-: libsndfile cannot read it" in f"\n{err}"


def test_sound_in_containers_that_are_not_read_is_counted(
    squall: Any, speech: Path, tmp_path: Path
) -> None:
    shutil.copy(speech / "plain.wav", tmp_path / "a.wav")
    (tmp_path / "inside").mkdir()
    for name in ("b.m4a", "inside/c.M4A", "d.mp4", "notes.txt", "._b.m4a"):
        (tmp_path / name).write_bytes(b"?")
    code, out, err = squall(tmp_path)
    assert code == 0
    assert out.count("\n") == 1
    told = f"Not read: 2 .m4a, 1 .mp4. Convert it once: ffmpeg -i {tmp_path / 'b.m4a'} OUT.wav"
    assert err.startswith(f"{tmp_path}: {told}\n")
    (tmp_path / "a.wav").unlink()
    code, out, err = squall(tmp_path)
    assert (code, out) == (1, "")
    assert "no audio in this folder" in err
    assert told in err


@pytest.fixture(scope="module")
def long(speech: Path) -> Path:
    """The utterance eight times, a second and a half of silence behind each."""
    samples, _ = soundfile.read(speech / "plain.wav", dtype="int16")
    path = speech.parent / "long.wav"
    pause = np.zeros(24000, np.int16)
    soundfile.write(path, np.concatenate([samples, pause] * 8), 16000)
    return path


def test_a_long_file_is_cut_at_its_pauses_and_recognised_in_batches(
    squall: Any, speech: Path, long: Path
) -> None:
    code, out, err = squall(long, "--format", "json", "--vad", "energy")
    assert code == 0
    record = json.loads(out)
    segments = record["segments"]
    assert len(segments) == 8
    assert f"{long}: cut at pauses into 8 segments, by energy\n" in err
    period_s = soundfile.info(long).duration / 8
    for number, segment in enumerate(segments):
        assert segment["start_s"] == pytest.approx(number * period_s, abs=0.4)
        assert 2.0 <= segment["end_s"] - segment["start_s"] < period_s
        assert [word["text"] for word in segment["words"]] == segment["text"].split()
        edges = [t for word in segment["words"] for t in (word["start_s"], word["end_s"])]
        assert edges == sorted(edges)
        assert all(segment["start_s"] <= t <= segment["end_s"] + 1e-3 for t in edges)
    assert record["text"] == " ".join(s["text"] for s in segments if s["text"])
    assert record["words"] == [
        {key: word[key] for key in ("text", "confidence")} for s in segments for word in s["words"]
    ]


@pytest.mark.slow
def test_segments_in_batches_have_the_text_that_each_has_alone(
    trained: Experiment, long: Path
) -> None:
    recogniser = load_recogniser(trained, device="cpu", threads=1)
    samples, _ = soundfile.read(long, dtype="float32")
    found = transcribe(recogniser, long, activity=EnergyActivity())
    assert len(found.segments) == 8
    for spoken in found.segments:
        alone = samples[round(spoken.start_s * 16000) : round(spoken.end_s * 16000)]
        assert spoken.hypothesis.text == recogniser(alone).text


def test_a_file_as_long_as_a_segment_may_be_is_one_utterance(
    trained: Experiment, speech: Path
) -> None:
    recogniser = load_recogniser(trained, device="cpu", threads=1)
    path = speech / "plain.wav"
    length_s = soundfile.info(path).duration
    pauses = Pauses(shortest_s=0.5, longest_s=length_s)
    found = transcribe(recogniser, path, activity=EnergyActivity(), pauses=pauses)
    (spoken,) = found.segments
    assert (spoken.start_s, spoken.end_s) == (0.0, length_s)
    assert found.conversions == ()
    samples, _ = soundfile.read(path, dtype="float32")
    assert found.hypothesis == spoken.hypothesis == recogniser(samples)


def test_parts_are_told_as_they_come(tmp_path: Path) -> None:
    told: list[tuple[float, int]] = []
    (path,) = _tone(tmp_path, long=400.0)
    found = transcribe(
        _Waits(),
        path,
        activity=EnergyActivity(),
        on_part=lambda share, s: told.append((share, len(s))),
    )
    assert sum(count for _, count in told) == len(found.segments) > 100
    first = next(share for share, count in told if count)
    assert 0.5 < first < 0.8
    assert told[-1][0] == 1.0
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    edges = [t for spoken in found.segments for t in (spoken.start_s, spoken.end_s)]
    assert edges == sorted(edges)


def _tone(folder: Path, **seconds: float) -> list[Path]:
    """Two seconds of a tone in every three."""
    for name, length_s in seconds.items():
        t = np.arange(round(length_s * 16000)) / 16000
        tone = 0.1 * np.sin(2 * np.pi * 300 * t) * (t % 3 < 2)
        soundfile.write(folder / f"{name}.wav", tone, 16000)
    return [folder / f"{name}.wav" for name in seconds]


@pytest.mark.parametrize(
    ("format_name", "expected"),
    [
        ("text", "\t(0.000)\n"),
        ("srt", ""),
        ("vtt", "WEBVTT\n\n"),
        ("ctm", ""),
    ],
)
def test_silence_has_an_empty_result(
    squall: Any, tmp_path: Path, format_name: str, expected: str
) -> None:
    (path,) = _silence(tmp_path, quiet=61.0)
    code, out, err = squall(path, "--format", format_name, "--vad", "energy")
    assert (code, out) == (0, expected)
    assert err == f"{path}: cut at pauses into 0 segments, by energy\n"


def test_silence_has_an_empty_record(squall: Any, tmp_path: Path) -> None:
    (path,) = _silence(tmp_path, quiet=61.0)
    record = json.loads(squall(path, "--format", "json", "--vad", "energy")[1])
    assert (record["text"], record["score"], record["segments"]) == ("", None, [])


@pytest.mark.parametrize("suffix", ["wav", "flac", "sph"])
def test_of_a_truncated_file_the_readable_part_is_recognised(tmp_path: Path, suffix: str) -> None:
    (whole,) = _tone(tmp_path, whole=120.0)
    noise = np.random.default_rng(0).standard_normal(120 * 16000) * 1e-3  # FLAC packs a tone away
    path = tmp_path / f"cut.{suffix}"
    kind = {"format": "NIST"} if suffix == "sph" else {}
    soundfile.write(path, soundfile.read(whole)[0] + noise, 16000, subtype="PCM_16", **kind)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    found = transcribe(_Waits(), path, activity=EnergyActivity())
    assert found.problem is not None
    assert "truncated" in found.problem
    assert str(path) not in found.problem
    assert 15 <= len(found.segments) <= 20
    assert 50 < found.segments[-1].end_s < 61
    assert found.hypothesis is not None


def test_a_truncated_file_that_is_short_has_its_problem_alone(tmp_path: Path) -> None:
    (path,) = _tone(tmp_path, short=30.0)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    found = transcribe(_Waits(), path, activity=EnergyActivity())
    assert (found.segments, found.hypothesis) == ((), None)
    assert found.problem is not None
    assert "truncated" in found.problem


@pytest.mark.slow
def test_what_was_recognised_before_the_memory_was_full_stays(tmp_path: Path) -> None:
    class Full(_Waits):
        batches = 0

        def search_all(self, encoded: Sequence[Any]) -> list[Hypothesis]:
            self.batches += 1
            if self.batches > 8:
                raise MemoryError
            return super().search_all(encoded)

    (path,) = _tone(tmp_path, long=800.0)
    found = transcribe(Full(), path, activity=EnergyActivity())
    assert found.problem is not None
    assert re.match(r"the memory was full before its 800\.0 s were recognised", found.problem)
    assert 80 < len(found.segments) < 200


def test_batches_are_no_larger_than_memory_is_enough_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: 21_000_000)
    monkeypatch.setattr("squall.asr.transcription.free_memory_bytes", lambda device: 21_000_000)
    largest = 0

    class Counts(_Waits):
        def search_all(self, encoded: Sequence[Any]) -> list[Hypothesis]:
            nonlocal largest
            largest = max(largest, len(encoded) * max(map(len, encoded)))
            return super().search_all(encoded)

    (path,) = _tone(tmp_path, long=120.0)
    assert transcribe(Counts(), path, activity=EnergyActivity()).problem is None
    assert 15 * 16000 < largest <= 21 * 16000


def test_a_joined_hypothesis_counts_what_was_found() -> None:
    one = Hypothesis("A B", ("A", "B"), -1.0, 0.6, (), (0.9, 0.4), 0.3)
    nothing = Hypothesis("", (), -np.inf, 0.0, ())
    joined = Hypothesis.joined([one, nothing, one])
    assert (joined.text, joined.score) == ("A B A B", -2.0)
    assert joined.probability == pytest.approx(0.09)
    assert joined.confidence == pytest.approx(0.6)
    assert Hypothesis.joined([one]) is one
    assert Hypothesis.joined([]).text == ""


def test_a_transcript_without_segments_has_a_hypothesis_unless_there_is_a_problem() -> None:
    assert Transcript("a").hypothesis == Hypothesis("", (), -np.inf, 0.0, ())
    assert Transcript("a", problem="gone").hypothesis is None
    spoken = Spoken(0.0, 1.0, Hypothesis("A", ("A",), -1.0, 0.6, (), (0.6,), 0.5), None)
    assert Transcript("a", segments=(spoken,), problem="cut").hypothesis == spoken.hypothesis
