"""What the records of the studies have in common."""

from __future__ import annotations

from typing import Any

from squall.experiment import Experiment, environment
from squall.results import Record

__all__ = ["blank_record"]


def blank_record(experiment: Experiment[Any]) -> Record:
    """A record in percent with all that says where it comes from, to be filled in by `replace`."""
    config = experiment.config
    stamp = environment(command=experiment.options.command)
    return Record(
        recipe=config.recipe,
        experiment=config.experiment,
        dataset=config.corpus.name,
        system=config.system,
        condition="",
        seed=config.seed,
        metric="",
        value=0.0,
        unit="%",
        n=0,
        commit=stamp["commit"] + ("+" if stamp["dirty"] else ""),
        command=stamp["command"],
        hardware=stamp["hardware"],
        seconds=0.0,
    )
