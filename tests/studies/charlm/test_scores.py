"""Predictions and scores: against all logits at once, by hand, and block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from squall.scoring.calibration import TokenScores, score_logits, score_probs
from squall.scoring.temperature import fit_temperature
from squall.studies.charlm import predictions as module
from squall.studies.charlm.predictions import Predictions, make_predictions, read_predictions
from squall.studies.charlm.scores import read_test_scores, score_predictions
from squall.studies.charlm.tokens import Text

C, DEV, TEST = 5, 60, 90
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.standard_normal((DEV + TEST, C)) * 2
TOKENS = np.where(
    RANDOM.random(DEV + TEST) < 0.6, LOGITS.argmax(axis=1), RANDOM.integers(C, size=DEV + TEST)
).astype(np.uint8)
CHARACTERS = RANDOM.integers(1, 5, size=TEST).astype(np.uint16)


def _logits(tokens: NDArray[np.integer]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Logits in three blocks, those of the even positions first."""
    logits = LOGITS[:DEV] if len(tokens) == DEV else LOGITS[DEV:]
    positions = np.arange(1, len(tokens))
    even = positions[positions % 2 == 0]
    for part in (even[:10], even[10:], positions[positions % 2 == 1]):
        yield part, logits[part]


def _predictions(**changes: float) -> Predictions:
    test = Text(TOKENS[DEV:], CHARACTERS)
    return make_predictions(_logits, dev=TOKENS[:DEV], test=test, **changes)


def _same(one: TokenScores, other: TokenScores, tolerance: float = 1e-12) -> None:
    for name in ("confidences", "correct", "log_probs", "squared_probs"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=tolerance)


def test_every_token_is_scored_in_its_place() -> None:
    told: list[int] = []
    found = make_predictions(
        _logits,
        dev=TOKENS[:DEV],
        test=Text(TOKENS[DEV:], CHARACTERS),
        aim=2.0,
        floor=0.01,
        on_token=told.append,
    )
    logits, targets = LOGITS[DEV + 1 :], TOKENS[DEV + 1 :]
    fit = fit_temperature(logits=LOGITS[1:DEV].astype(np.float32), targets=TOKENS[1:DEV])
    assert found.temperature == pytest.approx(fit.temperature)
    assert fit.temperature > 1.2
    _same(found.scores["softmax"], score_logits(logits=logits, targets=targets))
    scaled = score_logits(logits=logits, targets=targets, temperature=found.temperature)
    _same(found.scores["scaled"], scaled)
    clipped = np.maximum(logits / 2, 0.01)
    clipped /= clipped.sum(axis=1, keepdims=True)
    _same(found.scores["clipped"], score_probs(probs=clipped, targets=targets))
    assert found.characters.tolist() == CHARACTERS[1:].tolist()
    assert (found.classes, told[-1]) == (C, DEV + TEST - 2)


def test_only_square_losses_are_clipped() -> None:
    assert list(_predictions().scores) == ["softmax", "scaled"]


def test_a_large_vocabulary_is_fitted_on_a_share_of_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIT_ELEMENTS", 100)  # a third of 300
    chosen = np.arange(3, DEV, 3)
    fit = fit_temperature(logits=LOGITS[chosen].astype(np.float32), targets=TOKENS[chosen])
    assert _predictions().temperature == pytest.approx(fit.temperature)


def test_what_is_written_is_read_in_single_precision(tmp_path: Path) -> None:
    made = _predictions(aim=1.0)
    made.write(tmp_path / "test.npz")
    found = read_predictions(tmp_path / "test.npz")
    assert found.scores.keys() == made.scores.keys()
    for form, scores in made.scores.items():
        _same(found.scores[form], scores, tolerance=1e-6)
    assert (found.temperature, found.classes) == (made.temperature, C)
    (tmp_path / "test.npz").write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match=r"test\.npz is damaged: .* predict again with --stage 6"):
        read_predictions(tmp_path / "test.npz")
    with pytest.raises(FileNotFoundError):
        read_predictions(tmp_path / "lost.npz")


