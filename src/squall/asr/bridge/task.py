"""ESPnet's tasks with squall's model and trainer in them.

Importing this module is what makes a process know them: it registers the model with ESPnet. The
classes stand at its top level, so that a training can be handed to another process by their name.
"""

from __future__ import annotations

from squall.asr.bridge.imports import MODEL_NAME, keep_g2p_out

keep_g2p_out()  # before ESPnet is imported

from espnet2.tasks.asr import ASRTask, model_choices  # noqa: E402
from espnet2.tasks.lm import LMTask  # noqa: E402

from squall.asr.bridge.model import SquallModel  # noqa: E402
from squall.asr.bridge.trainer import SquallTrainer  # noqa: E402

__all__ = ["SquallLMTask", "SquallTask"]

model_choices.classes[MODEL_NAME] = SquallModel


class SquallTask(ASRTask):  # type: ignore[misc]
    """Recognition."""

    trainer = SquallTrainer


class SquallLMTask(LMTask):  # type: ignore[misc]
    """Language models."""

    trainer = SquallTrainer
