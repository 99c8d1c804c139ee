"""Scored recognition experiments in the form that systems are compared in."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from squall.asr.calibration import read_token_gaps, read_token_nlls
from squall.report.comparison import ScoredRun, ece_scores, likelihood_scores, rate_scores
from squall.report.records import Record
from squall.report.report import Run
from squall.scoring.alignment import Alignment, align
from squall.scoring.cells import row_texts
from squall.scoring.error_rates import METRIC_OF_UNIT, tokenize

__all__ = ["scored_runs"]


def scored_runs(runs: Sequence[Run]) -> list[ScoredRun]:
    """Error rates and calibration of true tokens of the runs, by utterance, on every split but dev.

    Args:
        runs: scored experiments. Those with no other system beside them are left out: there is
            nothing to compare them with; so are those whose scores by utterance were not kept. The
            folds of one system and seed are put together: each utterance is tested in one of them.
            Where an earlier version scored one, the refinement of the likelihood is missing.

    Raises:
        ValueError: a file of the score stage is damaged.
    """
    systems: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        systems.setdefault(_place(run), set()).add(run.records[0].system)
    found = []
    for run in runs:
        if len(systems[_place(run)]) < 2:
            continue
        for split in sorted({_split(record) for record in run.records} - {"dev"}):
            if not _is_kept(run, split):
                continue
            own = [r for r in run.records if _split(r) == split and _is_rate(r)]
            found.append(_scored(run, replace(own[0], condition=split)))
    order = {_key(one): number for number, one in reversed(list(enumerate(found)))}
    folds = sorted(found, key=lambda one: order[_key(one)])
    return [_together(list(parts)) for _, parts in groupby(folds, key=_key)]


def _is_kept(run: Run, split: str) -> bool:
    names = (f"{split}.csv", f"{split}.calibration.json")
    return all((run.score_dir / name).is_file() for name in names)


def _key(one: ScoredRun) -> tuple[str, str, str, str, int]:
    """What the folds of one run share."""
    record = one.record
    return record.dataset, record.experiment, record.condition, record.system, record.seed


def _place(run: Run) -> tuple[str, str]:
    return run.records[0].dataset, run.records[0].experiment


def _split(record: Record) -> str:
    return record.condition.partition("/")[0]


def _is_rate(record: Record) -> bool:
    return record.metric in METRIC_OF_UNIT.values()


def _scored(run: Run, record: Record) -> ScoredRun:
    split = record.condition
    with (run.score_dir / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        rows = [row_texts(row) for row in csv.DictReader(file)]
    ids, speakers = [row["utterance"] for row in rows], [row["speaker"] for row in rows]
    units = [unit for unit, metric in METRIC_OF_UNIT.items() if f"{metric}_reference" in rows[0]]
    scores = [
        rate_scores(
            metric, ids=ids, groups=speakers, errors=_errors(rows, metric),
            lengths=[float(row[f"{metric}_reference"]) for row in rows],
        )
        for metric in (METRIC_OF_UNIT[unit] for unit in units)
    ]  # fmt: skip
    path = run.score_dir / f"{split}.calibration.json"
    gaps, nlls = read_token_gaps(path), read_token_nlls(path)
    if any(len(found) != len(rows) for found in (gaps, nlls) if found is not None):
        raise ValueError(
            f"{path} has {len(gaps)} utterances, {split}.csv beside it {len(rows)}: score again "
            "with --stage 7 --force"
        )
    scores.append(ece_scores(ids=ids, groups=speakers, gaps=gaps))
    if nlls is not None and np.isfinite(nlls).all():
        scores += likelihood_scores(ids=ids, groups=speakers, nlls=nlls)
    return ScoredRun(record, tuple(scores), _alignments(rows, units[0]))


def _errors(rows: Sequence[dict[str, str]], metric: str) -> list[float]:
    kinds = ("substitutions", "deletions", "insertions")
    return [sum(float(row[f"{metric}_{kind}"]) for kind in kinds) for row in rows]


def _alignments(rows: Sequence[dict[str, str]], unit: Any) -> dict[str, Alignment]:
    return {
        row["utterance"]: align(
            reference=tokenize(row["reference"], unit=unit),
            hypothesis=tokenize(row["hypothesis"], unit=unit),
        )
        for row in rows
    }


def _together(parts: Sequence[ScoredRun]) -> ScoredRun:
    if len(parts) == 1:
        return parts[0]
    scores = []
    for first in parts[0].scores:
        same = [one for part in parts for one in part.scores if one.metric == first.metric]
        if len(same) < len(parts):
            continue
        scores.append(
            replace(
                first,
                ids=tuple(id for one in same for id in one.ids),
                groups=tuple(group for one in same for group in one.groups),
                sums=np.concatenate([one.sums for one in same]),
            )
        )
    alignments = {id: one for part in parts for id, one in part.alignments.items()}
    return ScoredRun(parts[0].record, tuple(scores), alignments)
