"""The folders of an enhancement experiment, and the settings that name the shared ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from squall.engine.experiment import Experiment, data_folders
from squall.enhance.settings import EnhancementConfig

__all__ = ["EnhancementPlaces"]

_PREPARE = ("corpus", "utterances", "noise", "seed", "remove_mean")
_MIX = (*_PREPARE, "mixture")
_FEATURES = (*_MIX, "frontend", "features", "mask")


class EnhancementPlaces:
    """Where the stages of an experiment write.

    Attributes:
        settings: what decides the outputs of the shared stages `prepare`, `mix` and `features`.
        data: manifests and noises, shared.
        mix: mixtures, and the audio of those of the test, shared.
        features: features and masks, shared.
        clean: the clean speech of the test mixtures, `<utterance>.wav`.
        enhanced: what this variant makes of the test mixtures.
        noise_dirs: the user's noises, or the recordings at hand; none where only made noises are
            used.
    """

    def __init__(self, experiment: Experiment[EnhancementConfig]) -> None:
        settings = experiment.config.hashed()
        groups = {"prepare": _PREPARE, "mix": _MIX, "features": _FEATURES}
        self.settings: dict[str, dict[str, Any]] = {
            stage: {name: settings[name] for name in names if name in settings}
            for stage, names in groups.items()
        }
        self.data = experiment.shared("data", self.settings["prepare"])
        self.mix = experiment.shared("mix", self.settings["mix"])
        self.features = experiment.shared("features", self.settings["features"])
        self.clean = self.mix / "audio" / "clean"
        self.enhanced = experiment.variant_dir("enhanced")
        self.noise_dirs = _noise_dirs(experiment)


def _noise_dirs(experiment: Experiment[EnhancementConfig]) -> tuple[Path, ...]:
    if experiment.options.noise_dir:
        return (Path(experiment.options.noise_dir).absolute(),)
    return data_folders(experiment.config.noise.dir or ())
