"""Every off-the-shelf enhancer: length, time, memory, levels, bad input, what is known of it."""

from __future__ import annotations

import ctypes
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

import tiny_enhancement
from squall.enhance.estimators.registry import ESTIMATORS
from squall.enhance.peers import peer as peers_of
from squall.enhance.peers.peer import Enhance, PeerError
from squall.enhance.peers.registry import PEERS, open_peer
from squall.scoring.delay import find_lag
from squall.scoring.speech_quality import score_si_sdr, score_stoi

Samples = NDArray[np.float32]
ROOT = Path(__file__).parents[3]


def _own(name: str) -> Enhance:
    """An enhancer at its own rate."""
    module, _, function = PEERS[name].path.partition(":")
    found: Enhance = getattr(import_module(module), function)()
    return found


@pytest.fixture(params=PEERS)
def name(request: pytest.FixtureRequest) -> str:
    if missing := PEERS[request.param].missing:
        pytest.skip(missing)
    return str(request.param)


@pytest.fixture(scope="module")
def speech() -> Samples:
    return tiny_enhancement.speech(1.0, seed=1)


@pytest.mark.parametrize("length", [1, 2, 160, 161, 1000])
def test_as_many_samples_come_out_as_go_in(name: str, length: int) -> None:
    enhanced = open_peer(name)(np.full(length, 0.1, np.float32))
    assert enhanced.shape == (length,)
    assert enhanced.dtype == np.float32


def test_silence_stays_silence(name: str) -> None:
    assert np.abs(open_peer(name)(np.zeros(8000, np.float32))).max() < 1e-4


@pytest.mark.slow
def test_no_signal_changes_the_next(name: str, speech: Samples) -> None:
    enhance = open_peer(name)
    first = enhance(speech)
    enhance(speech[::-1].copy())
    np.testing.assert_array_equal(enhance(speech), first)
    np.testing.assert_array_equal(open_peer(name)(speech), first)


