"""Loss functions for classification and recognition, in place of cross-entropy.

Needs torch and nothing else of the project. The functions are in `squall.losses.functional`, the
modules in `squall.losses.modules`, the names for config files in `squall.losses.registry`. The same
losses with the linear layer before them, for large vocabularies, are in `squall.losses.linear` and
`squall.losses.linear_modules`; losses to compare with, which others proposed for calibration, in
`squall.losses.baselines`.

>>> import torch
>>> from squall.losses import SquentropyLoss
>>> logits = torch.zeros(8, 10, requires_grad=True)
>>> loss = SquentropyLoss()(logits, torch.arange(8))
>>> loss.backward()
"""

from squall.losses.baselines import (
    BaselineLoss,
    BrierLoss,
    ConfidencePenaltyLoss,
    DualFocalLoss,
    FocalLoss,
    LogitNormLoss,
    brier_loss,
    confidence_penalty_loss,
    dual_focal_loss,
    focal_loss,
    logit_norm_loss,
)
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
from squall.losses.posterior import log_clipped_posterior, square_aim
from squall.losses.registry import (
    BASELINE_LOSSES,
    LINEAR_LOSSES,
    LOSSES,
    SOURCE_SETTINGS,
    build_loss,
    initial_value,
    loss_parameters,
    scale_of_ce,
)

__all__ = [
    "BASELINE_LOSSES",
    "LINEAR_LOSSES",
    "LOSSES",
    "SOURCE_SETTINGS",
    "BaselineLoss",
    "BrierLoss",
    "CCQLLoss",
    "ConfidencePenaltyLoss",
    "CrossEntropyLoss",
    "DualFocalLoss",
    "FocalLoss",
    "LinearCCQLLoss",
    "LinearCrossEntropyLoss",
    "LinearRescaledSquareLoss",
    "LinearSquareLoss",
    "LinearSquentropyLoss",
    "LinearTokenLoss",
    "LogitNormLoss",
    "RescaledSquareLoss",
    "SquareLoss",
    "SquentropyLoss",
    "TokenLoss",
    "brier_loss",
    "build_loss",
    "ccql_loss",
    "confidence_penalty_loss",
    "cross_entropy",
    "dual_focal_loss",
    "focal_loss",
    "initial_value",
    "linear_ccql_loss",
    "linear_cross_entropy",
    "linear_rescaled_square_loss",
    "linear_square_loss",
    "linear_squentropy_loss",
    "log_clipped_posterior",
    "logit_norm_loss",
    "loss_parameters",
    "rescaled_square_loss",
    "scale_of_ce",
    "square_aim",
    "square_loss",
    "squentropy_loss",
]
