"""Noise: recordings found by name, babble of equal voices, noise with the spectrum of speech."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from squall.audio.noise import load_noises, make_babble, make_speech_shaped_noise, read_noise
from squall.audio.reading import AudioError
from squall.corpora.librispeech import prepare_librispeech
from squall.corpora.manifest import read_utterance

RATE_HZ = 16000
Samples = NDArray[np.float32]


def _tone(hz: float, *, seconds: float = 0.5, level: float = 0.1) -> Samples:
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (level * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def _coloured(samples: int, *, pole: float, seed: int) -> Samples:
    """Noise that falls with frequency, through y[n] = x[n] + pole * y[n - 1]."""
    white = np.random.default_rng(seed).standard_normal(samples)
    filtered, last = np.zeros(samples), 0.0
    for n, x in enumerate(white):
        last = x + pole * last
        filtered[n] = last
    return (0.01 * filtered).astype(np.float32)


def _band_levels_db(signals: list[Samples]) -> NDArray[np.float64]:
    """Level of each third-octave band from 100 Hz to 6.3 kHz, by one transform of each signal."""
    centres = 1000 * 2.0 ** (np.arange(-10, 9) / 3)
    energies = np.zeros(len(centres))
    for signal in signals:
        power = np.abs(np.fft.rfft(np.asarray(signal, np.float64))) ** 2
        hz = np.fft.rfftfreq(len(signal), 1 / RATE_HZ)
        for k, centre in enumerate(centres):
            inside = (hz >= centre * 2 ** (-1 / 6)) & (hz < centre * 2 ** (1 / 6))
            energies[k] += power[inside].sum() / len(signal)
    levels: NDArray[np.float64] = 10 * np.log10(energies)
    return levels


def _differences_db(noise: Samples, speech: list[Samples]) -> NDArray[np.float64]:
    """How the bands differ, without the overall level, in which noise and speech are free."""
    difference = _band_levels_db([noise]) - _band_levels_db(speech)
    return np.asarray(difference - np.median(difference))


@pytest.fixture
def noises(tmp_path: Path) -> Path:
    for name, rate_hz in (("rain.wav", 44100), ("wind.FLAC", 16000), ("sea.ogg", 16000)):
        path = tmp_path / name
        samples = np.random.default_rng(0).uniform(-0.5, 0.5, rate_hz // 2)
        soundfile.write(path, samples, rate_hz, format=path.suffix[1:].upper())
    (tmp_path / "INDEX.tsv").write_text("name\n")
    (tmp_path / "._rain.wav").write_text("what a Mac leaves behind")
    (tmp_path / "more.wav").mkdir()
    return tmp_path


def test_noises_are_found_by_name(noises: Path) -> None:
    assert load_noises(noises) == {
        "rain": noises / "rain.wav",
        "sea": noises / "sea.ogg",
        "wind": noises / "wind.FLAC",
    }
    assert list(load_noises(noises, ["wind", "rain"])) == ["wind", "rain"]


def test_recordings_of_several_folders_have_different_names(noises: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "brook.wav").write_bytes((noises / "rain.wav").read_bytes())
    found = load_noises([noises, other], ["brook", "rain"])
    assert found == {"brook": other / "brook.wav", "rain": noises / "rain.wav"}
    (other / "rain.wav").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"other/rain.wav and .*/rain.wav are both the noise 'rain'"
    ):
        load_noises([noises, other])
    with pytest.raises(FileNotFoundError, match="absent: there is no such folder"):
        load_noises([noises, tmp_path / "absent"])


def test_a_missing_noise_lists_those_there_are(noises: Path) -> None:
    with pytest.raises(ValueError, match="no noise babble, ran; there are rain, sea, wind"):
        load_noises(noises, ["babble", "sea", "ran"])
    with pytest.raises(ValueError, match=r"no noise is asked for; .* has rain, sea, wind"):
        load_noises(noises, [])


def test_two_files_of_one_name(noises: Path) -> None:
    soundfile.write(noises / "rain.flac", np.ones(10), 16000)
    with pytest.raises(ValueError, match=r"rain\.wav and rain\.flac are both the noise 'rain'"):
        load_noises(noises)


def test_a_folder_without_recordings(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no recording in it"):
        load_noises(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder of noise"):
        load_noises(tmp_path / "absent")


def test_recordings_that_have_to_be_converted_are_named(tmp_path: Path) -> None:
    (tmp_path / "rain.m4a").touch()
    with pytest.raises(FileNotFoundError, match=r"Not read: 1 \.m4a\. .*ffmpeg -i .*rain\.m4a"):
        load_noises(tmp_path)
    soundfile.write(tmp_path / "sea.wav", np.ones(10), 16000)
    with pytest.raises(ValueError, match=r"no noise rain; there are sea\. Not read: 1 \.m4a"):
        load_noises(tmp_path, ["rain"])


def test_a_noise_whose_channels_cancel_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 1600)
    soundfile.write(tmp_path / "sea.wav", np.stack([noise, -0.95 * noise], axis=1), 16000)
    read_noise(tmp_path / "sea.wav")
    assert "sea.wav: its channels cancel" in caplog.text


def test_noises_are_read_at_16_khz(noises: Path) -> None:
    for path in load_noises(noises).values():
        samples = read_noise(path)
        assert samples.dtype == np.float32
        assert len(samples) == pytest.approx(8000, abs=2)


def test_silent_and_broken_recordings_are_named(noises: Path) -> None:
    soundfile.write(noises / "rain.wav", np.zeros(1600), 16000)
    with pytest.raises(AudioError, match=r"rain\.wav is silent"):
        read_noise(noises / "rain.wav")
    soundfile.write(noises / "rain.wav", np.full(1600, 0.25), 16000)
    with pytest.raises(AudioError, match=r"rain\.wav is silent: every sample is 0\.25"):
        read_noise(noises / "rain.wav")
    (noises / "rain.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"rain\.wav"):
        read_noise(noises / "rain.wav")


TONES = [(200.0, 0.9), (500.0, 0.01), (1100.0, 0.1)]


def _level(samples: Samples, hz: float) -> float:
    return float(np.abs(np.fft.rfft(samples)[round(hz * len(samples) / RATE_HZ)]))


def test_the_talkers_of_babble_are_equally_loud() -> None:
    talkers = [[_tone(hz, level=level)] * 3 for hz, level in TONES]
    babble = make_babble(talkers, duration_s=4.0, seed=0)
    assert (babble.shape, babble.dtype) == ((64000,), np.float32)
    assert np.abs(babble).max() == pytest.approx(0.5)
    levels = [_level(babble, hz) for hz, _ in TONES]
    assert max(levels) / min(levels) < 1.1  # the joins of the tones are clicks


def test_offsets_of_the_speech_change_neither_babble_nor_its_spectrum() -> None:
    talkers = [[_tone(hz, level=level)] * 3 for hz, level in TONES]
    offsets = np.float32([0.5, -0.2, 0.0])
    shifted = [[u + offset for u in one] for one, offset in zip(talkers, offsets, strict=True)]
    for make in (
        lambda speech, **how: make_babble(speech, duration_s=4.0, seed=0, **how),
        lambda speech, **how: make_speech_shaped_noise(
            [utterance for one in speech for utterance in one], duration_s=4.0, seed=0, **how
        ),
    ):
        plain = make(talkers)
        np.testing.assert_allclose(make(shifted), plain, atol=1e-4)
        assert np.abs(make(shifted, remove_mean=False) - plain).max() > 0.05


def test_a_talker_says_every_utterance_before_one_again() -> None:
    steps = [np.full(100, value, np.float32) for value in (1.0, 2.0, 4.0)]
    constant = [np.full(50, 1.0, np.float32)]
    orders, starts, repeated = set(), set(), 0
    for seed in range(30):
        babble = make_babble(
            [steps, constant], duration_s=1000 / RATE_HZ, seed=seed, remove_mean=False
        )
        # The other talker adds a constant, so the stretches of equal values are the utterances.
        edges = [0, *np.flatnonzero(np.abs(np.diff(babble)) > 1e-6) + 1, 1000]
        first = edges[1]
        said = np.round(babble[[0, *range(first, 1000, 100)]], 4).tolist()
        ranks = [sorted(set(said)).index(value) for value in said]
        assert {edge % 100 for edge in edges[1:-1]} == {first % 100}
        # Rounds of three, each in an order of its own; the first utterance begins in its middle.
        assert all(sorted(ranks[k : k + 3]) == [0, 1, 2] for k in (0, 3, 6))
        orders.add(tuple(ranks[:3]))
        starts.add(first)
        repeated += ranks[:3] == ranks[3:6]
    assert len(orders) == 6
    assert len(starts) > 10
    assert repeated < 15
    assert all(1 <= start <= 100 for start in starts)


def test_babble_is_seeded_and_a_voice_is_its_own() -> None:
    rng = np.random.default_rng(0)
    talkers = [[rng.standard_normal(400).astype(np.float32) for _ in range(9)] for _ in range(4)]
    settings = {"duration_s": 0.5, "seed": 3}
    babble = make_babble(talkers, **settings)
    assert babble.tobytes() == make_babble(talkers, **settings).tobytes()
    assert not np.array_equal(babble, make_babble(talkers, duration_s=0.5, seed=4))
    # A voice taken away takes its part and nothing else: three voices are left of the four.
    fewer = make_babble(talkers[:3], **settings)
    others = np.stack([babble, fewer]).astype(np.float64)
    residual = others[0] / np.std(others[0]) * 2 - others[1] / np.std(others[1]) * np.sqrt(3)
    assert np.std(residual) == pytest.approx(1.0, abs=0.1)


_TALKER = [_tone(300.0)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"talkers": [_TALKER]}, "at least 2 talkers, there is 1"),
        ({"talkers": []}, "at least 2 talkers, there is 0"),
        ({"talkers": [_TALKER, []]}, "talker 1 of 2 .* has no utterance"),
        ({"talkers": [_TALKER, [np.zeros(99, np.float32)]]}, "talker 1 of 2 .* is silent"),
        ({"talkers": [[np.array([np.nan])], _TALKER]}, "talker 0 .* utterance 0 .* not finite"),
        ({"talkers": [_TALKER, [np.zeros(0, np.float32)]]}, r"talker 1 .* shape \(0,\)"),
        ({"duration_s": 0.0}, "duration_s is 0"),
        ({"duration_s": -1.0}, "duration_s is -1"),
        ({"duration_s": float("inf")}, "duration_s is inf"),
    ],
)
def test_what_makes_no_babble_is_named(change: dict[str, Any], reason: str) -> None:
    settings: dict[str, Any] = {"talkers": [_TALKER, _TALKER], "duration_s": 1.0, "seed": 0}
    settings.update(change)
    with pytest.raises(ValueError, match=reason):
        make_babble(settings.pop("talkers"), **settings)


@pytest.mark.parametrize("pole", [0.95, -0.7])
def test_speech_shaped_noise_has_the_spectrum_of_the_speech(pole: float) -> None:
    speech = [_coloured(30000, pole=pole, seed=seed) for seed in range(4)]
    noise = make_speech_shaped_noise(speech, duration_s=10.0, seed=0)
    assert (noise.shape, noise.dtype) == ((160000,), np.float32)
    assert np.abs(noise).max() == pytest.approx(0.5)
    assert np.abs(_differences_db(noise, speech)).max() < 2


def test_longer_utterances_count_for_more() -> None:
    long, short = _coloured(48000, pole=0.95, seed=0), _coloured(900, pole=-0.7, seed=1)
    noise = make_speech_shaped_noise([short, long], duration_s=10.0, seed=0)
    assert np.abs(_differences_db(noise, [long])).max() < 2


def test_speech_shaped_noise_is_gaussian_and_seeded() -> None:
    speech = [_coloured(16000, pole=0.5, seed=0)]
    noise = make_speech_shaped_noise(speech, duration_s=10.0, seed=1)
    assert noise.tobytes() == make_speech_shaped_noise(speech, duration_s=10.0, seed=1).tobytes()
    assert not np.array_equal(noise, make_speech_shaped_noise(speech, duration_s=10.0, seed=2))
    kurtosis = np.mean(noise.astype(np.float64) ** 4) / np.mean(noise.astype(np.float64) ** 2) ** 2
    assert kurtosis == pytest.approx(3.0, abs=0.1)


def test_a_short_noise_is_the_beginning_of_a_longer_one() -> None:
    speech = [_coloured(16000, pole=0.95, seed=0)]
    second = make_speech_shaped_noise(speech, duration_s=1.0, seed=1)
    for samples in (1, 160, 9000):
        noise = make_speech_shaped_noise(speech, duration_s=samples / RATE_HZ, seed=1)
        start = second[:samples]
        np.testing.assert_allclose(noise, start * (0.5 / np.abs(start).max()), rtol=1e-5)


@pytest.mark.parametrize(
    ("speech", "reason"),
    [
        ([], "the speech has no utterance"),
        ([np.zeros(9000, np.float32)], "the speech is silent"),
        ([np.full(10, np.inf)], "utterance 0 has samples that are not finite"),
        ([np.zeros((10, 2))], r"utterance 0 has shape \(10, 2\)"),
    ],
)
def test_what_makes_no_speech_shaped_noise_is_named(speech: list[Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make_speech_shaped_noise(speech, duration_s=1.0, seed=0)


@pytest.mark.slow
@pytest.mark.corpus
def test_noise_shaped_by_real_speech(real_data: Path) -> None:
    utterances = prepare_librispeech(real_data / "librispeech-sample")["dev"]
    speech = [read_utterance(u, sample_rate_hz=RATE_HZ).samples for u in utterances]
    noise = make_speech_shaped_noise(speech, duration_s=30.0, seed=0)
    assert np.abs(_differences_db(noise, speech)).max() < 2
    babble = make_babble([[samples] for samples in speech], duration_s=30.0, seed=0)
    assert np.isfinite(babble).all()
    assert len(babble) == 480000


@pytest.mark.corpus
def test_real_noises(real_data: Path) -> None:
    found = load_noises(real_data / "noise" / "audio")
    assert len(found) == 14
    assert {"rain", "coffee-shop", "typing"} <= found.keys()
    assert all(len(read_noise(path)) > 11 * RATE_HZ for path in found.values())
