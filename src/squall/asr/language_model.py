"""A language model over the recogniser's tokens or over words, for the beam search."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from squall.asr.bridge.distributed import run_training
from squall.asr.bridge.running import QUIET, language_model_task, load_espnet_config, run_espnet
from squall.asr.bridge.trainer import load_weights
from squall.asr.language_text import (
    LINES_PER_PART,
    count_parts,
    part_path,
    write_parts,
    write_vocabulary,
)
from squall.asr.settings import RecognitionConfig
from squall.asr.training import begin_or_continue, publish_model, token_settings
from squall.files import atomic_path, atomic_write
from squall.workers import OnProgress

__all__ = ["load_language_model", "train_language_model"]

_log = logging.getLogger(__name__)


def train_language_model(
    config: RecognitionConfig,
    *,
    tokens_dir: Path,
    output_dir: Path,
    device: str,
    threads: int,
    fingerprint: dict[str, Any],
    on_progress: OnProgress,
    text: Path | None = None,
    processes: int = 1,
) -> None:
    """Train ESPnet's language model and write `model.pth`.

    A training that was interrupted is continued.

    Args:
        config: the experiment; `lm.espnet` are ESPnet's settings, passed through unchanged.
        tokens_dir: folder with `tokens.txt` and the transcripts, `train/text` and `dev/text`. The
            model is selected on the latter, whatever it is trained on.
        output_dir: receives checkpoints and `model.pth`.
        device: `cpu` or `cuda`.
        threads: CPU threads of a process.
        fingerprint: settings and data that a training must share to be continued.
        on_progress: told (epochs done, epochs in all, message).
        text: what to train on instead of the training transcripts, see `squall.asr.language_text`.
            With `lm.units` word its most frequent words are written to `words.txt`.
        processes: how many train together on this machine, as in `train_recogniser`.

    Raises:
        ValueError: the experiment has no language model, ESPnet does not take a setting, or the
            text cannot be used.
    """
    if config.lm is None:
        raise ValueError("the experiment has no `lm` settings")
    begin_or_continue(output_dir, fingerprint)
    torch.set_num_threads(threads)
    task = language_model_task()
    train_text = tokens_dir / "train" / "text"
    parts = 1
    if text is not None:
        train_text, parts = _text_in_parts(config, text, tokens_dir, output_dir, on_progress)
    units = token_settings(config, tokens_dir)
    if config.lm.units == "word":
        units = _word_settings(config, train_text, tokens_dir, output_dir, on_progress)
    common = {
        **QUIET,
        **units,
        "valid_data_path_and_name_and_type": [[str(tokens_dir / "dev" / "text"), "text", "text"]],
    }
    settings = {
        "best_model_criterion": [["valid", "loss", "min"]],
        **common,
        **config.lm.espnet,
        **_lengths(task, common, train_text, parts, output_dir / "stats", on_progress),
        "train_data_path_and_name_and_type": [[str(train_text), "text", "text"]],
        "multiple_iterator": train_text.is_dir(),
        "seed": config.seed,
        "output_dir": str(output_dir),
        "resume": True,
        "ngpu": 1 if device == "cuda" else 0,
    }
    run_training(
        task,
        settings,
        output_dir / "settings.yaml",
        processes=processes,
        threads=threads,
        on_progress=on_progress,
    )
    publish_model(output_dir, settings)


def _word_settings(
    config: RecognitionConfig,
    train_text: Path,
    tokens_dir: Path,
    output_dir: Path,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Write the list of words; the settings that name it."""
    assert config.lm is not None
    path = output_dir / "words.txt"
    if not path.exists():
        on_progress(0, 1, "counting words")
        folder = train_text.is_dir()
        parts = [part_path(train_text, k) for k in range(count_parts(train_text))] if folder else []
        vocabulary = write_vocabulary(
            parts or [train_text],
            path,
            tokens=_tokens(tokens_dir),
            size=config.lm.vocabulary_size,
        )
        _log.info("the language model has %s", vocabulary)
        on_progress(0, 1, f"vocabulary: {vocabulary}")
    return {"token_type": "word", "token_list": str(path)}


def _tokens(tokens_dir: Path) -> list[str]:
    return (tokens_dir / "tokens.txt").read_text(encoding="utf-8").split("\n")