def test_bits_per_character_by_hand() -> None:
    log_probs = np.log([0.5, 0.125, 0.25])
    scores = TokenScores(
        np.array([0.5, 0.875, 0.75]), np.array([True, False, False]), log_probs, np.full(3, 0.5)
    )
    of_bytes = Predictions({"softmax": scores, "scaled": scores}, np.ones(3, np.uint8), 1.0, 2)
    of_pieces = Predictions({"softmax": scores, "scaled": scores}, np.array([4, 1, 3]), 1.0, 2)
    assert score_predictions(of_bytes, block=10).metrics["softmax"]["bpc"] == pytest.approx(2.0)
    assert score_predictions(of_pieces, block=10).metrics["softmax"]["bpc"] == pytest.approx(6 / 8)


def test_metrics_are_in_their_units_and_parts_add_up() -> None:
    found = score_predictions(_predictions(), block=20)
    softmax, scaled = found.metrics["softmax"], found.metrics["scaled"]
    correct = LOGITS[DEV + 1 :].argmax(axis=1) == TOKENS[DEV + 1 :]
    assert softmax["accuracy"] == pytest.approx(100 * correct.mean())
    assert 1 < softmax["ece"] < 100
    assert softmax["nll"] == pytest.approx(scaled["nll_refinement"] + scaled["nll_calibration"])
    assert softmax["brier"] == pytest.approx(
        scaled["brier_refinement"] + scaled["brier_calibration"]
    )
    assert scaled["nll_refinement"] == pytest.approx(scaled["nll"])
    assert scaled["bpc"] < softmax["bpc"]
    assert softmax["bpc"] == pytest.approx(89 * softmax["nll"] / math.log(2) / CHARACTERS[1:].sum())
    assert "temperature" not in softmax
    assert found.tokens == 89


def test_blocks_are_of_characters_and_sum_to_the_metrics() -> None:
    predictions = _predictions()
    found = score_predictions(predictions, block=20)
    begins = np.cumsum(CHARACTERS[1:]) - CHARACTERS[1:]
    blocks = found.blocks
    assert len(blocks.tokens) == begins[-1] // 20 + 1
    for number in range(len(blocks.tokens)):
        inside = begins // 20 == number
        assert blocks.tokens[number] == inside.sum()
        assert blocks.characters[number] == CHARACTERS[1:][inside].sum()
        scores = predictions.scores["softmax"]
        assert blocks.correct[number] == scores.correct[inside].sum()
        assert blocks.nlls[number] == pytest.approx(-scores.log_probs[inside].sum())
    values = found.metrics["softmax"] | {
        metric: found.metrics["scaled"][metric] for metric in ("nll_refinement", "nll_calibration")
    }
    items = blocks.item_scores()
    assert [one.metric for one in items] == [
        "accuracy", "bpc", "ece", "nll_refinement", "nll_calibration",
    ]  # fmt: skip
    for one in items:
        assert float(one.statistic(one.sums.sum(axis=0))) == pytest.approx(values[one.metric])
        assert len(one.ids) == len(blocks.tokens)


def test_bins_and_blocks_are_kept(tmp_path: Path) -> None:
    found = score_predictions(_predictions(aim=1.0), block=20)
    found.write(tmp_path / "model.npz")
    bins, blocks = read_test_scores(tmp_path / "model.npz")
    assert bins.keys() == {"softmax", "scaled", "clipped"}
    assert 100 * bins["softmax"].ece == pytest.approx(found.metrics["softmax"]["ece"])
    for name, values in vars(found.blocks).items():
        assert np.array_equal(getattr(blocks, name), values)
    (tmp_path / "model.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.npz is damaged"):
        read_test_scores(tmp_path / "model.npz")
