"""The experiments of a command: its grid, laid over the settings of a YAML file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from squall.corpora.fingerprint import corpus_bytes
from squall.engine.config import ExperimentConfig
from squall.engine.experiment import repository_root
from squall.engine.runner import Cell
from squall.engine.tasks import load_config
from squall.settings import ConfigError, parse_yaml

__all__ = ["expand_grid", "find_config", "grid_configs", "plan_cells"]


def find_config(
    recipe: str, experiment: str | None, corpus_dirs: Sequence[Path] = ()
) -> tuple[Path, str]:
    """The YAML file of an experiment, and why it was chosen, in words, where that needs saying.

    Args:
        recipe: a folder of conf/.
        experiment: name of a file in it; None for the first by name that does not build on another
            one there, or where the corpus is small for the one that is made for such a one.
        corpus_dirs: the folders of the corpus that were given.

    Raises:
        ConfigError: there is no such recipe.
    """
    folder = repository_root() / "conf" / recipe
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        recipes = sorted(path.name for path in folder.parent.iterdir() if path.is_dir())
        raise ConfigError(f"no recipe {recipe!r}; there are {', '.join(recipes)}")
    if experiment:
        return folder / f"{experiment.removesuffix('.yaml')}.yaml", ""
    limits = {path: load_config(path).corpus.at_most_mb for path in paths} if corpus_dirs else {}
    if any(limits.values()) and all(map(Path.is_dir, corpus_dirs)):
        megabytes = corpus_bytes(corpus_dirs) / 1e6
        for path, most in limits.items():
            if most and megabytes <= most:
                places = ", ".join(map(str, corpus_dirs))
                return path, f"{places}: {megabytes:.0f} MB, a sample: --preset {path.stem}"
    return next((path for path in paths if not _builds_on_neighbour(path)), paths[0]), ""


def _builds_on_neighbour(path: Path) -> bool:
    """Whether a YAML file has another one of its folder as `base`: a variant of that one."""
    try:
        settings = parse_yaml(path.read_text(encoding="utf-8"))
    except (ConfigError, UnicodeDecodeError):
        return False  # whoever loads it says what is wrong
    base = settings.get("base") if isinstance(settings, dict) else None
    return isinstance(base, str) and (path.parent / base).resolve().parent == path.parent.resolve()


def plan_cells(configs: Sequence[ExperimentConfig], whole: Cell, jobs: int) -> list[Cell]:
    """The cells of a run, the last of which share the jobs that no other cell needs.

    Args:
        configs: the experiments.
        whole: any of them, with the options and the range of stages of the run.
        jobs: processes of the run.
    """
    last = len(configs) % jobs
    return [
        replace(
            whole,
            config=config,
            options=replace(
                whole.options, processes=jobs // last if place >= len(configs) - last else 1
            ),
        )
        for place, config in enumerate(configs)
    ]


def grid_configs(
    path: Path,
    overrides: Mapping[str, Any],
    grid: Mapping[str, Sequence[Any]] | None = None,
) -> list[ExperimentConfig]:
    """The settings of every experiment of a grid, each once.

    Args:
        path: the YAML file.
        overrides: dotted key to value, for all of them.
        grid: dotted key to values; None takes those of the file.

    Raises:
        ConfigError: a key is in both, or settings do not fit.
    """
    for key in (grid or {}).keys() & overrides.keys():
        raise ConfigError(f"{key} is set to {overrides[key]} and is in --grid too; leave one out")
    written = [
        {key: values for key, values in one.items() if key not in overrides}
        for one in load_config(path, overrides).grids
    ]
    grids = _of_names(written, overrides) if grid is None else [grid]
    groups = {
        key: [value for one in written for value in one.get(key, ())]
        for one in written
        for key in one
    }
    combinations = [_with_groups(values, groups) for one in grids for values in expand_grid(one)]
    configs = {}
    for values in combinations:
        # A whole group of the grid before the keys of that group that `--set` gives.
        chosen = sorted({**overrides, **values}.items(), key=lambda item: item[0].count("."))
        config = load_config(path, dict(chosen))
        configs[config.directory_name, config.variant] = config
    return list(configs.values())


def expand_grid(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All combinations of the values of a grid, as overrides; one empty one for an empty grid."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _of_name(values: Sequence[Any], name: str | None) -> list[Any]:
    """The groups of settings of that name, e.g. of a loss; without a name all values."""
    if name is None:
        return list(values)
    return [value for value in values if isinstance(value, dict) and value.get("name") == name]


def _of_names(
    grids: Sequence[Mapping[str, Sequence[Any]]], overrides: Mapping[str, Any]
) -> list[dict[str, list[Any]]]:
    """The grids with those of their groups that have the names of `--set`, if any has them."""
    named = [
        {key: _of_name(values, overrides.get(f"{key}.name")) for key, values in grid.items()}
        for grid in grids
    ]
    whole = [grid for grid in named if all(grid.values())]
    return whole or [{key: values for key, values in grid.items() if values} for grid in named]


def _with_groups(values: dict[str, Any], groups: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """A name of `--grid`, as `loss.name=square`, brings the group that the settings have for it."""
    brought = {
        key: _of_name(groups[key], values[f"{key}.name"])[:1]
        for key in groups
        if f"{key}.name" in values
    }
    return {key: found[0] for key, found in brought.items() if found} | values
