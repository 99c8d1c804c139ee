"""What a recogniser understands of speech: word error rates of several folders, compared."""

from __future__ import annotations

import csv
import io
import logging
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squall.asr.whisper import Whisper, plain_words
from squall.audio.reading import SAMPLE_RATE_HZ, AudioError, read_audio
from squall.files import atomic_write
from squall.scoring.bootstrap import bootstrap_rate, compare_rates
from squall.scoring.cells import text_cell
from squall.scoring.error_rates import ErrorReport, score_texts
from squall.scoring.resampling import BootstrapDifference, BootstrapInterval, NoIntervalError
from squall.scoring.significance import mapsswe

__all__ = [
    "WordsTable",
    "find_texts",
    "load_recogniser",
    "print_rows",
    "recognise_folders",
    "write_words",
]

Recognise = Callable[[NDArray[np.float32]], str]
"""The words that samples (N,) at 16 kHz say."""


def load_recogniser(name: str, *, threads: int = 1) -> Recognise:
    """A recogniser: `whisper`, or the directory of a recognition experiment.

    Raises:
        ValueError: a package is missing, or the directory holds no trained recogniser.
    """
    if name == "whisper":
        try:
            return Whisper(threads=threads)
        except ImportError as error:
            raise ValueError(str(error)) from error
    from squall.asr.settings import RecognitionConfig
    from squall.engine.tasks import open_experiment

    experiment = open_experiment(Path(name), RecognitionConfig)
    with redirect_stdout(io.StringIO()):  # ESPnet reports missing extras while it is imported
        from squall.asr import decoding

        recogniser = decoding.load_recogniser(experiment, device="cpu", threads=threads)
    return lambda samples: recogniser(samples).text


@dataclass(frozen=True)
class WordsTable:
    """Word error rates of several kinds of speech, in the order given.

    Args:
        reports: by name of the speech; all of the same utterances.
        base: the one that the others are compared with.
    """

    reports: Mapping[str, ErrorReport]
    base: str

    @property
    def rows(self) -> list[list[str]]:
        """Name, WER and its interval, errors and words, difference, its interval, p."""
        return [self._row(name, report) for name, report in self.reports.items()]

    note = "intervals: bootstrap over utterances, 10,000 resamples, seed 0"
    head = ("speech", "WER %", "95 % interval", "S + D + I", "words",
            "difference from the first", "95 % interval", "p (MAPSSWE)")  # fmt: skip

    def _row(self, name: str, report: ErrorReport) -> list[str]:
        counts = report.total.counts
        errors, lengths = _counts(report)
        spread = _interval(lambda: bootstrap_rate(errors=errors, lengths=lengths))
        written = f"{counts.substitutions} + {counts.deletions} + {counts.insertions}"
        row = [name, f"{counts.percent:.2f}", spread, written, str(counts.reference)]
        if name == self.base:
            return [*row, "", "", ""]
        base = self.reports[self.base]
        others, _ = _counts(base)
        difference = counts.percent - base.total.counts.percent
        apart = _interval(lambda: compare_rates(errors_a=errors, errors_b=others, lengths=lengths))
        test = mapsswe(
            a={u.id: u.alignment for u in report.utterances},
            b={u.id: u.alignment for u in base.utterances},
        )
        return [*row, f"{difference:+.2f}", apart, f"{test.p_value:.3f}"]


def _counts(report: ErrorReport) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    counts = [utterance.counts for utterance in report.utterances]
    return (
        np.array([one.errors for one in counts], dtype=np.float64),
        np.array([one.reference for one in counts], dtype=np.float64),
    )


def _interval(compute: Callable[[], BootstrapInterval | BootstrapDifference]) -> str:
    try:
        found = compute()
    except NoIntervalError:
        return "-"
    return f"{100 * found.low:.2f} to {100 * found.high:.2f}"


def find_texts(
    folders: Mapping[str, Mapping[str, Path]], texts: Mapping[str, str]
) -> dict[str, str]:
    """What is said in the utterances that every folder has.

    Args:
        folders, texts: as `recognise_folders` takes them.

    Raises:
        ValueError: no utterance is in all folders, one has no text, or no text has a word.
    """
    common = sorted(set.intersection(*(set(files) for files in folders.values())))
    if not common:
        raise ValueError(f"no file is in all of {', '.join(folders)}: there is nothing to compare")
    said = {name: texts.get(name, texts.get(name.rpartition("/")[2])) for name in common}
    if without := [name for name, text in said.items() if text is None]:
        raise ValueError(
            f"{len(without)} of {len(common)} files have no text, {without[0]!r} among them: its "
            "line begins with the file's name, or its path below the folder, without suffix"
        )
    found = {name: text for name, text in said.items() if text is not None}
    if not any(map(plain_words, found.values())):
        raise ValueError(f"the texts of all {len(found)} files are empty: there is no error rate")
    return found


def recognise_folders(
    folders: Mapping[str, Mapping[str, Path]],
    texts: Mapping[str, str],
    recognise: Recognise,
) -> tuple[WordsTable, int]:
    """Recognise the same utterances in several folders and compare their word error rates.

    Args:
        folders: by name of the speech, the file of each utterance; the first is the base.
        texts: what is said, by utterance.
        recognise: the recogniser. What it writes is compared with the texts in capitals and without
            punctuation.

    Returns:
        The table, over the utterances that every folder has and that could be read, and how many
        could not be.

    Raises:
        ValueError: as `find_texts`, or no utterance could be recognised.
    """
    said = find_texts(folders, texts)
    found: dict[str, dict[str, str]] = {name: {} for name in folders}
    failed = 0
    for number, utterance in enumerate(said, start=1):
        try:
            heard = {name: _heard(files[utterance], recognise) for name, files in folders.items()}
        except (AudioError, OSError, ValueError, RuntimeError, MemoryError) as error:
            print(f"{utterance}: not recognised: {error}", file=sys.stderr)
            failed += 1
            continue
        for name, text in heard.items():
            found[name][utterance] = plain_words(text)
        print(f"recognised {number} of {len(said)}: {utterance}", file=sys.stderr)
    heard_all = next(iter(found.values()))
    kept = {name: plain_words(text) for name, text in said.items() if name in heard_all}
    if not kept:
        raise ValueError("no utterance could be recognised in all folders, see above")
    reports = {
        name: score_texts(references=kept, hypotheses=heard, unit="word")
        for name, heard in found.items()
    }
    return WordsTable(reports, next(iter(folders))), failed


def _heard(path: Path, recognise: Recognise) -> str:
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return recognise(read_audio(path, sample_rate_hz=SAMPLE_RATE_HZ).samples)
    finally:
        logging.getLogger().setLevel(level)


def write_words(path: Path, table: WordsTable) -> None:
    """One row for each utterance of each folder: texts and counts."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        counted = ["substitutions", "deletions", "insertions", "words"]
        writer.writerow(["speech", "utterance", "reference", "hypothesis", *counted])
        for name, report in table.reports.items():
            for one in report.utterances:
                counts = one.counts
                kinds = [counts.substitutions, counts.deletions, counts.insertions]
                texts = [name, one.id, one.reference, one.hypothesis]
                writer.writerow([*map(text_cell, texts), *kinds, counts.reference])


def print_rows(head: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> None:
    """A table on the terminal, after an empty line."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    print()
    for line in lines:
        cells = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)]
        print("  ".join(cells).rstrip())
    print(note)
