"""`squall transcribe`: text or JSON from audio files."""

from __future__ import annotations

import argparse
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from typing import Any

from squall.asr.settings import RecognitionConfig
from squall.engine.tasks import open_experiment
from squall.files import atomic_write, json_text

__all__ = ["transcribe_files"]


def transcribe_files(options: argparse.Namespace) -> int:
    """Recognise files; the exit code is 1 when one of them could not be read."""
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

        paths = find_audio(options.audio)
        recogniser = load_recogniser(experiment, device=options.device, threads=options.threads)
    lines, failed = [], 0
    for number, result in enumerate(transcribe(recogniser, paths), start=1):
        if result.problem is not None or result.hypothesis is None:
            print(f"{result.path}: {result.problem}", file=sys.stderr)
            failed += 1
            continue
        for conversion in result.conversions:
            print(f"{result.path}: {conversion}", file=sys.stderr)
        if options.output:
            print(f"{number} of {len(paths)}: {result.path}", file=sys.stderr)
        line = _as_json(result) if options.format == "json" else _as_text(result, len(paths) > 1)
        lines.append(line)
        if not options.output:
            print(line, flush=True)
    if options.output:
        with atomic_write(options.output) as file:
            file.writelines(f"{line}\n" for line in lines)
    if failed:
        print(f"{failed} of {len(paths)} files could not be read", file=sys.stderr)
    return 1 if failed else 0


def _as_text(result: Any, several: bool) -> str:
    text = f"{result.hypothesis.text}\t({result.hypothesis.confidence:.3f})"
    return f"{result.path}\t{text}" if several else text


def _as_json(result: Any) -> str:
    hypothesis = asdict(result.hypothesis)
    record = {"path": result.path, "duration_s": round(result.duration_s, 3), **hypothesis}
    record["conversions"] = result.conversions
    # The score is null where the search found nothing.
    return json_text(record, nan_as_null=True, ensure_ascii=False)
