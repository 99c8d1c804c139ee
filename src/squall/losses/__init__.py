"""Loss functions for classification and recognition, in place of cross-entropy.

Needs torch and nothing else of the project. The functions are in `squall.losses.functional`, the
modules in `squall.losses.modules`, the names for config files in `squall.losses.registry`. The same
losses with the linear layer before them, for large vocabularies, are in `squall.losses.linear` and
`squall.losses.linear_modules`.

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
from squall.losses.linear import (
    linear_ccql_loss,
    linear_cross_entropy,
    linear_rescaled_square_loss,
    linear_square_loss,
    linear_squentropy_loss,
)
from squall.losses.linear_modules import (
    LinearCCQLLoss,
    LinearCrossEntropyLoss,
    LinearRescaledSquareLoss,
    LinearSquareLoss,
    LinearSquentropyLoss,
    LinearTokenLoss,
)
from squall.losses.modules import (
    CCQLLoss,
    CrossEntropyLoss,
    RescaledSquareLoss,
    SquareLoss,
    SquentropyLoss,
    TokenLoss,
)
from squall.losses.registry import (
    LINEAR_LOSSES,
    LOSSES,
    SOURCE_SETTINGS,
    build_loss,
    loss_parameters,
)

__all__ = [
    "LINEAR_LOSSES",
    "LOSSES",
    "SOURCE_SETTINGS",
    "CCQLLoss",
    "CrossEntropyLoss",
    "LinearCCQLLoss",
    "LinearCrossEntropyLoss",
    "LinearRescaledSquareLoss",
    "LinearSquareLoss",
    "LinearSquentropyLoss",
    "LinearTokenLoss",
    "RescaledSquareLoss",
    "SquareLoss",
    "SquentropyLoss",
    "TokenLoss",
    "build_loss",
    "ccql_loss",
    "cross_entropy",
    "linear_ccql_loss",
    "linear_cross_entropy",
    "linear_rescaled_square_loss",
    "linear_square_loss",
    "linear_squentropy_loss",
    "loss_parameters",
    "rescaled_square_loss",
    "square_loss",
    "squentropy_loss",
]
