"""What the best answer that is the same for every sample costs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from squall.losses import BaselineLoss, TokenLoss

__all__ = ["constant_answer_loss"]


def constant_answer_loss(loss: TokenLoss, shares: NDArray[np.float64]) -> float:
    """The lowest mean loss of logits that are the same for every sample.

    Args:
        loss: of `squall.losses.LOSSES`, which are convex in the logits. Of a baseline it is what a
            search finds that begins at the logarithms of the shares.
        shares: (C,) of the classes among the samples, positive, of sum 1.

    Formula: min over f in R^C of sum_y shares_y loss(f, y); for cross-entropy it is the entropy of
    the shares.

    >>> from squall.losses import build_loss
    >>> round(constant_answer_loss(build_loss("ce"), np.array([0.5, 0.5])), 6)
    0.693147
    """
    classes = len(shares)
    index = torch.arange(classes).view(1, classes, 1)
    weights = torch.from_numpy(shares).view(1, classes, 1)

    def mean_loss(logits: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        every = torch.from_numpy(logits).expand(1, classes, classes).contiguous()
        gradient = torch.empty_like(every)
        values = loss.values_with_gradient(every, index, gradient)
        return float((weights * values).sum()), (weights * gradient).sum((0, 1)).numpy()

    start = np.zeros(classes)
    if isinstance(loss, BaselineLoss):  # some are not smooth where all logits are the same
        start = np.log(np.maximum(shares, 1e-6))
    return float(minimize(mean_loss, start, jac=True, method="L-BFGS-B").fun)
