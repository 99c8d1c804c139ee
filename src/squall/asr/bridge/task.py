"""ESPnet's tasks with squall's model and trainer in them.

Importing this module is what makes a process know them: it registers the model with ESPnet. The
classes stand at its top level, so that a training can be handed to another process by their name.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from squall.asr.bridge.espnet import ASRTask, LMTask, model_choices
from squall.asr.bridge.initial_weights import initialize_as_espnet1
from squall.asr.bridge.model import SquallModel
from squall.asr.bridge.names import MODEL_NAME
from squall.asr.bridge.trainer import SquallTrainer

__all__ = ["SquallLMTask", "SquallTask"]

_ESPNET1 = "chainer"

model_choices.classes[MODEL_NAME] = SquallModel


class _Training:
    """What both tasks have."""

    trainer = SquallTrainer

    @classmethod
    def build_model(cls, args: Namespace) -> Any:
        """As ESPnet's; knows `init: chainer` too, which ESPnet 202611 does not."""
        if args.init != _ESPNET1:
            return super().build_model(args)  # type: ignore[misc]
        model = super().build_model(Namespace(**{**vars(args), "init": None}))  # type: ignore[misc]
        initialize_as_espnet1(model)
        return model

    @classmethod
    def build_optimizers(cls, args: Namespace, model: Any) -> Any:
        """As ESPnet's; Adam takes its steps for all weights in one call."""
        if args.optim in ("adam", "adamw"):
            settings = {"fused": True, **args.optim_conf}
            args = Namespace(**{**vars(args), "optim_conf": settings})
        return super().build_optimizers(args, model)  # type: ignore[misc]


class SquallTask(_Training, ASRTask):  # type: ignore[misc]
    """Recognition."""


class SquallLMTask(_Training, LMTask):  # type: ignore[misc]
    """Language models."""
