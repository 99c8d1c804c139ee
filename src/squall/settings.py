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
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

__all__ = [
    "ConfigError",
    "Settings",
    "changes_since",
    "differences",
    "digest",
    "flatten",
    "parse_assignment",
    "parse_yaml",
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


_MOST_VALUES, _DEEPEST = 100_000, 50


def parse_yaml(text: str) -> Any:
    """What a YAML text holds: text, numbers, dates, lists and mappings of them.

    Raises:
        ConfigError: it is not YAML, names a Python object, or grows beyond 100,000 values or 50
            levels once its aliases are written out.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            return None
        _refuse_growth(node)
        return _Loader("").construct_document(node)
    except RecursionError as error:
        raise ConfigError(f"it has more than {_DEEPEST} levels") from error
    # The constructors of numbers and dates raise what Python's own do.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        raise ConfigError(str(error)) from error


def _refuse_growth(node: yaml.Node) -> None:
    """Raise ConfigError where a document is too large; one that holds itself has no end."""
    count, open_nodes = 0, [(node, 1)]
    while open_nodes:
        here, level = open_nodes.pop()
        count += 1
        if level > _DEEPEST or count > _MOST_VALUES:
            raise ConfigError(
                f"with its aliases written out it has more than {_MOST_VALUES} values or "
                f"{_DEEPEST} levels"
            )
        if isinstance(here, yaml.MappingNode):
            open_nodes += [(part, level + 1) for pair in here.value for part in pair]
        elif isinstance(here, yaml.SequenceNode):
            open_nodes += [(part, level + 1) for part in here.value]


class Settings(BaseModel):
    """A group of settings: unknown keys are errors, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_settings(path: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of a YAML file with the overrides laid over them, not yet checked.

    Args:
        path: the YAML file; its stem is the experiment's name, its folder the recipe's. A key
            `base` names another file, relative to this one, whose settings hold where this one
            has none of its own; a `grid` takes the place of the whole grid of the base.
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


def _read(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The settings of a file over those of its `base`; `below` are the files that led here."""
    settings = _read_alone(path)
    base = settings.pop("base", None)
    if base is None:
        return settings
    if not isinstance(base, str) or "\0" in base:
        raise ConfigError(f"{path}: base {base!r} is not the path of a file")
    base_path = (path.parent / base).resolve()
    if base_path in (*below, path.resolve()):
        raise ConfigError(f"{path}: base {base!r} leads back to a file that has this one as base")
    return _merged(_read(base_path, (*below, path.resolve())), settings)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Groups of settings are merged key by key, everything else is replaced. A grid is no group:
    axes of two files in one would be crossed with each other."""
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(under.get(key), dict) and key != "grid"
        merged[key] = _merged(under[key], value) if both else value
    return merged


def _read_alone(path: Path) -> dict[str, Any]:
    try:
        settings = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        found = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(f"no config file {path}; experiments in that folder: {found}") from error
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not plain YAML: {error}") from error
    if not isinstance(settings, dict):
        kind = type(settings).__name__
        raise ConfigError(f"{path}: expected settings as `key: value`, found {kind}")
    return settings


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split `key=value`; the value is read as YAML, so `3`, `true`, `[1, 2]` have their types.

    Raises:
        ConfigError: there is no `=`, no key, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"{text!r}: expected key=value, e.g. loss.name=squentropy")
    try:
        return key.strip(), parse_yaml(value)
    except ConfigError as error:
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


def changes_since(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What changed since a run recorded what decides its outputs, one readable line per key.

    Args:
        recorded: its `settings`, and what else it depended on. An earlier version recorded less;
            what it left out is not compared, but for settings.
        now: the same, as it is now.
    """
    settings = {key: value for key, value in now.items() if key == "settings"}
    known = {**_recorded(recorded, now), **settings} if recorded else now
    return differences(recorded, known)


def _recorded(before: Any, now: Any) -> Any:
    """`now` without what `before` does not tell."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return {key: _recorded(before[key], value) for key, value in now.items() if key in before}
    return None if before is None else now


def _shown(flat: Mapping[str, Any], key: str) -> str:
    return json.dumps(flat[key]) if key in flat else "absent"


def digest(settings: Any) -> str:
    """SHA-256 of the settings as canonical JSON, in hexadecimal."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def split_values(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Read `key=a,b,c` assignments of a grid; each value is read as YAML.

    A value may be a list or a group of settings: `loss={name: ce},{name: squentropy, alpha: 0.1}`.

    Raises:
        ConfigError: a text is not of that form, a value is empty, or a key is given twice.
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        key, _, values = text.partition("=")
        try:
            parsed = parse_assignment(f"{key}=[{values}]")[1] if values.strip() else None
        except ConfigError:
            parsed = None
        if not isinstance(parsed, list) or values.rstrip().endswith(","):
            raise ConfigError(f"{text!r}: expected key=value,value,..., e.g. seed=0,1,2")
        if key.strip() in grid:
            raise ConfigError(f"{key.strip()} is given twice in the grid; list its values in one")
        grid[key.strip()] = parsed
    return grid
