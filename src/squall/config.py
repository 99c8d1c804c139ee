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
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

__all__ = [
    "ConfigError",
    "CorpusConfig",
    "DecodeConfig",
    "LanguageModelConfig",
    "LossConfig",
    "RecognitionConfig",
    "TokensConfig",
    "differences",
    "digest",
    "flatten",
    "load_config",
    "parse_assignment",
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


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CorpusConfig(_Settings):
    """Where the recordings come from.

    Args:
        name: the preparer in `squall.corpora` (`an4`, `demo`, `manifest`).
        dev_speakers: how many training speakers are held out as the development set, where the
            corpus itself has none.
        urls: addresses of the archive for `--download`, tried in order.
        checksum: `sha256:` or `md5:` and the digest of the archive; None accepts any, and the log
            then tells the digest so that it can be pinned.
        options: further arguments of the preparer.
    """

    name: str
    dev_speakers: int = Field(default=8, ge=1)
    urls: tuple[str, ...] = ()
    checksum: str | None = None
    options: dict[str, Any] = {}


class TokensConfig(_Settings):
    """The units that the recogniser writes.

    Args:
        units: `char`, `bpe` (a sentencepiece unigram model) or `word`.
        vocabulary_size: number of sentencepiece pieces; only for `bpe`.
    """

    units: Literal["char", "bpe", "word"] = "char"
    vocabulary_size: int = Field(default=1000, ge=8)


class LossConfig(BaseModel):
    """The loss of the attention branch.

    Args:
        name: one of `squall.losses.LOSSES`.
        scale: factor on the loss, so that the balance with CTC is a visible setting.
        normalize: `token` divides by the tokens of the batch, `utterance` takes each utterance's
            mean and then the mean of those, `batch` divides the sum by the number of utterances
            (what ESPnet does unless `length_normalized_loss` is set).

    Every further key (alpha, k, M, w, label_smoothing) goes to the loss, which checks it.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "ce"
    scale: float = Field(default=1.0, gt=0)
    normalize: Literal["token", "utterance", "batch"] = "batch"

    @property
    def parameters(self) -> dict[str, Any]:
        """The loss's own parameters."""
        return dict(self.model_extra or {})


class LanguageModelConfig(_Settings):
    """A language model for shallow fusion, trained by ESPnet on the training text.

    Args:
        espnet: ESPnet's settings of the language model task, passed through unchanged.
    """

    espnet: dict[str, Any]


class DecodeConfig(_Settings):
    """Joint CTC/attention beam search.

    Args:
        beam_size: number of hypotheses kept.
        ctc_weight: weight of the CTC prefix score; the decoder has one minus it.
        lm_weight: weight of the language model's log probability; needs `lm`.
        penalty: added for each token (insertion bonus).
        maxlenratio: longest hypothesis in tokens, relative to the encoder's frames; 0 lets the
            search end by itself.
        minlenratio: shortest hypothesis, relative to the encoder's frames.
        posterior: how the decoder's logits become scores: `softmax`, `clipped` (logits divided by
            the target value, cut at `floor` and normalised: for models trained without a softmax)
            or `auto`, which takes `clipped` for the square losses and `softmax` for the others.
        floor: smallest value of a clipped logit, in (0, 1).
        sets: the splits to decode.
    """

    beam_size: int = Field(default=10, ge=1)
    ctc_weight: float = Field(default=0.3, ge=0, le=1)
    lm_weight: float = Field(default=0.0, ge=0)
    penalty: float = 0.0
    maxlenratio: float = Field(default=0.0, ge=0)
    minlenratio: float = Field(default=0.0, ge=0)
    posterior: Literal["auto", "softmax", "clipped"] = "auto"
    floor: float = Field(default=1e-3, gt=0, lt=1)
    sets: tuple[str, ...] = ("dev", "test")


class RecognitionConfig(_Settings):
    """Everything that decides the numbers of one recognition experiment.

    Args:
        recipe: the folder under recipes/.
        experiment: name of the experiment; the stem of its YAML file.
        variant: decoding settings that differ from the YAML file's, e.g. `beam_size=20`; filled in
            by `load_config`. Variants share one trained model.
        description: one line for tables and reports.
        seed: seed of initialisation, batch order, augmentation and dropout.
        espnet: ESPnet's own training settings, passed through unchanged.
        grid: settings to vary, key to list of values, when the command line gives no `--grid`.
        results_dir: folder of the results.json and RESULTS.md that the report stage writes,
            relative to the repository; None keeps them in the experiment folder alone.
    """

    recipe: str
    experiment: str
    variant: str = ""
    description: str = ""
    seed: int = Field(default=1, ge=0)
    corpus: CorpusConfig
    tokens: TokensConfig = TokensConfig()
    loss: LossConfig = LossConfig()
    lm: LanguageModelConfig | None = None
    decode: DecodeConfig = DecodeConfig()
    espnet: dict[str, Any]
    grid: dict[str, list[Any]] = {}
    results_dir: str | None = None

    @field_validator("espnet")
    @classmethod
    def _no_owned_keys(cls, value: dict[str, Any]) -> dict[str, Any]:
        owned = {"seed", "token_list", "token_type", "output_dir", "ngpu", "resume", "model"}
        clash = sorted(owned & value.keys())
        if clash:
            raise ValueError(f"{clash[0]!r} is set by squall; take it out of the espnet part")
        return value

    def hashed(self) -> dict[str, Any]:
        """The settings that name the experiment directory.

        Paths, workers, devices, the grid and the number of epochs are not among them: more epochs
        continue the same run. Nor are the decoding settings: a model is decoded in several ways
        without being trained again.
        """
        names = {"grid", "results_dir", "description", "decode", "variant"}
        settings = self.model_dump(mode="json", exclude=names)
        for key in ("max_epoch", "num_workers", "log_interval", "use_tensorboard"):
            settings["espnet"].pop(key, None)
        for key in ("urls", "checksum"):
            settings["corpus"].pop(key, None)
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
        """The loss with the parameters that the settings give it, as tables name it."""
        shown = {"alpha": "a", "label_smoothing": "ls"}
        parts = [
            shown.get(key, key.lower()) + (f"{value:g}" if _is_number(value) else f"={value}")
            for key, value in sorted(self.loss.parameters.items())
        ]
        if self.loss.scale != 1.0:
            parts.append(f"scale{self.loss.scale:g}")
        return "-".join([self.loss.name, *parts])


def load_config(path: Path, overrides: Mapping[str, Any] | None = None) -> RecognitionConfig:
    """Read a YAML file, lay the overrides over it, and check the result.

    Args:
        path: the YAML file; its stem is the experiment's name, its folder the recipe's. A key
            `base` names another file, relative to this one, whose settings hold where this one
            has none of its own.
        overrides: dotted key to value, e.g. `{"loss.name": "square", "espnet.max_epoch": 60}`.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown, or a value does not fit.
    """
    path = Path(path)
    settings = {"recipe": path.parent.name, "experiment": path.stem, **_read(path)}
    written = copy.deepcopy(settings.get("decode") or {})
    for key, value in (overrides or {}).items():
        _assign(settings, key, value)
    try:
        config = RecognitionConfig.model_validate(settings)
        if not overrides:
            return config
        variant = _variant(DecodeConfig.model_validate(written), config.decode)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {_reason(e)}" for e in error.errors()]
        raise ConfigError(f"{path}: settings do not fit:\n" + "\n".join(lines)) from error
    return config.model_copy(update={"variant": variant})


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


def _variant(written: DecodeConfig, chosen: DecodeConfig) -> str:
    """The decoding settings that differ from the file's; `sets` only says what to decode."""
    before, after = written.model_dump(), chosen.model_dump()
    return ",".join(
        f"{key}={after[key]}"
        for key in sorted(after)
        if after[key] != before[key] and key != "sets"
    )


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
