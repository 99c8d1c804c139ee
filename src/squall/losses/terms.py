"""The five losses as coefficients of one expression.

For one token with logits f in R^C, true class y and probs p = softmax(f),

    value = a * [(1 - eps) * (-log p_y) + (eps / C) * sum_j (-log p_j)]
            + b * (f_y - M)^2 + c * sum_{j != y} f_j^2 + z * (log sum_j exp f_j)^2

with the numbers a, eps, b, M, c and z held in `Terms`. The functions below give those of each loss
for C classes; `squall.losses.functional` has formulas, parameters and sources. They raise
ValueError for a parameter out of its range, TypeError for one that is no number.
"""

from __future__ import annotations

from typing import NamedTuple

from squall.losses.arguments import check_at_least, check_fraction, check_positive

__all__ = [
    "Terms",
    "ccql_terms",
    "cross_entropy_terms",
    "rescaled_square_terms",
    "square_terms",
    "squentropy_terms",
]


class Terms(NamedTuple):
    """The coefficients of the expression in the module's docstring.

    cross_entropy is a, label_smoothing eps, true b, true_aim M, wrong c and z_loss z.
    """

    cross_entropy: float = 0.0
    label_smoothing: float = 0.0
    true: float = 0.0
    true_aim: float = 1.0
    wrong: float = 0.0
    z_loss: float = 0.0

    @property
    def square(self) -> bool:
        """Whether the loss is of squares alone, so that its logits aim at M and 0."""
        return self.cross_entropy == 0.0

    def scaled(self, scale: float) -> Terms:
        """The terms of `scale` times the loss, a number above 0."""
        scale = check_positive("scale", scale)
        return self._replace(
            cross_entropy=scale * self.cross_entropy,
            true=scale * self.true,
            wrong=scale * self.wrong,
            z_loss=scale * self.z_loss,
        )


def cross_entropy_terms(*, label_smoothing: float) -> Terms:
    """Those of `cross_entropy`, of any number of classes."""
    label_smoothing = check_fraction("label_smoothing", label_smoothing)
    return Terms(cross_entropy=1.0, label_smoothing=label_smoothing)


def square_terms(classes: int) -> Terms:
    """Those of `square_loss`."""
    return Terms(true=1 / classes, wrong=1 / classes)


def rescaled_square_terms(classes: int, *, k: float, M: float) -> Terms:
    """Those of `rescaled_square_loss`."""
    k, M = check_positive("k", k), check_positive("M", M)
    return Terms(true=k / classes, true_aim=M, wrong=1 / classes)


def ccql_terms(classes: int, *, w: float | None) -> Terms:
    """Those of `ccql_loss`."""
    w = (classes - 1) ** 0.5 - 1 if w is None else check_at_least("w", w, minimum=0.0)
    return Terms(true=(1 + w) / 2, wrong=0.5)


def squentropy_terms(classes: int, *, alpha: float, label_smoothing: float) -> Terms:
    """Those of `squentropy_loss`."""
    alpha = check_at_least("alpha", alpha, minimum=0.0)
    label_smoothing = check_fraction("label_smoothing", label_smoothing)
    return Terms(cross_entropy=1.0, label_smoothing=label_smoothing, wrong=alpha / (classes - 1))
