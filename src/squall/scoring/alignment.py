"""Alignment of a hypothesis with its reference, and the error counts that it gives."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import Levenshtein

__all__ = ["Alignment", "ErrorCounts", "Operation", "Step", "align"]

Operation = Literal["equal", "substitute", "delete", "insert"]

_MARKS: dict[Operation, str] = {"equal": "", "substitute": "S", "delete": "D", "insert": "I"}


@dataclass(frozen=True)
class ErrorCounts:
    """Counts of substitutions, deletions and insertions against a number of reference tokens.

    Counts of several utterances add up with `+`; the rate of a corpus is the rate of the sum, not
    the mean of the rates.

    Args:
        substitutions: reference tokens that came out as another token.
        deletions: reference tokens that are missing in the hypothesis.
        insertions: hypothesis tokens with nothing in the reference.
        reference: tokens in the reference.

    Example:
        >>> (ErrorCounts(1, 0, 1, 4) + ErrorCounts(0, 0, 0, 6)).percent
        20.0
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference token, (S + D + I) / N; more than 1 is possible.

        NaN where there is no reference token: the rate is undefined, the counts stand.
        """
        return self.errors / self.reference if self.reference else math.nan

    @property
    def percent(self) -> float:
        """The rate times 100."""
        return 100.0 * self.errors / self.reference if self.reference else math.nan

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference + other.reference,
        )


@dataclass(frozen=True)
class Step:
    """One column of an alignment.

    Args:
        operation: what it takes to get from the reference token to the hypothesis token.
        reference: the reference token, None for an insertion.
        hypothesis: the hypothesis token, None for a deletion.
    """

    operation: Operation
    reference: str | None
    hypothesis: str | None


@dataclass(frozen=True)
class Alignment:
    """The steps that lead from a reference to a hypothesis, in the order of the tokens.

    Args:
        steps: one per column. Their reference tokens in order are the reference, their hypothesis
            tokens in order are the hypothesis.
    """

    steps: tuple[Step, ...]

    @property
    def counts(self) -> ErrorCounts:
        """Errors by kind, and the length of the reference."""
        operations = [step.operation for step in self.steps]
        inserted = operations.count("insert")
        return ErrorCounts(
            substitutions=operations.count("substitute"),
            deletions=operations.count("delete"),
            insertions=inserted,
            reference=len(operations) - inserted,
        )

    def format(self, *, width: int = 100) -> str:
        """Write the alignment as lines REF, HYP and EVAL, in columns, as NIST's sclite does.

        EVAL has S, D or I below each error. A token that is missing on one side is shown as `*`
        over the width of the other. A space that is itself a token is shown as `␣`, a character
        that does not print as its escape. East Asian wide characters take two cells.

        Args:
            width: cells per line, at least 1; longer alignments continue in further groups of three
                lines, with an empty line between. A token that is wider has a line of its own.

        Returns:
            The lines, without white space at their ends, and without a newline after the last.

        Raises:
            ValueError: `width` is less than 1.

        Example:
            >>> print(align(reference=["the", "cat", "sat"], hypothesis=["a", "cat"]).format())
            REF:  the cat sat
            HYP:  a   cat ***
            EVAL: S       D
        """
        if width < 1:
            raise ValueError(f"width must be at least 1 cell, not {width}")
        return "\n\n".join(_block(columns) for columns in _wrap(self.steps, width - len("EVAL: ")))


def align(*, reference: Sequence[str], hypothesis: Sequence[str]) -> Alignment:
    """Align two token sequences with the fewest errors (Levenshtein distance).

    Args:
        reference: what was said, L tokens; may be empty.
        hypothesis: what the system recognised; may be empty.

    Returns:
        The alignment. An empty reference makes every hypothesis token an insertion, an empty
        hypothesis makes every reference token a deletion, two empty sequences have no error.

    Raises:
        TypeError: a string was given in place of a sequence of tokens.

    Convention: a substitution, a deletion and an insertion cost 1 each, as in Kaldi's `compute-wer`
    and in jiwer, so the number of errors is the smallest possible. NIST's sclite (used by ESPnet's
    recipes) weighs them 4, 3 and 3: it prefers a deletion and an insertion over two substitutions,
    and in rare cases counts an error more. Where several alignments have the same number of errors
    their split into S, D and I may differ; the choice is rapidfuzz's.

    Source: Levenshtein, *Binary codes capable of correcting deletions, insertions, and reversals*,
    Soviet Physics Doklady 10(8), 1966.
    """
    for name, tokens in (("reference", reference), ("hypothesis", hypothesis)):
        if isinstance(tokens, str):
            raise TypeError(f"{name} is a string; align takes tokens: use tokenize(text, unit=...)")
    # rapidfuzz compares strings by hash; numbering the tokens first makes the comparison exact.
    numbers: dict[str, int] = {}
    source, target = (
        [numbers.setdefault(token, len(numbers)) for token in tokens]
        for tokens in (reference, hypothesis)
    )
    steps: list[Step] = []
    for block in Levenshtein.opcodes(source, target):
        before = reference[block.src_start : block.src_end]
        after = hypothesis[block.dest_start : block.dest_end]
        if block.tag == "delete":
            steps.extend(Step("delete", token, None) for token in before)
        elif block.tag == "insert":
            steps.extend(Step("insert", None, token) for token in after)
        else:
            operation: Operation = "equal" if block.tag == "equal" else "substitute"
            steps.extend(Step(operation, *pair) for pair in zip(before, after, strict=True))
    return Alignment(tuple(steps))


def _wrap(steps: Sequence[Step], width: int) -> Iterator[list[tuple[str, str, str]]]:
    columns: list[tuple[str, str, str]] = []
    used = 0
    for step in steps:
        column = _column(step)
        if columns and used + 1 + _cells(column[0]) > width:
            yield columns
            columns, used = [], 0
        used += _cells(column[0]) + (1 if columns else 0)
        columns.append(column)
    yield columns


def _column(step: Step) -> tuple[str, str, str]:
    reference, hypothesis = (_visible(token) for token in (step.reference, step.hypothesis))
    width = max(1, _cells(reference), _cells(hypothesis))
    texts = (
        "*" * width if step.reference is None else reference,
        "*" * width if step.hypothesis is None else hypothesis,
        _MARKS[step.operation],
    )
    first, second, mark = (text + " " * (width - _cells(text)) for text in texts)
    return first, second, mark


def _block(columns: Sequence[tuple[str, str, str]]) -> str:
    rows = list(zip(*columns, strict=True)) or [(), (), ()]
    heads = ("REF:  ", "HYP:  ", "EVAL: ")
    return "\n".join((head + " ".join(row)).rstrip() for head, row in zip(heads, rows, strict=True))


def _visible(token: str | None) -> str:
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in token or "")
    # A combining mark alone would sit on the gap between two columns.
    carrier = "◌" if text and _cells(text[0]) == 0 else ""
    return carrier + text.replace(" ", "␣")


def _cells(text: str) -> int:
    """Terminal cells of a text: 2 for a wide character, 0 for a combining mark, 1 otherwise."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me") for c in text)
