"""The numbered stages of a language model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from squall.corpora.fingerprint import corpus_fingerprint
from squall.engine.experiment import Experiment
from squall.engine.recipe import Recipe
from squall.engine.stages import Stage, Work
from squall.files import read_json, write_json
from squall.losses import square_aim
from squall.networks.checkpoint import Checkpoint
from squall.networks.loop import Epoch, train
from squall.networks.precision import choose_precision
from squall.networks.tensors import load_weights, write_tensors
from squall.report.records import Record, write_records
from squall.studies.charlm.corpus import read_corpus
from squall.studies.charlm.ngram import KneserNey
from squall.studies.charlm.predictions import Logits, make_predictions, read_predictions
from squall.studies.charlm.scores import TestScores, score_predictions
from squall.studies.charlm.settings import CharlmConfig
from squall.studies.charlm.tokens import (
    Tokenized,
    read_tokenized,
    tokenize_bytes,
    tokenize_pieces,
    tokenized_paths,
)
from squall.studies.charlm.training import (
    LanguageTraining,
    cut_streams,
    predict,
    time_step,
)
from squall.studies.charlm.transformer_xl import TransformerXL

__all__ = ["MODEL", "condition", "list_stages", "prepared_folder", "system_scores"]

MODEL = "model"
"""What the scores of the network are called among those of a score stage."""

_SAVE_EVERY_S = 60.0
_NGRAM_SEED = 0  # nothing of it is drawn


class _Recipe(Recipe[CharlmConfig]):
    """The stages of one experiment."""

    def __init__(self, experiment: Experiment[CharlmConfig]) -> None:
        super().__init__(experiment)
        self.data = prepared_folder(experiment)
        self.model_path = self.train_dir / "model.pt"
        self.history_path = self.train_dir / "history.json"
        self.predictions_path = experiment.variant_dir("predict") / "test.npz"
        self.ngrams = {f"{n}-gram": n for n in self.config.text.ngrams}

    def stages(self) -> list[Stage]:
        tokenized = tokenized_paths(self.data)
        ngrams = tuple(self._ngram_path(name) for name in self.ngrams)
        evaluation = self.config.evaluation.model_dump(mode="json")
        block = evaluation.pop("block")
        return [
            self.stage("check", self.directory, self.check),
            self.stage("prepare", self.data, self.prepare, settings=_data_settings(self.config),
                       outputs=(*tokenized, *ngrams, self.data / "ngrams.json"),
                       fingerprint=lambda: corpus_fingerprint(self.corpus_dirs)),
            self.stage("train", self.train_dir, self.train, settings=self.config.hashed(),
                       inputs=tokenized, outputs=(self.model_path, self.history_path),
                       set_aside=lambda: shutil.rmtree(self.train_dir, ignore_errors=True)),
            self.stage("predict", self.predictions_path.parent, self.predict, settings=evaluation,
                       inputs=(*tokenized, self.model_path), outputs=(self.predictions_path,)),
            self.stage("score", self.score_dir, self.score, settings={"block": block},
                       inputs=(self.predictions_path, self.history_path, *ngrams),
                       outputs=(self.result_path,)),
        ]  # fmt: skip

    def _ngram_path(self, name: str) -> Path:
        return self.data / f"{name}.npz"

    def read_parts(self) -> Mapping[str, bytes]:
        """The parts of the corpus."""
        return read_corpus(self.corpus_dir, self.config.corpus.name)

    def check(self, work: Work) -> None:
        """Read the corpus, and say how large it and the network are and how long a training takes.

        What training would refuse, it refuses here.
        """
        self.check_device()
        self.set_threads()
        free = self.check_disk()
        parts = self.read_parts()
        classes = self.config.text.vocabulary_size
        if self.config.text.units == "byte":
            tokenized = tokenize_bytes(parts)
            classes = tokenized.classes
            cut_streams(torch.from_numpy(tokenized.texts["train"].tokens), self.config.training)
            if said := _said_of_unknown(tokenized):
                work(0, 1, said)
        network = self._network(classes)
        precision = choose_precision(self.config.training.precision, device=self.options.device)
        seconds = time_step(network, self.config.loss, self.config.training, precision=precision)
        sizes = ", ".join(f"{part} {len(text):,}" for part, text in parts.items())
        work(
            1, 1,
            f"characters: {sizes}; {classes} classes; {_parameters(network):,} parameters; about "
            f"{seconds * self.config.training.steps / 60:.0f} minutes of training; {free}",
        )  # fmt: skip

    def _network(self, classes: int) -> TransformerXL:
        """A network as its training begins."""
        torch.manual_seed(self.config.seed)
        return TransformerXL(classes, self.config.network).to(self.options.device)

    def prepare(self, work: Work) -> None:
        """Cut the parts into tokens, and let the n-gram models predict the test part."""
        work(0, 1, f"reading {self.corpus_dir}")
        parts = self.read_parts()
        if self.config.text.units == "byte":
            tokenized = tokenize_bytes(parts)
        else:
            size = self.config.text.vocabulary_size
            work(0, 1, f"choosing {size} pieces")
            tokenized = tokenize_pieces(parts, size=size, model=self.data / "pieces.model")
        tokenized.write(self.data)
        if said := _said_of_unknown(tokenized):
            work(0, 1, said)
        seconds = {}
        for done, (name, order) in enumerate(self.ngrams.items()):
            work(done, len(self.ngrams), f"{name} model")
            began_s = time.perf_counter()
            training = tokenized.texts["train"].tokens
            model = KneserNey(training, classes=tokenized.classes, order=order)
            seconds[name] = time.perf_counter() - began_s
            made = make_predictions(
                partial(_ngram_logits, model),
                dev=tokenized.texts["dev"].tokens,
                test=tokenized.texts["test"],
            )
            made.write(self._ngram_path(name))
        write_json(self.data / "ngrams.json", seconds)
        count = sum(len(text.tokens) for text in tokenized.texts.values())
        work(1, 1, f"{count:,} tokens of {tokenized.classes} classes")

    def train(self, work: Work) -> None:
        """Train the network, or go on where its training was stopped; keep the best weights."""
        self.set_threads()
        corpus = read_tokenized(self.data)
        settings = self.config.training
        checkpoint = Checkpoint(self.train_dir / "unfinished.pt", work.stamp, _SAVE_EVERY_S)
        precision = self._precision(checkpoint.path)
        told = "first steps"

        def tell(epoch: Epoch) -> None:
            nonlocal told
            told = (
                f"loss {epoch.loss:.4g}, dev: {100 * (epoch.score or 0.0):.2f} % wrong, "
                f"{epoch.measures['bpc']:.3f} bits per character"
            )

        training = LanguageTraining(
            self._network(corpus.classes),
            self.config.loss,
            corpus.texts["train"].tokens,
            corpus.texts["dev"],
            settings,
            precision=precision,
            on_step=lambda step: work(step, settings.steps, f"step {step}; {told}"),
        )
        trained = train(
            training,
            epochs=-(-settings.steps // settings.steps_per_epoch),
            checkpoint=checkpoint,
            on_epoch=tell,
        )
        write_tensors(self.model_path, training.network.state_dict())
        assert trained.best is not None
        history = {
            "precision": precision,
            "parameters": _parameters(training.network),
            "best_epoch": trained.best.epoch,
            "epochs": [
                {
                    "epoch": epoch.epoch,
                    "step": min(epoch.epoch * settings.steps_per_epoch, settings.steps),
                    "seconds": epoch.seconds,
                    "loss": epoch.loss,
                    **epoch.measures,
                }
                for epoch in trained.history
            ],
        }
        write_json(self.history_path, history, indent=1, nan_as_null=True)
        checkpoint.path.unlink(missing_ok=True)

    def _precision(self, checkpoint: Path) -> str:
        """That of the products in a step; of a training that goes on, the one it began with."""
        path = self.train_dir / "started.json"
        begun = None
        if checkpoint.is_file() and path.is_file():
            begun = read_json(path)["precision"]
        asked = self.config.training.precision
        precision = choose_precision(asked, device=self.options.device, begun=begun)
        write_json(path, {"precision": precision})
        return precision

    def predict(self, work: Work) -> None:
        """Let the network predict every token of the test part from the true ones before it."""
        self.check_device()
        self.set_threads()
        corpus = read_tokenized(self.data)
        network = self._network(corpus.classes)
        load_weights(network, self.model_path)
        evaluation = self.config.evaluation
        dev, test = corpus.texts["dev"].tokens[: evaluation.dev_tokens], corpus.texts["test"]
        total = len(dev) + len(test.tokens) - 2
        loss = self.config.loss.build(classes=corpus.classes)

        def logits_of(tokens: NDArray[np.integer]) -> Logits:
            found = predict(
                network,
                torch.from_numpy(tokens),
                streams=evaluation.streams,
                segment=evaluation.segment,
                memory=evaluation.memory,
            )
            for positions, logits in found:
                yield positions.numpy(), loss.softmax_logits(logits).cpu().numpy()

        made = make_predictions(
            logits_of,
            dev=dev,
            test=test,
            aim=square_aim(loss),
            floor=evaluation.floor,
            on_token=lambda done: work(done, total, "predicting the development and test parts"),
        )
        made.write(self.predictions_path)

    def score(self, work: Work) -> None:
        """Write the metrics of the network and of the n-gram models, and what they are made of."""
        paths = {MODEL: self.predictions_path}
        paths |= {name: self._ngram_path(name) for name in self.ngrams}
        records: list[Record] = []
        for done, (name, path) in enumerate(paths.items()):
            work(done, len(paths), f"scoring {name}")
            scores = score_predictions(read_predictions(path), block=self.config.evaluation.block)
            scores.write(system_scores(self.experiment, name))
            records += self._records(name, scores)
        write_records(self.result_path, records)
        work(1, 1, "scored")

    def _records(self, name: str, scores: TestScores) -> Iterator[Record]:
        where = condition(self.config)
        template = replace(self.blank_record, condition=where, n=scores.tokens)
        if name == MODEL:
            history = read_json(self.history_path)
            epochs = history["epochs"]
            seconds = epochs[-1]["seconds"]
            template = replace(template, seconds=round(seconds, 2))
            yield template.measured("params", history["parameters"], n=history["parameters"])
            yield template.measured("epochs", history["best_epoch"], n=len(epochs))
        else:
            seconds = read_json(self.data / "ngrams.json")[name]
            template = replace(template, system=name, seed=_NGRAM_SEED, seconds=round(seconds, 2))
        yield template.measured("train_seconds", seconds)
        for form, values in scores.metrics.items():
            at = where if form == "softmax" else f"{where}/{form}"
            for metric, value in values.items():
                yield template.measured(metric, value, condition=at)


def list_stages(experiment: Experiment[CharlmConfig]) -> list[Stage]:
    """The stages of an experiment, without the report."""
    return _Recipe(experiment).stages()


def condition(config: CharlmConfig) -> str:
    """What numbers on the test part are recorded under: those of other tokens stand apart."""
    return "test" if config.text.units == "byte" else "test in pieces"


def prepared_folder(experiment: Experiment[CharlmConfig]) -> Path:
    """Of the tokens and the n-gram models, which the losses and seeds of a corpus share."""
    return experiment.shared("data", _data_settings(experiment.config))


def system_scores(experiment: Experiment[Any], name: str) -> Path:
    """Where the score stage keeps what figures and comparisons of a system need."""
    return experiment.score_dir / f"{name}.npz"


def _data_settings(config: CharlmConfig) -> dict[str, Any]:
    return {"corpus": config.corpus.name, "text": config.text.model_dump(mode="json")}


def _ngram_logits(model: KneserNey, tokens: NDArray[np.integer]) -> Logits:
    position = 1
    for log_probs in model.log_probs(tokens):
        yield np.arange(position, position + len(log_probs)), log_probs
        position += len(log_probs)


def _said_of_unknown(tokenized: Tokenized) -> str:
    found = [f"{part} {count}" for part, count in tokenized.unknown.items() if count]
    if not found:
        return ""
    return (
        f"characters that no class of training stands for: {', '.join(found)}; they are a class of "
        "their own, which counts in the scores"
    )


def _parameters(network: TransformerXL) -> int:
    return sum(weights.numel() for weights in network.parameters())
