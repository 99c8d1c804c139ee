"""Scores by name: which there are, which are wanted, and what they need."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from squall.scoring import (
    DEFAULT_SCORES,
    METRICS,
    SPEECH_SCORES,
    Score,
    SpeechPair,
    SpeechScores,
    check_scores,
    missing_packages,
    score_pairs,
    score_speech,
)

MOS = ("dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808")
RANDOM = np.random.default_rng(0)
CLEAN = 0.1 * RANDOM.standard_normal(16000) * (1 + np.sin(np.arange(16000) / 600))
NOISY = CLEAN + 0.02 * RANDOM.standard_normal(16000)


def test_every_score_has_a_unit_a_direction_and_a_name() -> None:
    assert all(METRICS[name].better for name in SPEECH_SCORES)
    assert METRICS["lsd"].lower_is_better
    assert all(not METRICS[name].lower_is_better for name in SPEECH_SCORES if name != "lsd")


def test_scores_are_wanted_in_any_order_and_given_in_one() -> None:
    assert check_scores(["si_sdr", "stoi", "si_sdr"]) == ("stoi", "si_sdr")
    assert check_scores(["all"]) == check_scores("all") == tuple(SPEECH_SCORES)
    assert check_scores("lsd") == ("lsd",)
    assert check_scores(["all"], reference=False) == MOS
    assert check_scores(DEFAULT_SCORES) == DEFAULT_SCORES


def test_one_score_needs_no_list() -> None:
    pair = SpeechPair(reference=CLEAN, estimate=NOISY)
    (found,) = score_pairs([pair], scores="lsd")
    assert found == score_speech(reference=CLEAN, estimate=NOISY, scores=["lsd"])


@pytest.mark.parametrize(
    ("names", "reference", "message"),
    [
        (["stoi", "psq"], True, "there is no score 'psq'; there are stoi, estoi, pesq_nb"),
        ([], True, "no score is named"),
        (["stoi", "dnsmos_sig"], False, "stoi: needs clean speech to compare with"),
    ],
)
def test_wrong_choices_are_named(names: list[str], reference: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_scores(names, reference=reference)


def test_what_is_missing_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_packages(["si_sdr", "lsd"]) == []
    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.setitem(sys.modules, "speechmos", None)
    assert missing_packages(["pesq_nb", "stoi", "csig", "dnsmos_sig"]) == [
        "pesq_nb, csig: needs pesq: pip install 'squall[enhance]'",
        "dnsmos_sig: needs speechmos: pip install 'squall[mos]'",
    ]


def test_a_score_is_not_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    from squall.scoring import speech_scores

    calls = []

    def pesq(**how: object) -> Score:
        calls.append(how["mode"])
        return Score(2.0)

    monkeypatch.setattr(speech_scores, "score_pesq", pesq)
    names = ("pesq_nb", "pesq_wb", "csig", "cbak", "covl")
    found = score_speech(reference=CLEAN, estimate=NOISY, scores=names)
    assert calls == ["nb", "wb"]
    assert list(found.metrics()) == list(names)


def test_at_8_khz_the_composites_are_narrow_band() -> None:
    pytest.importorskip("pesq")
    names = ("pesq_wb", "csig", "sdr", "seg_snr", "lsd")
    found = score_speech(reference=CLEAN, estimate=NOISY, scores=names, sample_rate_hz=8000)
    assert [score.defined for score in found.metrics().values()] == [False, True, True, True, True]
    assert found.reason == "pesq_wb: wide-band PESQ needs 16000 Hz"


@pytest.mark.slow
def test_a_signal_may_be_scored_alone() -> None:
    pytest.importorskip("speechmos")
    found = score_speech(estimate=NOISY, scores=["all"])
    assert tuple(found.metrics()) == MOS
    with pytest.raises(ValueError, match="stoi, pesq_nb, pesq_wb, si_sdr: needs clean speech"):
        score_speech(estimate=NOISY)


def test_reasons_are_told_once() -> None:
    short = Score(math.nan, "too short")
    scores = SpeechScores({"stoi": short, "sdr": Score(1.0), "lsd": short})
    assert scores.reason == "stoi, lsd: too short"
