"""`squall classify`: a label and its confidence for each line of a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from squall.files import atomic_write, json_text, refuse_inputs
from squall.scoring.cells import text_cell

if TYPE_CHECKING:
    from squall.studies.text.classifier import Answer

__all__ = ["classify_file"]

_AT_ONCE = 1024  # lines, so that answers come while a long file is read

Pair = tuple[str, str | None]


def classify_file(options: argparse.Namespace) -> int:
    """Classify each line: a text, or two texts separated by a tab.

    Raises:
        FileNotFoundError: the file or the model does not exist.
        ValueError: the file is not UTF-8, a line has more than two texts or an empty one, or the
            output would overwrite an input.
        OSError: the output cannot be written.
    """
    from squall.studies.text.classifier import TextClassifier

    refuse_inputs(options.output, [] if options.file == Path("-") else [options.file])
    classifier = TextClassifier(options.model, calibrated=options.calibrated, device=options.device)

    def write(out: IO[str]) -> None:
        if options.format == "tsv":
            out.write("label\tconfidence\n")
        lines = _lines(options.file)
        while texts := list(islice(lines, _AT_ONCE)):
            for answer in classifier.classify(texts):
                out.write(_FORMATS[options.format](answer) + "\n")
            out.flush()

    if options.output is None:
        write(sys.stdout)
    else:
        with atomic_write(options.output) as file:
            write(file)
    return 0


def _tsv(answer: Answer) -> str:
    return f"{text_cell(answer.label)}\t{answer.confidence:.4f}"


def _json(answer: Answer) -> str:
    probs = {label: round(prob, 6) for label, prob in answer.probs.items()}
    return json_text(
        {"label": answer.label, "confidence": round(answer.confidence, 6), "probs": probs},
        ensure_ascii=False,
    )


_FORMATS = {"tsv": _tsv, "json": _json}


def _lines(path: Path) -> Iterator[Pair]:
    with sys.stdin.buffer if path == Path("-") else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            where = f"{'standard input' if path == Path('-') else path}:{number}"
            try:
                fields = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{where}: not UTF-8") from error
            texts: Sequence[str] = fields.split("\t")
            if len(texts) > 2 or not all(text.strip() for text in texts):
                raise ValueError(
                    f"{where}: expected a text, or two separated by a tab, found {fields!r}"
                )
            yield (texts[0], texts[1] if len(texts) == 2 else None)
