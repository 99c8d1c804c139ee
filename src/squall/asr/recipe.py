"""The numbered stages of every recognition recipe, from corpus to score.

0 check · 1 prepare · 2 tokens · 3 stats · 4 lm · 5 train · 6 decode · 7 score; the report, stage 8,
is made once over all experiments of a run (`squall.engine.runner`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from squall.asr.settings import RecognitionConfig
from squall.corpora.manifest import Utterance, read_manifest, write_manifest
from squall.corpora.preparation import (
    check_folders,
    corpus_fingerprint,
    download_corpus,
    is_downloadable,
    prepare_corpus,
)
from squall.corpora.validation import ValidationError, leave_out, validate, write_left_out
from squall.engine.environment import environment
from squall.engine.experiment import Experiment, data_dir
from squall.engine.stages import Report, Stage, StageError
from squall.files import atomic_path, file_digest

__all__ = ["recognition_stages"]

SPLITS = ("train", "dev", "test")
MIN_FREE_BYTES = 2 * 1024**3
_UTTERANCE_S = 10.0  # assumed where the corpus is not there yet
_ESPNET_EPOCHS = 40  # ESPnet's own max_epoch


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
        self.corpus_dirs = experiment.corpus_dirs

    @property
    def places(self) -> str:
        """The folders of the corpus, for messages."""
        return ", ".join(map(str, self.corpus_dirs))

    @property
    def language_text(self) -> Path | None:
        """The file that the language model is trained on, None where that is the transcripts."""
        if self.config.lm is None or self.config.lm.text is None:
            return None
        if self.config.lm.text_url:
            return self.experiment.recipe_dir / self.config.lm.text_url.rsplit("/", 1)[-1]
        return data_dir() / Path(self.config.lm.text).expanduser()

    def stages(self) -> list[Stage]:
        manifests = tuple(self.data / f"{split}.jsonl" for split in SPLITS)
        audio = tuple(self.data / split / "wav.scp" for split in ("train", "dev"))
        texts = tuple(self.tokens / split / "text" for split in ("train", "dev"))
        tokens = self.tokens / "tokens.txt"
        stats = tuple(self.stats / s / "speech_shape" for s in ("train", "valid"))
        model = self.directory / "train" / "model.pth"
        lm = (self.lm / "model.pth",) if self.config.lm else ()
        sets = self.config.decode.sets
        tested = tuple(self.data / f"{s}.jsonl" for s in dict.fromkeys(("dev", "test", *sets)))
        hypotheses = tuple(
            self.experiment.variant_dir("decode") / s / name
            for s in sets
            for name in ("hypotheses.jsonl", "forced.npz")
        )
        training = self.config.hashed()
        training["espnet"] = {**training["espnet"], **_epochs(self.config)}
        return [
            Stage(0, "check", self.directory, self.check),
            Stage(
                1, "prepare", self.data, self.prepare,
                settings=self.settings["prepare"] | {"skip_bad": self.options.skip_bad},
                outputs=(*manifests, *audio),
                fingerprint=lambda: corpus_fingerprint(self.corpus_dirs),
            ),
            Stage(2, "tokens", self.tokens, self.build_tokens, settings=self.settings["tokens"],
                  inputs=manifests, outputs=(tokens, *texts)),
            Stage(3, "stats", self.stats, self.collect, settings=self.settings["stats"],
                  inputs=(*manifests[:2], tokens),
                  outputs=(*stats, self.stats / "train" / "feats_stats.npz")),
            Stage(4, "lm", self.lm.parent, self.train_lm, settings=self.settings["lm"],
                  inputs=(*texts, tokens), outputs=lm, set_aside=lambda: _set_aside(self.lm),
                  fingerprint=self._language_text_digest),
            Stage(5, "train", self.directory, self.train, settings=training,
                  inputs=(*manifests[:2], tokens, stats[0]),
                  outputs=(model, self.directory / "train" / "history.json"),
                  set_aside=lambda: _set_aside(self.directory / "train")),
            Stage(6, "decode", self.experiment.variant_dir("decode"), self.decode,
                  settings=self.config.decode.model_dump(mode="json"),
                  inputs=(model, *tested, *(lm if self.config.decode.lm_weight else ())),
                  outputs=hypotheses),
            Stage(7, "score", self.experiment.score_dir, self.score,
                  inputs=(*hypotheses, *tested), outputs=(self.experiment.result_path,)),
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
        self._check_corpus()
        self._check_language_text()
        if self.config.decode.lm_weight and self.config.lm is None:
            raise StageError(
                f"decode.lm_weight is {self.config.decode.lm_weight:g}, but the settings have no "
                "`lm` part: add one, or leave decode.lm_weight out"
            )
        needs = "" if self._trained else self._training_needs()
        report(1, 1, f"{free / 1e9:.0f} GB free, device {self.options.device}{needs}")

    @property
    def _trained(self) -> bool:
        return (self.directory / "train" / "history.json").is_file()

    def _training_needs(self) -> str:
        """What the training will need, in words, measured on a few batches."""
        try:
            speech_s = self._speech_s()
        except (OSError, ValueError):
            return ""  # the prepare stage, which is next, names what is wrong
        from squall.asr.needs import free_memory_bytes, measure_needs

        lengths = speech_s.get("train") or [_UTTERANCE_S]
        device, threads = self.options.device, self.options.threads
        needs = measure_needs(
            self.config, utterance_s=sum(lengths) / len(lengths), device=device, threads=threads
        )
        free = free_memory_bytes(device)
        of = f" (of {free / 1e9:.1f} GB free)" if free else ""
        words = (
            f"; training needs about {needs.memory_bytes / 1e9:.1f} GB of memory{of} and "
            f"{needs.disk_bytes / 1e9:.2g} GB of disk for {needs.parameters / 1e6:.1f} million "
            "weights, and "
        )
        epochs = int(self.config.espnet.get("max_epoch", _ESPNET_EPOCHS))
        if not speech_s:
            hours = needs.hours(train_s=3600, dev_s=0, epochs=1)
            return f"{words}{hours:.2g} h for each hour of speech in each of {epochs} epochs"
        totals = {split: sum(speech_s[split]) for split in ("train", "dev")}
        hours = needs.hours(train_s=totals["train"], dev_s=totals["dev"], epochs=epochs)
        return f"{words}{hours:.2g} h for {epochs} epochs of {totals['train'] / 3600:.2g} h"

    def _speech_s(self) -> dict[str, list[float]]:
        """Lengths of the utterances of each split; nothing where the corpus is not there yet."""
        manifests = {split: self.data / f"{split}.jsonl" for split in ("train", "dev")}
        if all(path.is_file() for path in manifests.values()):
            splits = {split: read_manifest(path) for split, path in manifests.items()}
        elif self.config.corpus.name != "demo" and all(map(Path.exists, self.corpus_dirs)):
            splits = prepare_corpus(self.config.corpus, self.corpus_dirs)
        else:
            return {}
        return {split: [u.duration_s for u in splits[split]] for split in manifests}

    def _check_corpus(self) -> None:
        corpus = self.config.corpus
        check_folders(corpus, len(self.corpus_dirs))
        at_hand = corpus.dir is not None and not self.options.corpus_dirs
        if self.options.download and at_hand:
            raise StageError(
                f"--download: {self.config.experiment} takes the recordings at hand in "
                f"{self.places}; give the folder to fetch into: --corpus-dir FOLDER --download"
            )
        absent = [folder for folder in self.corpus_dirs if not folder.exists()]
        fetched = is_downloadable(corpus)
        if absent and corpus.name != "demo" and not (self.options.download and fetched):
            folder = " and --corpus-dir FOLDER" if at_hand else ""
            raise StageError(
                f"{absent[0]} does not exist: give the corpus with --corpus-dir"
                + (f", or fetch it with --download{folder}" if fetched else "")
            )

    def _check_language_text(self) -> None:
        text = self.language_text
        url = self.config.lm.text_url if self.config.lm else None
        if text is None or text.is_file() or (url and self.options.download):
            return
        fetch = f"; fetch it from {url} with --download" if url else ""
        raise StageError(f"lm.text: {text} does not exist{fetch}")

    def prepare(self, report: Report) -> None:
        if self.options.download:
            self._download(report)
        report(0, 1, f"reading {self.places}")
        splits = prepare_corpus(self.config.corpus, self.corpus_dirs)
        problems = validate(splits, progress=lambda d, n: report(d, n, "checking audio"))
        if problems and not self.options.skip_bad:
            raise ValidationError(problems)
        kept = leave_out(splits, problems)
        write_left_out(self.data / "left_out.tsv", problems)
        from squall.asr.export import export_split

        for split, utterances in kept.items():
            if not utterances:
                raise StageError(f"the {split} split of {self.places} is empty")
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
        if is_downloadable(self.config.corpus):
            download_corpus(self.config.corpus, self.corpus_dirs[0], progress=report)

    def build_tokens(self, report: Report) -> None:
        from squall.asr.export import export_texts, folded_phones, target_texts
        from squall.text.tokens import PHONE_UNITS, build_tokens

        units = self.config.tokens.units
        if units in PHONE_UNITS:  # what could not be scored is found before the training
            folded_phones(self._split("test"), classes=PHONE_UNITS[units])
        texts = {split: target_texts(self._split(split), units=units) for split in ("train", "dev")}
        tokens = build_tokens(
            texts["train"].values(),
            self.tokens,
            units=units,
            vocabulary_size=self.config.tokens.vocabulary_size,
        )
        for split, of_split in texts.items():
            export_texts(of_split, self.tokens / split / "text")
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
        from squall.corpora.download import fetch

        text, url = self.language_text, self.config.lm.text_url
        if text is not None and url and self.options.download:
            fetch(
                [url],
                text,
                checksum=self.config.lm.text_checksum,
                progress=lambda done, total: report(done, total or done or 1, f"fetching {url}"),
            )
        train_language_model(
            self.config,
            tokens_dir=self.tokens,
            output_dir=self.lm,
            device=self.options.device,
            threads=self.options.threads,
            processes=max(1, self.options.gpus),
            fingerprint=self._fingerprint("lm", self.settings["lm"]),
            on_progress=report,
            text=text,
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
            processes=max(1, self.options.gpus),
            fingerprint=self._fingerprint("train", self.config.hashed()),
            on_progress=report,
        )

    def _fingerprint(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        """What a training must share with the one in its folder to continue it."""
        stamp = next(stage for stage in self.stages() if stage.name == name).stamp()
        further = {"text": stamp["fingerprint"]} if stamp["fingerprint"] else {}
        return {"settings": settings, "inputs": stamp["inputs"], **further}

    def _language_text_digest(self) -> str | None:
        text = self.language_text
        return file_digest(text) if text is not None and text.is_file() else None

    def decode(self, report: Report) -> None:
        from squall.asr.decoding import decode_splits

        if self.config.decode.lm_weight:
            self._keep_language_model()
        decode_splits(
            self.experiment,
            {split: self._split(split) for split in self.config.decode.sets},
            self.experiment.variant_dir("decode"),
            device=self.options.device,
            threads=self.options.threads,
            processes=self.options.processes,
            on_progress=report,
        )

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
