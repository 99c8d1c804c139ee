"""Tables of labelled texts: GLUE's own files, and a general form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from squall.files import read_text

__all__ = ["SPLITS", "LabelledText", "TextCorpus", "TextCorpusError", "read_text_corpus", "spread"]

SPLITS = ("train", "dev", "test")

_SUFFIXES = (".tsv", ".tsv.gz", ".txt", ".txt.gz")
_HELD_OUT = 10  # one in so many training texts becomes the development set where there is none
_SHOWN = 5

_FORMS = (
    ("label", "text_a", "text_b"),
    ("label", "text_a", None),
    ("label", "text", None),
    ("Quality", "#1 String", "#2 String"),  # MRPC
    ("is_duplicate", "question1", "question2"),  # QQP
    ("label", "question", "sentence"),  # QNLI
    ("label", "sentence1", "sentence2"),  # RTE, WNLI
    ("label", "sentence", None),  # SST-2
)
"""Columns of label, text and second text, the first form that fits; GLUE's tasks have their own."""

_LONGEST_NUMBER = 1000  # digits of a label; Python reads 4,300


class TextCorpusError(ValueError):
    """A corpus of texts cannot be used; the message has file, line and what to do."""


@dataclass(frozen=True)
class LabelledText:
    """A sentence or a pair of sentences with its label.

    Args:
        label: as it stands in the file.
        a: the text, or the first of a pair.
        b: the second of a pair; None for a single text.
    """

    label: str
    a: str
    b: str | None = None


@dataclass(frozen=True)
class TextCorpus:
    """A corpus of labelled texts.

    Args:
        splits: the texts of `train`, `dev` and `test`.
        labels: all of them, in the order of their numbers: numbers by their value, words by the
            alphabet.
        told: what its user should know: where the development set comes from, what was left out.
    """

    splits: Mapping[str, Sequence[LabelledText]]
    labels: tuple[str, ...]
    told: Sequence[str] = field(default_factory=tuple)

    @property
    def pairs(self) -> bool:
        """Whether the texts are pairs."""
        return self.splits["train"][0].b is not None

    def targets(self, split: str) -> list[int]:
        """The numbers of the labels of a split."""
        numbers = {label: number for number, label in enumerate(self.labels)}
        return [numbers[text.label] for text in self.splits[split]]


def read_text_corpus(
    folder: Path,
    *,
    files: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    train_examples: int | None = None,
) -> TextCorpus:
    """Read a folder of tables.

    Args:
        folder: with `train`, `dev` and `test` as `.tsv` (or `.txt`, each also gzipped), or one
            table with a column `split`. Fields are separated by tabs, the first line names the
            columns; quotation marks are characters like any other. Columns: `label`, `text_a` (or
            `text`), and for pairs `text_b`; or those of GLUE's tasks.
        files: names of the tables of splits that are called otherwise, without their endings
            (`{"train": "train_sentences"}`).
        skip_bad: leave out rows that cannot be used, instead of stopping.
        train_examples: keep so many training texts, spread evenly over them.

    Raises:
        FileNotFoundError: there is no table for training, or none to test on.
        TextCorpusError: a table is damaged or not UTF-8, has none of the known columns or no labels
            (as GLUE's test sets), a row has another number of fields than the header or an empty
            text, some texts are pairs and some are not, a label does not occur in training, or only
            one does.

    Convention:
        Without a development set it is every tenth of the training texts of each label. Without a
        test set the development set is tested on, and the former rule holds: GLUE keeps the labels
        of its test sets.
    """
    tables, told = _tables(folder, files or {}, skip_bad)
    if "test" not in tables and "dev" in tables:
        tables["test"] = tables.pop("dev")
        told.append("the development set is tested on: there is no labelled test set")
    for split in ("train", "test"):
        if not tables.get(split):
            raise FileNotFoundError(
                f"{folder}: no texts of the split {split!r}; a corpus is a folder with train.tsv, "
                "dev.tsv and test.tsv (see recipes/text/README.md)"
            )
    if not tables.get("dev"):
        tables["train"], tables["dev"] = _hold_out(tables["train"])
        told.append("every tenth training text of each label is the development set")
    if train_examples is not None and train_examples < len(tables["train"]):
        told.append(f"{train_examples} of {len(tables['train'])} training texts")
        tables["train"] = spread(tables["train"], train_examples)
    labels = _check(folder, tables)
    return TextCorpus({split: tables[split] for split in SPLITS}, labels, told)


def spread(texts: Sequence[LabelledText], count: int) -> list[LabelledText]:
    """So many of the texts, spread evenly over them."""
    return [texts[k] for k in np.linspace(0, len(texts) - 1, count).round().astype(int)]


