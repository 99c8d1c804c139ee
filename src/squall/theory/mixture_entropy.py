"""Cross-entropy of a linear classifier on the mixtures of `squall.theory.mixtures`.

Lemma 3.2 takes Theta = r M. With x = mu_y + n and b = max |mu_k . n| two outputs differ by

    r (mu_y - mu_j) . x = r (1 - mu_y . mu_j + (mu_y - mu_j) . n)  >=  r (3 g - 2 b),

so that on a mixture with noise bounded by b <= g

    CE <= log(1 + (K - 1) exp(-r g)) <= K exp(-r g) <= eps  for  r >= log(K / eps) / g.

The lemma holds; r >= log((K - 1) / (exp(eps) - 1)) / g is enough. Gaussian noise has no b, and a
large r costs: CE grows in proportion to it. By Jensen's inequality, as the noise of the difference
has the variance 2 s^2 (1 - mu_y . mu_j),

    CE <= 1/K sum_y log(1 + sum_{j != y} exp(-r (1 - r s^2) (1 - mu_y . mu_j))),

which is least at r = 1 / (2 s^2).

Source of the lemma: Demirkaya, Chen and Oymak 2020. The Gaussian bound is derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from squall.theory.mixtures import Mixture

__all__ = [
    "Estimate",
    "bounded_cross_entropy_bound",
    "gaussian_cross_entropy_bound",
    "printed_scale",
    "sampled_cross_entropy",
    "sufficient_scale",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over samples.

    Args:
        value: the mean.
        standard_error: of the mean.
    """

    value: float
    standard_error: float


def sampled_cross_entropy(
    mixture: Mixture, theta: Array, *, seed: int, samples: int = 100_000
) -> Estimate:
    """Cross-entropy of Theta (K, D), a mean over new samples with its standard error.

    Args:
        theta: (K, D).
        seed: of numpy's default generator.
        samples: at least 2.

    Raises:
        ValueError: another shape of theta, or too few samples.
    """
    if theta.shape != mixture.centres.shape or samples < 2:
        raise ValueError(
            f"theta {theta.shape} for centres {mixture.centres.shape}, {samples} samples: the "
            "shapes have to be equal, and two samples are needed"
        )
    rng = np.random.default_rng(seed)
    losses = []
    for first in range(0, samples, 20_000):
        count = min(20_000, samples - first)
        x, labels = mixture.draw(count, rng)
        logits = x @ theta.T
        losses.append(logsumexp(logits, axis=1) - logits[np.arange(count), labels])
    every = np.concatenate(losses)
    return Estimate(float(every.mean()), float(every.std(ddof=1)) / math.sqrt(samples))


def printed_scale(*, classes: int, gap: float, epsilon: float) -> float:
    """log(K / eps) / g: the r of lemma 3.2.

    Args:
        classes: K, at least 2.
        gap: g, positive.
        epsilon: the cross-entropy wanted, positive.
    """
    _check(classes, gap, epsilon)
    return math.log(classes / epsilon) / gap


def sufficient_scale(*, classes: int, gap: float, epsilon: float) -> float:
    """log((K - 1) / (exp(eps) - 1)) / g, at least 0: a smaller r for the same cross-entropy."""
    _check(classes, gap, epsilon)
    return max(0.0, math.log((classes - 1) / math.expm1(epsilon)) / gap)


def bounded_cross_entropy_bound(*, classes: int, gap: float, scale: float) -> float:
    """log(1 + (K - 1) exp(-r g)), for noise with |mu_k . n| <= g."""
    _check(classes, gap, scale)
    return math.log1p((classes - 1) * math.exp(-scale * gap))


def gaussian_cross_entropy_bound(mixture: Mixture, *, scale: float) -> float:
    """The bound of the module's docstring for Theta = r M and Gaussian noise.

    Args:
        scale: r, positive; beyond 1 / s^2 the bound is worse than log K.
    """
    _check(mixture.classes, 1.0, scale)
    rate = scale * (1 - scale * mixture.noise**2)
    apart = -rate * (1 - mixture.gram)  # 0 for j = y
    return float(logsumexp(apart, axis=1).mean())


def _check(classes: int, gap: float, value: float) -> None:
    if classes < 2 or not gap > 0 or not value > 0:
        raise ValueError(
            f"classes {classes}, gap {gap}, {value}: two classes and positive numbers are needed"
        )
