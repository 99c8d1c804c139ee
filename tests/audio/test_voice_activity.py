"""Detectors of speech: what they find in recordings whose speech is known."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from squall.audio.voice_activity import (
    FRAME_SAMPLES,
    EnergyActivity,
    SileroActivity,
    VoiceActivity,
    build_voice_activity,
    frame_levels_db,
)
from squall.corpora.demo.corpus import prepare_demo
from squall.corpora.manifest import read_utterance

SILERO = pytest.param(
    "silero",
    marks=pytest.mark.skipif(not find_spec("silero_vad"), reason="needs squall[vad]"),
)
BLOCK = 960


def _found(activity: VoiceActivity, samples: np.ndarray, block: int = BLOCK) -> np.ndarray:
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    activity.reset()
    parts = [activity(frames[at : at + block]) for at in range(0, len(frames), block)]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def spoken(demo_corpus: Path) -> tuple[np.ndarray, np.ndarray]:
    """Half a minute of utterances in faint noise, (N,), and where there is speech, (N,)."""
    rng = np.random.default_rng(0)
    samples: list[np.ndarray] = []
    truth: list[np.ndarray] = []
    for utterance in prepare_demo(demo_corpus)["train"][:8]:
        audio = read_utterance(utterance, sample_rate_hz=16000).samples
        is_speech = np.zeros(len(audio), bool)
        for phone in utterance.phones or ():
            if phone.label != "h#":
                is_speech[round(phone.start_s * 16000) : round(phone.end_s * 16000)] = True
        samples += [audio, np.zeros(20000, np.float32)]
        truth += [is_speech, np.zeros(20000, bool)]
    noise = 6e-3 * rng.standard_normal(sum(map(len, samples)))  # louder than that of the corpus
    return (np.concatenate(samples) + noise).astype(np.float32), np.concatenate(truth)


@pytest.mark.parametrize("name", ["energy", SILERO])
def test_speech_is_told_from_the_pauses(spoken: tuple[np.ndarray, np.ndarray], name: str) -> None:
    samples, truth = spoken
    found = _found(build_voice_activity(name), samples)
    share = truth[: len(found) * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES).mean(axis=1)
    assert found[share == 1].mean() > 0.85
    assert found[share == 0].mean() < 0.15


@pytest.mark.parametrize("name", ["energy", SILERO])
@pytest.mark.parametrize("level", [0.0, 1e-3, 0.1])
def test_steady_noise_is_no_speech(name: str, level: float) -> None:
    noise = level * np.random.default_rng(0).standard_normal(20 * 16000)
    assert _found(build_voice_activity(name), noise.astype(np.float32)).mean() < 0.02


@pytest.mark.parametrize("name", ["energy", SILERO])
def test_a_new_recording_is_heard_afresh(name: str) -> None:
    rng = np.random.default_rng(0)
    quiet, loud = (x * rng.standard_normal(160000).astype(np.float32) for x in (1e-4, 0.2))
    activity = build_voice_activity(name)
    first = _found(activity, loud)
    _found(activity, quiet)
    np.testing.assert_array_equal(_found(activity, loud), first)


@pytest.mark.skipif(not find_spec("silero_vad"), reason="needs squall[vad]")
def test_silero_goes_on_over_blocks_and_leaves_the_threads_of_torch(
    spoken: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    for name in [name for name in sys.modules if name.partition(".")[0] == "silero_vad"]:
        monkeypatch.delitem(sys.modules, name)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        activity = SileroActivity()
        in_one = _found(activity, spoken[0], block=100_000)
        np.testing.assert_array_equal(_found(activity, spoken[0], block=37), in_one)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_speech_lasts_a_little_beyond_its_last_loud_frame() -> None:
    samples = np.random.default_rng(0).standard_normal(100 * FRAME_SAMPLES) * 1e-3
    samples[50 * FRAME_SAMPLES : 53 * FRAME_SAMPLES] *= 100
    found = _found(EnergyActivity(hangover_s=0.1), samples.astype(np.float32))
    assert np.flatnonzero(found).tolist() == [50, 51, 52, 53, 54, 55]
    found = _found(EnergyActivity(hangover_s=0.0), samples.astype(np.float32))
    assert np.flatnonzero(found).tolist() == [50, 51, 52]


def test_speech_without_a_pause_is_not_taken_for_background() -> None:
    rng = np.random.default_rng(0)
    quiet, loud = (x * rng.standard_normal(BLOCK * FRAME_SAMPLES) for x in (1e-3, 0.1))
    found = _found(EnergyActivity(), np.concatenate([quiet, loud, loud]).astype(np.float32))
    assert found[:BLOCK].mean() < 0.02
    assert found[BLOCK:].all()


def test_levels_by_hand() -> None:
    frames = np.zeros((3, 4), np.float32)
    frames[1] = [1, -1, 1, -1]
    frames[2] = [0.1, 0, 0, 0.1]
    np.testing.assert_allclose(frame_levels_db(frames), [-100, 0, -23.0103], atol=1e-4)


def test_without_silero_the_level_is_taken_and_silero_named_if_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("squall.audio.voice_activity.find_spec", lambda name: None)
    assert build_voice_activity().name == "energy"
    with pytest.raises(
        ImportError, match=r"needs the package silero-vad: pip install 'squall\[vad"
    ):
        build_voice_activity("silero")
    monkeypatch.setattr("squall.audio.voice_activity.find_spec", lambda name: object())
    assert build_voice_activity().name == "silero"


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(ValueError, match="'webrtc': there is silero and energy"):
        build_voice_activity("webrtc")
