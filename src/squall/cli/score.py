"""`squall score`: error rates of two text files."""

from __future__ import annotations

import argparse
from pathlib import Path

from squall.files import atomic_write
from squall.scoring.error_rates import format_alignments, score_texts, write_csv

__all__ = ["score_files"]


def score_files(options: argparse.Namespace) -> int:
    """Print WER, CER and SER with their counts.

    Raises:
        ValueError: a file is not UTF-8, an utterance occurs twice, or one side lacks it.
    """
    references, hypotheses = _read(options.reference), _read(options.hypothesis)
    reports = [
        score_texts(references=references, hypotheses=hypotheses, unit=unit)
        for unit in ("word", "char")
    ]
    if options.alignments:
        print(format_alignments(reports[0]))
    for report in reports:
        counts = report.total.counts
        print(
            f"{report.metric.upper()} {counts.percent:.2f} % "
            f"({counts.substitutions} S + {counts.deletions} D + {counts.insertions} I) "
            f"/ {counts.reference}"
        )
    words = reports[0].total
    print(f"SER {words.sentence_error_percent:.2f} % of {words.utterances} utterances")
    if options.csv:
        with atomic_write(options.csv) as file:
            write_csv(file, reports)
    return 0


def _read(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        identifier, *text = line.split(maxsplit=1)
        if identifier in texts:
            raise ValueError(f"{path}:{number}: utterance {identifier} occurs twice")
        texts[identifier] = "".join(text).rstrip()
    return texts
