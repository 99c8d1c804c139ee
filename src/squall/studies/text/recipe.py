"""The numbered stages of an experiment on texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.corpora.fingerprint import corpus_fingerprint
from squall.corpora.preparation import check_folders
from squall.engine.experiment import Experiment, data_dir
from squall.engine.recipe import Recipe
from squall.engine.stages import Stage, StageError, Work
from squall.files import atomic_path, atomic_write, file_digest, json_text, read_json, write_json
from squall.networks.checkpoint import Checkpoint
from squall.report.records import Record, write_records
from squall.scoring.metrics import declared
from squall.studies.text.corpus import SPLITS, LabelledText, TextCorpus, read_text_corpus
from squall.studies.text.dataset import EncodedTexts
from squall.studies.text.family import Family, Texts, load_family, open_family
from squall.studies.text.places import TextPlaces
from squall.studies.text.scores import score_text, write_answers
from squall.studies.text.settings import EncoderSettings, TextConfig
from squall.studies.text.training import fine_tune, predict_logits

__all__ = ["list_stages", "read_labels", "read_logits", "read_texts"]

_SAVE_EVERY_S = 60.0


class _Recipe(Recipe[TextConfig]):
    """The stages of one experiment."""

    def __init__(self, experiment: Experiment[TextConfig]) -> None:
        super().__init__(experiment)
        self.places = TextPlaces(experiment)

    def stages(self) -> list[Stage]:
        places, config = self.places, self.config
        texts = tuple(map(places.texts, SPLITS))
        tokens = tuple(map(places.tokens, SPLITS))
        answers = tuple(map(places.logits, ("dev", "test")))
        epochs = (places.history,)
        return [
            self.stage("check", self.directory, self.check),
            self.stage("prepare", places.prepared, self.prepare,
                       settings={**config.prepared(), "skip_bad": self.options.skip_bad},
                       outputs=(*texts, places.labels),
                       fingerprint=lambda: corpus_fingerprint(self.corpus_dirs)),
            self.stage("tokens", places.encoded, self.encode, settings=config.encoded(),
                       inputs=texts, outputs=tokens, fingerprint=self._pretrained),
            self.stage("tune", places.tuning.parent, self.tune, settings=config.tuned(),
                       inputs=tokens[:2], outputs=(places.tuning,)),
            self.stage("train", self.train_dir, self.train, settings=config.hashed(),
                       inputs=(*tokens[:2], places.tuning), outputs=epochs,
                       set_aside=lambda: shutil.rmtree(self.train_dir, ignore_errors=True)),
            self.stage("predict", places.predicted, self.predict, inputs=(*tokens[1:], *epochs),
                       outputs=answers),
            self.stage("score", self.score_dir, self.score,
                       inputs=(*texts[1:], *answers, places.tuning, *epochs),
                       outputs=(self.result_path,)),
        ]  # fmt: skip

    @property
    def corpus_dir(self) -> Path:
        """The folder of the tables."""
        check_folders(self.config.corpus, len(self.corpus_dirs))
        return self.corpus_dirs[0]

    def _pretrained(self) -> Any:
        """What tells that a file that the settings name has changed."""
        model = self.config.model
        if isinstance(model, EncoderSettings):
            folder = Path(model.pretrained)
            return corpus_fingerprint(folder) if folder.is_dir() else None
        vectors = data_dir() / model.vectors if model.vectors else None
        return file_digest(vectors) if vectors and vectors.is_file() else None

    def _open(self) -> Family:
        try:
            return open_family(self.config, download=self.options.download)
        except (ImportError, ValueError) as error:
            raise StageError(str(error)) from error

    def read(self) -> TextCorpus:
        """The corpus."""
        options = self.config.corpus.options
        return read_text_corpus(
            self.corpus_dir,
            files={split: str(name) for split, name in options.items()},
            skip_bad=self.options.skip_bad,
            train_examples=self.config.train_examples,
        )

    def check(self, work: Work) -> None:
        """Stop early where a later stage could not go on."""
        free = self.check_disk()
        self.check_device()
        if not self.corpus_dir.is_dir():
            raise StageError(f"{self.corpus_dir} does not exist: give the texts with --corpus-dir")
        corpus = self.read()
        self.config.loss.build(classes=len(corpus.labels))
        self._open()
        if not isinstance(self.config.model, EncoderSettings) and not corpus.pairs:
            raise StageError(
                f"model.kind={self.config.model.kind} takes pairs of texts, and {self.corpus_dir} "
                "has single ones: take model.kind=encoder"
            )
        sizes = ", ".join(f"{split} {len(corpus.splits[split])}" for split in SPLITS)
        kind = "pairs" if corpus.pairs else "texts"
        work(1, 1, f"{free}, device {self.options.device}; {kind}: {sizes}, of "
                   f"{len(corpus.labels)} classes")  # fmt: skip

    def prepare(self, work: Work) -> None:
        """Read the tables, and write the texts of each split."""
        corpus = self.read()
        for told in corpus.told:
            work(0, 1, told)
        for split in SPLITS:
            with atomic_write(self.places.texts(split)) as file:
                for text in corpus.splits[split]:
                    row = {"label": text.label, "a": text.a, "b": text.b}
                    file.write(json_text(row, ensure_ascii=False) + "\n")
        write_json(self.places.labels, list(corpus.labels), indent=1)
        work(1, 1, ", ".join(f"{split} {len(corpus.splits[split])}" for split in SPLITS))

    def encode(self, work: Work) -> None:
        """Turn the texts into the model's tokens."""
        family = self._open()
        if learnt := family.fit(_pairs(read_texts(self.places.texts("train")))):
            work(0, len(SPLITS), learnt)
        family.save(self.places.encoded / "tokens", None)
        numbers = {label: number for number, label in enumerate(read_labels(self.places))}
        for done, split in enumerate(SPLITS):
            texts = read_texts(self.places.texts(split))
            inputs, truncated = family.encode(_pairs(texts))
            targets = np.array([numbers[text.label] for text in texts], dtype=np.int64)
            encoded = EncodedTexts(inputs, targets, truncated)
            encoded.write(self.places.tokens(split))
            tokens = int(sum(ragged.lengths.sum() for ragged in inputs.values()) / len(inputs))
            cut = f", {truncated} of them cut at {self.config.max_length}" if truncated else ""
            work(done + 1, len(SPLITS), f"{split}: {len(texts)} texts{cut}, {tokens} tokens")

    def _family(self) -> Family:
        """The family with what stage 2 learnt."""
        if isinstance(self.config.model, EncoderSettings):
            return self._open()
        return load_family(self.config, self.places.encoded / "tokens")

    def _train(
        self, work: Work, *, learning_rate: float, seed: int, checkpoint: Path, what: str
    ) -> tuple[Family, Any, list[dict[str, Any]]]:
        """A training: the family, the network, and its epochs."""
        self.set_threads()
        settings = self.config.training
        family = self._family()
        classes = len(read_labels(self.places))
        stamp = {**work.stamp, "learning_rate": learning_rate, "seed": seed}
        network, trained = fine_tune(
            family,
            EncodedTexts.read(self.places.tokens("train")),
            EncodedTexts.read(self.places.tokens("dev")),
            self.config.loss.build(classes=classes),
            settings,
            classes=classes,
            learning_rate=learning_rate,
            seed=seed,
            device=self.options.device,
            checkpoint=Checkpoint(checkpoint, stamp, _SAVE_EVERY_S),
            on_epoch=lambda epoch: work(
                epoch.epoch, settings.epochs,
                f"{what}epoch {epoch.epoch}: loss {epoch.loss:.4f}"
                + ("" if epoch.score is None else f", dev accuracy {1 - epoch.score:.4f}"),
            ),
        )  # fmt: skip
        best = trained.best.epoch if trained.best else len(trained.history)
        epochs = [
            {
                "epoch": epoch.epoch,
                "seconds": round(epoch.seconds, 3),
                "loss": epoch.loss,
                "dev_accuracy": None if epoch.score is None else 1 - epoch.score,
                "kept": epoch.epoch == best,
                "learning_rate": learning_rate,
            }
            for epoch in trained.history
        ]
        return family, network, epochs

    def tune(self, work: Work) -> None:
        """Choose the learning rate by the accuracy on the development set."""
        settings = self.config.training
        rates = settings.learning_rates
        found: list[dict[str, float]] = []
        for rate in rates if len(rates) > 1 else ():
            _, _, epochs = self._train(
                work, learning_rate=rate, seed=settings.tuned_with_seed,
                checkpoint=self.places.tuning.with_name(f"checkpoint-{rate:g}.pt"),
                what=f"learning rate {rate:g}, ",
            )  # fmt: skip
            accuracy = max((e["dev_accuracy"] or 0.0) for e in epochs)
            found.append({"learning_rate": rate, "dev_accuracy": accuracy})
        for path in self.places.tuning.parent.glob("checkpoint-*.pt"):
            path.unlink()
        chosen = max(found, key=lambda one: one["dev_accuracy"]) if found else {}
        rate = chosen.get("learning_rate", rates[0])
        write_json(self.places.tuning, {"chosen": rate, "tried": found}, indent=1)
        work(1, 1, f"learning rate {rate:g}" + ("" if found else ", the only one"))

    def train(self, work: Work) -> None:
        """Train the network, and keep it with its epochs."""
        family, network, epochs = self._train(
            work,
            learning_rate=float(read_json(self.places.tuning)["chosen"]),
            seed=self.config.seed,
            checkpoint=self.places.checkpoint,
            what="",
        )
        family.save(self.places.model, network)
        write_json(self.places.model / "labels.json", read_labels(self.places), indent=1)
        write_json(self.places.history, epochs, indent=1)
        self.places.checkpoint.unlink(missing_ok=True)

    def predict(self, work: Work) -> None:
        """Let the network answer on the development and test set."""
        self.set_threads()
        labels = read_labels(self.places)
        family = load_family(self.config, self.places.model)
        network = family.load_network(self.places.model, classes=len(labels))
        network.to(self.options.device)
        for split in ("dev", "test"):
            texts = EncodedTexts.read(self.places.tokens(split))
            total = len(texts)
            logits = predict_logits(
                network, family, texts, self.config.training, self.options.device,
                on_batch=partial(_told, work, total, split),
            )  # fmt: skip
            with atomic_path(self.places.logits(split)) as path, path.open("wb") as file:
                np.savez_compressed(file, logits=logits, targets=texts.targets)

    def score(self, work: Work) -> None:
        """Write what the answers are worth."""
        loss = self.config.loss.build(classes=len(read_labels(self.places)))
        found = score_text(
            loss, dev=read_logits(self.places.logits("dev")),
            test=read_logits(self.places.logits("test")),
        )  # fmt: skip
        self.score_dir.mkdir(parents=True, exist_ok=True)
        found.write(self.score_dir)
        write_answers(
            self.score_dir / "test.tsv", found,
            read_texts(self.places.texts("test")), read_labels(self.places),
        )  # fmt: skip
        write_records(self.result_path, self._records(found.metrics()))
        work(1, 1, f"test accuracy {100 * found.test.calibration.accuracy:.2f} %")

    def _records(self, metrics: dict[str, dict[str, float]]) -> list[Record]:
        epochs = read_json(self.places.history)
        answered = len(read_logits(self.places.logits("test"))[1])
        template = replace(self.blank_record, seconds=epochs[-1]["seconds"], n=answered)
        records = [
            template.measured(
                metric,
                100 * value if declared(metric).unit == "%" else value,
                otherwise="not defined on these answers",
                condition=condition,
            )
            for condition, values in metrics.items()
            for metric, value in values.items()
        ]
        kept = next(epoch["epoch"] for epoch in epochs if epoch["kept"])
        tuned = read_json(self.places.tuning)
        further = {
            "epochs": float(kept),
            "train_seconds": epochs[-1]["seconds"],
            "learning_rate": tuned["chosen"],
        }
        records += [template.measured(m, v, condition="test") for m, v in further.items()]
        return records + [
            template.measured(
                "accuracy", 100 * one["dev_accuracy"],
                condition=f"dev/learning rate {one['learning_rate']:g}",
                seed=self.config.training.tuned_with_seed,
                n=len(read_logits(self.places.logits("dev"))[1]),
            )
            for one in tuned["tried"]
        ]  # fmt: skip


def list_stages(experiment: Experiment[TextConfig]) -> list[Stage]:
    """The stages of an experiment, without the report."""
    return _Recipe(experiment).stages()


def read_labels(places: TextPlaces) -> list[str]:
    """The labels in the order of their numbers."""
    labels: list[str] = read_json(places.labels)
    return labels


def read_texts(path: Path) -> list[LabelledText]:
    """The texts of a prepared split."""
    with path.open(encoding="utf-8") as file:
        return [LabelledText(**json.loads(line)) for line in file]


def read_logits(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits (N, C) and targets (N,) of a split.

    Raises:
        FileNotFoundError: it has not been predicted.
    """
    with np.load(path, allow_pickle=False) as found:
        return found["logits"], found["targets"]


def _told(work: Work, total: int, what: str, done: int) -> None:
    work(done, total, what)


def _pairs(texts: Sequence[LabelledText]) -> Texts:
    return [(text.a, text.b) for text in texts]
