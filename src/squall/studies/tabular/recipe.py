"""The numbered stages of the tabular study."""

from __future__ import annotations

import csv
import hashlib
import shutil
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from squall.corpora.fingerprint import corpus_fingerprint
from squall.engine.experiment import Experiment
from squall.engine.recipe import Recipe
from squall.engine.stages import Stage, StageError, Work
from squall.files import atomic_write, read_json, write_json
from squall.networks.checkpoint import Checkpoint
from squall.report.records import Record, write_records
from squall.scoring.cells import text_cell
from squall.studies.tabular.collection import Collection, UciSet, find_sets, read_collection
from squall.studies.tabular.scores import METRICS, UNTRAINED
from squall.studies.tabular.settings import TabularConfig, TabularSettings
from squall.studies.tabular.splits import chosen_splits, fold_overlap
from squall.studies.tabular.study import NetworkScore, SetScores, score_set, set_cost
from squall.workers import map_in_processes, repeatedly

__all__ = ["list_stages", "read_left_out"]

_LEFT_OUT = "left_out.json"
_PROGRESS = "progress"
_TELL_EVERY_S = 2.0
_SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class _Training:
    """The training of a set, as a process is told of it."""

    data: UciSet
    settings: TabularSettings
    seed: int
    threads: int
    directory: Path  # of the training of all sets

    @property
    def name(self) -> str:
        """Of the set."""
        return self.data.name

    @property
    def result(self) -> Path:
        """The scores."""
        return _scores_path(self.directory, self.name)

    @property
    def checkpoint(self) -> Path:
        """The state of a training that has not ended."""
        return self.directory / "unfinished" / f"{self.name}.pt"

    @property
    def progress(self) -> Path:
        """The number of epochs that are done."""
        return self.directory / _PROGRESS / self.name

    @property
    def epochs_done(self) -> int:
        """So far; 0 if none is, or if the number is being written just now."""
        try:
            return int(self.progress.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return 0


class _Recipe(Recipe[TabularConfig]):
    """The stages of one experiment."""

    def stages(self) -> list[Stage]:
        left_out = self.train_dir / _LEFT_OUT
        return [
            self.stage("check", self.directory, self.check),
            self.stage("train", self.directory, self.train, settings=self.config.hashed(),
                       outputs=(left_out, self.train_dir / "sets"),
                       fingerprint=lambda: corpus_fingerprint(self.corpus_dirs),
                       set_aside=lambda: shutil.rmtree(self.train_dir, ignore_errors=True)),
            self.stage("score", self.score_dir, self.score, inputs=(left_out,),
                       outputs=(self.result_path,),
                       fingerprint=lambda: corpus_fingerprint(self.train_dir / "sets")),
        ]  # fmt: skip

    @property
    def processes(self) -> int:
        """How many sets are trained side by side."""
        return self.options.workers or self.options.processes

    def read(self, work: Work) -> Collection:
        """The sets that the settings name; those that are damaged or cannot be split are told."""
        found = read_collection(self.corpus_dir, self.config.sets)
        damaged = dict(found.damaged)
        for name, data in found.sets.items():
            try:
                chosen_splits(data, self.config.study)
            except ValueError as error:
                damaged[name] = str(error)
        for problem in damaged.values():
            work(0, 1, f"left out: {problem}")
        sets = {name: data for name, data in found.sets.items() if name not in damaged}
        if not sets:
            raise StageError(f"no set can be used: {next(iter(damaged.values()))}")
        return Collection(sets, damaged, found.absent)

    def check(self, work: Work) -> None:
        """Read every set, and say which are damaged and how long the training will take."""
        collection = self.read(work)
        sets = list(collection.sets.values())
        for told in _cautions(sets, self.config.study):
            work(0, 1, told)
        absent = f"; without data: {', '.join(collection.absent)}" if collection.absent else ""
        seconds = _expected_seconds(sets, self.config.study) / self.processes
        work(
            1, 1,
            f"{len(sets)} sets of {sum(len(data.inputs) for data in sets)} samples{absent}; about "
            f"{seconds / 60:.0f} minutes of training in {self.processes} processes",
        )  # fmt: skip

    def train(self, work: Work) -> None:
        """Train the networks of every set, the most work first, and keep the scores of each set."""
        study = self.config.study
        collection = self.read(work)
        costs = {name: set_cost(data, study) for name, data in collection.sets.items()}
        trainings = [
            _Training(
                collection.sets[name], study, self.config.seed, self.options.threads, self.train_dir
            )
            for name in sorted(costs, key=lambda name: (-costs[name], name))
        ]
        shutil.rmtree(self.train_dir / _PROGRESS, ignore_errors=True)
        (self.train_dir / _PROGRESS).mkdir(parents=True)
        epochs = study.network.epochs

        def tell() -> None:
            done = {training.name: training.epochs_done for training in trainings}
            begun = {name: count for name, count in done.items() if 0 < count < epochs}
            running = ", ".join(f"{name} epoch {count}" for name, count in begun.items())
            share = sum(costs[name] * count for name, count in done.items()) // epochs
            work(share, sum(costs.values()), running or "first epoch")

        with repeatedly(tell, _TELL_EVERY_S):
            for _ in map_in_processes(_train_set, trainings, self.processes):
                pass
        write_json(self.train_dir / _LEFT_OUT, collection.damaged, indent=1)

    def score(self, work: Work) -> None:
        """Write what every network reached, and the means over folds."""
        left_out = read_left_out(self.experiment)
        names = find_sets(self.corpus_dir, self.config.sets).keys() - left_out.keys()
        scores = [_read_scores(_scores_path(self.train_dir, name)) for name in sorted(names)]
        directory = self.score_dir
        with atomic_write(directory / "networks.csv") as file:
            rows = [
                {"set": text_cell(one.name), **asdict(network), UNTRAINED: int(network.untrained)}
                for one in scores
                for network in one.networks
            ]
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        write_records(self.result_path, self._records(scores))
        work(1, 1, "scored")

    def _records(self, scores: Sequence[SetScores]) -> list[Record]:
        name = f"{self.config.experiment} {self.config.choices}".rstrip()
        template = replace(self.blank_record, experiment=name)
        return [record for one in scores for record in _set_records(template, one)]


def _cautions(sets: Sequence[UciSet], study: TabularSettings) -> Iterator[str]:
    """What has to be known of the parts that the networks are tested on."""
    if study.test == "folds":
        found = {data.name: fold_overlap(data) for data in sets}
        tested = [100 * one.tested for one in found.values()]
        copied = sum(one.copied > 0 for one in found.values())
        whole = [name for name, one in found.items() if one.copied == 1]
        yield (
            f"the folds are draws that overlap: they test {min(tested):.0f} to {max(tested):.0f} % "
            f"of a set's rows; test rows have copies in training in {copied} of {len(sets)} sets"
            + (f", all of them in {', '.join(whole)}" if whole else "")
        )
    if study.test == "fifths":
        yield "test=fifths: numbers on parts of one's own compare with nobody else's"
    if study.epoch == "best_test":
        yield "epoch=best_test: the test part chooses the epoch, so that it tests nothing"


def list_stages(experiment: Experiment[TabularConfig]) -> list[Stage]:
    """The stages of an experiment, without the report."""
    return _Recipe(experiment).stages()


def read_left_out(experiment: Experiment[Any]) -> dict[str, str]:
    """What was wrong with the sets that could not be trained on, by their names."""
    path = experiment.directory / "train" / _LEFT_OUT
    found: dict[str, str] = read_json(path)
    return found


def _scores_path(train_dir: Path, name: str) -> Path:
    return train_dir / "sets" / f"{name}.json"


def _read_scores(path: Path) -> SetScores:
    # A network that diverged has scores that are NaN.
    record = read_json(path, null_as_nan=True, sealed=True)
    record.pop("data")
    networks = tuple(NetworkScore(**network) for network in record.pop("networks"))
    constant = tuple(record.pop("constant_inputs"))
    return SetScores(**record, networks=networks, constant_inputs=constant)


def _train_set(training: _Training) -> None:
    """Train the networks of a set, unless that was done."""

    def tell(epoch: int, _: object = None) -> None:
        training.progress.write_text(str(epoch), encoding="utf-8")

    stamp = _digest(training.data)
    if _data_of(training.result) == stamp:
        tell(training.settings.network.epochs)
        return
    torch.set_num_threads(training.threads)
    scores = score_set(
        training.data,
        training.settings,
        seed=training.seed,
        on_epoch=tell,
        checkpoint=Checkpoint(training.checkpoint, stamp, _SAVE_EVERY_S),
    )
    found = {"data": stamp, **asdict(scores)}
    write_json(training.result, found, nan_as_null=True, sealed=True)
    training.checkpoint.unlink(missing_ok=True)


def _data_of(result: Path) -> str | None:
    """What set the scores in a file are of; None where there are none, or damaged ones."""
    try:
        return str(read_json(result, sealed=True)["data"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _digest(data: UciSet) -> str:
    """What tells that a set is another one than before."""
    found = hashlib.sha256()
    for split in (*data.folds, *([data.files] if data.files else [])):
        found.update(split.train.tobytes() + split.test.tobytes())
    found.update(data.inputs.tobytes() + data.targets.tobytes())
    return found.hexdigest()


def _expected_seconds(sets: Sequence[UciSet], study: TabularSettings) -> float:
    """Time of all training on one core, from an epoch of the set in the middle of the cost."""
    costs = {data.name: set_cost(data, study) for data in sets}
    ordered = sorted(sets, key=lambda data: costs[data.name])
    summed = list(accumulate(costs[data.name] for data in ordered))
    total = summed[-1]
    middle = ordered[bisect_left(summed, total / 2)]
    ends = [time.perf_counter()]

    def stop(epoch: int, _: object) -> bool:
        ends.append(time.perf_counter())
        return epoch == 2

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    score_set(middle, study, on_epoch=stop)
    torch.set_num_threads(threads)
    return (ends[-1] - ends[-2]) * study.network.epochs * total / costs[middle.name]


def _set_records(template: Record, scores: SetScores) -> Iterator[Record]:
    """What became of the folds of a set, for each loss and seed."""
    for loss in dict.fromkeys(network.loss for network in scores.networks):
        for seed in dict.fromkeys(network.seed for network in scores.networks):
            folds = [n for n in scores.networks if (n.loss, n.seed) == (loss, seed)]
            cell = replace(
                template,
                system=loss,
                condition=scores.name,
                seed=seed,
                n=sum(fold.samples for fold in folds),
                seconds=round(scores.seconds, 2),
            )
            diverged = sum(fold.diverged > 0 for fold in folds)
            reason = f"{diverged} of {len(folds)} networks diverged" if diverged else ""
            for metric in METRICS:
                mean = float(np.mean([getattr(fold, metric) for fold in folds]))
                yield cell.measured(metric, 100 * mean, otherwise=reason)
            untrained = float(sum(fold.untrained for fold in folds))
            yield cell.measured(UNTRAINED, untrained, n=len(folds))
