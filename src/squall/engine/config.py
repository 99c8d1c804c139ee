"""The settings of an experiment: what all tasks have, and reading them from a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from squall.corpora.settings import CorpusConfig
from squall.settings import ConfigError, Settings, digest, read_settings

__all__ = ["Config", "ExperimentConfig", "load_settings", "parameter_label"]


class ExperimentConfig(Settings):
    """What every experiment has, whatever its task.

    Args:
        task: name of the task, see `squall.engine.tasks`.
        recipe: the folder under recipes/.
        experiment: name of the experiment; the stem of its YAML file.
        variant: settings of the task's `variant_group` that differ from the YAML file's, e.g.
            `beam_size=20`; filled in by `load_settings`. Variants share one trained model.
        description: one line for tables and reports.
        seed: seed of everything that is drawn at random.
        corpus: where the recordings come from.
        grid: settings to vary, key to list of values, when the command line gives no `--grid`; or a
            list of such grids, which are run one after the other.
        results_dir: folder of the results.json and RESULTS.md that the report stage writes,
            relative to the repository; None keeps them in the experiment folder alone.
    """

    task: str
    recipe: str
    experiment: str
    variant: str = ""
    description: str = ""
    seed: int = Field(default=1, ge=0)
    corpus: CorpusConfig
    grid: dict[str, list[Any]] | list[dict[str, list[Any]]] = Field(default_factory=dict)
    results_dir: str | None = None

    variant_group: ClassVar[str | None] = None
    """The group of settings that a trained model does not depend on, if there is one."""

    @field_validator("recipe", "experiment", "variant")
    @classmethod
    def _names_one_folder(cls, value: str) -> str:
        if value in (".", "..") or any(mark in value for mark in "/\\\0"):
            raise ValueError("it names a folder or file and cannot lead to another one")
        return value

    @property
    def grids(self) -> list[dict[str, list[Any]]]:
        """The grids, one at least."""
        return [self.grid] if isinstance(self.grid, dict) else list(self.grid) or [{}]

    def hashed(self) -> dict[str, Any]:
        """The settings that name the experiment directory.

        Paths, workers, devices, the grid and the number of epochs are not among them: more epochs
        continue the same run. Nor is the variant group: a model is used in several ways without
        being trained again.
        """
        names = {"task", "grid", "results_dir", "description", "variant"}
        if self.variant_group is not None:
            names.add(self.variant_group)
        settings = self.model_dump(mode="json", exclude=names)
        for key in ("dir", "urls", "checksum", "at_most_mb"):
            settings["corpus"].pop(key)
        return settings

    @property
    def directory_name(self) -> str:
        """`<experiment>-<hash>`."""
        return f"{self.experiment}-{digest(self.hashed())[:8]}"

    def named(self, *names: str) -> str:
        """The names with the variant behind them, if there is one, as tables and bars show it."""
        return " ".join([*names, self.variant]).rstrip()

    @property
    def system(self) -> str:
        """What is compared, as tables name it: the loss or the estimator."""
        raise NotImplementedError


Config = TypeVar("Config", bound=ExperimentConfig)


def load_settings(
    config_class: type[Config], path: Path, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Read settings as `read_settings` does, and check them.

    Raises:
        ConfigError: also when a key is unknown or a value does not fit.
    """
    try:
        config = config_class.model_validate(read_settings(path, overrides))
        group = config.variant_group
        if not overrides or group is None:
            return config
        chosen = getattr(config, group)
        written = type(chosen).model_validate(read_settings(path).get(group) or {})
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {_reason(e)}" for e in error.errors()]
        raise ConfigError(f"{path}: settings do not fit:\n" + "\n".join(lines)) from error
    return config.model_copy(update={"variant": _variant(written, chosen)})


def _reason(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such setting"
    return f"{error['msg']}, found {error['input']!r}"


def _variant(written: BaseModel, chosen: BaseModel) -> str:
    """The settings that differ from the file's; `sets` only says which splits are worked on."""
    before, after = written.model_dump(), chosen.model_dump()
    return ",".join(
        f"{key}={after[key]}"
        for key in sorted(after)
        if after[key] != before[key] and key != "sets"
    )


def parameter_label(parameters: Mapping[str, Any], shown: Mapping[str, str]) -> str:
    """Parameters as they stand behind a system's name: `-a0.1-optimizer=adam`.

    Args:
        parameters: name to value.
        shown: shorter names of some.
    """
    parts = [
        "-" + shown.get(key, key.lower()) + (f"{value:g}" if _is_number(value) else f"={value}")
        for key, value in sorted(parameters.items())
    ]
    return "".join(parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