def test_the_samples_given_are_left_alone(name: str, speech: Samples) -> None:
    given = speech.copy()
    open_peer(name)(given)
    np.testing.assert_array_equal(given, speech)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array([0.1, np.nan, 0.2], np.float32), "sample 1 of the signal is nan"),
        (np.array([], np.float32), "the signal is empty"),
        (np.zeros((2, 5), np.float32), r"shape \(2, 5\)"),
    ],
)
def test_bad_samples_are_named(name: str, samples: Samples, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_peer(name)(samples)


@pytest.mark.slow
def test_what_comes_out_is_in_step(name: str, speech: Samples) -> None:
    """To the sample, at its own rate too; corpus recordings have a test of their own."""
    enhanced = open_peer(name)(speech)
    assert find_lag(reference=speech, estimate=enhanced, max_lag_samples=800) == 0
    assert _best_lag(speech, enhanced, 20) == 0
    at_own_rate = soxr.resample(speech, 16000, PEERS[name].sample_rate_hz)
    assert _best_lag(at_own_rate, _own(name)(at_own_rate), 20) == 0


def _best_lag(reference: Samples, estimate: Samples, largest: int) -> int:
    inner = reference[largest:-largest]
    lags = range(-largest, largest + 1)
    products = [float(inner @ estimate[largest + lag : largest + lag + len(inner)]) for lag in lags]
    return lags[int(np.argmax(products))]


@pytest.mark.slow
def test_nothing_is_needed_of_the_signal_beyond_the_latency(name: str) -> None:
    """And all of it is, where a frame has just begun."""
    peer, frame = PEERS[name], {48000: 480, 16000: 256}[PEERS[name].sample_rate_hz]
    latency = round(peer.latency_ms * peer.sample_rate_hz / 1000)
    random = np.random.default_rng(0)
    samples = (0.1 * random.standard_normal(40 * frame)).astype(np.float32)
    changed = samples.copy()
    change = 30 * frame - 1  # the last sample of a frame, which its first has to wait for
    changed[change:] = (0.3 * random.standard_normal(10 * frame + 1)).astype(np.float32)
    one, two = _own(name)(samples), _own(name)(changed)
    first = int(np.flatnonzero(one != two)[0])
    assert change - latency < first < change - latency + frame // 4


@pytest.mark.slow
def test_the_tail_is_not_lost(name: str) -> None:
    """A signal that ends within a frame, loud to its last sample."""
    time_s = np.arange(16000 + 77) / 16000
    tone = (0.3 * np.sin(2 * np.pi * 200 * time_s) * (1 + 0.5 * np.sin(9 * time_s))).astype(
        np.float32
    )
    longer = np.concatenate([tone, np.zeros(4000, np.float32)])
    enhance = open_peer(name)
    # In the last 10 ms the resampler's filter sees the end.
    end = slice(len(tone) - 1600, len(tone) - 160)
    np.testing.assert_allclose(enhance(tone)[end], enhance(longer)[end], atol=1e-3)


@pytest.mark.slow
def test_levels_beyond_full_scale_do_not_wrap_around(name: str, speech: Samples) -> None:
    loud = 8 * speech / np.abs(speech).max()
    enhanced = open_peer(name)(loud)
    jumps = np.abs(np.diff(enhanced)).max()
    assert jumps <= 1.5 * np.abs(np.diff(loud)).max()
    assert find_lag(reference=loud, estimate=enhanced, max_lag_samples=100) == 0


@pytest.mark.corpus
@pytest.mark.slow
def test_real_speech_comes_out_in_step_and_with_less_noise(name: str, real_data: Path) -> None:
    path = sorted((real_data / "librispeech-sample").rglob("*.flac"))[0]
    speech = soundfile.read(path, dtype="float32")[0][:64000]
    enhance = open_peer(name)
    quiet = enhance(speech)
    assert find_lag(reference=speech, estimate=quiet, max_lag_samples=800) == 0
    assert _best_lag(speech, quiet, 20) == 0
    noise = soundfile.read(real_data / "noise" / "audio" / "rain.flac", dtype="float32")[0]
    noise = noise.reshape(len(noise), -1)[:64000, 0]
    noisy = speech + noise * np.float32(np.sqrt((speech**2).mean() / (noise**2).mean()))
    scores = {
        score: [
            score(reference=speech, estimate=estimate).value for estimate in (noisy, enhance(noisy))
        ]
        for score in (score_si_sdr, score_stoi)
    }
    assert scores[score_si_sdr][1] > scores[score_si_sdr][0] + 3
    assert scores[score_stoi][1] > scores[score_stoi][0] - 0.03


def test_every_one_is_an_estimator_of_the_recipes() -> None:
    assert {name for name, entry in ESTIMATORS.items() if entry.peer} == set(PEERS)
    assert not any("-" in name for name in PEERS)


def test_versions_are_those_of_the_extra() -> None:
    """GTCRN's package is not in it, because of what it would bring."""
    project = (ROOT / "pyproject.toml").read_text()
    for name, peer in PEERS.items():
        for package in peer.packages[:1]:
            pinned = f"{package}=={peer.version}"
            assert pinned in peer.install
            assert (f'"{pinned}",' in project) == (name != "gtcrn")


def test_the_parameters_of_rnnoise_are_those_in_its_library() -> None:
    lib = pytest.importorskip("pyrnnoise.rnnoise").lib

    class Array(ctypes.Structure):
        _fields_ = (
            ("name", ctypes.c_char_p),
            ("type", ctypes.c_int),
            ("size", ctypes.c_int),
            ("data", ctypes.c_void_p),
        )

    count = 0
    for array in (Array * 200).in_dll(lib, "rnnoise_arrays"):
        if not array.name:
            break
        if array.name.endswith((b"_weights_float", b"_bias")):
            count += array.size // ctypes.sizeof(ctypes.c_float)
    assert count == PEERS["rnnoise"].parameters


def test_one_that_is_not_installed_says_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_of, "find_version", lambda distribution: None)
    assert PEERS["rnnoise"].missing == "not installed: pip install pyrnnoise==0.4.5"
    with pytest.raises(PeerError, match=r"^not installed: pip install .*--no-deps fasr-enh"):
        open_peer("gtcrn")
    open_peer("logmmse")


def test_one_that_cannot_be_loaded_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_of, "find_version", lambda distribution: "1.0")
    monkeypatch.setitem(__import__("sys").modules, "pyrnnoise.rnnoise", None)
    with pytest.raises(PeerError, match=r"rnnoise cannot be loaded: .*pyrnnoise.*; try pip inst"):
        open_peer("rnnoise")
