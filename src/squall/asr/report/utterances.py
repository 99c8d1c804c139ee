"""The test utterances of a recognition experiment, and the errors in them as HTML."""

from __future__ import annotations

import csv
import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from squall.report.page import details_html
from squall.report.report import Run
from squall.scoring.alignment import Alignment, ErrorCounts, Step, align
from squall.scoring.cells import row_texts
from squall.scoring.error_rates import METRIC_OF_UNIT, Unit, tokenize

__all__ = ["Recognised", "aligned_html", "counted", "errors_html", "read_recognised"]

_MOST_LISTED = 200


@dataclass(frozen=True)
class Recognised:
    """A run with its test utterances.

    Args:
        run: the run.
        unit: what its first error rate counts.
        texts: reference and hypothesis by utterance.
        speakers: the speaker of each utterance.
    """

    run: Run
    unit: Unit
    texts: Mapping[str, tuple[str, str]]
    speakers: Mapping[str, str]

    def alignment(self, id: str) -> Alignment:
        """The hypothesis of an utterance aligned with its reference."""
        reference, hypothesis = (tokenize(text, unit=self.unit) for text in self.texts[id])
        return align(reference=reference, hypothesis=hypothesis)

    @property
    def dataset(self) -> str:
        """The corpus."""
        return self.run.records[0].dataset if self.run.records else ""


def read_recognised(run: Run) -> Recognised | None:
    """The test utterances of a run; None where it did not decode them.

    Raises:
        ValueError: the file of its scores is damaged; the message names it.
    """
    path = run.score_dir / "test.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows, columns = [row_texts(row) for row in reader], reader.fieldnames or ()
    units = [unit for unit in get_args(Unit) if METRIC_OF_UNIT[unit] in columns]
    if not units or not {"utterance", "speaker", "reference", "hypothesis"} <= set(columns):
        raise ValueError(
            f"{path} is damaged: its columns are {', '.join(columns)}; score again with "
            "--stage 7 --force"
        )
    unit: Unit = units[0]
    return Recognised(
        run,
        unit,
        {row["utterance"]: (row["reference"], row["hypothesis"]) for row in rows},
        {row["utterance"]: row["speaker"] for row in rows},
    )


def errors_html(tested: Recognised) -> str:
    """The utterances that have an error, those with most errors first, to be opened on demand."""
    alignments = {id: tested.alignment(id) for id in tested.texts}
    wrong = sorted(
        (id for id, alignment in alignments.items() if alignment.counts.errors),
        key=lambda id: (-alignments[id].counts.errors, id),
    )
    listed = "".join(
        f"<dt>{html.escape(id)}: {counted(alignments[id].counts, tested.unit)}</dt>"
        f'<dd class="aligned">{aligned_html(alignments[id])}</dd>'
        for id in wrong[:_MOST_LISTED]
    )
    summary = f"{tested.run.label}: {len(wrong)} of {len(alignments)} test utterances have an error"
    if len(wrong) > _MOST_LISTED:
        path = html.escape(str(tested.run.score_dir / "test.alignments.txt"))
        listed = f"<dt>The {_MOST_LISTED} with most errors; all are in {path}</dt>{listed}"
    return details_html(summary, f"<dl>{listed}</dl>")


def counted(counts: ErrorCounts, unit: Unit) -> str:
    """The errors in words, e.g. `1 substitution, 2 deletions in 9 words`."""
    kinds = {
        "substitution": counts.substitutions,
        "deletion": counts.deletions,
        "insertion": counts.insertions,
    }
    found = [f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in kinds.items() if n]
    name = "character" if unit == "char" else unit
    plural = "" if counts.reference == 1 else "s"
    return f"{', '.join(found) or 'no error'} in {counts.reference} {name}{plural}"


_MARKS = {
    "substitute": ("substituted", "S"),
    "delete": ("deleted", "D"),
    "insert": ("inserted", "I"),
}


def aligned_html(alignment: Alignment) -> str:
    """A hypothesis with its errors marked by colour, line and letter.

    What was said and not recognised is in `<del>`, what was recognised and not said in `<ins>`; a
    screen reader hears the kind of each error before it.
    """
    return " ".join(map(_step, alignment.steps)) or "(nothing)"


def _step(step: Step) -> str:
    if step.operation == "equal":
        return _token(step.hypothesis)
    said = "" if step.reference is None else f"<del>{_token(step.reference)}</del>"
    heard = "" if step.hypothesis is None else f"<ins>{_token(step.hypothesis)}</ins>"
    kind, letter = _MARKS[step.operation]
    return (
        f'<span class="error {kind}"><span class="hidden">{kind}: </span>{said}{heard}'
        f'<b aria-hidden="true">{letter}</b></span>'
    )


def _token(token: str | None) -> str:
    return html.escape((token or "").replace(" ", "␣"))
