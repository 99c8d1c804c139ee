"""What a model says of every token of a text, as far as scores need it; kept in one file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from squall.files import read_arrays, write_arrays
from squall.losses import log_clipped_posterior
from squall.scoring.calibration import TokenScores, score_logits, score_probs
from squall.scoring.temperature import fit_temperature
from squall.studies.charlm.tokens import Text

__all__ = ["FORMS", "Predictions", "make_predictions", "read_predictions"]

FORMS = {
    "softmax": "softmax of the logits",
    "scaled": "softmax of the logits over the temperature that suits the development part",
    "clipped": "logits of a square loss, cut off at a floor and normalised",
}
"""How logits become probabilities."""

_FIT_ELEMENTS = 2**25  # 128 MiB of float32: 160,000 tokens of 205 classes, 4,000 of 8,000
_FIELDS = ("confidences", "correct", "log_probs", "squared_probs")

Logits = Iterable[tuple[NDArray[np.int64], NDArray[np.floating]]]
"""Positions (n,) in a text and the logits (n, C) there, until every token but the first had its."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Of every token of a text but the first.

    Args:
        scores: by the form of the probabilities, in the order of the text.
        characters: (N,) that each token stands for.
        temperature: that of the form `scaled`.
        classes: number of tokens C.
    """

    scores: dict[str, TokenScores]
    characters: NDArray[np.integer]
    temperature: float
    classes: int

    def write(self, path: Path) -> None:
        """Write all, probabilities in float32."""
        arrays: dict[str, NDArray[Any]] = {
            "characters": self.characters.astype(np.uint16),
            "temperature": np.array(self.temperature),
            "classes": np.array(self.classes),
        }
        for form, scores in self.scores.items():
            for name in _FIELDS:
                values: NDArray[Any] = getattr(scores, name)
                kept = values if values.dtype == np.bool_ else values.astype(np.float32)
                arrays[f"{form}_{name}"] = kept
        write_arrays(path, arrays, compress=True)


def read_predictions(path: Path) -> Predictions:
    """What `Predictions.write` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    found = read_arrays(path, remedy="predict again with --stage 6 --force")
    scores = {
        form: TokenScores(*(_widened(found[f"{form}_{name}"]) for name in _FIELDS))
        for form in FORMS
        if f"{form}_correct" in found
    }
    temperature, classes = float(found["temperature"]), int(found["classes"])
    return Predictions(scores, found["characters"], temperature, classes)


def _widened(values: NDArray[Any]) -> NDArray[Any]:
    return values if values.dtype == np.bool_ else values.astype(np.float64)


def make_predictions(
    logits_of: Callable[[NDArray[np.integer]], Logits],
    *,
    dev: NDArray[np.integer],
    test: Text,
    aim: float | None = None,
    floor: float = 1e-3,
    on_token: Callable[[int], object] = lambda done: None,
) -> Predictions:
    """Fit the temperature on the development part, and score the test part.

    Args:
        logits_of: gives the logits of a text's tokens, of which the softmax is meant.
        dev: (M,) tokens of the development part. Of a large vocabulary a share of them is used,
            evenly spaced: one parameter needs few.
        test: the test part.
        aim: what a loss of squares alone drives the true logit to, for the form `clipped`; None for
            other losses, which do not have that form.
        floor: of that form.
        on_token: told how many tokens of both parts have their logits.
    """
    done = 0

    def told(logits: Logits) -> Iterator[tuple[NDArray[np.int64], NDArray[np.floating]]]:
        nonlocal done
        for positions, values in logits:
            yield positions, values
            done += len(positions)
            on_token(done)

    temperature = _fit(told(logits_of(dev)), dev)
    count = len(test.tokens) - 1
    places: list[NDArray[np.int64]] = []
    parts: dict[str, list[TokenScores]] = {}
    classes = 0
    for positions, logits in told(logits_of(test.tokens)):
        places.append(positions)
        targets = test.tokens[positions]
        made = {
            "softmax": score_logits(logits=logits, targets=targets),
            "scaled": score_logits(logits=logits, targets=targets, temperature=temperature),
        }
        if aim is not None:
            values = torch.from_numpy(np.asarray(logits, dtype=np.float64))
            probs = log_clipped_posterior(values, target=aim, floor=floor).exp().numpy()
            made["clipped"] = score_probs(probs=probs, targets=targets)
        for form, part in made.items():
            parts.setdefault(form, []).append(part)
        classes = logits.shape[1]
    order = np.argsort(np.concatenate(places))
    assert len(order) == count
    scores = {
        form: _ordered(TokenScores.concatenate(all_of), order) for form, all_of in parts.items()
    }
    return Predictions(scores, test.characters[1:], temperature, classes)


def _fit(logits: Logits, dev: NDArray[np.integer]) -> float:
    kept: list[NDArray[np.floating]] = []
    targets: list[NDArray[np.integer]] = []
    for positions, values in logits:
        step = max(1, -(-len(dev) * values.shape[1] // _FIT_ELEMENTS))
        chosen = positions % step == 0
        kept.append(np.asarray(values[chosen], dtype=np.float32))
        targets.append(dev[positions[chosen]])
    fit = fit_temperature(logits=np.concatenate(kept), targets=np.concatenate(targets))
    return fit.temperature


def _ordered(scores: TokenScores, order: NDArray[np.int64]) -> TokenScores:
    return TokenScores(*(getattr(scores, name)[order] for name in _FIELDS))
