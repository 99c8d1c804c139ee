"""Loss functions for classification and recognition, in place of cross-entropy.

Needs torch and nothing else of the project. The functions are in `squall.losses.functional`, the
modules in `squall.losses.modules`, the names for config files in `squall.losses.registry`.

>>> import torch
>>> from squall.losses import SquentropyLoss
>>> logits = torch.zeros(8, 10, requires_grad=True)
>>> loss = SquentropyLoss()(logits, torch.arange(8))
>>> loss.backward()
"""

from squall.losses.functional import (
    ccql_loss,
    cross_entropy,
    rescaled_square_loss,
    square_loss,
    squentropy_loss,
)
from squall.losses.modules import (
    CCQLLoss,
    CrossEntropyLoss,
    RescaledSquareLoss,
    SquareLoss,
    SquentropyLoss,
    TokenLoss,
)
from squall.losses.registry import LOSSES, SOURCE_SETTINGS, build_loss, loss_parameters

__all__ = [
    "LOSSES",
    "SOURCE_SETTINGS",
    "CCQLLoss",
    "CrossEntropyLoss",
    "RescaledSquareLoss",
    "SquareLoss",
    "SquentropyLoss",
    "TokenLoss",
    "build_loss",
    "ccql_loss",
    "cross_entropy",
    "loss_parameters",
    "rescaled_square_loss",
    "square_loss",
    "squentropy_loss",
]
