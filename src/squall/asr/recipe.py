"""The numbered stages of every recognition recipe, from corpus to score.

The report, the last stage, is made over all experiments of a run.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squall.asr.bridge.names import WITH_TRANSFORMERS
from squall.asr.places import RecognitionPlaces
from squall.asr.settings import RecognitionConfig
from squall.corpora.manifest import read_manifest
from squall.corpora.preparation import prepare_corpus
from squall.engine.experiment import Experiment
from squall.engine.recipe import SpeechRecipe
from squall.engine.stages import Stage, StageError, Work
from squall.files import atomic_path, file_digest, json_text

__all__ = ["list_stages"]

_log = logging.getLogger(__name__)

_LENGTHS_S = (10.0,) * 1000  # assumed where the corpus is not there yet
_ESPNET_EPOCHS = 40  # ESPnet's own max_epoch


class _Recipe(SpeechRecipe[RecognitionConfig]):
    """The stages of one experiment."""

    def __init__(self, experiment: Experiment[RecognitionConfig]) -> None:
        super().__init__(experiment)
        self.shared = RecognitionPlaces(experiment)
        self.data, self.tokens = self.shared.data, self.shared.tokens
        self.stats, self.lm = self.shared.stats, self.shared.lm
        self.decode_dir = experiment.variant_dir("decode")

    def stages(self) -> list[Stage]:
        stage, settings = self.stage, self.shared.settings
        audio = tuple(self.data / split / "wav.scp" for split in ("train", "dev"))
        texts = tuple(self.tokens / split / "text" for split in ("train", "dev"))
        pieces = (self.tokens / "bpe.model",) if self.config.tokens.units == "bpe" else ()
        tokens = (self.tokens / "tokens.txt", *pieces)
        stats = tuple(self.stats / s / "speech_shape" for s in ("train", "valid"))
        model, history = self.train_dir / "model.pth", self.train_dir / "history.json"
        lm = (self.lm / "model.pth",) if self.config.lm else ()
        beside = (self.train_dir / "config.yaml", self.train_dir / "feats_stats.npz")
        sets = self.config.decode.sets
        tested = tuple(self.data / f"{s}.jsonl" for s in dict.fromkeys(("dev", "test", *sets)))
        hypotheses = tuple(
            self.decode_dir / s / name for s in sets for name in ("hypotheses.jsonl", "forced.npz")
        )
        speeds = tuple(self.decode_dir / s / "decoding.json" for s in sets)
        training = self.config.hashed()
        training["espnet"] = {**training["espnet"], **_epochs(self.config)}
        return [
            stage("check", self.directory, self.check),
            self.prepare_stage(self.prepare, settings["prepare"], outputs=audio),
            stage("tokens", self.tokens, self.build_tokens, settings=settings["tokens"],
                  inputs=self.manifests, outputs=(*tokens, *texts)),
            stage("stats", self.stats, self.collect, settings=settings["stats"],
                  inputs=(*self.manifests[:2], *tokens),
                  outputs=(self.stats / "train", self.stats / "valid"),
                  fingerprint=lambda: self.audio_of("train", "dev")),
            stage("lm", self.lm.parent, self.train_lm, settings=settings["lm"],
                  inputs=(*texts, *tokens), outputs=lm, set_aside=lambda: _set_aside(self.lm),
                  fingerprint=self._language_text_digest),
            stage("train", self.directory, self.train, settings=training,
                  inputs=(*self.manifests[:2], *tokens, stats[0]),
                  outputs=(model, history, *beside),
                  set_aside=lambda: _set_aside(self.train_dir),
                  fingerprint=lambda: self.audio_of("train", "dev")),
            stage("decode", self.decode_dir, self.decode,
                  settings=self.config.decode.model_dump(mode="json"),
                  inputs=(model, *tested, *(lm if self.config.decode.lm_weight else ())),
                  outputs=(*hypotheses, *speeds), fingerprint=lambda: self.audio_of(*sets)),
            stage("score", self.score_dir, self.score,
                  inputs=(*hypotheses, *speeds, *tested, history), outputs=(self.result_path,)),
        ]  # fmt: skip

    def check(self, work: Work) -> None:
        """Stop early where a later stage could not go on."""
        self._check_loss()
        self._check_transformers()
        free = self.check_disk()
        self.check_device()
        self.check_corpus()
        self._check_language_text()
        if self.config.decode.lm_weight and self.config.lm is None:
            raise StageError(
                f"decode.lm_weight is {self.config.decode.lm_weight:g}, but the settings have no "
                "`lm` part: add one, or leave decode.lm_weight out"
            )
        needs = "" if self._trained else self._training_needs()
        work(1, 1, f"{free}, device {self.options.device}{needs}")

    def _check_loss(self) -> None:
        from squall.losses import LINEAR_LOSSES, build_loss, scale_of_ce

        loss = self.config.loss
        build_loss(loss.name, **loss.parameters)
        if loss.scale == "ce":  # whether there is one does not depend on the number of tokens
            try:
                scale_of_ce(loss.name, 2, **loss.parameters)
            except ValueError as error:
                raise StageError(f"loss.scale=ce: {error}") from error
        if loss.fused is True and loss.name not in LINEAR_LOSSES:
            raise StageError(
                f"loss.fused=true: {loss.name} is a baseline without a form that has the output "
                f"layer in it, as {', '.join(LINEAR_LOSSES)} have: set loss.fused=auto"
            )

    def _check_transformers(self) -> None:
        """ESPnet's parts that build on `transformers` are left out unless they are asked for."""
        named = re.search("hugging_?face", json_text(self.config.espnet))
        if named and not os.environ.get(WITH_TRANSFORMERS):
            raise StageError(
                f"espnet: {named[0]} is a part of ESPnet that builds on transformers, which is not "
                f"imported otherwise: set the environment variable {WITH_TRANSFORMERS}=1"
            )

    @property
    def _trained(self) -> bool:
        return (self.train_dir / "history.json").is_file()

    def _training_needs(self) -> str:
        """What the training will need, in words, measured on a few batches."""
        try:
            speech_s = self._speech_s()
        except (OSError, ValueError):
            return ""  # the prepare stage, which is next, names what is wrong
        from squall.asr.needs import free_memory_bytes, measure_needs

        # Broken audio has a length of 0 until the prepare stage lists it.
        lengths = [length for length in speech_s.get("train", []) if length > 0] or _LENGTHS_S
        device, threads = self.options.device, self.options.threads
        needs = measure_needs(self.config, lengths_s=lengths, device=device, threads=threads)
        free = free_memory_bytes(device)
        of = f" (of {free / 1e9:.1f} GB free)" if free else ""
        words = (
            f"; training needs about {needs.memory_bytes / 1e9:.1f} GB of memory{of} in "
            f"a batch of {needs.utterances} utterances padded to {needs.padded_s:.0f} s, "
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

    def _check_language_text(self) -> None:
        text = self.shared.language_text
        url = self.config.lm.text_url if self.config.lm else None
        if text is None or text.is_file() or (url and self.options.download):
            return
        fetch = f"; fetch it from {url} with --download" if url else ""
        raise StageError(f"lm.text: {text} does not exist{fetch}")

    def prepare(self, work: Work) -> None:
        from squall.asr.export import export_split

        splits, left_out = self.sound_splits(self.read_corpus(work), work)
        for split, utterances in splits.items():
            self.write_split(split, utterances)
            export_split(
                utterances,
                self.data / split,
                progress=lambda d, n, split=split: work(d, n, f"exporting {split}"),  # type: ignore[misc]
            )
        counts = ", ".join(f"{name} {len(utterances)}" for name, utterances in splits.items())
        work(1, 1, f"{counts} utterances{left_out}")

    def build_tokens(self, work: Work) -> None:
        from squall.asr.export import export_texts, folded_phones, target_texts
        from squall.text.tokens import PHONE_UNITS, build_tokens

        units, normalization = self.config.tokens.units, self.config.tokens.normalization
        if units in PHONE_UNITS:  # what could not be scored is found before the training
            folded_phones(self.split("test"), classes=PHONE_UNITS[units])
        texts = {
            split: target_texts(self.split(split), units=units, normalization=normalization)
            for split in ("train", "dev")
        }
        tokens = build_tokens(
            texts["train"].values(),
            self.tokens,
            units=units,
            vocabulary_size=self.config.tokens.vocabulary_size,
        )
        shortfalls = self._check_learnable(tokens)
        for split, of_split in texts.items():
            export_texts(of_split, self.tokens / split / "text")
        beam = self.config.decode.beam_size
        cut = [f"decode.beam_size {beam} is cut to that"] if beam > len(tokens) else []
        work(1, 1, "; ".join([f"{len(tokens)} tokens", *cut, *shortfalls]))

    def _check_learnable(self, tokens: Sequence[str]) -> list[str]:
        """What of the prepared splits cannot be learnt, in words.

        Raises:
            StageError: it is more than `tokens.max_unlearnable`.
        """
        from squall.asr.bridge.running import espnet_tokenizer
        from squall.asr.export import reference_texts
        from squall.asr.learnability import find_shortfall
        from squall.asr.needs import encoder_frames

        settings = self.config.tokens
        pieces = self.tokens / "bpe.model" if settings.units == "bpe" else None
        cut = espnet_tokenizer(settings.espnet_type, pieces).text2tokens
        model = self.config.espnet.get("model_conf", {})
        frames_of = encoder_frames(self.config) if model.get("ctc_weight", 0.5) else None
        found = []
        for path in sorted(self.data.glob("*.jsonl"), key=lambda path: path.stem != "train"):
            utterances = read_manifest(path)
            texts = reference_texts(
                utterances, units=settings.units, normalization=settings.normalization
            )
            frames = {u.id: frames_of(u.duration_s) for u in utterances} if frames_of else None
            lack = find_shortfall(path.stem, texts, cut=cut, known=set(tokens), frames=frames)
            if lack.share > settings.max_unlearnable:
                raise StageError(
                    f"{lack}. Is it in another case or script, or are texts and recordings mixed "
                    "up? Mend them, or go on with --set tokens.max_unlearnable=1"
                )
            found += [str(lack)] if str(lack) else []
        for words in found:
            _log.warning("%s", words)
        return found

    def collect(self, work: Work) -> None:
        from squall.asr.training import collect_statistics

        work(0, 1, "reading all audio")
        collect_statistics(
            self.config, data_dir=self.data, tokens_dir=self.tokens, output_dir=self.stats
        )

    def train_lm(self, work: Work) -> None:
        if self.config.lm is None:
            work(1, 1, "none asked for")
            return
        from squall.asr.language_model import train_language_model
        from squall.corpora.download import fetch

        text, url = self.shared.language_text, self.config.lm.text_url
        if text is not None and url and self.options.download:
            fetch(
                [url],
                text,
                checksum=self.config.lm.text_checksum,
                progress=lambda done, total: work(done, total or done or 1, f"fetching {url}"),
            )
        train_language_model(
            self.config,
            tokens_dir=self.tokens,
            output_dir=self.lm,
            device=self.options.device,
            threads=self.options.threads,
            processes=max(1, self.options.gpus),
            fingerprint=_fingerprint(self.shared.settings["lm"], work, "text"),
            on_progress=work,
            text=text,
        )

    def train(self, work: Work) -> None:
        from squall.asr.training import train_recogniser

        train_recogniser(
            self.config,
            data_dir=self.data,
            tokens_dir=self.tokens,
            stats_dir=self.stats,
            output_dir=self.train_dir,
            device=self.options.device,
            threads=self.options.threads,
            processes=max(1, self.options.gpus),
            fingerprint=_fingerprint(self.config.hashed(), work, "audio"),
            on_progress=work,
        )

    def _language_text_digest(self) -> str | None:
        text = self.shared.language_text
        return file_digest(text) if text is not None and text.is_file() else None

    def decode(self, work: Work) -> None:
        from squall.asr.decoding import decode_splits

        if self.config.decode.lm_weight:
            self._keep_language_model()
        decode_splits(
            self.experiment,
            {split: self.split(split) for split in self.config.decode.sets},
            self.decode_dir,
            device=self.options.device,
            threads=self.options.threads,
            processes=self.options.processes,
            on_progress=work,
        )

    def _keep_language_model(self) -> None:
        """Copy the language model in, so that the experiment directory is all that is needed."""
        for name in ("config.yaml", "model.pth"):
            with atomic_path(self.directory / "lm" / name) as path:
                shutil.copyfile(self.lm / name, path)

    def score(self, work: Work) -> None:
        from squall.asr.evaluation import evaluate

        evaluate(
            self.experiment,
            {split: self.split(split) for split in self.config.decode.sets},
            dataset=self.config.corpus.name,
            provenance=self.provenance,
        )
        work(1, 1, "scored")


def list_stages(experiment: Experiment[RecognitionConfig]) -> list[Stage]:
    """Stages 0 to 7 of an experiment."""
    return _Recipe(experiment).stages()


def _fingerprint(settings: dict[str, Any], work: Work, what: str) -> dict[str, Any]:
    """What a training must share with the one in its folder to continue it.

    Args:
        settings: of the training.
        work: has the stamp of its stage.
        what: name of what the stage's fingerprint is of.
    """
    further = {what: work.stamp["fingerprint"]} if work.stamp["fingerprint"] else {}
    return {"settings": settings, "inputs": work.stamp["inputs"], **further}


def _epochs(config: RecognitionConfig) -> dict[str, Any]:
    return {k: v for k, v in config.espnet.items() if k == "max_epoch"}


def _set_aside(directory: Path) -> None:
    from squall.asr.training import set_aside

    set_aside(directory)
