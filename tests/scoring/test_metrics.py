"""The declaration of metrics, and that nothing else declares them."""

from __future__ import annotations

import doctest
import re

import pytest

from squall.scoring import metrics
from squall.scoring.calibration import score_confidences
from squall.scoring.error_rates import METRIC_OF_UNIT
from squall.scoring.metrics import METRICS, declared
from squall.scoring.speech_scores import SPEECH_SCORES


def test_a_metric_stands_under_its_own_name() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_made_of_a_metric_has_its_unit(metric: str) -> None:
    ends = [f"_{who}_{end}" for who in ("utterances", "speakers", "seeds")
            for end in ("low", "high")]  # fmt: skip
    for name in (metric, *(f"{metric}_difference{ending}" for ending in ("", *ends))):
        assert declared(name) is METRICS[metric]
    for ending in ("difference_p", "difference_p_holm", "mapsswe_p"):
        assert declared(f"{metric}_{ending}").unit == "p"


def test_a_metric_about_another_system() -> None:
    assert declared("match_seconds:dnn-loss=bce").unit == "s"


@pytest.mark.parametrize("name", ["", "wre", "wre_difference", "wre_mapsswe_p", "wer_difference_x"])
def test_what_is_not_declared_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(repr(name))} is no metric"):
        declared(name)


def test_pesq_is_a_mean_opinion_score_in_both_bands() -> None:
    assert {METRICS[f"pesq_{band}"].unit for band in ("nb", "wb")} == {"MOS-LQO"}


def test_headings_have_the_units_that_a_number_needs() -> None:
    found = {name: METRICS[name].heading for name in ("wer", "nll", "brier", "rtf", "si_sdr")}
    expected = {"wer": "WER %", "nll": "NLL nats", "brier": "Brier", "rtf": "RTF"}
    assert found == expected | {"si_sdr": "SI-SDR dB"}


def test_differences_have_decimals_of_their_own() -> None:
    assert METRICS["wer"].difference(1.234) == "1.23"
    assert METRICS["stoi"].difference(0.12345) == "0.1235"


def test_directions() -> None:
    lower = {"wer", "ece", "brier", "nll", "mse", "fa", "rtf", "untrained"}
    higher = {"accuracy", "stoi", "pesq_nb", "si_sdr", "hit", "hit_fa"}
    assert all(METRICS[name].lower_is_better for name in lower)
    assert {METRICS[name].better for name in higher} == {"higher"}


def test_what_the_scores_are_called_is_declared() -> None:
    calibration = score_confidences(confidences=[0.5], correct=[True]).metrics()
    assert {*SPEECH_SCORES, *calibration, *METRIC_OF_UNIT.values(), "ser"} <= METRICS.keys()


def test_the_examples_hold() -> None:
    assert doctest.testmod(metrics).attempted == 1
    assert doctest.testmod(metrics).failed == 0
