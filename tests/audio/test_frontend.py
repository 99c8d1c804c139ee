"""Front ends: what both promise, how speech survives the round trip, what ideal masks do."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.audio import frontend
from squall.audio.frames import frame_count
from squall.audio.frontend import FrontEnd, GammatoneFrontEnd, StftFrontEnd, build_front_end
from squall.audio.masks import ideal_binary_mask, ideal_ratio_mask

FRONT_ENDS: dict[str, FrontEnd] = {
    "gammatone": GammatoneFrontEnd(),
    "stft": StftFrontEnd(),
    "stft-512": StftFrontEnd(n_fft=512),
    "stft-8k": StftFrontEnd(sample_rate_hz=8000),
    "gammatone-8k": GammatoneFrontEnd(20, 80.0, 3500.0, 8000),
}
each_front_end = pytest.mark.parametrize("front_end", FRONT_ENDS.values(), ids=FRONT_ENDS)
LENGTHS = [1, 159, 160, 161, 319, 320, 321, 4801, 16_000]


def _noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def _mask(front_end: FrontEnd, samples: int, seed: int | None = None) -> np.ndarray:
    """A mask of ones, or one drawn at random."""
    shape = (frame_count(samples, front_end.sample_rate_hz), front_end.channels)
    if seed is None:
        return np.ones(shape, np.float32)
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


@each_front_end
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40_000), st.integers(0, 99))
def test_shapes_for_any_length(front_end: FrontEnd, samples: int, seed: int) -> None:
    signal = _noise(samples, seed)
    energies = front_end.energies(signal)
    assert energies.shape == _mask(front_end, samples).shape
    assert energies.dtype == np.float32
    assert (energies >= 0).all()
    masked = front_end.apply_mask(signal, _mask(front_end, samples, seed))
    assert masked.shape == (samples,)
    assert masked.dtype == np.float32
    assert np.isfinite(masked).all()


@each_front_end
@pytest.mark.parametrize("samples", [1, 321, 40_000])
def test_a_mask_of_zeros_gives_silence(front_end: FrontEnd, samples: int) -> None:
    masked = front_end.apply_mask(_noise(samples), 0 * _mask(front_end, samples))
    np.testing.assert_array_equal(masked, np.zeros(samples, np.float32))


@each_front_end
def test_silence_has_no_energy_and_stays_silent(front_end: FrontEnd) -> None:
    silence = np.zeros(20_000, np.float32)
    assert not front_end.energies(silence).any()
    assert not front_end.apply_mask(silence, _mask(front_end, 20_000, 1)).any()


@each_front_end
def test_masked_signals_add_up(front_end: FrontEnd) -> None:
    signal, mask = _noise(20_001), _mask(front_end, 20_001, 1)
    both = front_end.apply_mask(signal, mask) + front_end.apply_mask(signal, 1 - mask)
    whole = front_end.apply_mask(signal, _mask(front_end, 20_001))
    np.testing.assert_allclose(both, whole, atol=1e-5)


@each_front_end
def test_arguments_stay_as_they_are(front_end: FrontEnd) -> None:
    signal, mask = _noise(1000), _mask(front_end, 1000, 1)
    kept = signal.copy(), mask.copy()
    front_end.energies(signal)
    front_end.apply_mask(signal, mask)
    np.testing.assert_array_equal(signal, kept[0])
    np.testing.assert_array_equal(mask, kept[1])


@each_front_end
def test_a_tone_is_in_one_channel_and_a_mask_takes_it_out(front_end: FrontEnd) -> None:
    """Frame and channel of mask and energies mean the same."""
    seconds = np.arange(front_end.sample_rate_hz) / front_end.sample_rate_hz
    tone = np.sin(2 * np.pi * 1000 * seconds).astype(np.float32)
    tone[: len(tone) // 2] = 0
    energies = front_end.energies(tone)
    frames, channel = len(energies), int(energies.sum(axis=0).argmax())
    assert energies[: frames // 2 - 5].max() < 1e-4 * energies.max()
    assert energies[frames // 2 + 5 :].max(axis=1).min() > 0.5 * energies.max()
    without = _mask(front_end, len(tone))
    without[frames // 2 - 5 :, max(0, channel - 12) : channel + 13] = 0
    masked = front_end.apply_mask(tone, without)
    assert np.sum(masked**2) < 0.01 * np.sum(tone**2)
    without[:] = 1
    without[: frames // 2 - 5] = 0
    np.testing.assert_allclose(front_end.apply_mask(tone, without)[:-400], tone[:-400], atol=0.05)


@each_front_end
@pytest.mark.parametrize("hops", [0, 7, 137])
def test_a_block_with_margins_equals_the_whole(front_end: FrontEnd, hops: int) -> None:
    hop, margin = front_end.sample_rate_hz // 100, front_end.margin_samples
    assert margin % hop == 0
    signal = _noise(40_003)
    mask = _mask(front_end, 40_003, 1)
    start, stop = hops * hop, (hops + 60) * hop
    before = min(margin, start)
    block = signal[start - before : stop + margin]
    first = (start - before) // hop
    whole = front_end.energies(signal)[hops : hops + 59]
    part = front_end.energies(block)[before // hop :][:59]
    np.testing.assert_allclose(part, whole, atol=1e-4 * whole.max())
    part_mask = mask[first : first + frame_count(len(block), front_end.sample_rate_hz)]
    masked = front_end.apply_mask(block, part_mask)[before:][: stop - start]
    expected = front_end.apply_mask(signal, mask)[start:stop]
    np.testing.assert_allclose(masked, expected, atol=1e-4 * np.abs(expected).max())


@each_front_end
@pytest.mark.parametrize(
    ("signal", "message"),
    [([], "empty"), ([0.0, np.nan], "sample 1 of the signal is nan"), ([[0.0]], "one channel")],
)
def test_what_is_no_signal_is_refused(
    front_end: FrontEnd, signal: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        front_end.energies(np.array(signal, np.float32))
    with pytest.raises(ValueError, match=message):
        front_end.apply_mask(np.array(signal, np.float32), _mask(front_end, 1))


@each_front_end
def test_a_mask_of_another_shape_is_refused(front_end: FrontEnd) -> None:
    mask = _mask(front_end, 16_000)
    needed = rf"\({len(_mask(front_end, 900))}, {front_end.channels}\)"
    for wrong in (mask, mask[:2, 0], mask[:5, :-1], mask[:, None]):
        given_shape = str(wrong.shape).replace("(", r"\(").replace(")", r"\)")
        with pytest.raises(ValueError, match=f"{given_shape}.*{needed}"):
            front_end.apply_mask(_noise(900), wrong)


@each_front_end
@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan, np.inf])
def test_a_mask_outside_0_to_1_is_refused(front_end: FrontEnd, value: float) -> None:
    mask = _mask(front_end, 900)
    mask[3, 2] = value
    with pytest.raises(ValueError, match=f"is {value:.4g}.* in frame 3, channel 2"):
        front_end.apply_mask(_noise(900), mask)


@pytest.mark.parametrize("n_fft", [None, 321, 512])
@pytest.mark.parametrize("samples", LENGTHS)
def test_stft_gives_the_signal_back(samples: int, n_fft: int | None) -> None:
    front_end, signal = StftFrontEnd(n_fft=n_fft), _noise(samples)
    back = front_end.apply_mask(signal, _mask(front_end, samples))
    np.testing.assert_allclose(back, signal, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_fft", [320, 512])
def test_stft_energies_by_definition(n_fft: int) -> None:
    front_end, signal = StftFrontEnd(n_fft=n_fft), _noise(801)
    padded = np.concatenate([signal, np.zeros(400)])
    window = np.sqrt((1 - np.cos(2 * np.pi * (np.arange(320) + 0.5) / 320)) / 2)
    n = np.arange(320)
    for t in range(frame_count(801)):
        for channel in (0, 1, 77, n_fft // 2):
            turned = np.exp(-2j * np.pi * channel * n / n_fft)
            expected = abs(np.sum(padded[t * 160 :][:320] * window * turned)) ** 2
            energy = front_end.energies(signal)[t, channel]
            assert energy == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_stft_mask_makes_no_click_at_the_ends() -> None:
    front_end, signal = StftFrontEnd(), _noise(4800)
    masked = front_end.apply_mask(signal, _mask(front_end, 4800, 1))
    assert np.abs(masked).max() < 1.2 * np.abs(signal).max()


def test_front_ends_by_name() -> None:
    assert build_front_end("gammatone", channels=32) == GammatoneFrontEnd(channels=32)
    assert build_front_end("stft").channels == 161


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("gamma", {}, "'gamma'.*gammatone, stft"),
        ("stft", {"chanels": 3}, "'chanels'.*n_fft, sample_rate_hz"),
        ("gammatone", {"chanels": 3}, "did you mean 'channels'"),
        ("gammatone", {"window": "hann"}, "raised_cosine or rectangular"),
        ("gammatone", {"high_hz": 9000.0}, "9000.0"),
        ("stft", {"n_fft": 256}, "256; a frame has 320"),
        ("stft", {"sample_rate_hz": 11_025}, "multiple of 100"),
    ],
)
def test_what_cannot_be_built_is_explained(
    name: str, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_front_end(name, **parameters)


def _speech(real_data: Path) -> list[np.ndarray]:
    files = ["dr1-fvmh0/si1466.wav", "dr4-falr0/sx335.wav", "dr7-madd0/sx88.wav"]
    return [soundfile.read(real_data / "timit-nltk" / f, dtype="float32")[0] for f in files]


def _snr_above_50_hz_db(reference: np.ndarray, estimate: np.ndarray) -> float:
    """One of these recordings has more below 50 Hz than the gammatone channels may lose."""
    above = np.fft.rfftfreq(len(reference), 1 / 16000) >= 50
    kept, lost = (np.fft.rfft(signal)[above] for signal in (reference, estimate - reference))
    ratio = np.sum(np.abs(kept) ** 2) / np.sum(np.abs(lost) ** 2)
    return float(10 * np.log10(ratio))


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["gammatone", "stft"])
def test_speech_survives_the_round_trip(name: str, real_data: Path) -> None:
    stoi = pytest.importorskip("pystoi").stoi
    front_end = build_front_end(name)
    for speech in _speech(real_data):
        back = front_end.apply_mask(speech, _mask(front_end, len(speech)))
        assert stoi(speech, back, 16000) > 0.999
        assert _snr_above_50_hz_db(speech, back) > 60


@pytest.mark.slow
@pytest.mark.corpus
@pytest.mark.parametrize("name", ["gammatone", "stft"])
@pytest.mark.parametrize("noise", ["white", "coffee-shop"])
def test_ideal_masks_make_noisy_speech_intelligible(noise: str, name: str, real_data: Path) -> None:
    stoi = pytest.importorskip("pystoi").stoi
    front_end = build_front_end(name)
    scores = []
    for speech in _speech(real_data):
        added = _noise(len(speech))
        if noise != "white":
            file = real_data / "noise" / "audio" / f"{noise}.flac"
            added = soundfile.read(file, frames=len(speech), dtype="float32")[0]
        added *= np.sqrt(np.sum(speech**2) / np.sum(added**2))  # 0 dB
        S, N = front_end.energies(speech), front_end.energies(added)
        ratio = ideal_ratio_mask(speech=S, noise=N)
        binary = ideal_binary_mask(speech=S, noise=N, local_criterion_db=-5.0)
        heard = [speech + added]
        heard += [front_end.apply_mask(speech + added, mask) for mask in (ratio, binary)]
        scores.append([stoi(speech, signal, 16000) for signal in heard])
    noisy, with_ratio, with_binary = np.mean(scores, axis=0)
    assert noisy < 0.8
    assert with_ratio > noisy + 0.2
    assert noisy + 0.1 < with_binary < with_ratio


def test_examples() -> None:
    assert doctest.testmod(frontend).failed == 0
