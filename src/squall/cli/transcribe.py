"""`squall transcribe`: text or JSON from audio files."""

from __future__ import annotations

import argparse
import io
import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from squall.asr.settings import RecognitionConfig
from squall.audio.reading import unread_below
from squall.engine.tasks import open_experiment
from squall.files import growing_file, json_text, refuse_inputs

__all__ = ["transcribe_files"]

_STANDARD_INPUT = Path("-")


def transcribe_files(options: argparse.Namespace) -> int:
    """Recognise files; the exit code is 1 when one of them could not be.

    Each result is written when it is there, so that what is done stays, whatever becomes of the
    rest.
    """
    with _errors_only():
        return _transcribe_files(options)


@contextmanager
def _errors_only() -> Iterator[None]:
    """Keep ESPnet's and our own warnings away: what matters to the user is printed below."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


def _transcribe_files(options: argparse.Namespace) -> int:
    experiment = open_experiment(options.model, RecognitionConfig)
    with redirect_stdout(io.StringIO()):  # ESPnet reports missing extras while it is imported
        from squall.asr.decoding import find_audio, load_recogniser, transcribe

    with ExitStack() as opened:
        inputs = opened.enter_context(_files(options.audio))
        with redirect_stdout(io.StringIO()):
            paths = find_audio(list(inputs))
            recogniser = load_recogniser(experiment, device=options.device, threads=options.threads)
        refuse_inputs(options.output, paths)
        for folder in filter(Path.is_dir, inputs):
            if left_out := unread_below(folder):
                print(f"{folder}: {left_out}", file=sys.stderr)
        file = opened.enter_context(growing_file(options.output)) if options.output else sys.stdout
        failed = 0
        for number, result in enumerate(transcribe(recogniser, paths), start=1):
            result = replace(result, path=inputs.get(Path(result.path), result.path))
            if result.problem is not None or result.hypothesis is None:
                print(f"{result.path}: {result.problem}", file=sys.stderr)
                failed += 1
                continue
            for conversion in result.conversions:
                print(f"{result.path}: {conversion}", file=sys.stderr)
            if options.output:
                print(f"{number} of {len(paths)}: {result.path}", file=sys.stderr)
            as_json = options.format == "json"
            line = _as_json(result) if as_json else _as_text(result, len(paths) > 1)
            print(line, file=file, flush=True)
    if failed:
        print(f"{failed} of {len(paths)} files could not be transcribed", file=sys.stderr)
    return 1 if failed else 0


@contextmanager
def _files(given: Sequence[Path]) -> Iterator[dict[Path, str]]:
    """What is to be read, with the name that it was given by: `-` is standard input."""
    if _STANDARD_INPUT not in given:
        yield {path: str(path) for path in given}
        return
    with tempfile.NamedTemporaryFile(prefix="standard-input-") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        spooled = Path(file.name)
        yield {spooled if path == _STANDARD_INPUT else path: str(path) for path in given}


def _as_text(result: Any, several: bool) -> str:
    text = f"{result.hypothesis.text}\t({result.hypothesis.confidence:.3f})"
    return f"{result.path}\t{text}" if several else text


def _as_json(result: Any) -> str:
    hypothesis = asdict(result.hypothesis)
    record = {"path": result.path, "duration_s": round(result.duration_s, 3), **hypothesis}
    record["conversions"] = result.conversions
    # The score is null where the search found nothing.
    return json_text(record, nan_as_null=True, ensure_ascii=False)
