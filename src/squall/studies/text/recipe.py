"""The numbered stages of an experiment on texts."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from squall.classification.recipe import ClassifierRecipe, Fit
from squall.classification.scores import ClassifierScores
from squall.corpora.fingerprint import corpus_fingerprint
from squall.engine.experiment import Experiment, data_dir
from squall.engine.stages import Stage, StageError, Work
from squall.files import atomic_write, file_digest, json_text, write_json
from squall.networks.loop import Trained
from squall.scoring.cells import text_cell
from squall.studies.text.corpus import SPLITS, LabelledText, TextCorpus, read_text_corpus
from squall.studies.text.dataset import EncodedTexts, Texts
from squall.studies.text.family import Family, load_family, open_family
from squall.studies.text.places import TextPlaces
from squall.studies.text.settings import EncoderSettings, TextConfig
from squall.studies.text.training import fine_tune, predict_logits

__all__ = ["list_stages", "read_texts", "write_answers"]


class _Recipe(ClassifierRecipe[TextConfig]):
    """The stages of one experiment."""

    places: TextPlaces

    def __init__(self, experiment: Experiment[TextConfig]) -> None:
        super().__init__(experiment)
        self.places = TextPlaces(experiment)

    def stages(self) -> list[Stage]:
        places, config = self.places, self.config
        texts = tuple(map(places.texts, SPLITS))
        tokens = tuple(map(places.tokens, SPLITS))
        return [
            self.stage("check", self.directory, self.check),
            self.stage("prepare", places.prepared, self.prepare,
                       settings={**config.prepared(), "skip_bad": self.options.skip_bad},
                       outputs=(*texts, places.known_labels),
                       fingerprint=lambda: corpus_fingerprint(self.corpus_dirs)),
            self.stage("tokens", places.encoded, self.encode, settings=config.encoded(),
                       inputs=texts, outputs=tokens, fingerprint=self._pretrained),
            *self.classifier_stages(tokens[:2], (*tokens[1:], *texts[1:])),
        ]  # fmt: skip

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
        write_json(self.places.known_labels, list(corpus.labels), indent=1)
        work(1, 1, ", ".join(f"{split} {len(corpus.splits[split])}" for split in SPLITS))

    def encode(self, work: Work) -> None:
        """Turn the texts into the model's tokens."""
        family = self._open()
        if learnt := family.fit(_pairs(read_texts(self.places.texts("train")))):
            work(0, len(SPLITS), learnt)
        family.save(self.places.encoded / "tokens", None)
        numbers = {label: number for number, label in enumerate(self.labels)}
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

    def fit(self, asked: Fit) -> tuple[nn.Module, Trained]:
        """See `ClassifierRecipe`."""
        classes = len(self.labels)
        return fine_tune(
            self._family(),
            EncodedTexts.read(self.places.tokens("train")),
            EncodedTexts.read(self.places.tokens("dev")),
            self.config.loss.build(classes=classes),
            self.config.training,
            classes=classes,
            learning_rate=asked.learning_rate,
            seed=asked.seed,
            device=self.options.device,
            checkpoint=asked.checkpoint,
            on_epoch=asked.on_epoch,
        )

    def save(self, network: nn.Module) -> None:
        """See `ClassifierRecipe`."""
        self._family().save(self.places.model, network)

    def answer(
        self, split: str, on_batch: Callable[[int], object]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """See `ClassifierRecipe`."""
        family = load_family(self.config, self.places.model)
        network = family.load_network(self.places.model, classes=len(self.labels))
        network.to(self.options.device)
        texts = EncodedTexts.read(self.places.tokens(split))
        logits = predict_logits(
            network, family, texts, self.config.training, self.options.device, on_batch=on_batch
        )
        return logits, texts.targets

    def write_answers(self, scores: ClassifierScores) -> None:
        """See `ClassifierRecipe`."""
        texts = read_texts(self.places.texts("test"))
        write_answers(self.score_dir / "test.tsv", scores, texts, self.labels)


def list_stages(experiment: Experiment[TextConfig]) -> list[Stage]:
    """The stages of an experiment, without the report."""
    return _Recipe(experiment).stages()


def read_texts(path: Path) -> list[LabelledText]:
    """The texts of a prepared split."""
    with path.open(encoding="utf-8") as file:
        return [LabelledText(**json.loads(line)) for line in file]


def write_answers(
    path: Path, scores: ClassifierScores, texts: Sequence[LabelledText], labels: Sequence[str]
) -> None:
    """Write a row for each text of the test set: label, answer, confidence, text."""
    answers = scores.probs.argmax(axis=1)
    pairs = texts[0].b is not None
    with atomic_write(path) as file:
        writer = csv.writer(
            file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None
        )
        writer.writerow(["label", "answer", "confidence", "text_a", *(["text_b"] if pairs else [])])
        for text, answer, probs in zip(texts, answers, scores.probs, strict=True):
            row = [text.label, labels[answer], f"{probs[answer]:.4f}", text.a]
            writer.writerow(map(text_cell, [*row, text.b] if pairs else row))


def _pairs(texts: Sequence[LabelledText]) -> Texts:
    return [(text.a, text.b) for text in texts]
