"""The numbered stages of every recognition recipe, from corpus to score.

0 check · 1 prepare · 2 tokens · 3 stats · 4 lm · 5 train · 6 decode · 7 score; the report, stage 8,
is made once over all experiments of a run (`squall.runner`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from squall.asr.settings import RecognitionConfig
from squall.corpora.manifest import Utterance, read_manifest, write_manifest
from squall.corpora.preparation import corpus_fingerprint, prepare_corpus
from squall.corpora.validation import ValidationError, leave_out, validate, write_left_out
from squall.experiment import Experiment, environment
from squall.files import atomic_path
from squall.stages import Report, Stage, StageError

__all__ = ["STAGE_NAMES", "recognition_stages"]

STAGE_NAMES = ("check", "prepare", "tokens", "stats", "lm", "train", "decode", "score", "report")
SPLITS = ("train", "dev", "test")
MIN_FREE_BYTES = 2 * 1024**3


class _Recipe:
    """The stages of one experiment and the folders that they share."""

    def __init__(self, experiment: Experiment[RecognitionConfig]) -> None:
        config = experiment.config
        settings = config.hashed()
        self.experiment = experiment
        self.config = config
        self.options = experiment.options
        prepare = {"corpus": settings["corpus"]}
        tokens = {**prepare, "tokens": settings["tokens"]}
        frontend = ("frontend", "frontend_conf", "input_size")
        stats = {**tokens, "espnet": {k: v for k, v in settings["espnet"].items() if k in frontend}}
        self.settings = {
            "prepare": prepare,
            "tokens": tokens,
            "stats": stats,
            "lm": {**tokens, "lm": settings["lm"], "seed": config.seed},
        }
        self.data = experiment.shared("data", prepare)
        self.tokens = experiment.shared("tokens", tokens)
        self.stats = experiment.shared("stats", stats)
        self.lm = experiment.shared("lm", self.settings["lm"]) / "lm"
        self.directory = experiment.directory

    @property
    def corpus_dir(self) -> Path:
        """The user's corpus, or the place where a downloaded or spoken one is kept."""
        given = self.options.corpus_dir
        return Path(given).absolute() if given else self.experiment.recipe_dir / "corpus"

    def stages(self) -> list[Stage]:
        manifests = tuple(self.data / f"{split}.jsonl" for split in SPLITS)
        texts = tuple(self.data / split / "text" for split in ("train", "dev"))
        tokens = self.tokens / "tokens.txt"
        stats = tuple(self.stats / s / "speech_shape" for s in ("train", "valid"))
        model = self.directory / "train" / "model.pth"
        lm = (self.lm / "model.pth",) if self.config.lm else ()
        sets = self.config.decode.sets
        hypotheses = tuple(
            self.experiment.variant_dir("decode") / s / "hypotheses.jsonl" for s in sets
        )
        training = self.config.hashed()
        training["espnet"] = {**training["espnet"], **_epochs(self.config)}
        return [
            Stage(0, "check", self.directory, self.check),
            Stage(
                1, "prepare", self.data, self.prepare,
                settings=self.settings["prepare"] | {"skip_bad": self.options.skip_bad},
                outputs=(*manifests, *texts),
                fingerprint=lambda: corpus_fingerprint(self.corpus_dir),
            ),
            Stage(2, "tokens", self.tokens, self.build_tokens, settings=self.settings["tokens"],
                  inputs=texts[:1], outputs=(tokens,)),
            Stage(3, "stats", self.stats, self.collect, settings=self.settings["stats"],
                  inputs=(*manifests[:2], tokens),
                  outputs=(*stats, self.stats / "train" / "feats_stats.npz")),
            Stage(4, "lm", self.lm.parent, self.train_lm, settings=self.settings["lm"],
                  inputs=(*texts, tokens), outputs=lm, set_aside=lambda: _set_aside(self.lm)),
            Stage(5, "train", self.directory, self.train, settings=training,
                  inputs=(*manifests[:2], tokens, stats[0]),
                  outputs=(model, self.directory / "train" / "history.json"),
                  set_aside=lambda: _set_aside(self.directory / "train")),
            Stage(6, "decode", self.experiment.variant_dir("decode"), self.decode,
                  settings=self.config.decode.model_dump(mode="json"),
                  inputs=(model, *manifests[1:], *(lm if self.config.decode.lm_weight else ())),
                  outputs=hypotheses),
            Stage(7, "score", self.experiment.score_dir, self.score,
                  inputs=(*hypotheses, *manifests[1:]), outputs=(self.experiment.result_path,)),
        ]  # fmt: skip

    def check(self, report: Report) -> None:
        """Stop early where a later stage could not go on."""
        import torch

        from squall.losses import build_loss

        build_loss(self.config.loss.name, **self.config.loss.parameters)
        free = shutil.disk_usage(self.experiment.recipe_dir).free
        if free < MIN_FREE_BYTES:
            raise StageError(
                f"{free / 1e9:.1f} GB free under {self.experiment.recipe_dir}; a run needs "
                f"{MIN_FREE_BYTES / 1e9:.0f} GB. Free some space or give another --exp-dir"
            )
        if self.options.device == "cuda" and not torch.cuda.is_available():
            raise StageError("--device cuda: PyTorch sees no CUDA device here; leave --device out")
        spoken = self.config.corpus.name == "demo"
        if not (spoken or self.options.download or self.corpus_dir.exists()):
            raise StageError(
                f"{self.corpus_dir} does not exist: give the corpus with --corpus-dir"
                + (", or fetch it with --download" if self.config.corpus.urls else "")
            )
        if self.config.decode.lm_weight and self.config.lm is None:
            raise StageError(
                f"decode.lm_weight is {self.config.decode.lm_weight:g}, but the settings have no "
                "`lm` part: add one, or leave decode.lm_weight out"
            )
        report(1, 1, f"{free / 1e9:.0f} GB free, device {self.options.device}")

    def prepare(self, report: Report) -> None:
        if self.options.download and not self.corpus_dir.exists():
            self._download(report)
        report(0, 1, f"reading {self.corpus_dir}")
        splits = prepare_corpus(self.config.corpus, self.corpus_dir)
        problems = validate(splits, progress=lambda d, n: report(d, n, "checking audio"))
        if problems and not self.options.skip_bad:
            raise ValidationError(problems)
        kept = leave_out(splits, problems)
        write_left_out(self.data / "left_out.tsv", problems)
        from squall.asr.export import export_split

        for split, utterances in kept.items():
            if not utterances:
                raise StageError(f"the {split} split of {self.corpus_dir} is empty")
            write_manifest(self.data / f"{split}.jsonl", utterances)
            export_split(
                utterances,
                self.data / split,
                progress=lambda d, n, split=split: report(d, n, f"exporting {split}"),  # type: ignore[misc]
            )
        counts = ", ".join(f"{name} {len(utterances)}" for name, utterances in kept.items())
        left = f"; {len(problems)} problems left out, see left_out.tsv" if problems else ""
        report(1, 1, f"{counts} utterances{left}")

    def _download(self, report: Report) -> None:
        from squall.corpora.archive import safe_extract
        from squall.corpora.download import fetch

        corpus = self.config.corpus
        archive = self.corpus_dir.with_name(corpus.urls[0].rsplit("/", 1)[-1])
        fetch(
            urls=corpus.urls,
            target=archive,
            checksum=corpus.checksum,
            progress=lambda done, total: report(done, total or done or 1, "downloading"),
        )
        safe_extract(archive, target_dir=self.corpus_dir)

    def build_tokens(self, report: Report) -> None:
        from squall.text.tokens import build_tokens

        texts = [u.text for u in self._split("train")]
        tokens = build_tokens(
            texts,
            self.tokens,
            units=self.config.tokens.units,
            vocabulary_size=self.config.tokens.vocabulary_size,
        )
        report(1, 1, f"{len(tokens)} tokens")

    def collect(self, report: Report) -> None:
        from squall.asr.training import collect_statistics

        report(0, 1, "reading all audio")
        collect_statistics(
            self.config, data_dir=self.data, tokens_dir=self.tokens, output_dir=self.stats
        )

    def train_lm(self, report: Report) -> None:
        if self.config.lm is None:
            report(1, 1, "none asked for")
            return
        from squall.asr.language_model import train_language_model

        train_language_model(
            self.config,
            data_dir=self.data,
            tokens_dir=self.tokens,
            output_dir=self.lm,
            device=self.options.device,
            threads=self.options.threads,
            fingerprint=self._fingerprint("lm", self.settings["lm"]),
            on_progress=report,
        )

    def train(self, report: Report) -> None:
        from squall.asr.training import train_recogniser

        train_recogniser(
            self.config,
            data_dir=self.data,
            tokens_dir=self.tokens,
            stats_dir=self.stats,
            output_dir=self.directory / "train",
            device=self.options.device,
            threads=self.options.threads,
            fingerprint=self._fingerprint("train", self.config.hashed()),
            on_progress=report,
        )

    def _fingerprint(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        """What a training must share with the one in its folder to continue it."""
        stage = next(stage for stage in self.stages() if stage.name == name)
        return {"settings": settings, "inputs": stage.stamp()["inputs"]}

    def decode(self, report: Report) -> None:
        from squall.asr.decoding import decode_split, load_recogniser

        if self.config.decode.lm_weight:
            self._keep_language_model()
        recogniser = load_recogniser(
            self.experiment, device=self.options.device, threads=self.options.threads
        )
        for split in self.config.decode.sets:
            folder = self.experiment.variant_dir("decode") / split
            decode_split(recogniser, self._split(split), folder, on_progress=report)

    def _keep_language_model(self) -> None:
        """Copy the language model in, so that the experiment directory is all that is needed."""
        for name in ("config.yaml", "model.pth"):
            with atomic_path(self.directory / "lm" / name) as path:
                shutil.copyfile(self.lm / name, path)

    def score(self, report: Report) -> None:
        from squall.asr.evaluation import evaluate

        stamp = environment(command=self.options.command)
        evaluate(
            self.experiment,
            {split: self._split(split) for split in self.config.decode.sets},
            dataset=self.config.corpus.name,
            provenance={**stamp, "commit": stamp["commit"] + ("+" if stamp["dirty"] else "")},
        )
        report(1, 1, "scored")

    def _split(self, name: str) -> list[Utterance]:
        return read_manifest(self.data / f"{name}.jsonl")


def recognition_stages(experiment: Experiment[RecognitionConfig]) -> list[Stage]:
    """Stages 0 to 7 of an experiment."""
    return _Recipe(experiment).stages()


def _epochs(config: RecognitionConfig) -> dict[str, Any]:
    return {k: v for k, v in config.espnet.items() if k == "max_epoch"}


def _set_aside(directory: Path) -> None:
    from squall.asr.training import set_aside

    set_aside(directory)
