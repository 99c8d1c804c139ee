"""From hypotheses to `result.json`: error rates with counts, alignments, speed, size."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from squall.asr.calibration import (
    SplitCalibration,
    calibrate_splits,
    read_hypotheses,
    write_calibration,
)
from squall.asr.export import folded_phones, reference_texts
from squall.asr.settings import RecognitionConfig
from squall.corpora.manifest import Utterance
from squall.engine.experiment import Experiment
from squall.engine.scored import blank_record
from squall.files import atomic_write, read_json, write_json
from squall.report.records import write_records
from squall.scoring.error_rates import ErrorReport, format_alignments, score_texts, write_csv
from squall.scoring.metrics import declared
from squall.text.phones import fold_phones
from squall.text.tokens import PHONE_UNITS, UNKNOWN, piece_normalizer

__all__ = ["evaluate"]

_log = logging.getLogger(__name__)

Values = dict[str, tuple[float, int]]
"""By metric: the value, and what was counted."""


def evaluate(
    experiment: Experiment[RecognitionConfig],
    splits: Mapping[str, Sequence[Utterance]],
    *,
    dataset: str,
    provenance: Mapping[str, Any],
) -> None:
    """Score every decoded split of an experiment.

    Words and characters are counted, and pieces where the recogniser writes them. Where it writes
    phones, phones alone are: reference and hypothesis folded to 39 classes. The condition of a
    record is the split, and `<split>/fold<number>` where the corpus is divided into folds. Of the
    calibration the condition has the level too, `test/word` or `test/word/fold<number>`; dev, which
    temperatures are fitted on, has no such records.

    Args:
        experiment: `decode/` and `train/` of its directory are read, `score/` and the result file
            are written.
        splits: the reference utterances of each split.
        dataset: name of the corpus in the records.
        provenance: commit, command and hardware of the run.
    """
    config, directory = experiment.config, experiment.directory
    splits = {k: _as_written(config, split, directory / "train") for k, split in splits.items()}
    decode_dir = experiment.variant_dir("decode")
    training = _training(directory)
    reports = {
        split: _reports(
            config, utterances, decode_dir / split / "hypotheses.jsonl", directory / "train"
        )
        for split, utterances in splits.items()
    }
    calibrations = calibrate_splits(config, splits, decode_dir)
    values: dict[str, Values] = {}
    for split, utterances in splits.items():
        _write_details(experiment.score_dir, split, reports[split])
        write_calibration(experiment.score_dir / f"{split}.calibration.json", calibrations[split])
        decoding = read_json(decode_dir / split / "decoding.json")
        rtf = {"rtf": (decoding["rtf"], len(utterances))}
        values[split] = _error_rates(reports[split]) | rtf
        if split == "test":
            parameters = decoding["parameters"]
            values[split] |= training | {"params": (parameters, parameters)}
        if split != "dev":
            for level, of_level in _calibration_values(calibrations[split]).items():
                values[f"{split}/{level}"] = of_level
    fold = "" if config.fold is None else f"/fold{config.fold}"
    template = replace(
        blank_record(config, provenance), dataset=dataset, seconds=training["train_seconds"][0]
    )
    records = [
        template.measured(
            metric,
            value,
            otherwise=_why_undefined(metric, n, condition),
            condition=condition + fold,
            n=n,
        )
        for condition, of_condition in values.items()
        for metric, (value, n) in of_condition.items()
    ]
    write_records(experiment.result_path, records)


def _why_undefined(metric: str, n: int, condition: str) -> str:
    """Why a metric that is not finite has no value; empty where it should have one."""
    if not n:
        return f"there is nothing to count in {condition}"
    if metric == "nce":
        return f"all {n} in {condition} are right, or none is: confidence can tell nothing"
    if re.search("_(refinement|calibration)(_|$)", metric):
        return f"all {n} in {condition} are of one utterance: there is none to recalibrate on"
    return ""


def _calibration_values(found: SplitCalibration) -> dict[str, Values]:
    """The metrics of each level, shares in percent, with their count."""
    values: dict[str, Values] = {}
    for level, calibration in found.levels.items():
        n = calibration.samples
        values[level] = {
            metric: (100.0 * value if declared(metric).unit == "%" else value, n)
            for metric, value in found.metrics(level).items()
        }
        if level in found.temperatures:
            values[level]["temperature"] = (found.temperatures[level], n)
    return values


def _as_written(
    config: RecognitionConfig, utterances: Sequence[Utterance], train_dir: Path
) -> list[Utterance]:
    """The utterances with the texts that the recogniser was trained to write."""
    units, form = config.tokens.units, config.tokens.normalization
    if units in PHONE_UNITS:
        return list(utterances)
    texts = reference_texts(utterances, units=units, normalization=form)
    if units == "bpe":
        normalize = piece_normalizer(train_dir / "bpe.model")
        rewritten = {identifier: normalize(text) for identifier, text in texts.items()}
        changed = [
            identifier for identifier, text in texts.items() if rewritten[identifier] != text
        ]
        if changed:
            _log.warning(
                "the pieces are of an earlier version, which rewrote %d transcripts by NFKC, the "
                "first is %s: they are scored as they were learnt", len(changed), changed[0],
            )  # fmt: skip
        texts = rewritten
    return [replace(utterance, text=texts[utterance.id]) for utterance in utterances]


def _reports(
    config: RecognitionConfig, utterances: Sequence[Utterance], path: Path, train_dir: Path
) -> list[ErrorReport]:
    hypotheses = read_hypotheses(path)
    speakers = {u.id: u.speaker for u in utterances}
    if config.tokens.units in PHONE_UNITS:
        return [_phone_report(utterances, hypotheses, speakers)]
    references = {u.id: u.text for u in utterances}
    texts = {h["id"]: h["text"] for h in hypotheses}
    reports = [
        score_texts(references=references, hypotheses=texts, speakers=speakers, unit=unit)
        for unit in ("word", "char")
    ]
    if config.tokens.units == "bpe":
        import sentencepiece

        model = sentencepiece.SentencePieceProcessor(model_file=str(train_dir / "bpe.model"))
        reports.append(
            score_texts(
                references={
                    k: " ".join(model.encode(t, out_type=str)) for k, t in references.items()
                },
                hypotheses={h["id"]: " ".join(h["tokens"]) for h in hypotheses},
                speakers=speakers,
                unit="token",
            )
        )
    return reports


def _phone_report(
    utterances: Sequence[Utterance],
    hypotheses: Sequence[Mapping[str, Any]],
    speakers: Mapping[str, str],
) -> ErrorReport:
    references = folded_phones(utterances, classes=39)
    return score_texts(
        references={key: " ".join(phones) for key, phones in references.items()},
        hypotheses={h["id"]: " ".join(_as_scored(h["tokens"])) for h in hypotheses},
        speakers=speakers,
        unit="phone",
    )


def _as_scored(tokens: Sequence[str]) -> list[str]:
    """Recognised phones as 39 classes; `<unk>` stays, and is an error."""
    phones: list[str] = []
    for token in tokens:
        phones += [token] if token == UNKNOWN else fold_phones([token], classes=39)
    return phones


def _error_rates(reports: Sequence[ErrorReport]) -> Values:
    """Rates in each unit; the sentence error rate is that of the words, which come first."""
    values: Values = {}
    for report in reversed(reports):
        values |= report.metrics()
    return values


def _write_details(directory: Path, split: str, reports: Sequence[ErrorReport]) -> None:
    with atomic_write(directory / f"{split}.csv") as file:
        write_csv(file, reports)
    with atomic_write(directory / f"{split}.alignments.txt") as file:
        file.write(format_alignments(reports[0]))
    summary = {
        report.metric: {
            "total": asdict(report.total.counts),
            "speakers": {
                speaker: asdict(tally.counts) for speaker, tally in report.speakers.items()
            },
        }
        for report in reports
    }
    write_json(directory / f"{split}.summary.json", summary, indent=1)


def _training(directory: Path) -> Values:
    history = read_json(directory / "train" / "history.json")
    seconds = math.fsum(
        epoch[phase]["time"] for epoch in history for phase in ("train", "valid") if phase in epoch
    )
    return {
        "train_seconds": (seconds, len(history)),
        "epochs": (len(history), len(history)),
    }
