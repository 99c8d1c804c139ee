"""ESPnet's recognition task with squall's model and trainer in it.

ESPnet reads its class choices when it parses settings, builds a model or loads one, so registering
a subclass there is all that is needed: frontends, encoders, decoders, batching, data-parallel
training and beam search stay ESPnet's. Every process that loads a model calls `espnet_task()`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from squall.asr.bridge.names import FETCHED_PARTS, WITH_TRANSFORMERS

__all__ = [
    "QUIET",
    "espnet_task",
    "espnet_tokenizer",
    "language_model_task",
    "load_espnet_config",
    "parse_espnet_settings",
    "read_espnet_settings",
    "run_espnet",
    "run_parsed",
]

QUIET = {"use_matplotlib": False, "num_att_plot": 0, "num_workers": 0}
"""Figures and attention plots off: plots cost ten seconds an epoch and the report has its own."""


def espnet_task() -> Any:
    """The ASR task class, with squall's model registered and squall's trainer set.

    Raises:
        ImportError: ESPnet is not installed.
    """
    return _tasks().SquallTask


def espnet_tokenizer(token_type: str, pieces: Path | None) -> Any:
    """What cuts texts into tokens in a training, and puts them together after a search.

    Args:
        token_type: `char`, `bpe` or `word`.
        pieces: the sentencepiece model, for `bpe`.
    """
    from squall.asr.bridge.espnet import build_tokenizer

    return build_tokenizer(token_type=token_type, bpemodel=str(pieces) if pieces else None)


def language_model_task() -> Any:
    """ESPnet's language model task with squall's trainer; raises as `espnet_task`."""
    return _tasks().SquallLMTask


def _tasks() -> Any:
    try:
        from squall.asr.bridge import task
    except ImportError as error:
        raise ImportError(
            f"recognition needs ESPnet, which does not import ({error}): "
            "run ./run.sh once, or pip install 'squall[asr]'"
        ) from error
    return task


def run_espnet(task: Any, settings: dict[str, Any], config_path: Path) -> None:
    """Run an ESPnet task as its command line would, in this process and in it alone.

    Args:
        task: a task class with `main`.
        settings: every option of the task, by its name in ESPnet.
        config_path: where the settings are written as YAML, for the record and for `--config`.

    Raises:
        ValueError: a setting does not exist, or does not fit.
    """
    args = parse_espnet_settings(task, settings, config_path)
    run_alone = {"multiprocessing_distributed": False, "dist_world_size": 1}
    run_parsed(task, args, run_alone)  # whatever torchrun's or a cluster's variables say


def run_parsed(task: Any, args: Namespace, further: dict[str, Any]) -> None:
    """Run an ESPnet task in this process.

    Args:
        task: a task class with `main`.
        args: what `parse_espnet_settings` or `read_espnet_settings` gave.
        further: options laid over them.
    """
    with _root_logging_untouched():
        task.main(args=Namespace(**{**vars(args), **further}))


def parse_espnet_settings(task: Any, settings: dict[str, Any], config_path: Path) -> Namespace:
    """The settings as ESPnet's parser gives them, with its defaults; arguments as `run_espnet`.

    Raises:
        ValueError: a setting does not exist, or does not fit.
    """
    config_path.parent.mkdir(parents=True, exist_ok=True)
    with config_path.open("w", encoding="utf-8") as file:
        yaml.safe_dump(settings, file, sort_keys=False)
    return read_espnet_settings(task, config_path)


def read_espnet_settings(task: Any, config_path: Path) -> Namespace:
    """The settings of a file that `parse_espnet_settings` wrote, with ESPnet's defaults.

    Raises:
        ValueError: a setting does not exist, or does not fit.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            args: Namespace = task.get_parser().parse_args(["--config", str(config_path)])
    except SystemExit as error:
        reason = said.getvalue().strip().rpartition("error: ")[2]
        raise ValueError(f"ESPnet does not take the settings of {config_path}: {reason}") from error
    return args


def load_espnet_config(path: Path) -> Namespace:
    """The settings that an ESPnet training saved, as its `build_model` takes them.

    Raises:
        ValueError: they are damaged; or they name a part that fetches a network of its own while a
            model is built, as those of someone else's model may, and nobody asked for such parts.
    """
    # A list of 65,000 words takes 0.4 s so, and 3 s without libyaml.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 (both are safe)
    # The constructors of numbers and dates raise what Python's own do.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}; train again") from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ValueError(f"{path} is damaged: it holds no settings of ESPnet; train again")
    parts = {
        key: settings.get(key) for key in ("frontend", "encoder", "postencoder", "decoder", "lm")
    }
    fetched = [f"{key} {part}" for key, part in parts.items() if str(part) in FETCHED_PARTS]
    if fetched and not os.environ.get(WITH_TRANSFORMERS):
        raise ValueError(
            f"{path} names {', '.join(fetched)}, which loads a network from a place of its own. "
            f"Where you trust this model, set the environment variable {WITH_TRANSFORMERS}=1"
        )
    return Namespace(**settings)


@contextlib.contextmanager
def _root_logging_untouched() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
