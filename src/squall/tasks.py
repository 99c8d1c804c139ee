"""The tasks that recipes have: what a task's settings, stages and report are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squall.config import ConfigError, ExperimentConfig, load_settings, read_settings

if TYPE_CHECKING:
    from squall.experiment import Experiment
    from squall.report import Report
    from squall.stages import Stage

__all__ = ["TASKS", "Task", "config_from_json", "load_config", "task_of"]


@dataclass(frozen=True)
class Task:
    """Where the parts of a task are; a part is imported when it is first used.

    Args:
        settings: module and class of its settings.
        recipe: the module with its `STAGE_NAMES` and the function that lists its stages.
        stages: the name of that function.
        report: module and function that collect experiments into a report.
    """

    settings: tuple[str, str]
    recipe: str
    stages: str
    report: tuple[str, str]

    @property
    def config_class(self) -> type[ExperimentConfig]:
        """The class of its settings."""
        found: type[ExperimentConfig] = _part(*self.settings)
        return found

    @property
    def stage_names(self) -> dict[int, str]:
        """The numbers and names of its stages, the report among them."""
        names: dict[int, str] = _part(self.recipe, "STAGE_NAMES")
        return names

    def list_stages(self, experiment: Experiment[Any]) -> list[Stage]:
        """The stages of an experiment, without the report."""
        list_stages: Callable[[Experiment[Any]], list[Stage]] = _part(self.recipe, self.stages)
        return list_stages(experiment)

    def collect(self, experiments: Sequence[Experiment[Any]]) -> Report:
        """The report of scored experiments."""
        collect: Callable[[Sequence[Experiment[Any]]], Report] = _part(*self.report)
        return collect(experiments)


TASKS = {
    "recognition": Task(
        ("squall.asr.settings", "RecognitionConfig"),
        "squall.asr.recipe",
        "recognition_stages",
        ("squall.asr.report", "collect"),
    ),
    "spiral": Task(
        ("squall.studies.settings", "SpiralConfig"),
        "squall.studies.spiral_recipe",
        "spiral_stages",
        ("squall.studies.spiral_report", "collect"),
    ),
    "tabular": Task(
        ("squall.studies.settings", "TabularConfig"),
        "squall.studies.tabular_recipe",
        "tabular_stages",
        ("squall.studies.tabular_report", "collect"),
    ),
    "enhancement": Task(
        ("squall.enhance.settings", "EnhancementConfig"),
        "squall.enhance.recipe",
        "enhancement_stages",
        ("squall.enhance.report", "collect"),
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
    if name not in TASKS:
        raise ConfigError(f"{path}: there is no task {name!r}; there are {', '.join(TASKS)}")
    return load_settings(TASKS[name].config_class, path, overrides)


def config_from_json(settings: Mapping[str, Any]) -> ExperimentConfig:
    """The settings that `model_dump` gave."""
    return TASKS[settings["task"]].config_class.model_validate(settings)


def _part(module: str, name: str) -> Any:
    return getattr(import_module(module), name)
