"""`squall enhance`: what a user sees, and memory that does not grow with the file."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rich.console
import soundfile
from rich.console import Console

from squall.asr.settings import RecognitionConfig
from squall.cli import main
from squall.engine.experiment import Experiment, RunOptions
from squall.enhance import audio_files
from squall.enhance.audio_files import EnhancementJob

RATE_HZ = 16000

Squall = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """A folder with a.wav, inside/b.flac of two channels at 44.1 kHz, and a text."""
    folder = tmp_path / "noisy"
    (folder / "inside").mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 0.05, (22050, 2))
    soundfile.write(folder / "a.wav", noise[:, 0], RATE_HZ)
    soundfile.write(folder / "inside" / "b.flac", noise, 44100)
    (folder / "notes.txt").write_text("no audio")
    return folder


@pytest.fixture
def squall(tiny_enhancer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Squall:
    """`squall enhance ARGUMENTS`: exit code and the lines on standard error."""

    def call(
        *arguments: object, model: Path = tiny_enhancer, output: Path | None = None
    ) -> tuple[int, list[str]]:
        given = ["--model", str(model), "-o", str(output or tmp_path / "out"), "--threads", "1"]
        code = main(["enhance", *map(str, arguments), *given])
        captured = capsys.readouterr()
        assert captured.out == ""
        lines = captured.err.splitlines()
        return code, [line for line in lines if "real-time factor" not in line]

    return call


def test_a_folder_keeps_its_paths_and_says_what_was_done(
    squall: Squall, noisy: Path, tmp_path: Path
) -> None:
    originals = {path: path.read_bytes() for path in noisy.rglob("*.*")}
    code, lines = squall(noisy)
    out, b = tmp_path / "out", noisy / "inside" / "b.flac"
    assert code == 0
    assert lines == [
        f"1 of 2: {out / 'a.wav'}",
        f"{b}: each of its 2 channels enhanced on its own",
        f"{b}: resampled from 44100 Hz to 16000 Hz and back; what is above 8000 Hz passes a "
        "gate, not the model",
        f"2 of 2: {out / 'inside' / 'b.flac'}",
    ]
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert written == {"a.wav", "inside/b.flac"}
    info = soundfile.info(out / "inside" / "b.flac")
    assert (info.frames, info.channels, info.samplerate) == (22050, 2, 44100)
    assert {path: path.read_bytes() for path in noisy.rglob("*.*")} == originals


def test_one_file_becomes_the_output(squall: Squall, noisy: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "x.wav"
    assert squall(noisy / "a.wav", output=output) == (0, [f"1 of 1: {output}"])
    assert soundfile.info(output).frames == 22050


def test_a_result_is_replaced(squall: Squall, noisy: Path, tmp_path: Path) -> None:
    squall(noisy / "a.wav")
    first = (tmp_path / "out" / "a.wav").read_bytes()
    (tmp_path / "out" / "a.wav").write_text("old")
    squall(noisy / "a.wav")
    assert (tmp_path / "out" / "a.wav").read_bytes() == first


def test_bad_files_are_named_and_the_others_done(
    squall: Squall, noisy: Path, tmp_path: Path
) -> None:
    whole = (noisy / "a.wav").read_bytes()
    (noisy / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (noisy / "text.wav").write_text("hello " * 100)
    samples = np.zeros(RATE_HZ, np.float32)
    samples[8000] = np.nan
    soundfile.write(noisy / "nan.wav", samples, RATE_HZ, subtype="FLOAT")
    code, lines = squall(noisy)
    assert code == 1
    assert lines[0] == f"1 of 5: {tmp_path / 'out' / 'a.wav'}"
    assert lines[1].startswith(f"{noisy / 'cut.wav'}: truncated: its header says")
    assert lines[-3] == f"{noisy / 'nan.wav'}: the sample at 0.5000 s is not a finite number"
    assert lines[-2].startswith(f"{noisy / 'text.wav'}: libsndfile cannot read it")
    assert lines[-1] == "3 of 5 files could not be enhanced"
    written = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written == ["a.wav", "b.flac"]


def _failing_on_a(error: Exception) -> Callable[..., tuple[str, ...]]:
    def enhance_file(enhancer: object, job: EnhancementJob, **_: object) -> tuple[str, ...]:
        if job.source.name == "a.wav":
            raise error
        return ()

    return enhance_file


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (MemoryError(), "the memory is full"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "DefaultCPUAllocator: can't"),
        (PermissionError(13, "Permission denied"), "[Errno 13] Permission denied"),
        (ValueError("the signal is empty"), "the signal is empty"),
    ],
)
def test_whatever_goes_wrong_with_a_file_does_not_cost_the_others(
    squall: Squall,
    noisy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    problem: str,
) -> None:
    monkeypatch.setattr(audio_files, "enhance_file", _failing_on_a(error))
    code, (first, second, last) = squall(noisy)
    assert code == 1
    assert first.startswith(f"{noisy / 'a.wav'}: {problem}")
    assert second == f"2 of 2: {tmp_path / 'out' / 'inside' / 'b.flac'}"
    assert last == "1 of 2 files could not be enhanced"


@pytest.mark.fault(
    "Disk",
    "the disk is full while files are enhanced",
    "the command ends with the reason instead of failing at each file",
)
def test_a_full_disk_ends_it(squall: Squall, noisy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError(errno.ENOSPC, "no space left on the disk")
    monkeypatch.setattr(audio_files, "enhance_file", _failing_on_a(error))
    assert squall(noisy) == (1, [f"squall: {error}"])


def test_sound_in_containers_that_are_not_read_is_counted(squall: Squall, noisy: Path) -> None:
    for name in ("b.m4a", "inside/c.m4a", "d.mp4"):
        (noisy / name).write_bytes(b"?")
    code, lines = squall(noisy)
    assert code == 0
    assert lines[0].startswith(f"{noisy}: Not read: 2 .m4a, 1 .mp4. Convert it once: ffmpeg")


def test_the_output_must_not_be_the_input(squall: Squall, noisy: Path) -> None:
    before = (noisy / "a.wav").read_bytes()
    code, lines = squall(noisy, output=noisy)
    assert code == 1
    assert lines == [f"squall: {noisy / 'a.wav'} is one of the inputs: give another output"]
    assert (noisy / "a.wav").read_bytes() == before


def test_a_folder_without_audio(squall: Squall, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, (line,) = squall(tmp_path / "empty")
    assert code == 1
    assert line.startswith(f"squall: {tmp_path / 'empty'}: no audio in this folder")


def test_the_condition_chooses_the_model(squall: Squall, noisy: Path, tmp_path: Path) -> None:
    from tiny_enhancer import write_enhancer

    model = write_enhancer(tmp_path / "exp", "babble/0dB", "ssn/0dB")
    code, (line,) = squall(noisy, model=model)
    assert code == 1
    assert line.endswith("give --condition, one of ['babble/0dB', 'ssn/0dB'], or auto")
    results = []
    for condition in ("babble/0dB", "ssn/0dB"):
        output = tmp_path / condition
        assert squall(noisy / "a.wav", "--condition", condition, model=model, output=output)[0] == 0
        results.append((output / "a.wav").read_bytes())
    assert results[0] != results[1]
    output = tmp_path / "chosen"
    code, lines = squall(noisy / "a.wav", "--condition", "auto", model=model, output=output)
    assert code == 0
    places = [f"model {name}" in lines[0] for name in ("babble/0dB", "ssn/0dB")]
    assert lines[0].startswith(f"{noisy / 'a.wav'}: its noise is nearest to that of the model ")
    assert (output / "a.wav").read_bytes() == results[places.index(True)]


def test_auto_tells_where_no_noise_is_nearest_and_takes_the_shortest_file(
    squall: Squall, tmp_path: Path
) -> None:
    from tiny_enhancer import write_enhancer

    path = tmp_path / "short.wav"
    soundfile.write(path, [0.1], 48000)
    model = write_enhancer(tmp_path / "exp", "all")
    code, lines = squall(path, "--condition", "auto", model=model, output=tmp_path / "out")
    assert code == 0
    assert lines[0] == f"{path}: no noise is clearly nearest to its own: the model all"


def test_the_real_time_factor_is_told(
    noisy: Path, tiny_enhancer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["enhance", str(noisy), "--model", str(tiny_enhancer), "--threads", "1"]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    line = capsys.readouterr().err.splitlines()[-1]
    told = re.fullmatch(r"(\S+) s of audio in \S+ s: real-time factor (\S+) on 1 thread\(s\)", line)
    assert told
    assert float(told[1]) == pytest.approx(22050 / RATE_HZ + 0.5, abs=0.06)
    assert 0 < float(told[2]) < 20


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_a_stream_comes_back_with_its_length(
    tiny_enhancer: Path, tmp_path: Path, rate_hz: int
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 3 * rate_hz + 77)
    raw = np.round(32768 * noise).astype("<i2").tobytes()
    command = [sys.executable, "-m", "squall", "enhance", "--stream", str(rate_hz)]
    done = subprocess.run(
        [*command, "--model", str(tiny_enhancer), "--threads", "1"],
        input=raw,
        capture_output=True,
        check=True,
    )
    assert done.stderr.decode().startswith("delay 0.")
    result = np.frombuffer(done.stdout, "<i2") / 32768
    assert len(result) == len(noise)
    path, output = tmp_path / "a.wav", tmp_path / "b.wav"
    soundfile.write(path, noise, rate_hz)
    assert main(["enhance", str(path), "--model", str(tiny_enhancer), "-o", str(output)]) == 0
    whole, _ = soundfile.read(output)
    if rate_hz <= RATE_HZ:  # above 8 kHz a stream has nothing
        later = slice(rate_hz, None)
        assert np.abs(result - whole)[later].max() < 0.1 * np.abs(whole).max()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stream", "16000", "a.wav"], "--stream reads standard input"),
        (["--stream", "16000", "-o", "out"], "--stream reads standard input"),
        (["--stream", "16000", "--condition", "auto"], "hears a whole file first"),
        (["a.wav"], "with -o where the results go"),
        (["-o", "out"], "give noisy files or folders"),
    ],
)
def test_files_and_streams_are_told_apart(
    tiny_enhancer: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert main(["enhance", "--model", str(tiny_enhancer), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_experiments_that_have_no_model_are_errors(
    squall: Squall, noisy: Path, tmp_path: Path
) -> None:
    code, (line,) = squall(noisy, model=tmp_path)
    assert code == 1
    assert line.startswith(f"squall: {tmp_path} is not an experiment directory")
    config = RecognitionConfig.model_validate(
        {"recipe": "toy", "experiment": "small", "corpus": {"name": "demo"}, "espnet": {}}
    )
    experiment = Experiment(config, RunOptions(exp_dir=str(tmp_path)))
    experiment.write_settings()
    assert squall(noisy, model=experiment.directory) == (
        1,
        [f"squall: {experiment.directory} is an experiment of another task: recognition"],
    )


def test_an_untrained_experiment_is_an_error(
    squall: Squall, noisy: Path, tiny_enhancer: Path, tmp_path: Path
) -> None:
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "config.yaml").write_bytes((tiny_enhancer / "config.yaml").read_bytes())
    code, (line,) = squall(noisy, model=tmp_path / "exp")
    assert code == 1
    assert line.endswith("has no trained model: run the stages up to 5 (train)")


def test_a_terminal_gets_a_bar_and_whole_lines(
    squall: Squall, noisy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = noisy / "[red]a.wav"
    (noisy / "a.wav").rename(odd)
    terminal = Console(file=(tmp_path / "screen").open("w"), force_terminal=True, width=40)
    monkeypatch.setattr(rich.console, "Console", lambda **_: terminal)
    assert squall(noisy) == (0, [])
    terminal.file.close()
    screen = (tmp_path / "screen").read_text()
    assert "━" in screen
    assert f"1 of 2: {tmp_path / 'out' / odd.name}" in screen


def _peak_bytes(model: Path, source: Path, output: Path) -> int:
    """The largest resident memory of a process that enhances a file."""
    # Not ru_maxrss: that starts with the peak of the process that made this one.
    code = (
        "import re, sys; from squall.cli import main; code = main(sys.argv[1:]);"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]); sys.exit(code)"
    )
    arguments = ["enhance", str(source), "--model", str(model), "-o", str(output), "--threads", "1"]
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return 1024 * int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_memory_does_not_grow_with_the_file(tiny_enhancer: Path, tmp_path: Path) -> None:
    minute = np.random.default_rng(0).normal(0, 0.05, 60 * RATE_HZ).astype(np.float32)
    peaks = []
    for minutes in (1, 10):
        with soundfile.SoundFile(tmp_path / f"{minutes}.wav", "w", RATE_HZ, 1) as file:
            for _ in range(minutes):
                file.write(minute)
        peaks.append(_peak_bytes(tiny_enhancer, tmp_path / f"{minutes}.wav", tmp_path / "out"))
    # 9 minutes of one channel are 35 MB as 32-bit floats.
    assert peaks[1] - peaks[0] < 9e6
