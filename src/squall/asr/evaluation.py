"""From hypotheses to `result.json`: error rates with counts, alignments, speed, size."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from squall.config import RecognitionConfig
from squall.corpora.manifest import Utterance
from squall.files import atomic_write
from squall.results import Record, write_records
from squall.scoring.error_rates import ErrorReport, format_alignments, score_texts, write_csv

__all__ = ["evaluate"]


def evaluate(
    config: RecognitionConfig,
    splits: Mapping[str, Sequence[Utterance]],
    *,
    directory: Path,
    dataset: str,
    provenance: Mapping[str, Any],
) -> None:
    """Score every decoded split of an experiment.

    Args:
        config: the experiment.
        splits: the reference utterances of each split.
        directory: the experiment directory; `decode/` and `train/` are read, `score/` and
            `result.json` are written.
        dataset: name of the corpus in the records.
        provenance: commit, command and hardware of the run.
    """
    records: list[Record] = []
    training = _training(directory)
    for split, utterances in splits.items():
        folder = directory / "decode" / split
        reports = _reports(config, utterances, folder / "hypotheses.jsonl", directory)
        _write_details(directory / "score", split, reports)
        speed = json.loads((folder / "decoding.json").read_text())
        values = _error_rates(reports) | {"rtf": (speed["rtf"], "ratio", len(utterances))}
        if split == "test":
            values |= training
        records += [
            Record(
                recipe=config.recipe,
                experiment=config.experiment,
                dataset=dataset,
                system=config.system,
                condition=split,
                seed=config.seed,
                metric=metric,
                value=value,
                unit=unit,
                n=n,
                commit=provenance["commit"],
                command=provenance["command"],
                hardware=provenance["hardware"],
                seconds=training["train_seconds"][0],
            )
            for metric, (value, unit, n) in values.items()
        ]
    write_records(directory / "result.json", records)


def read_hypotheses(path: Path) -> list[dict[str, Any]]:
    """The lines of a `hypotheses.jsonl`."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _reports(
    config: RecognitionConfig, utterances: Sequence[Utterance], path: Path, directory: Path
) -> list[ErrorReport]:
    hypotheses = read_hypotheses(path)
    speakers = {u.id: u.speaker for u in utterances}
    references = {u.id: u.text for u in utterances}
    texts = {h["id"]: h["text"] for h in hypotheses}
    reports = [
        score_texts(references=references, hypotheses=texts, speakers=speakers, unit=unit)
        for unit in ("word", "char")
    ]
    if config.tokens.units == "bpe":
        import sentencepiece

        model = sentencepiece.SentencePieceProcessor(
            model_file=str(directory / "train" / "bpe.model")
        )
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


def _error_rates(reports: Sequence[ErrorReport]) -> dict[str, tuple[float, str, int]]:
    """Rates in each unit; the sentence error rate is that of the words, which come first."""
    values: dict[str, tuple[float, str, int]] = {}
    for report in reversed(reports):
        values |= {name: (value, "%", n) for name, (value, n) in report.metrics().items()}
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
    with atomic_write(directory / f"{split}.summary.json") as file:
        json.dump(summary, file, indent=1)


def _training(directory: Path) -> dict[str, tuple[float, str, int]]:
    import torch

    history = json.loads((directory / "train" / "history.json").read_text())
    weights = torch.load(directory / "train" / "model.pth", weights_only=True, map_location="cpu")
    seconds = math.fsum(
        epoch[phase]["time"] for epoch in history for phase in ("train", "valid") if phase in epoch
    )
    parameters = sum(weight.numel() for weight in weights.values() if weight.is_floating_point())
    return {
        "train_seconds": (seconds, "s", len(history)),
        "epochs": (len(history), "epochs", len(history)),
        "params": (parameters, "weights", parameters),
    }
