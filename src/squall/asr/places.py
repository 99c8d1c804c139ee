"""The folders of a recognition experiment, and the settings that name the shared ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from squall.asr.settings import RecognitionConfig
from squall.engine.experiment import Experiment, data_dir

__all__ = ["RecognitionPlaces"]

_FRONTEND = ("frontend", "frontend_conf", "input_size")


class RecognitionPlaces:
    """Where the stages of an experiment write what others share with it.

    Attributes:
        settings: what decides the outputs of the shared stages `prepare`, `tokens`, `stats`, `lm`.
        data: manifests and audio lists.
        tokens: token list and texts.
        stats: statistics of the features.
        lm: the language model.
        language_text: the file that it is trained on, None where that is the transcripts.
    """

    def __init__(self, experiment: Experiment[RecognitionConfig]) -> None:
        config, settings = experiment.config, experiment.config.hashed()
        prepare = {"corpus": settings["corpus"]}
        tokens = {**prepare, "tokens": settings["tokens"]}
        espnet = {key: value for key, value in settings["espnet"].items() if key in _FRONTEND}
        self.settings: dict[str, dict[str, Any]] = {
            "prepare": prepare,
            "tokens": tokens,
            "stats": {**tokens, "espnet": espnet},
            "lm": {**tokens, "lm": settings["lm"], "seed": config.seed},
        }
        self.data = experiment.shared("data", prepare)
        self.tokens = experiment.shared("tokens", tokens)
        self.stats = experiment.shared("stats", self.settings["stats"])
        self.lm = experiment.shared("lm", self.settings["lm"]) / "lm"
        self.language_text = _language_text(experiment)


def _language_text(experiment: Experiment[RecognitionConfig]) -> Path | None:
    settings = experiment.config.lm
    if settings is None or settings.text is None:
        return None
    if settings.text_url:
        return experiment.recipe_dir / settings.text_url.rsplit("/", 1)[-1]
    return data_dir() / Path(settings.text).expanduser()