def _text_in_parts(
    config: RecognitionConfig,
    text: Path,
    tokens_dir: Path,
    output_dir: Path,
    on_progress: OnProgress,
) -> tuple[Path, int]:
    """The text as ESPnet reads it: a file, or a folder of several parts, and their number."""
    folder = output_dir / "text"
    if not count_parts(folder):
        counts = write_parts(
            text,
            folder,
            tokens=_tokens(tokens_dir),
            units=config.tokens.units,
            normalization=config.tokens.normalization,
            lines_per_part=LINES_PER_PART,
            progress=lambda lines: on_progress(0, 1, f"reading {text.name}: {lines} lines"),
        )
        on_progress(0, 1, f"{text.name}: {counts}")
    parts = count_parts(folder)
    return (folder if parts > 1 else part_path(folder, 0)), parts


def _lengths(
    task: Any,
    common: dict[str, Any],
    train_text: Path,
    parts: int,
    stats_dir: Path,
    on_progress: OnProgress,
) -> dict[str, list[str]]:
    """Count the tokens of each line, a part at a time; the settings that name the files."""
    shapes = stats_dir / "train_shapes"
    valid = stats_dir / "valid" / "text_shape"
    for number in range(parts):
        if part_path(shapes, number).exists() and valid.exists():
            continue
        part = part_path(train_text, number) if train_text.is_dir() else train_text
        on_progress(0, 1, f"counting tokens, part {number + 1} of {parts}")
        settings = {
            **common,
            "train_data_path_and_name_and_type": [[str(part), "text", "text"]],
            "collect_stats": True,
            "output_dir": str(stats_dir),
            "train_shape_file": [str(part)],
            "valid_shape_file": [common["valid_data_path_and_name_and_type"][0][0]],
            "batch_type": "unsorted",
            "batch_size": 64,
        }
        run_espnet(task, settings, stats_dir / "settings.yaml")
        with atomic_path(part_path(shapes, number)) as path:
            shutil.copyfile(stats_dir / "train" / "text_shape", path)
    with atomic_write(shapes / "num_splits") as file:
        file.write(f"{parts}\n")
    train = shapes if train_text.is_dir() else part_path(shapes, 0)
    return {"train_shape_file": [str(train)], "valid_shape_file": [str(valid)]}


def load_language_model(
    directory: Path, device: str, *, tokens: Sequence[str], units: str = "tokens"
) -> Any:
    """The trained model as a scorer of the beam search.

    Args:
        directory: its folder.
        device: `cpu` or `cuda`.
        tokens: the recogniser's.
        units: as in `LanguageModelConfig`; with `word` the scorer is a `WordLookAhead`.

    Raises:
        FileNotFoundError: it has not been trained.
        ValueError: the weights do not fit, or it is of other units or of other tokens.
    """
    for name in ("config.yaml", "model.pth"):
        if not (directory / name).is_file():
            raise FileNotFoundError(
                f"{directory / name} is missing: run the recipe with this decode.lm_weight first, "
                "from stage 4 (lm) to 6 (decode)"
            )
    args = load_espnet_config(directory / "config.yaml")
    words = list(args.token_list)
    of = f"{directory / 'config.yaml'}: this language model"
    again = "train it again, with this recogniser's settings (stage 4, lm)"
    if units == "word" and args.token_type != "word":
        raise ValueError(
            f"{of} is not over words, as lm.units says, but {args.token_type}: {again}"
        )
    if units == "tokens" and words != list(tokens):
        raise ValueError(
            f"{of} is over {len(words)} tokens, which are not the {len(tokens)} of the recogniser: "
            f"{_first_difference(words, tokens)}; {again}"
        )
    model = language_model_task().build_model(args)
    load_weights(model, directory / "model.pth")
    lm = model.lm.to(device).eval()
    if units == "tokens":
        return lm
    from squall.asr.look_ahead import WordLookAhead

    try:
        return WordLookAhead(lm, words, tokens)
    except ValueError as error:
        raise ValueError(f"{of} does not fit the recogniser, {error}; {again}") from error


def _first_difference(words: Sequence[str], tokens: Sequence[str]) -> str:
    for place, (one, other) in enumerate(zip_longest(words, tokens)):
        if one != other:
            return f"{one!r} instead of {other!r} at place {place}"
    raise AssertionError("the lists are the same")
