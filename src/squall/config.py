"""Settings: typed defaults, a YAML file over them, and `key=value` overrides over that.

A config is data. Files are read with a safe YAML loader; nothing in them is ever executed.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = [
    "ConfigError",
    "CorpusConfig",
    "ExperimentConfig",
    "Settings",
    "differences",
    "digest",
    "flatten",
    "load_settings",
    "parameter_label",
    "parse_assignment",
    "read_settings",
    "split_values",
]


class ConfigError(ValueError):
    """A setting that does not exist or does not fit; the message names it and the file."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, with numbers such as 1e-3, which YAML 1.1 reads as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def _parse_yaml(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class Settings(BaseModel):
    """A group of settings: unknown keys are errors, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CorpusConfig(Settings):
    """Where the recordings come from.

    Args:
        name: the preparer in `squall.corpora` (`an4`, `demo`, `librispeech`, `manifest`, `timit`,
            `wsj`).
        dev_speakers: how many training speakers are held out as the development set, where the
            corpus itself has none.
        dir: where it lies when the command line does not tell, relative to `SQUALL_DATA`.
        urls: addresses of the archive for `--download`, tried in order. The parts of LibriSpeech
            are known without.
        checksum: `sha256:` or `md5:` and the digest of the archive; None accepts any, and the log
            then tells the digest so that it can be pinned.
        options: further arguments of the preparer.
        at_most_mb: where the command line names no experiment, this one is taken for a corpus of at
            most so many megabytes: a sample needs other settings than the whole.
    """

    name: str
    dev_speakers: int = Field(default=8, ge=1)
    dir: str | None = None
    urls: tuple[str, ...] = ()
    checksum: str | None = None
    options: dict[str, Any] = {}
    at_most_mb: float | None = Field(default=None, gt=0)


class ExperimentConfig(Settings):
    """What every experiment has, whatever its task.

    Args:
        task: name of the task, see `squall.tasks`.
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
    grid: dict[str, list[Any]] | list[dict[str, list[Any]]] = {}
    results_dir: str | None = None

    variant_group: ClassVar[str | None] = None
    """The group of settings that a trained model does not depend on, if there is one."""

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


def read_settings(path: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of a YAML file with the overrides laid over them, not yet checked.

    Args:
        path: the YAML file; its stem is the experiment's name, its folder the recipe's. A key
            `base` names another file, relative to this one, whose settings hold where this one
            has none of its own.
        overrides: dotted key to value, e.g. `{"loss.name": "square", "espnet.max_epoch": 60}`; a
            later one is laid over the earlier ones.

    Raises:
        ConfigError: the file is missing or not YAML, or an override does not fit its form.
    """
    path = Path(path)
    settings = {"recipe": path.parent.name, "experiment": path.stem, **_read(path)}
    for key, value in (overrides or {}).items():
        _assign(settings, key, copy.deepcopy(value))
    return settings


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


def _read(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The settings of a file over those of its `base`; `below` are the files that led here."""
    settings = _read_alone(path)
    base = settings.pop("base", None)
    if base is None:
        return settings
    base_path = (path.parent / str(base)).resolve()
    if base_path in (*below, path.resolve()):
        raise ConfigError(f"{path}: base {base!r} leads back to a file that has this one as base")
    return _merged(_read(base_path, (*below, path.resolve())), settings)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Groups of settings are merged key by key, everything else is replaced."""
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(under.get(key), dict)
        merged[key] = _merged(under[key], value) if both else value
    return merged


def _read_alone(path: Path) -> dict[str, Any]:
    try:
        settings = _parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        found = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(f"no config file {path}; experiments in that folder: {found}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not plain YAML: {error}") from error
    if not isinstance(settings, dict):
        kind = type(settings).__name__
        raise ConfigError(f"{path}: expected settings as `key: value`, found {kind}")
    return settings


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


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split `key=value`; the value is read as YAML, so `3`, `true`, `[1, 2]` have their types.

    Raises:
        ConfigError: there is no `=`, no key, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"{text!r}: expected key=value, e.g. loss.name=squentropy")
    try:
        return key.strip(), _parse_yaml(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{text!r}: the value is not plain YAML: {error}") from error


def _assign(settings: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    here = settings
    for part in path:
        if here.get(part) is None:
            here[part] = {}
        child = here[part]
        if not isinstance(child, dict):
            raise ConfigError(f"{key}: {part!r} is a value, not a group of settings")
        here = child
    here[last] = value


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What changed between two nested settings, one readable line per key."""
    old, new = flatten(before), flatten(after)
    return [
        f"{key} was {_shown(old, key)}, is {_shown(new, key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) or (key in old) != (key in new)
    ]


def _shown(flat: Mapping[str, Any], key: str) -> str:
    return json.dumps(flat[key]) if key in flat else "absent"


def digest(settings: Any) -> str:
    """SHA-256 of the settings as canonical JSON, in hexadecimal."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def split_values(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Read `key=a,b,c` assignments of a grid; each value is read as YAML.

    Raises:
        ConfigError: a text is not of that form, a value is empty, or a key is given twice.
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not all(value.strip() for value in values.split(",")):
            raise ConfigError(f"{text!r}: expected key=value,value,..., e.g. seed=0,1,2")
        if key.strip() in grid:
            raise ConfigError(f"{key.strip()} is given twice in the grid; list its values in one")
        grid[key.strip()] = [parse_assignment(f"{key}={value}")[1] for value in values.split(",")]
    return grid
