"""The tables of recognition experiments: error rates, differences, calibration.

Where a corpus is divided into folds, the tables show the mean over them.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from squall.asr.calibration import LEVELS
from squall.report.comparison import is_comparison
from squall.report.differences import comparison_tables
from squall.report.records import Record
from squall.report.tables import UNDEFINED, Layout, Table, fixed, results_table
from squall.scoring.metrics import declared

__all__ = [
    "ERROR_RATES",
    "RECOGNITION",
    "calibration_tables",
    "error_rate_tables",
    "recognition_tables",
]

_FOLD = re.compile(r"(?P<split>.+)/fold(?P<number>\d+)")
_RATES = ("per", "wer", "cer")
_COLUMNS = {
    **{metric: declared(metric).heading for metric in ("wer", "cer", "ter", "per", "ser")},
    **{metric: declared(metric).title for metric in ("rtf", "epochs", "train_seconds")},
}


def _headed(columns: Mapping[str, str]) -> dict[str, str]:
    """Columns of levels and metrics with the names of the metrics put in."""
    metrics = {column: declared(column.split()[1]) for column in columns}
    return {
        column: text.format(title=metrics[column].title, heading=metrics[column].heading)
        for column, text in columns.items()
    }


_FORCED_COLUMNS = _headed(
    {
        "token accuracy": "{heading}",
        "token ece": "{heading}",
        "token ece_adaptive": "{heading}",
        "token mce": "{heading}",
        "token brier": "{heading}",
        "token nll": "{heading}",
        "token-clipped ece": "{heading}, clipped",
        "token-scaled ece": "{heading}, scaled",
        "token-scaled nll": "{title}, scaled",
        "token-scaled temperature": "{title}",
    }
)
_RECOGNISED_COLUMNS = _headed(
    {
        "hypothesis accuracy": "tokens right %",
        "hypothesis ece": "{heading} of tokens",
        "hypothesis brier": "{heading} of tokens",
        "word accuracy": "words right %",
        "word ece": "{heading} of words",
        "word brier": "{heading} of words",
        "word-scaled ece": "{heading} of words, scaled",
        "sequence accuracy": "utterances right %",
        "sequence ece": "{heading} of utterances",
    }
)

_REFINED_COLUMNS = {
    level: _headed(
        {
            f"{level} {metric}": "{heading}"
            for metric in (
                "nll",
                "nll_refinement",
                "nll_calibration",
                "brier",
                "brier_refinement",
                "brier_calibration",
                "smooth_ece",
                "aurc",
                "nce",
            )
        }
    )
    for level in ("token", "hypothesis", "word")
}
_REFINED_TITLES = {
    "token": "refinement and calibration error of true tokens",
    "hypothesis": "refinement and calibration error of recognised tokens",
    "word": "refinement and calibration error of recognised words",
}


def recognition_tables(records: Sequence[Record]) -> list[Table]:
    """All tables of a recipe.

    For each corpus and split, `test` first, the error rates; of folds the mean, and then each fold;
    below those the differences between systems, and the calibration.

    Args:
        records: numbers of any experiments; the condition is a split, `<split>/<level>` for the
            calibration, with `/fold<number>` behind it where there are folds.
    """
    compared = [record for record in records if is_comparison(record)]
    others = [record for record in records if not is_comparison(record)]
    calibration = [record for record in others if _level(record.condition)]
    rates = [record for record in others if not _level(record.condition)]
    return [
        *(_with_baselines(table) for table in _rate_tables(rates)),
        *comparison_tables(compared),
        *calibration_tables(calibration),
    ]


def _with_baselines(table: Table) -> Table:
    """The table with a note that says which of its systems are baselines."""
    from squall.losses import BASELINE_LOSSES  # torch, for which tables of other tasks do not wait

    systems = dict.fromkeys(row[table.head.index("system")] for row in table.rows)
    baselines = [s for s in systems if s.partition("-")[0] in BASELINE_LOSSES or "-ls" in s]
    note = f"Baselines, which others propose for calibration: {', '.join(baselines)}."
    return replace(table, note=note) if baselines else table


def _level(condition: str) -> str:
    """The level of calibration that a condition names, empty where it names none."""
    parts = condition.split("/")
    return parts[1] if len(parts) > 1 and parts[1] in LEVELS else ""


def _rate_tables(records: Sequence[Record]) -> list[Table]:
    whole = [record for record in records if not _FOLD.fullmatch(record.condition)]
    tables = error_rate_tables(whole)
    for (dataset, split), of_split in _folds(records).items():
        tables += _fold_tables(f"{dataset}, {split}", of_split)
    return tables


def _folds(records: Sequence[Record]) -> dict[tuple[str, str], list[tuple[int, Record]]]:
    """The records of folds by corpus and split, `test` first, each with the number of its fold."""
    found: dict[tuple[str, str], list[tuple[int, Record]]] = {}
    for record in records:
        if match := _FOLD.fullmatch(record.condition):
            place = (record.dataset, match["split"])
            found.setdefault(place, []).append((int(match["number"]), record))
    order = sorted(found, key=lambda place: (place[0], place[1] != "test", place))
    return {place: found[place] for place in order}


def _fold_tables(title: str, records: Sequence[tuple[int, Record]]) -> list[Table]:
    """The means over the folds of a split, and the rates of each fold."""
    groups = _by_run(records)
    means = [_mean(of_folds) for of_folds in groups.values()]
    head_and_rows = results_table(means, means[0].condition, _COLUMNS)
    tables = [Table(f"{title}, mean over folds", *head_and_rows)]
    numbers = sorted({fold for fold, _ in records})
    for metric in _RATES:
        rows = [
            [*map(str, run[:3]), *(_rate(of_folds.get(fold)) for fold in numbers)]
            for run, of_folds in sorted(groups.items())
            if run[3] == metric
        ]
        head = ["experiment", "system", "seed", *(f"fold {fold}" for fold in numbers)]
        if rows:
            tables.append(Table(f"{title}, {declared(metric).heading} of each fold", head, rows))
    return tables


def _by_run(
    records: Sequence[tuple[int, Record]],
) -> dict[tuple[str, str, int, str], dict[int, Record]]:
    """The folds of each number: by experiment, system, seed and metric, and by fold."""
    groups: dict[tuple[str, str, int, str], dict[int, Record]] = {}
    for fold, record in records:
        run = (record.experiment, record.system, record.seed, record.metric)
        groups.setdefault(run, {})[fold] = record
    return groups


def _mean(of_folds: dict[int, Record]) -> Record:
    """The mean over folds as a record, with the number of things counted in all of them."""
    records = list(of_folds.values())
    reason = next((record.reason for record in records if record.value is None), "")
    folds = f"{len(records)} fold" + ("s" if len(records) > 1 else "")
    return replace(
        records[0],
        experiment=f"{records[0].experiment}, {folds}",
        condition="mean",
        value=None if reason else statistics.mean(record.number for record in records),
        reason=reason,
        n=sum(record.n for record in records),
    )


def _rate(record: Record | None) -> str:
    if record is None:
        return ""
    if record.value is None:
        return UNDEFINED
    return f"{fixed(record.value, declared(record.metric).digits)} (of {record.n})"


def error_rate_tables(records: Sequence[Record]) -> list[Table]:
    """A table for each corpus and split, `test` first."""
    tables = []
    for dataset in sorted({record.dataset for record in records}):
        chosen = [record for record in records if record.dataset == dataset]
        found = {record.condition for record in chosen}
        for condition in sorted(found, key=lambda name: (name != "test", name)):
            head_and_rows = results_table(chosen, condition, _COLUMNS)
            tables.append(Table(f"{dataset}, {condition}", *head_and_rows))
    return tables


def calibration_tables(records: Sequence[Record]) -> list[Table]:
    """The tables of each corpus and split: of the true tokens, and of what was recognised.

    Those of refinement and calibration error follow, of the true tokens and of recognised words, or
    tokens where the recogniser writes no words; they are left out of records of earlier versions,
    which have no such numbers.

    Args:
        records: numbers whose condition is `<split>/<level>`, with or without a fold.
    """
    # The level becomes part of the metric's name, so that a run has one row.
    named = [
        replace(
            record,
            metric=f"{_level(record.condition)} {record.metric}",
            condition=record.condition.replace(f"/{_level(record.condition)}", "", 1),
        )
        for record in records
    ]
    places: dict[tuple[str, str], list[Record]] = {}
    for record in named:
        if not _FOLD.fullmatch(record.condition):
            places.setdefault((record.dataset, record.condition), []).append(record)
    for place, of_split in _folds(named).items():
        places.setdefault(place, []).extend(map(_mean, _by_run(of_split).values()))
    tables = []
    for (dataset, split), found in places.items():
        shown = [replace(record, condition="", unit="") for record in found]
        layouts = [
            ("calibration of true tokens (teacher-forced)", _FORCED_COLUMNS),
            ("calibration of what was recognised", _RECOGNISED_COLUMNS),
        ]
        refined = {
            level
            for level in _REFINED_TITLES
            if any(record.metric == f"{level} nll_refinement" for record in shown)
        }
        layouts += [
            (title, _REFINED_COLUMNS[level])
            for level, title in _REFINED_TITLES.items()
            if level in refined and not (level == "hypothesis" and "word" in refined)
        ]
        for title, columns in layouts:
            of_table = [record for record in shown if record.metric in columns]
            if of_table:
                head_and_rows = results_table(of_table, "", columns)
                tables.append(Table(f"{dataset}, {split}, {title}", *head_and_rows))
    return tables


ERROR_RATES = Layout(
    error_rate_tables,
    "Error rates: (substitutions + deletions + insertions) / reference length; the number "
    "counted stands beside each. SER: share of utterances with an error. RTF: seconds of "
    "decoding per second of audio. Training: time of all epochs, development set included.",
)
"""The layout of error rates alone."""

RECOGNITION = Layout(
    recognition_tables,
    ERROR_RATES.notes + " Folds: each tests other speakers with a model that was trained without "
    "them. A mean over folds is that of their values, and the number beside it what was counted in "
    "all folds together; the times are those of one fold. Calibration: ECE over 10 bins of equal "
    "width, adaptive ECE over 10 with equally many samples, MCE the largest gap of a bin, Brier "
    "summed over the classes (for recognised tokens and words over right and wrong alone, halved). "
    "Refinement is the score that remains after the best temperature, fitted on four fifths of the "
    "utterances and scored on the other fifth, each in turn; calibration error is the rest of the "
    "score, below 0 where that temperature does harm. Smooth ECE has a kernel in place of bins. "
    "AURC is the area under the curve of the error rate of the most confident against their share; "
    "NCE (NIST) is 1 for words whose confidence tells all, 0 for those whose confidence tells no "
    "more than the share of right words. "
    + " ".join(f"`{name}`: {meaning}." for name, meaning in LEVELS.items()),
)
"""The layout of recognition experiments."""