def _tables(
    folder: Path, files: Mapping[str, str], skip_bad: bool
) -> tuple[dict[str, list[LabelledText]], list[str]]:
    """The texts of each split, and what was left out."""
    if unknown := sorted(set(files) - set(SPLITS)):
        raise TextCorpusError(
            f"corpus.options: there is no split {unknown[0]!r}; there are {', '.join(SPLITS)}"
        )
    paths = {split: _table(folder, files.get(split, split)) for split in SPLITS}
    absent = [split for split in files if paths[split] is None]
    if absent:
        raise FileNotFoundError(
            f"{folder / files[absent[0]]}.tsv is missing, which corpus.options names for "
            f"{absent[0]}"
        )
    problems: list[str] = []
    found: dict[str, list[LabelledText]] = {}
    if not any(paths.values()):
        alone = [path for path in sorted(folder.glob("*")) if path.name.endswith(_SUFFIXES)]
        if len(alone) != 1:
            raise FileNotFoundError(
                f"{folder}: no train.tsv in it; a corpus is a folder with train.tsv, dev.tsv and "
                "test.tsv, or with one table that has a column `split`"
            )
        for split, text in _rows(alone[0], problems, column="split"):
            found.setdefault(split, []).append(text)
        if "train" not in found:
            raise TextCorpusError(
                f"{alone[0]}: no row has `train` in the column `split`; "
                f"there are {', '.join(sorted(found)) or 'none'}"
            )
    for split, path in paths.items():
        if path is not None:
            found[split] = [text for _, text in _rows(path, problems)]
    if problems and not skip_bad:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise TextCorpusError(
            f"{len(problems)} row(s) cannot be used:\n  "
            + "\n  ".join(problems[:_SHOWN])
            + f"{more}\nMend them, or run again with --skip-bad to leave them out"
        )
    return found, [f"left out: {problem}" for problem in problems]


def _table(folder: Path, name: str) -> Path | None:
    return next((path for s in _SUFFIXES if (path := folder / f"{name}{s}").is_file()), None)


def _rows(
    path: Path, problems: list[str], column: str | None = None
) -> Iterator[tuple[str, LabelledText]]:
    """Split and text of each row; what is wrong with a row is added to the problems."""
    lines = _lines(path)
    header = lines[0].split("\t")
    form = _form(path, header, column)
    places = [header.index(name) for name in form if name is not None]
    split_place = header.index(column) if column else 0
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("\t")
        where = f"{path}:{number}"
        if len(fields) != len(header):
            problems.append(f"{where}: {len(fields)} fields, the header has {len(header)}")
            continue
        label, *texts = (fields[place].strip() for place in places)
        if label == "-1":
            raise TextCorpusError(
                f"{where}: the label is -1, which stands for one that is kept secret. Leave this "
                "file out: the development set is then tested on"
            )
        if not label or not all(texts):
            problems.append(f"{where}: {'a text' if label else 'the label'} is empty")
            continue
        yield fields[split_place], LabelledText(label, *texts)


def _lines(path: Path) -> list[str]:
    try:
        text = read_text(path)
    except ValueError as error:
        raise TextCorpusError(str(error)) from error
    lines = text.replace("\r\n", "\n").split("\n")
    while len(lines) > 1 and not lines[-1]:
        lines.pop()
    return lines


def _form(path: Path, header: Sequence[str], column: str | None) -> tuple[str, str, str | None]:
    for label, a, b in _FORMS:
        if {label, a, *([b] if b else []), *([column] if column else [])} <= set(header):
            return label, a, b
    texts = {name for _, a, b in _FORMS for name in (a, b)} & set(header)
    if texts and "index" in header:
        raise TextCorpusError(
            f"{path}:1: there is no column of labels, as in GLUE's test sets, whose labels are "
            "kept secret. Leave this file out: the development set is then tested on"
        )
    needed = "label, text_a and, for pairs, text_b" + (f", and {column}" if column else "")
    raise TextCorpusError(
        f"{path}:1: columns {', '.join(header) or 'none'}; the header needs {needed}, "
        "separated by tabs"
    )


def _hold_out(
    texts: Sequence[LabelledText],
) -> tuple[list[LabelledText], list[LabelledText]]:
    seen: Counter[str] = Counter()
    parts: tuple[list[LabelledText], list[LabelledText]] = ([], [])
    for text in texts:
        seen[text.label] += 1
        parts[seen[text.label] % _HELD_OUT == 0].append(text)
    return parts


def _check(folder: Path, splits: Mapping[str, Sequence[LabelledText]]) -> tuple[str, ...]:
    """The labels, sorted."""
    kinds = {text.b is None for texts in splits.values() for text in texts}
    if len(kinds) > 1:
        raise TextCorpusError(f"{folder}: some tables have pairs of texts, others single ones")
    counts = Counter(text.label for text in splits["train"])
    for split in ("dev", "test"):
        unknown = {text.label for text in splits[split]} - counts.keys()
        if unknown:
            raise TextCorpusError(
                f"{folder}: the label {sorted(unknown)[0]!r} occurs in {split} and not in train; "
                f"train has {', '.join(sorted(counts)[:_SHOWN])}"
            )
    if len(counts) < 2:
        raise TextCorpusError(
            f"{folder}: every training text has the label {next(iter(counts))!r}; "
            "there is nothing to learn"
        )
    if all(label.isdecimal() and len(label) < _LONGEST_NUMBER for label in counts):
        return tuple(sorted(counts, key=lambda label: (int(label), label)))
    return tuple(sorted(counts))
