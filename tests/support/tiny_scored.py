"""Scored enhancement experiments for the report, with audio but without any training."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import tiny_enhancement
from squall.engine.experiment import Experiment, RunOptions
from squall.enhance.places import EnhancementPlaces
from squall.report.records import Record
from squall.report.report import Run


def write_run(
    folder: Path,
    name: str,
    values: Mapping[tuple[str, str], object],
    *,
    metric: str = "stoi",
    seconds: float = 0.1,
) -> tuple[Experiment[Any], Run]:
    """An experiment of an estimator as far as a report reads its mixtures.

    Args:
        folder: where it goes.
        name: of the estimator.
        values: the score of each mixture, by condition and utterance; `nan` of one that has no
            enhanced speech.
        metric: of the values.
        seconds: of each recording.
    """
    config = tiny_enhancement.config(folder, name)
    experiment = Experiment(config, RunOptions(exp_dir=str(folder / "exp")))
    score_dir, places = folder / name, EnhancementPlaces(experiment)
    score_dir.mkdir()
    with (score_dir / "mixtures.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("condition", "utterance", metric), *((*place, v) for place, v in values.items())]
        )
    for (condition, utterance), value in values.items():
        _write_tone(places.clean / f"{utterance}.wav", seconds)
        _write_tone(places.mix / "audio" / condition / f"{utterance}.wav", seconds)
        if value != "nan":
            _write_tone(places.enhanced / condition / f"{utterance}.flac", seconds)
    record = Record("toy", "tiny", "manifest", config.system, "rain/0dB", 1, "stoi", 0.5, "", 2,
                    "c", "run", "h", 1.0)  # fmt: skip
    return experiment, Run(folder, "tiny", score_dir, config.system, 1, (record,), (), {})


def _write_tone(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(round(seconds * 16000)) / 16000
    soundfile.write(path, 0.1 * np.sin(2 * np.pi * 440 * time_s), 16000, subtype="PCM_16")
