"""The lemmas of the CCQL paper on one mixture: printed, corrected and numerical values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from squall.studies.mixtures.settings import MixtureKind, MixturesSettings
from squall.studies.simulations import Number, condition_text
from squall.theory import Mixture, ccql, ccql_minimiser, ccql_minimum, sampled_cross_entropy
from squall.theory.mixture_entropy import (
    gaussian_cross_entropy_bound,
    printed_scale,
    sufficient_scale,
)
from squall.theory.mixtures import (
    ccql_lower_bound,
    ccql_upper_bound,
    printed_ccql_bound,
    printed_ql_minimiser,
    printed_ql_minimum,
)

__all__ = ["LEMMAS", "Lemma", "check_lemmas", "kind_place", "numerical_minimum"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Lemma:
    """A printed formula.

    Args:
        correction: what the corrected one is.
        bound: whether it is an upper bound of what is measured.
        relative: what difference counts as none, relative to what is measured.
    """

    correction: str = ""
    bound: bool = False
    relative: float = 1e-6


LEMMAS = {
    "3.2: cross-entropy at R = log(K/eps)/g, bounded noise": Lemma(bound=True),
    "3.2: the same R, Gaussian noise of the same size": Lemma(bound=True),
    "3.2: the same R, the mixture's own Gaussian noise": Lemma("a bound that grows with R", True),
    "3.2: a smaller R, bounded noise": Lemma("R = log((K - 1)/(exp(eps) - 1))/g", True),
    "3.4: minimum of QL": Lemma("half the printed sum"),
    "3.4: QL at the printed minimiser": Lemma("K s^2 in place of s^2"),
    "3.5: bound of min CCQL": Lemma("a bound that contains w", True),
    "lower bound of min CCQL, turned about": Lemma("that of orthonormal centres", True),
}
"""By name, as `check_lemmas` gives their numbers."""


def kind_place(kind: MixtureKind, **further: float) -> dict[str, float | str]:
    """A mixture as a condition has it."""
    values: dict[str, float | str] = {
        "K": kind.classes,
        "d": kind.features,
        "correlation": kind.correlation,
        "s": kind.noise,
    }
    return values | further


def check_lemmas(kind: MixtureKind, study: MixturesSettings, *, seed: int) -> list[Number]:
    """Printed, corrected and measured value of each of `LEMMAS`; of bounds for each w.

    And the standard error of what is measured, 0 where it is not sampled.
    """
    mixture = kind.draw(seed)
    numbers = []
    for name, further, *values in [
        *_entropy(mixture, study, seed),
        *_quadratic(mixture, seed),
        *_weighted(mixture, study, seed),
    ]:
        condition = condition_text(kind_place(kind, **further), topic=name)
        numbers += [
            Number(system, condition, "equation", value, reason="it says nothing of it")
            for system, value in zip(
                ("printed", "corrected", "measured", "error"), values, strict=True
            )
        ]
    return numbers


_Check = tuple[str, dict[str, float], float, float, float, float]


def _entropy(mixture: Mixture, study: MixturesSettings, seed: int) -> Iterator[_Check]:
    """Theta = R M. The bounded noise is the largest that |mu . n| <= g allows for any centre."""
    eps, gap = study.epsilon, mixture.gap
    if gap < 1e-3:
        return
    within = Mixture(mixture.centres, gap / math.sqrt(mixture.features), kind="bounded")
    printed = printed_scale(classes=mixture.classes, gap=gap, epsilon=eps)
    enough = sufficient_scale(classes=mixture.classes, gap=gap, epsilon=eps)

    def measured(of: Mixture, scale: float) -> tuple[float, float]:
        theta = scale * mixture.centres
        found = sampled_cross_entropy(of, theta, seed=seed, samples=study.samples)
        return found.value, found.standard_error

    first, second, third, fourth = list(LEMMAS)[:4]
    yield first, {}, eps, math.nan, *measured(within, printed)
    yield second, {}, eps, math.nan, *measured(replace(within, kind="gaussian"), printed)
    bound = gaussian_cross_entropy_bound(mixture, scale=printed)
    yield third, {}, eps, bound, *measured(mixture, printed)
    if enough > 0:
        yield fourth, {}, math.nan, eps, *measured(within, enough)


def _quadratic(mixture: Mixture, seed: int) -> Iterator[_Check]:
    found = numerical_minimum(mixture, weight=0.0, seed=seed)
    own = ccql_minimum(mixture, weight=0.0)
    yield "3.4: minimum of QL", {}, printed_ql_minimum(mixture), own, found, 0.0
    at_printed = ccql(mixture, printed_ql_minimiser(mixture), weight=0.0)
    at_own = ccql(mixture, ccql_minimiser(mixture, weight=0.0), weight=0.0)
    yield "3.4: QL at the printed minimiser", {}, at_printed, at_own, found, 0.0


def _weighted(mixture: Mixture, study: MixturesSettings, seed: int) -> Iterator[_Check]:
    for weight in study.weights:
        found = numerical_minimum(mixture, weight=weight, seed=seed)
        upper = ccql_upper_bound(mixture, weight=weight)
        w = {"w": weight}
        yield "3.5: bound of min CCQL", w, printed_ccql_bound(mixture), upper, found, 0.0
        lower = ccql_lower_bound(mixture, weight=weight)
        yield "lower bound of min CCQL, turned about", w, math.nan, -lower, -found, 0.0


def numerical_minimum(mixture: Mixture, *, weight: float, seed: int) -> float:
    """The least CCQL that L-BFGS finds from a random start, without the closed form."""
    shape, K, s = mixture.centres.shape, mixture.classes, mixture.noise
    M = mixture.centres

    def value(flat: Array) -> tuple[float, Array]:
        theta = flat.reshape(shape)
        outputs = M @ theta.T - np.eye(K)
        own = np.diag(outputs)[:, None] * M + s * s * theta
        gradient = outputs.T @ M / K + s * s * theta + weight / K * own
        return ccql(mixture, theta, weight=weight), gradient.ravel()

    start = np.random.default_rng(seed).standard_normal(M.size)
    options = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-15, "gtol": 1e-10}
    return float(minimize(value, start, jac=True, method="L-BFGS-B", options=options).fun)
