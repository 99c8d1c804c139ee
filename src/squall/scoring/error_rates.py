"""Word, character, token and phone error rates of a corpus, its speakers and its utterances."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Literal

from squall.scoring.alignment import Alignment, ErrorCounts, align
from squall.scoring.cells import text_cell

__all__ = [
    "METRIC_OF_UNIT",
    "ErrorReport",
    "Tally",
    "Unit",
    "UtteranceErrors",
    "format_alignments",
    "score_texts",
    "tokenize",
    "write_csv",
]

Unit = Literal["word", "char", "token", "phone"]

METRIC_OF_UNIT: dict[Unit, str] = {"word": "wer", "char": "cer", "token": "ter", "phone": "per"}


@dataclass(frozen=True)
class UtteranceErrors:
    """One scored utterance.

    Args:
        id: the utterance.
        speaker: its speaker, empty where none was given.
        reference: the reference text as it was given.
        hypothesis: the hypothesis text as it was given.
        alignment: of the two, in the unit of the report.
        counts: the errors of the alignment.
    """

    id: str
    speaker: str
    reference: str
    hypothesis: str
    alignment: Alignment
    counts: ErrorCounts


@dataclass(frozen=True)
class Tally:
    """Errors of a set of utterances: a corpus or a speaker.

    Args:
        counts: the sum over the utterances.
        utterances: how many there are.
        wrong_utterances: how many have at least one error.
    """

    counts: ErrorCounts
    utterances: int
    wrong_utterances: int

    @property
    def percent(self) -> float:
        """Error rate in percent; NaN where the references have no token."""
        return self.counts.percent

    @property
    def sentence_error_percent(self) -> float:
        """Utterances with at least one error, in percent; NaN where there is no utterance."""
        return 100.0 * self.wrong_utterances / self.utterances if self.utterances else math.nan


@dataclass(frozen=True)
class ErrorReport:
    """The score of a corpus in one unit.

    Args:
        unit: what was counted.
        utterances: sorted by id.
        total: over all utterances.
        speakers: per speaker, sorted by label; empty where no speakers were given.
    """

    unit: Unit
    utterances: tuple[UtteranceErrors, ...]
    total: Tally
    speakers: dict[str, Tally] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """The name of the error rate: `wer`, `cer`, `ter` or `per`."""
        return METRIC_OF_UNIT[self.unit]

    def metrics(self) -> dict[str, tuple[float, int]]:
        """Give the error rate and `ser`, each in percent with the number of things counted.

        The rate is over reference tokens, the sentence error rate (`ser`) over utterances.
        """
        return {
            self.metric: (self.total.percent, self.total.counts.reference),
            "ser": (self.total.sentence_error_percent, self.total.utterances),
        }


def tokenize(text: str, *, unit: Unit) -> list[str]:
    """Split a text into what is counted.

    Args:
        text: words, phones or tokens, separated by white space; may be empty.
        unit: `word`, `token` and `phone` split at white space; `char` gives Unicode code points.

    Raises:
        ValueError: the unit is unknown.

    Convention: characters include the spaces between words, as in jiwer and in ESPnet's character
    scoring; white space is first reduced to single spaces, none at the ends, so that a lost or
    added word boundary is one error and a double space is none. Others remove all spaces first,
    which gives another rate. Case, punctuation and Unicode form are compared as they are: whoever
    wants them ignored normalises both texts before.

    Example:
        >>> tokenize(" AN  OX ", unit="char")
        ['A', 'N', ' ', 'O', 'X']
    """
    if unit not in METRIC_OF_UNIT:
        raise ValueError(f"unknown unit {unit!r}; use one of {', '.join(METRIC_OF_UNIT)}")
    words = text.split()
    return list(" ".join(words)) if unit == "char" else words


def score_texts(
    *,
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    speakers: Mapping[str, str] | None = None,
    unit: Unit,
) -> ErrorReport:
    """Score hypotheses against references, utterance by utterance.

    Rate = (S + D + I) / N over the whole corpus, N the number of reference tokens; sentence error
    rate = share of utterances with at least one error.

    Args:
        references: text by utterance id.
        hypotheses: text by utterance id, for exactly the same utterances. An empty text is a valid
            hypothesis: all deletions.
        speakers: speaker by utterance id, for all of these utterances; others are left aside.
        unit: what is counted, as in `tokenize`.

    Returns:
        Counts per utterance, per speaker and in total. An utterance with an empty reference has no
        error if its hypothesis is empty, and only insertions otherwise; they count in the total.

    Raises:
        ValueError: an utterance is missing on one side or has no speaker (the message names it),
            there are no utterances, or the unit is unknown.
    """
    if not references and not hypotheses:
        raise ValueError("no utterances to score: references and hypotheses are both empty")
    _require(hypotheses, of=references, what="no hypothesis")
    _require(references, of=hypotheses, what="no reference")
    if speakers is not None:
        _require(speakers, of=references, what="no speaker")
    scored = tuple(
        _score(id, "" if speakers is None else speakers[id], references[id], hypotheses[id], unit)
        for id in sorted(references)
    )
    groups: dict[str, list[UtteranceErrors]] = {}
    if speakers is not None:
        for utterance in sorted(scored, key=lambda u: u.speaker):
            groups.setdefault(utterance.speaker, []).append(utterance)
    tallies = {speaker: _tally(group) for speaker, group in groups.items()}
    return ErrorReport(unit, scored, _tally(scored), tallies)


def _score(id: str, speaker: str, reference: str, hypothesis: str, unit: Unit) -> UtteranceErrors:
    alignment = align(
        reference=tokenize(reference, unit=unit), hypothesis=tokenize(hypothesis, unit=unit)
    )
    return UtteranceErrors(id, speaker, reference, hypothesis, alignment, alignment.counts)


def _require(present: Iterable[str], *, of: Iterable[str], what: str) -> None:
    missing = sorted(set(of) - set(present))
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise ValueError(
            f"{what} for {len(missing)} utterance(s): {', '.join(missing[:10])}{more}. "
            "Nothing is left out of a score: complete the texts, or score fewer utterances"
        )


def _tally(utterances: Sequence[UtteranceErrors]) -> Tally:
    counts = sum((utterance.counts for utterance in utterances), ErrorCounts())
    wrong = sum(utterance.counts.errors > 0 for utterance in utterances)
    return Tally(counts, len(utterances), wrong)


def write_csv(file: IO[str], reports: Sequence[ErrorReport]) -> None:
    """Write one row per utterance: id, speaker, texts, and the counts of each report.

    Columns: `utterance`, `speaker`, `reference`, `hypothesis`, and for each report, say of words,
    `wer` (percent, empty where undefined), `wer_substitutions`, `wer_deletions`, `wer_insertions`
    and `wer_reference`. Speaker and texts are those of the first report, as `text_cell` writes
    them.

    Args:
        file: a text file open for writing.
        reports: of the same utterances in different units, at least one.

    Raises:
        ValueError: no report, two of the same unit, or reports of different utterances.
    """
    ids = [[utterance.id for utterance in report.utterances] for report in reports]
    if not ids or any(other != ids[0] for other in ids):
        raise ValueError("write_csv needs at least one report, all of the same utterances")
    metrics = [report.metric for report in reports]
    if len(set(metrics)) < len(metrics):
        raise ValueError(f"two reports of the same unit: {', '.join(metrics)}")
    suffixes = ("", "_substitutions", "_deletions", "_insertions", "_reference")
    header = ["utterance", "speaker", "reference", "hypothesis"]
    # csv's own line end is "\r\n", which `diff` and `awk` show as part of the last column.
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header + [metric + suffix for metric in metrics for suffix in suffixes])
    for rows in zip(*(report.utterances for report in reports), strict=True):
        first = rows[0]
        texts = [first.id, first.speaker, first.reference, first.hypothesis]
        counts = [cell for row in rows for cell in _count_columns(row.counts)]
        writer.writerow([*map(text_cell, texts), *counts])


def _count_columns(counts: ErrorCounts) -> list[str | int]:
    rate = f"{counts.percent:.4f}" if counts.reference else ""
    kinds = [counts.substitutions, counts.deletions, counts.insertions]
    return [rate, *kinds, counts.reference]


def format_alignments(report: ErrorReport, *, errors_only: bool = False, width: int = 100) -> str:
    """Write the alignments of a report for a person to read, one paragraph per utterance.

    Each begins with the utterance, its speaker and its counts; the lines below are those of
    `Alignment.format`.

    Args:
        report: the score.
        errors_only: leave out the utterances that are right.
        width: cells per line.

    Returns:
        Text that ends with a newline; empty where there is nothing to show.
    """
    shown = [u for u in report.utterances if u.counts.errors or not errors_only]
    return "\n".join(f"{_headline(u)}\n{u.alignment.format(width=width)}\n" for u in shown)


def _headline(utterance: UtteranceErrors) -> str:
    counts = utterance.counts
    speaker = f" (speaker {utterance.speaker})" if utterance.speaker else ""
    return (
        f"{utterance.id}{speaker}: {counts.substitutions} S, {counts.deletions} D, "
        f"{counts.insertions} I in {counts.reference} N"
    )
