"""The tasks that recipes have: what a task's settings, stages and report are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from squall.engine.config import Config, ExperimentConfig, load_settings
from squall.engine.experiment import Experiment, RunOptions
from squall.settings import ConfigError, read_settings

if TYPE_CHECKING:
    from squall.engine.stages import Stage
    from squall.report.report import Report

__all__ = [
    "OPTIONS",
    "TASKS",
    "Task",
    "config_from_json",
    "load_config",
    "open_experiment",
    "open_variants",
    "study",
    "task_of",
]


@dataclass(frozen=True)
class Task:
    """Where the parts of a task are; a part is imported when it is first used.

    Args:
        settings: module and class of its settings.
        recipe: module and function that list an experiment's stages.
        report: module and function that collect experiments into a report.
        stage_names: the numbers and names of its stages, the report among them. They are kept
            here so that `squall run --help` need not import what the stages do.
        supports: those of `OPTIONS` that it can honour; the others are refused.
    """

    settings: tuple[str, str]
    recipe: tuple[str, str]
    report: tuple[str, str]
    stage_names: Mapping[int, str]
    supports: frozenset[str] = frozenset()

    @property
    def config_class(self) -> type[ExperimentConfig]:
        """The class of its settings."""
        found: type[ExperimentConfig] = _part(*self.settings)
        return found

    def list_stages(self, experiment: Experiment[Any]) -> list[Stage]:
        """The stages of an experiment, without the report."""
        list_stages: Callable[[Experiment[Any]], list[Stage]] = _part(*self.recipe)
        return list_stages(experiment)

    def collect(self, experiments: Sequence[Experiment[Any]]) -> Report:
        """The report of scored experiments."""
        collect: Callable[[Sequence[Experiment[Any]]], Report] = _part(*self.report)
        return collect(experiments)


OPTIONS = {
    "corpus_dir": "reads a corpus",
    "noise_dir": "mixes recorded noise",
    "subset": "has corpora with smaller parts",
    "download": "fetches its corpus",
    "skip_bad": "checks utterances",
    "workers": "has stages with processes of their own",
    "device": "computes on a GPU",
    "gpus": "trains on several GPUs",
    "nodes": "trains on several machines",
}
"""Options of `squall run` that not every task can honour, and what a task that can does."""

_SPEECH = frozenset({"corpus_dir", "subset", "download", "skip_bad", "device"})
_RECOGNITION_STAGES = [
    "check",
    "prepare",
    "tokens",
    "stats",
    "lm",
    "train",
    "decode",
    "score",
    "report",
]
_ENHANCEMENT_STAGES = [
    "check",
    "prepare",
    "mix",
    "features",
    "tune",
    "train",
    "enhance",
    "score",
    "report",
]
# Numbered as the stages of the same name are in the other recipes.
_STUDY_STAGES = {0: "check", 5: "train", 7: "score", 8: "report"}
_CHARLM_STAGES = {0: "check", 1: "prepare", 5: "train", 6: "predict", 7: "score", 8: "report"}


_CLASSIFIER_STAGES = {
    0: "check",
    1: "prepare",
    4: "tune",
    5: "train",
    6: "predict",
    7: "score",
    8: "report",
}


def study(
    name: str, config_class: str, *supports: str, stages: Mapping[int, str] = _STUDY_STAGES
) -> Task:
    """The task of a study, the parts of which have the places that `studies/README.md` tells.

    Args:
        name: of the study's folder.
        config_class: of its settings, in `settings.py`.
        supports: those of `OPTIONS` that it can honour.
        stages: the numbers and names of its stages, the report among them.
    """
    place = f"squall.studies.{name}"
    return Task(
        settings=(f"{place}.settings", config_class),
        recipe=(f"{place}.recipe", "list_stages"),
        report=(f"{place}.report", "collect"),
        stage_names=stages,
        supports=frozenset(supports),
    )


TASKS = {
    "recognition": Task(
        settings=("squall.asr.settings", "RecognitionConfig"),
        recipe=("squall.asr.recipe", "list_stages"),
        report=("squall.asr.report.sections", "collect"),
        stage_names=dict(enumerate(_RECOGNITION_STAGES)),
        supports=_SPEECH | {"gpus", "nodes"},
    ),
    "enhancement": Task(
        settings=("squall.enhance.settings", "EnhancementConfig"),
        recipe=("squall.enhance.recipe", "list_stages"),
        report=("squall.enhance.report.sections", "collect"),
        stage_names=dict(enumerate(_ENHANCEMENT_STAGES)),
        supports=_SPEECH | {"noise_dir", "workers"},
    ),
    "spiral": study("spiral", "SpiralConfig"),
    "tabular": study("tabular", "TabularConfig", "corpus_dir", "workers"),
    "asymptotics": study("asymptotics", "AsymptoticsConfig", "corpus_dir", "workers"),
    "mixtures": study("mixtures", "MixturesConfig", "workers"),
    "charlm": study("charlm", "CharlmConfig", "corpus_dir", "device", stages=_CHARLM_STAGES),
    "images": study("images", "ImagesConfig", "corpus_dir", "device", stages=_CLASSIFIER_STAGES),
    "text": study(
        "text",
        "TextConfig",
        "corpus_dir",
        "download",
        "skip_bad",
        "device",
        stages=dict(sorted({2: "tokens", **_CLASSIFIER_STAGES}.items())),
    ),
}
"""Name of a task, as the settings give it under `task`, to its parts."""


def task_of(config: ExperimentConfig) -> Task:
    """The task of an experiment."""
    return TASKS[config.task]


def load_config(path: Path, overrides: Mapping[str, Any] | None = None) -> ExperimentConfig:
    """Read a YAML file, lay the overrides over it, and check the result.

    Args:
        path: the YAML file; its key `task` (default `recognition`) decides what settings there are.
        overrides: dotted key to value, e.g. `{"loss.name": "square", "espnet.max_epoch": 60}`.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown, or a value does not fit.
    """
    name = read_settings(path, overrides).get("task", "recognition")
    if not isinstance(name, str) or name not in TASKS:
        raise ConfigError(f"{path}: there is no task {name!r}; there are {', '.join(TASKS)}")
    return load_settings(TASKS[name].config_class, path, overrides)


def config_from_json(settings: Mapping[str, Any]) -> ExperimentConfig:
    """The settings that `model_dump` gave."""
    return TASKS[settings["task"]].config_class.model_validate(settings)


def open_experiment(directory: Path, config_class: type[Config]) -> Experiment[Config]:
    """The experiment that a folder holds, as its YAML file uses the model.

    Where only variants of that were run, it is the first of those.

    Args:
        directory: the experiment directory.
        config_class: the settings of the task that the experiment must be of.

    Raises:
        FileNotFoundError: the folder holds no experiment.
        ConfigError: its settings cannot be read, or are of another task.
        ValueError: a file of its trained model is damaged; the message names it.
    """
    from squall.engine.stages import refuse_changed

    found = open_variants(directory)[0]
    refuse_changed(found.directory, "train")
    if not isinstance(found.config, config_class):
        raise ConfigError(f"{directory} is an experiment of another task: {found.config.task}")
    return cast(Experiment[Config], found)


def open_variants(directory: Path) -> list[Experiment[ExperimentConfig]]:
    """Every variant that a folder holds, the plain one first.

    Raises:
        FileNotFoundError: the folder holds no experiment.
        ConfigError: its settings cannot be read.
    """
    directory = Path(directory).absolute()
    paths = [*directory.glob("config.yaml"), *sorted(directory.glob("config.*.yaml"))]
    if not paths:
        raise FileNotFoundError(
            f"{directory} is not an experiment directory: it has no config.yaml. "
            "Give one of exp/<recipe>/<experiment>-<hash>"
        )
    return [_open(path) for path in paths]


def _open(config_path: Path) -> Experiment[ExperimentConfig]:
    exp_dir = config_path.parents[1].parent
    experiment = Experiment(load_config(config_path), RunOptions(exp_dir=str(exp_dir)))
    experiment.directory = config_path.parent
    return experiment


def _part(module: str, name: str) -> Any:
    return getattr(import_module(module), name)
