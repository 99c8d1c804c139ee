"""DNSMOS: the networks on their own, and signals that it does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from squall.scoring import dnsmos, score_dnsmos

speechmos = pytest.importorskip("speechmos.dnsmos")
onnxruntime = pytest.importorskip("onnxruntime")

NAMES = ["dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808"]
NOISE = 0.1 * np.random.default_rng(0).standard_normal(16000)


@pytest.mark.slow
def test_scores_are_those_of_the_networks_on_what_they_hear() -> None:
    """Five seconds are heard twice over, to 9.01 s; the polynomials are those of the source."""
    signal = np.tile(NOISE, 5) * np.linspace(0.1, 1.0, 80000)
    heard = np.append(signal, signal)[: int(9.01 * 16000)].astype(np.float32)
    folder = Path(speechmos.__file__).parent / "dnsmos_models"
    network = onnxruntime.InferenceSession(str(folder / "sig_bak_ovr.onnx"))
    sig, bak, ovrl = network.run(None, {"input_1": heard[None]})[0][0]
    found = score_dnsmos(estimate=signal)
    assert list(found) == NAMES
    for name, raw, (a, b, c) in (
        ("dnsmos_sig", sig, (-0.08397278, 1.22083953, 0.0052439)),
        ("dnsmos_bak", bak, (-0.13166888, 1.60915514, -0.39604546)),
        ("dnsmos_ovrl", ovrl, (-0.06766283, 1.11546468, 0.04602535)),
    ):
        assert found[name].value == pytest.approx(a * raw**2 + b * raw + c, abs=1e-4)


@pytest.mark.slow
def test_stretches_that_come_again_are_heard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds, doubled to 16: seven stretches, of which every second one is the same."""
    networks = dnsmos._networks()
    signal = np.tile(NOISE, 2) * np.linspace(0.1, 1.0, 32000)
    found = score_dnsmos(estimate=signal)
    plain = speechmos.run(signal.astype(np.float32), 16000)
    assert found["dnsmos_sig"].value == pytest.approx(plain["sig_mos"], abs=1e-5)
    assert found["dnsmos_p808"].value == pytest.approx(plain["p808_mos"], abs=1e-5)
    asked = []

    class Session:
        def run(self, names: object, inputs: dict[str, np.ndarray]) -> list[list[np.ndarray]]:
            asked.append(inputs)
            return [[np.array([3.0, 3.0, 3.0])]]

    monkeypatch.setattr(networks, "onnx_sess", dnsmos._Remembering(Session()))
    score_dnsmos(estimate=signal)
    assert len(asked) == 2


@pytest.mark.slow
@pytest.mark.corpus
def test_clean_speech_is_better_than_noisy_speech(real_data: Path) -> None:
    path = sorted((real_data / "librispeech-sample").rglob("*.flac"))[0]
    clean, _ = soundfile.read(path, frames=10 * 16000)
    noise = np.random.default_rng(1).standard_normal(len(clean))
    one = score_dnsmos(estimate=clean)
    other = score_dnsmos(estimate=clean + 0.5 * clean.std() * noise)
    for name in NAMES:
        assert 5 > one[name].value > other[name].value > 1, name
    assert one["dnsmos_bak"].value > other["dnsmos_bak"].value + 1


@pytest.mark.slow
def test_beyond_full_scale_the_signal_is_brought_down_to_it() -> None:
    signal = np.tile(NOISE, 2)
    loud = score_dnsmos(estimate=signal * 50)
    full = score_dnsmos(estimate=signal / np.abs(signal).max())
    assert {name: score.value for name, score in loud.items()} == pytest.approx(
        {name: score.value for name, score in full.items()}, abs=1e-5
    )


@pytest.mark.parametrize(
    ("signal", "rate_hz", "reason"),
    [
        (NOISE[:3999], 16000, "shorter than 0.25 s"),
        (NOISE[:0], 16000, "no samples"),
        (0 * NOISE, 16000, "the estimate is silent"),
        (np.where(NOISE > 0.2, np.nan, NOISE), 16000, "the estimate has samples that are not"),
        (NOISE, 8000, "DNSMOS needs 16000 Hz"),
        (NOISE, 48000, "DNSMOS needs 16000 Hz"),
    ],
)
def test_signals_without_a_score_have_a_reason(
    signal: np.ndarray, rate_hz: int, reason: str
) -> None:
    found = score_dnsmos(estimate=signal, sample_rate_hz=rate_hz)
    assert list(found) == NAMES
    for score in found.values():
        assert not score.defined
        assert score.reason.startswith(reason)


def test_a_signal_has_one_channel() -> None:
    with pytest.raises(ValueError, match=r"estimate has shape \(2, 8000\)"):
        score_dnsmos(estimate=NOISE.reshape(2, -1))
