"""Scored experiments: the origin of their records, and what a report reads of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from squall import files
from squall.engine.config import ExperimentConfig
from squall.engine.environment import commit_mark
from squall.engine.experiment import Experiment
from squall.engine.stages import refuse_changed
from squall.report.records import Record, read_records
from squall.report.report import Run

__all__ = ["blank_record", "read_json", "read_run"]


def blank_record(config: ExperimentConfig, provenance: Mapping[str, Any]) -> Record:
    """A record with all that says where it comes from, for `measured` to fill in.

    Args:
        config: the settings of the experiment.
        provenance: commit, command and hardware, as `Recipe.provenance` has them.
    """
    return Record(
        recipe=config.recipe,
        experiment=config.named(config.experiment),
        dataset=config.corpus.name,
        system=config.system,
        condition="",
        seed=config.seed,
        metric="",
        value=0.0,
        unit="",
        n=0,
        commit=provenance["commit"],
        command=provenance["command"],
        hardware=provenance["hardware"],
        seconds=0.0,
    )


def read_run(experiment: Experiment[Any], history: Sequence[dict[str, Any]] = ()) -> Run:
    """The numbers and the environment of a scored experiment.

    Args:
        experiment: the experiment.
        history: its epochs, in the form that its task's figures take.

    Raises:
        FileNotFoundError: the experiment has not been scored.
        ValueError: one of its files is damaged; the message names it.
    """
    directory = experiment.directory
    if not experiment.result_path.is_file():
        raise FileNotFoundError(
            f"{experiment.result_path} is missing: run the stages up to 7 (score) first"
        )
    refuse_changed(directory, "train")
    refuse_changed(experiment.score_dir, "score")
    stamp = read_json(directory / "environment.json")
    return Run(
        directory=directory,
        experiment=experiment.config.experiment,
        score_dir=experiment.score_dir,
        system=experiment.config.named(experiment.config.system),
        seed=experiment.config.seed,
        records=tuple(read_records(experiment.result_path)),
        history=tuple(history),
        environment=stamp,
        commit=commit_mark(stamp),
        settings=experiment.config.model_dump(mode="json"),
        log_dir=experiment.log_dir,
    )


def read_json(path: Path, *, null_as_nan: bool = False) -> Any:
    """Read a JSON file of an experiment.

    Args:
        path: the file.
        null_as_nan: see `squall.files.read_json`.

    Raises:
        ValueError: it is damaged; the message names it.
    """
    try:
        return files.read_json(path, null_as_nan=null_as_nan)
    except ValueError as error:
        raise ValueError(f"{error}; run its stage again with --force") from error
