"""Files to files: rates, channels, formats, clipping, and where results go."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from squall.audio.reading import AudioError
from squall.engine.tasks import open_experiment
from squall.enhance import audio_files as files
from squall.enhance.audio_files import EnhancementJob, enhance_file, plan_outputs
from squall.enhance.enhancer import Enhancer
from squall.enhance.settings import EnhancementConfig

RATE_HZ = 16000


@pytest.fixture(scope="module")
def enhancer(tiny_enhancer: Path) -> Enhancer:
    config = open_experiment(tiny_enhancer, EnhancementConfig).config
    return Enhancer.load(tiny_enhancer / "train" / "all", config)


@dataclass
class _Gain:
    """Stands in for an enhancer: multiplies, so that only what files do is seen."""

    factor: float = 1.0
    config = SimpleNamespace(remove_mean=False)

    def blocks(self, read: Any, length: int) -> Any:
        for start in range(0, length, 5000):
            with np.errstate(over="ignore"):
                yield read(start, min(start + 5000, length)) * np.float32(self.factor)


def _noise(length: int, channels: int = 1, *, level: float = 0.05) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((length, channels)) * level
    return np.round(noise * 32768) / 32768


def _enhanced(
    enhancer: Any, source: Path, target: Path | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    target = target or source.parent / "out" / source.name
    notes = enhance_file(enhancer, EnhancementJob(source, target))
    return soundfile.read(target, always_2d=True)[0], notes


def test_a_file_gives_what_its_samples_give(enhancer: Enhancer, tmp_path: Path) -> None:
    noisy = _noise(30000)
    soundfile.write(tmp_path / "a.wav", noisy, RATE_HZ)
    enhanced, notes = _enhanced(enhancer, tmp_path / "a.wav")
    expected = enhancer(noisy[:, 0].astype(np.float32))
    np.testing.assert_allclose(enhanced[:, 0], expected, atol=1 / 32768)
    assert notes == ()


def test_mp3_of_another_name_is_written_as_its_name_says(tmp_path: Path) -> None:
    source = tmp_path / "really_mp3.wav"
    soundfile.write(source, _noise(30000), RATE_HZ, format="MP3")
    _, notes = _enhanced(_Gain(), source)
    assert "written as WAV PCM_16, was MP3 MPEG_LAYER_III" in notes


def test_silence_stays_silent(enhancer: Enhancer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros((44100, 2)), 44100)
    assert not _enhanced(enhancer, tmp_path / "a.flac")[0].any()


@pytest.mark.parametrize("remove_mean", [False, True])
def test_an_offset_is_told_with_what_becomes_of_it(
    enhancer: Enhancer, tmp_path: Path, remove_mean: bool
) -> None:
    config = enhancer.config.model_copy(update={"remove_mean": remove_mean})
    enhancer = dataclasses.replace(enhancer, config=config)
    noisy = _noise(16000, 2) + np.array([0.0, 0.3])
    soundfile.write(tmp_path / "a.wav", noisy, RATE_HZ, subtype="FLOAT")
    _, notes = _enhanced(enhancer, tmp_path / "a.wav")
    done = "taken away" if remove_mean else "kept, as where this model was trained"
    assert notes[0].startswith("channel 2: a constant offset of 0.3, ")
    assert notes[0].endswith(f" times its spread, {done}")
    assert not any("channel 1" in note for note in notes)
    soundfile.write(tmp_path / "b.wav", noisy[:, 1], RATE_HZ, subtype="FLOAT")
    assert _enhanced(enhancer, tmp_path / "b.wav")[1][0].startswith("a constant offset of 0.3")


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100])
def test_each_channel_is_enhanced_on_its_own(
    enhancer: Enhancer, tmp_path: Path, rate_hz: int
) -> None:
    noisy = _noise(2 * rate_hz, 3) * [1.0, 0.01, 0.0]
    soundfile.write(tmp_path / "all.wav", noisy, rate_hz, subtype="FLOAT")
    together, notes = _enhanced(enhancer, tmp_path / "all.wav")
    assert "each of its 3 channels enhanced on its own" in notes
    for channel in range(3):
        soundfile.write(tmp_path / "one.wav", noisy[:, channel], rate_hz, subtype="FLOAT")
        alone, _ = _enhanced(enhancer, tmp_path / "one.wav")
        np.testing.assert_allclose(together[:, channel], alone[:, 0], atol=1e-7)
    assert together[:, 1].any()
    assert not together[:, 2].any()


@pytest.mark.parametrize("frames", [1, 2, 3, 160, 44101])
@pytest.mark.parametrize("rate_hz", [7999, 8000, 11025, 16000, 44100, 48000, 192000])
def test_the_number_of_frames_is_kept(
    enhancer: Enhancer, tmp_path: Path, rate_hz: int, frames: int
) -> None:
    soundfile.write(tmp_path / "a.wav", _noise(frames), rate_hz)
    enhanced, notes = _enhanced(enhancer if frames < 10 else _Gain(), tmp_path / "a.wav")
    assert enhanced.shape == (frames, 1)
    assert soundfile.info(tmp_path / "out" / "a.wav").samplerate == rate_hz
    assert any(f"resampled from {rate_hz} Hz to 16000 Hz" in note for note in notes) == (
        rate_hz != RATE_HZ
    )
    assert any("above 8000 Hz passes a gate" in note for note in notes) == (rate_hz > RATE_HZ)


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
def test_resampling_neither_shifts_nor_changes_what_lies_in_the_band(
    tmp_path: Path, rate_hz: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BLOCK_FRAMES", 7777)  # joints of blocks are to be in the signal
    noisy = soxr.resample(_noise(2 * 6000), 6000, rate_hz)
    soundfile.write(tmp_path / "a.wav", noisy, rate_hz, subtype="FLOAT")
    enhanced, _ = _enhanced(_Gain(), tmp_path / "a.wav")
    inner = slice(rate_hz // 10, -rate_hz // 10)
    np.testing.assert_allclose(enhanced[inner], noisy[inner], atol=1e-3 * np.abs(noisy).max())


@pytest.mark.parametrize("rate_hz", [22050, 44100, 48000])
def test_the_band_above_8_khz_goes_the_way_of_the_band_below_it(
    tmp_path: Path, rate_hz: int
) -> None:
    noisy = _noise(2 * rate_hz, 2)
    soundfile.write(tmp_path / "a.wav", noisy, rate_hz, subtype="FLOAT")
    inner = slice(rate_hz // 10, -rate_hz // 10)
    kept, notes = _enhanced(_Gain(), tmp_path / "a.wav")
    np.testing.assert_allclose(kept[inner], noisy[inner], atol=1e-3 * np.abs(noisy).max())
    assert any("what is above 8000 Hz passes a gate" in note for note in notes)
    for gain, expected in ((0.25, 0.25), (0.0, 0.0), (4.0, 1.0)):
        result, _ = _enhanced(_Gain(gain), tmp_path / "a.wav")
        above = [
            np.abs(np.fft.rfft(x[inner, 0] * np.hanning(len(x[inner]))))[
                round(0.9 * rate_hz / 2 * len(x[inner]) / rate_hz) :
            ]
            for x in (noisy, result)
        ]
        ratio = np.linalg.norm(above[1]) / np.linalg.norm(above[0])
        assert ratio == pytest.approx(expected, abs=0.02)


def test_the_gate_follows_what_the_model_leaves() -> None:
    gate, before = files._Gate(), _noise(3200)[:, 0]
    after = np.where(np.arange(3200) < 1600, before, 0.0).astype(np.float32)
    gain = np.concatenate([gate(before[:1600], after[:1600]), gate(before[1600:], after[1600:])])
    assert gain[0] < 0.1
    np.testing.assert_allclose(gain[160:1600], 1.0, atol=1e-3)
    assert np.all(np.diff(gain[1600:1760]) < 0)
    assert not gain[1761:].any()


def test_a_result_beyond_full_scale_is_scaled_as_a_whole(tmp_path: Path) -> None:
    noisy = np.clip(_noise(60000, 2, level=0.2), -0.999, 0.999)
    soundfile.write(tmp_path / "a.wav", noisy, RATE_HZ)
    noisy = soundfile.read(tmp_path / "a.wav")[0]
    enhanced, notes = _enhanced(_Gain(4.0), tmp_path / "a.wav")
    assert np.abs(enhanced).max() == pytest.approx(0.99, abs=1e-4)
    np.testing.assert_allclose(enhanced, noisy * (0.99 / np.abs(noisy).max()), atol=1e-4)
    (note,) = [note for note in notes if "scaled" in note]
    assert note.startswith(f"scaled by {20 * np.log10(0.99 / (4 * np.abs(noisy).max())):.2f} dB")


@pytest.mark.parametrize("amplitude", [1e-4, 1.0])
def test_quiet_and_full_scale_files_do_not_clip(
    enhancer: Enhancer, tmp_path: Path, amplitude: float
) -> None:
    square = amplitude * np.sign(np.sin(2 * np.pi * 997 * np.arange(32000) / RATE_HZ + 0.1))
    soundfile.write(tmp_path / "a.wav", square, RATE_HZ, subtype="PCM_24")
    expected = enhancer(soundfile.read(tmp_path / "a.wav", dtype="float32")[0])
    enhanced, notes = _enhanced(enhancer, tmp_path / "a.wav")
    scale = min(1.0, 0.99 / np.abs(expected).max()) if np.abs(expected).max() > 1 else 1.0
    np.testing.assert_allclose(enhanced[:, 0], expected * scale, atol=2e-7)
    assert any("scaled" in note for note in notes) == (scale < 1.0)


def test_a_sample_at_full_scale_is_no_reason_to_scale(tmp_path: Path) -> None:
    noisy = np.array([-32768, 32767, 0] * 1000, np.int16)
    soundfile.write(tmp_path / "a.wav", noisy, RATE_HZ)
    assert _enhanced(_Gain(), tmp_path / "a.wav")[1] == ()
    np.testing.assert_array_equal(
        soundfile.read(tmp_path / "out" / "a.wav", dtype="int16")[0], noisy
    )


def test_floats_keep_what_they_hold(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", _noise(1000), RATE_HZ, subtype="FLOAT")
    enhanced, notes = _enhanced(_Gain(1000.0), tmp_path / "a.wav")
    np.testing.assert_allclose(enhanced, 1000 * _noise(1000), rtol=1e-6)
    assert notes == ()


def test_samples_too_large_for_floats_are_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(1000, 1e38), RATE_HZ, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"a\.wav: its samples are too large"):
        _enhanced(_Gain(1e10), tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "format", "subtype", "written"),
    [
        ("a.wav", "WAV", "PCM_16", ("WAV", "PCM_16")),
        ("a.wav", "WAV", "PCM_24", ("WAV", "PCM_24")),
        ("a.wav", "WAV", "FLOAT", ("WAV", "FLOAT")),
        ("a.wav", "WAV", "PCM_U8", ("WAV", "PCM_16")),
        ("a.WAV", "WAV", "ULAW", ("WAV", "PCM_16")),
        ("a.WAV", "NIST", "PCM_16", ("WAV", "PCM_16")),
        ("a.sph", "NIST", "PCM_16", ("NIST", "PCM_16")),
        ("a.flac", "FLAC", "PCM_24", ("FLAC", "PCM_24")),
        ("a.ogg", "OGG", "VORBIS", ("OGG", "VORBIS")),
        ("a.opus", "OGG", "OPUS", ("OGG", "OPUS")),
        ("a.mp3", "MP3", "MPEG_LAYER_III", ("MP3", "MPEG_LAYER_III")),
        ("a.aiff", "AIFF", "PCM_16", ("AIFF", "PCM_16")),
        ("a.au", "AU", "PCM_16", ("AU", "PCM_16")),
        ("a.w64", "W64", "PCM_16", ("W64", "PCM_16")),
        ("a.wv1", "NIST", "PCM_16", ("FLAC", "PCM_16")),
        ("noext", "WAV", "PCM_16", ("FLAC", "PCM_16")),
    ],
)
def test_the_format_stays_where_it_can(
    tmp_path: Path, name: str, format: str, subtype: str, written: tuple[str, str]
) -> None:
    source = tmp_path / name
    soundfile.write(source, _noise(24000, 2), 24000, format=format, subtype=subtype)
    (job,) = plan_outputs([source], tmp_path / "out")
    assert job.target.name == (name if written[0] != "FLAC" else Path(name).stem + ".flac")
    notes = enhance_file(_Gain(), job)  # type: ignore[arg-type]
    info = soundfile.info(job.target)
    assert (info.format, info.subtype) == written
    assert (info.frames, info.channels, info.samplerate) == (24000, 2, 24000)
    changed = any(f"was {format} {subtype}" in note for note in notes)
    assert changed == (written != (format, subtype))


def test_a_wav_too_long_for_its_header_is_written_as_rf64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", _noise(1000), RATE_HZ)
    monkeypatch.setattr(files, "_LONGEST_WAV_BYTES", 1999)
    _, notes = _enhanced(_Gain(), tmp_path / "a.wav")
    assert soundfile.info(tmp_path / "out" / "a.wav").format == "RF64"
    assert notes == ("written as RF64 PCM_16, was WAV PCM_16",)


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels"),
    [("b.mp3", 96000, 1), ("b.opus", 44100, 1), ("b.flac", 16000, 9)],
)
def test_what_a_format_cannot_hold_is_said_before_the_work(
    tmp_path: Path, name: str, rate_hz: int, channels: int
) -> None:
    soundfile.write(tmp_path / "a.wav", _noise(1000, channels), rate_hz)
    with pytest.raises(AudioError, match=rf"{name}: .* cannot hold {channels} channel"):
        _enhanced(None, tmp_path / "a.wav", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_failure_leaves_the_old_result_and_no_rest(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", _noise(8000), RATE_HZ)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-2000])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.wav").write_text("old")
    with pytest.raises(AudioError, match=r"a\.wav: truncated"):
        _enhanced(_Gain(), tmp_path / "a.wav")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.wav"]
    assert (tmp_path / "out" / "a.wav").read_text() == "old"


@pytest.mark.slow
def test_progress_rises_to_one(enhancer: Enhancer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", _noise(45 * RATE_HZ), RATE_HZ)
    shares: list[float] = []
    job = EnhancementJob(tmp_path / "a.wav", tmp_path / "b.wav")
    enhance_file(enhancer, job, on_progress=shares.append)
    assert len(shares) >= 3
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    folder = tmp_path / "noisy"
    for name in ("a.wav", "inside/b.flac", "inside/deep/c.wv1"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def _planned(inputs: list[Path], output: Path) -> dict[str, str]:
    jobs = plan_outputs(inputs, output)
    return {
        job.source.name: os.path.relpath(job.target, output).replace(os.sep, "/") for job in jobs
    }


def test_paths_below_a_folder_are_kept(noisy: Path, tmp_path: Path) -> None:
    assert _planned([noisy], tmp_path / "out") == {
        "a.wav": "a.wav",
        "b.flac": "inside/b.flac",
        "c.wv1": "inside/deep/c.flac",
    }


def test_files_and_folders_go_together(noisy: Path, tmp_path: Path) -> None:
    planned = _planned([noisy / "a.wav", noisy / "inside"], tmp_path / "out")
    assert planned == {"a.wav": "a.wav", "b.flac": "b.flac", "c.wv1": "deep/c.flac"}


def test_a_single_file_can_become_a_named_one(noisy: Path, tmp_path: Path) -> None:
    (job,) = plan_outputs([noisy / "a.wav"], tmp_path / "x.flac")
    assert job.target == tmp_path / "x.flac"
    (tmp_path / "folder.wav").mkdir()
    (job,) = plan_outputs([noisy / "a.wav"], tmp_path / "folder.wav")
    assert job.target == tmp_path / "folder.wav" / "a.wav"


def test_results_of_an_earlier_run_are_no_inputs(noisy: Path) -> None:
    before = plan_outputs([noisy], noisy / "out")
    for job in before:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        job.target.write_text("enhanced")
    assert plan_outputs([noisy], noisy / "out") == before


@pytest.mark.parametrize("way", ["same folder", "same file", "link", "hard link", "linked folder"])
def test_an_input_is_never_overwritten(noisy: Path, tmp_path: Path, way: str) -> None:
    source, output = noisy / "a.wav", tmp_path / "out"
    output.mkdir()
    if way == "same folder":
        inputs, output = [noisy], tmp_path / "out" / ".." / "noisy"
    elif way == "same file":
        inputs, output = [source], source
    elif way == "link":
        (output / "a.wav").symlink_to(source)
        inputs = [source]
    elif way == "hard link":
        os.link(source, output / "a.wav")
        inputs = [source]
    else:
        (tmp_path / "link").symlink_to(noisy)
        inputs, output = [source], tmp_path / "link"
    with pytest.raises(ValueError, match=r"a\.wav is one of the inputs"):
        plan_outputs(inputs, output)
    assert source.read_text() == "a.wav"


def test_outputs_that_cannot_be_are_errors(noisy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.wav").touch()
    (noisy / "inside" / "b.sph").touch()
    (noisy / "inside" / "b.wv1").touch()
    (tmp_path / "notes.txt").touch()
    wav = noisy / "a.wav"
    for inputs, output, message in [
        ([wav, other / "a.wav"], "out", "would both become"),
        ([noisy], "out", r"b\.flac and .*b\.wv1 would both become .*b\.flac"),
        ([wav, noisy / "inside" / "b.flac"], "x.wav", "the input is not: give a folder"),
        ([noisy], "x.wav", "the input is not: give a folder"),
        ([wav], "notes.txt", "neither a folder nor an audio file"),
        ([wav], "x.wv1", r"no \.wv1 can be written; use one of \.wav"),
    ]:
        with pytest.raises(ValueError, match=message):
            plan_outputs(inputs, tmp_path / output)


def test_inputs_that_are_not_there_are_errors(noisy: Path, tmp_path: Path) -> None:
    (noisy / "empty").mkdir()
    for path, message in [("absent.wav", "no such file or folder"), ("empty", "no audio in this")]:
        with pytest.raises(FileNotFoundError, match=f"{path}: {message}"):
            plan_outputs([noisy / "a.wav", noisy / path], tmp_path / "out")
