"""The n-gram model against counting, and what every distribution has to be."""

from __future__ import annotations

import numpy as np
import pytest

import naive_language as naive
from squall.studies.charlm import ngram
from squall.studies.charlm.ngram import KneserNey


def _shares(classes: int) -> np.ndarray:
    """How likely each token is after each two."""
    return np.random.default_rng(0).dirichlet(np.full(classes, 0.3), size=(classes, classes))


def _text(length: int, classes: int, seed: int = 0) -> np.ndarray:
    """A text that is drawn from them."""
    random, shares = np.random.default_rng(seed), _shares(classes)
    tokens = [0, 1]
    for _ in range(length - 2):
        tokens.append(random.choice(classes, p=shares[tokens[-2], tokens[-1]]))
    return np.array(tokens, dtype=np.uint8)


@pytest.mark.parametrize(("classes", "order"), [(4, 2), (4, 4), (9, 3), (9, 5)])
def test_it_is_the_sums_over_counted_tuples(
    classes: int, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngram, "_BLOCK_ELEMENTS", 7 * classes)  # several blocks
    text, other = _text(400, classes), _text(60, classes, seed=1)
    found = np.concatenate(list(KneserNey(text, classes=classes, order=order).log_probs(other)))
    assert found.shape == (59, classes)
    padded = [0] * (order - 2) + other.tolist()
    for place in range(59):
        context = padded[place : place + order - 1]
        expected = naive.kneser_ney(text.tolist(), context, classes=classes, order=order)
        np.testing.assert_allclose(np.exp(found[place]), expected, rtol=1e-9)


def test_the_discounts_are_those_of_the_counts() -> None:
    counts = np.repeat([1, 2, 3, 4, 5, 40], [8, 4, 3, 2, 1, 1])
    y = 8 / (8 + 2 * 4)
    expected = (1 - 2 * y * 4 / 8, 2 - 3 * y * 3 / 4, 3 - 4 * y * 2 / 3)
    assert ngram._discounts(counts) == pytest.approx(expected)
    assert ngram._discounts(counts[counts != 3]) == (0.5, 1.0, 1.5)


def test_all_classes_have_a_share_of_one_and_unseen_contexts_too() -> None:
    text = np.array([0, 1, 2] * 50, dtype=np.uint8)
    model = KneserNey(text, classes=5, order=3)
    (found,) = model.log_probs(np.array([4, 3, 4, 4, 0, 1, 2, 0], dtype=np.uint8))
    probs = np.exp(found)
    np.testing.assert_allclose(probs.sum(axis=1), 1.0)
    assert (probs > 0).all()
    np.testing.assert_allclose(probs[1], probs[2])  # after tokens that were never seen
    assert probs[-1].argmax() == 0
    assert probs[-1, 0] > 0.9


def test_a_longer_context_helps_where_it_tells_more() -> None:
    text, other = _text(20_000, 6), _text(2000, 6, seed=2)
    true = -np.log(_shares(6)[other[:-2], other[1:-1], other[2:]]).mean()
    nats = {}
    for order in (2, 3, 6):
        (log_probs,) = KneserNey(text, classes=6, order=order).log_probs(other)
        nats[order] = -log_probs[np.arange(1999), other[1:]].mean()
    assert true < nats[3] < true + 0.02
    assert nats[2] > nats[3] + 0.1
    assert nats[3] < nats[6] < nats[3] + 0.1


@pytest.mark.parametrize(
    ("length", "classes", "order", "message"),
    [
        (3, 4, 1, "order is 1"),
        (3, 4, 5, "order is 5, of a text of 3"),
        (100, 8000, 5, "5-grams of 8000 classes are too many: lower the order"),
    ],
)
def test_what_cannot_be_counted_is_named(
    length: int, classes: int, order: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        KneserNey(np.zeros(length, dtype=np.uint8), classes=classes, order=order)
