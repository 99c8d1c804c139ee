"""Decoding of splits, and `squall transcribe` on files of every kind."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

import tiny

pytest.importorskip("espnet2")

from squall.asr import decoding, memory
from squall.asr.decoding import decode_splits, find_audio, load_recogniser, transcribe
from squall.asr.memory import MemoryNeed
from squall.asr.recogniser import Hypothesis, Recogniser
from squall.cli import main
from squall.corpora.manifest import Utterance, read_manifest
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


def test_transcripts_come_one_by_one(trained: Experiment, damaged: Path) -> None:
    recogniser = load_recogniser(trained, device="cpu", threads=1)
    found = transcribe(recogniser, find_audio([damaged]))
    assert next(found).hypothesis is None
    second = next(found)
    assert second.hypothesis is not None
    assert second.problem is None


class _Waits:
    """Takes up to 3 s of memory for what it recognises, and fails on the file `bad`."""

    device = "cpu"
    memory_need = MemoryNeed(1e6, 0.0)

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def __call__(self, samples: np.ndarray[Any, np.dtype[np.float32]]) -> Hypothesis:
        if self.error is not None and len(samples) == 2 * 16000:
            raise self.error
        return Hypothesis("GO ON", (), 0.0, 1.0, ())


def _silence(folder: Path, **seconds: float) -> list[Path]:
    for name, length_s in seconds.items():
        soundfile.write(folder / f"{name}.wav", np.zeros(round(length_s * 16000)), 16000)
    return [folder / f"{name}.wav" for name in seconds]


def test_a_file_too_long_for_the_memory_is_named_with_what_fits_and_the_others_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: 3_000_000)
    first, long, last = transcribe(_Waits(), _silence(tmp_path, a=1.0, long=60.0, z=2.5))
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
    first, bad, last = transcribe(_Waits(error), paths)
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
         str(trained.directory), "--threads", "1", "-o", str(output)],
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


def _test_split(experiment: Experiment) -> list[Utterance]:
    (path,) = (experiment.recipe_dir / "shared").glob("data-*/test.jsonl")
    return read_manifest(path)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_decoding_again_writes_the_same_hypotheses(
    trained: Experiment, tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_UTTERANCES_PER_PROCESS", 2)
    told: list[tuple[int, int]] = []
    utterances = _test_split(trained)
    decode_splits(
        trained,
        {"test": utterances[::-1], "two": utterances[:2]},
        tmp_path,
        processes=processes,
        on_progress=lambda done, total, message: told.append((done, total)),
    )
    again = (tmp_path / "test" / "hypotheses.jsonl").read_text()
    assert again == (trained.variant_dir("decode") / "test" / "hypotheses.jsonl").read_text()
    assert [json.loads(line)["id"] for line in again.splitlines()] == [u.id for u in utterances]
    two = (tmp_path / "two" / "hypotheses.jsonl").read_text()
    assert two.splitlines() == again.splitlines()[:2]
    assert told == [(4, 6), (6, 6)]  # two batches
    facts = json.loads((tmp_path / "test" / "decoding.json").read_text())
    assert facts["processes"] == processes
    assert facts["audio_s"] == pytest.approx(sum(u.duration_s for u in utterances), abs=0.01)
    assert facts["rtf"] == pytest.approx(facts["seconds"] / facts["audio_s"])
    recogniser = load_recogniser(trained, device="cpu", threads=1)
    assert facts["parameters"] == recogniser.parameters


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_an_utterance_that_is_too_short_is_named(
    trained: Experiment,
    tmp_path: Path,
    make_utterance: Any,
    processes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "_UTTERANCES_PER_PROCESS", 1)
    split = [make_utterance("u-short", seconds=0.05), *_test_split(trained)[:1]]
    with pytest.raises(ValueError, match=r"u-short \(.*\.wav\): need at least"):
        decode_splits(
            trained, {"test": split}, tmp_path, processes=processes, on_progress=lambda *_: None
        )
    assert not (tmp_path / "test" / "hypotheses.jsonl").exists()


def _decode(trained: Experiment, folder: Path, **options: Any) -> None:
    split = {"test": _test_split(trained)}
    decode_splits(trained, split, folder, on_progress=lambda *_: None, **options)


@pytest.mark.slow
def test_processes_are_as_many_as_memory_is_enough_for(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(decoding, "_UTTERANCES_PER_PROCESS", 1)
    monkeypatch.setattr(decoding, "free_memory_bytes", lambda device: 700_000_000)
    with caplog.at_level(logging.WARNING):
        _decode(trained, tmp_path, processes=2)
    assert json.loads((tmp_path / "test" / "decoding.json").read_text())["processes"] == 1
    assert "1 processes decode instead of 2: each may need 0.4 GB" in caplog.text


def test_an_utterance_too_long_for_the_memory_is_named_before_anything_is_decoded(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: 1000)
    monkeypatch.setattr(decoding, "_recognise", lambda *_: pytest.fail("decoded"))
    longest = max(_test_split(trained), key=lambda u: u.duration_s)
    with pytest.raises(ValueError, match=rf"^{longest.id} \(.*\): its {longest.duration_s:.1f} s"):
        _decode(trained, tmp_path)


def test_an_utterance_that_memory_is_not_enough_for_is_named(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Recogniser, "search_all", fail)
    longest = max(_test_split(trained), key=lambda utterance: utterance.duration_s)
    with pytest.raises(ValueError, match=rf"^{longest.id} \(.*\): the memory was full before"):
        _decode(trained, tmp_path)
