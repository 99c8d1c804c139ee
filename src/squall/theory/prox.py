"""The scalar problem of the rescaled square loss behind a ReLU.

For one sample and one output the objective's part and the pull towards p are

    (R y - (z)_+)^2 + g (z - p)^2,     y in {0, 1}, R > 0, g > 0,

whose minimiser is

    y = 1:  (R + g p) / (1 + g)  where p > p* = R (1 - sqrt(1 + 1/g)),  else p,
    y = 0:  g p / (1 + g)        where p > 0,                           else p.

For y = 1 it jumps at p*: there a positive z and z = p cost the same.

Convention: Hui 2023 prints this result for two problems. Its eq. 3.14 pulls with
(gamma/2) (z - p)^2 ("half"): the formulas hold with g = gamma/2. The proof of its lemma 4 pulls
with gamma (z - p)^2 ("whole"): they hold with g = gamma. In vector approximate message passing
gamma is the precision of p, the ridge is lambda/2 |w|^2 and the loss has no factor 1/2, so that
"half" belongs to the stated objective. The printed fixed point uses "whole": it is that of twice
the ridge.

The convex twin: without the ReLU on the true class, (R - z)^2 for y = 1, the threshold p* is minus
infinity. Its minimum is one of the objective with the ReLU too where every true-class output is
positive.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Convention",
    "rescaled_square_prox",
    "rescaled_square_prox_derivative",
    "scalar_objective",
    "threshold",
]

Convention = Literal["half", "whole"]
Array = NDArray[np.float64]


def threshold(*, rescale: float, pull: ArrayLike) -> Array:
    """p* = R (1 - sqrt(1 + 1/g)), negative: where the minimiser for the true class jumps.

    Args:
        rescale: R, positive.
        pull: g, positive, of any shape.
    """
    g = np.asarray(pull, dtype=np.float64)
    # 1 - sqrt(1 + 1/g) without the difference, for large g.
    return np.asarray(-rescale / g / (1 + np.sqrt(1 + 1 / g)), dtype=np.float64)


def scalar_objective(
    z: ArrayLike,
    p: ArrayLike,
    *,
    label: ArrayLike,
    rescale: float,
    gamma: float,
    convention: Convention = "half",
) -> Array:
    """(R y - (z)_+)^2 + g (z - p)^2, with the arguments of `rescaled_square_prox`."""
    g = _pull(rescale, gamma, convention)
    z, p, y = np.asarray(z), np.asarray(p), _labels(label)
    return np.asarray((rescale * y - np.maximum(z, 0)) ** 2 + g * (z - p) ** 2, dtype=np.float64)


def rescaled_square_prox(
    p: ArrayLike,
    *,
    label: ArrayLike,
    rescale: float,
    gamma: float,
    convention: Convention = "half",
    convex: bool = False,
) -> Array:
    """The z that minimises `scalar_objective`.

    Args:
        p: of any shape.
        label: 1 (or True) where the output is that of the sample's class, else 0; broadcast with p.
        rescale: R, positive.
        gamma: positive.
        convention: g = gamma/2 ("half") or g = gamma ("whole"), see the module's docstring.
        convex: whether to leave the ReLU of the true class out (the convex twin).

    Returns:
        float64 of the broadcast shape. At p = p* exactly it is p.

    Raises:
        ValueError: a rescale or gamma that is not positive, a label that is neither 0 nor 1, or an
            unknown convention.

    >>> rescaled_square_prox([-1.0, 1.0], label=[0, 1], rescale=3.0, gamma=2.0)
    array([-1.,  2.])
    """
    g = _pull(rescale, gamma, convention)
    p, y = np.asarray(p, dtype=np.float64), _labels(label)
    active = _active(p, y, rescale, g, convex)
    return np.asarray(np.where(active, (rescale * y + g * p) / (1 + g), p), dtype=np.float64)


def rescaled_square_prox_derivative(
    p: ArrayLike,
    *,
    label: ArrayLike,
    rescale: float,
    gamma: float,
    convention: Convention = "half",
    convex: bool = False,
) -> Array:
    """The derivative in p of `rescaled_square_prox` where it has one: g / (1 + g) or 1.

    Its mean is not the mean slope: the jump at p*, of height (R - p*) / (1 + g), adds its height
    times the density of p there. Arguments and errors as in `rescaled_square_prox`.
    """
    g = _pull(rescale, gamma, convention)
    p, y = np.asarray(p, dtype=np.float64), _labels(label)
    return np.where(_active(p, y, rescale, g, convex), g / (1 + g), 1.0)


def _active(p: Array, y: Array, rescale: float, g: float, convex: bool) -> NDArray[np.bool_]:
    least = -np.inf if convex else threshold(rescale=rescale, pull=g)
    return np.asarray(p > np.where(y > 0, least, 0.0))


def _pull(rescale: float, gamma: float, convention: str) -> float:
    if not 0 < rescale < np.inf:
        raise ValueError(f"rescale (R) is {rescale}; it has to be positive")
    if not 0 < gamma < np.inf:
        raise ValueError(f"gamma is {gamma}; it has to be positive")
    if convention not in ("half", "whole"):
        raise ValueError(f"convention is {convention!r}; there are 'half' and 'whole'")
    return gamma / 2 if convention == "half" else gamma


def _labels(label: ArrayLike) -> Array:
    y = np.asarray(label, dtype=np.float64)
    if not np.all((y == 0) | (y == 1)):
        raise ValueError(f"labels are 0 or 1 for each output, not {y[(y != 0) & (y != 1)].flat[0]}")
    return y
