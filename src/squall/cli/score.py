"""`squall score`: error rates of two text files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from squall.files import atomic_write, refuse_inputs
from squall.scoring.error_rates import format_alignments, score_texts, write_csv
from squall.scoring.transcripts import read_transcripts

__all__ = ["score_files"]


def score_files(options: argparse.Namespace) -> int:
    """Print WER, CER and SER with their counts.

    Raises:
        ValueError: a file cannot be read as `read_transcripts` does, one side lacks an utterance,
            or the CSV would replace a file that is scored.
    """
    refuse_inputs(options.csv, (options.reference, options.hypothesis))
    references, hypotheses = _read(options.reference), _read(options.hypothesis)
    reports = [
        score_texts(references=references, hypotheses=hypotheses, unit=unit)
        for unit in ("word", "char")
    ]
    if options.alignments:
        print(format_alignments(reports[0]))
    for report in reports:
        counts = report.total.counts
        rate = f"{counts.percent:.2f} %" if counts.reference else "not defined, of no reference"
        print(
            f"{report.metric.upper()} {rate} "
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
    texts, trn = read_transcripts(path)
    if trn:
        print(f"{path}: read as trn, `words (id)`", file=sys.stderr)
    return texts
