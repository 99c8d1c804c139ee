"""The numbered stages of every enhancement recipe, from speech and noise to scores.

The report, the last stage, is made over all experiments of a run.
"""

from __future__ import annotations

import logging
import os
import shutil
from typing import Any

import numpy as np

from squall.audio.mixing import Mixture, plan_mixtures, read_mixtures, write_mixtures
from squall.audio.offset import describe_offset, subtract_mean
from squall.corpora.fingerprint import corpus_fingerprint
from squall.corpora.manifest import Utterance
from squall.engine.experiment import Experiment
from squall.engine.recipe import SPLITS, SpeechRecipe
from squall.engine.stages import Stage, StageError, Work
from squall.enhance.corpus import (
    choose_talkers,
    choose_utterances,
    cut_utterance,
    read_samples,
    write_noises,
    write_wav,
)
from squall.enhance.dataset import MixtureSource, by_condition, write_frames, write_mixed
from squall.enhance.places import EnhancementPlaces
from squall.enhance.settings import EnhancementConfig, model_conditions
from squall.files import file_digest, json_text, read_json, write_json
from squall.report.records import write_records
from squall.scoring.speech_scores import DEFAULT_SCORES, missing_packages

__all__ = ["list_stages"]

_log = logging.getLogger(__name__)


class _Recipe(SpeechRecipe[EnhancementConfig]):
    """The stages of one experiment."""

    def __init__(self, experiment: Experiment[EnhancementConfig]) -> None:
        super().__init__(experiment)
        self.shared = EnhancementPlaces(experiment)
        self.data, self.mix = self.shared.data, self.shared.mix
        self.features, self.enhanced = self.shared.features, self.shared.enhanced
        self.noise_dirs = self.shared.noise_dirs
        self.tuning = self.directory / "tune" / "tuning.json"

    @property
    def workers(self) -> int:
        return self.options.workers or os.cpu_count() or 1

    def stages(self) -> list[Stage]:
        stage, settings = self.stage, self.shared.settings
        noises = tuple(
            self.data / "noise" / f"{name}.wav"
            for name in (*self.config.noise.seen, *self.config.noise.unseen)
        )
        tables = tuple(self.mix / f"mixtures.{split}.jsonl" for split in SPLITS)
        frames = self.features / "frames.json"
        names = model_conditions(self.config) if self.config.estimator.trained else {}
        models = tuple(self.train_dir / name for name in names)
        trained = tuple(folder / "training.json" for folder in models)
        heard = {*self.config.noise.seen, *self.config.noise.unseen}
        estimates = tuple(self.enhanced / name for name in sorted(heard))
        training = self.config.hashed() | {"max_epochs": self._max_epochs}
        # The default stands for what was computed before there was a choice.
        chosen = self.config.scores
        scores = {} if chosen == DEFAULT_SCORES else {"scores": list(chosen)}
        used = {
            "apply": self.config.apply.model_dump(mode="json"),
            "mask": self.config.mask.model_dump(mode="json"),
            "estimator": self.config.estimator.name,
        }
        # Installed later, or in another version, an off-the-shelf enhancer is run and scored anew.
        peer = self.config.estimator.entry.peer
        packages = {"packages": peer.installed} if peer else {}
        return [
            stage("check", self.directory, self.check),
            self.prepare_stage(
                self.prepare, settings["prepare"], outputs=noises,
                fingerprint=self._sources,
            ),
            stage("mix", self.mix, self.mix_all, settings=settings["mix"],
                  inputs=(*self.manifests, *noises), outputs=(*tables, self.mix / "audio"),
                  fingerprint=lambda: self.audio_of(*SPLITS)),
            stage("features", self.features, self.extract, settings=settings["features"],
                  inputs=tables, outputs=(frames, *(self.features / split for split in SPLITS)),
                  fingerprint=lambda: self.audio_of(*SPLITS)),
            stage("tune", self.directory, self.tune, settings=self.config.hashed(),
                  inputs=(frames,), outputs=(self.tuning,)),
            stage("train", self.directory, self.train, settings=training,
                  inputs=(frames, self.tuning), outputs=models or (self.tuning,),
                  set_aside=lambda: shutil.rmtree(self.train_dir, ignore_errors=True)),
            stage("enhance", self.enhanced, self.enhance, settings=used | packages,
                  inputs=(tables[2], frames, *trained),
                  outputs=(self.enhanced / "done.json", *estimates)),
            stage("score", self.score_dir, self.score, settings=scores | packages,
                  inputs=(tables[2], frames, self.enhanced / "done.json", *trained),
                  outputs=(self.result_path,), fingerprint=lambda: self.audio_of("test")),
        ]  # fmt: skip

    @property
    def _max_epochs(self) -> Any:
        return self.config.estimator.parameters.get("max_epochs")

    def _sources(self) -> dict[str, Any]:
        noise = [corpus_fingerprint(folder) for folder in self.noise_dirs]
        # One folder, or none, stands there as it did before there could be several.
        one = noise[0] if noise else None
        return {"corpus": self.corpus_state(), "noise": noise if len(noise) > 1 else one}

    def check(self, work: Work) -> None:
        """Stop early where a later stage could not go on."""
        from squall.enhance.training import build_estimator

        if missing := missing_packages(self.config.scores):
            raise StageError("; ".join(missing))
        if self.config.estimator.trained:
            for parameters in self.config.estimator.candidates or ({},):
                build_estimator(self.config, parameters, "cpu")
        self.check_device()
        self.check_corpus()
        self._check_noises()
        peer = self.config.estimator.entry.peer
        absent = f"; {self.config.system} is {peer.missing}" if peer and peer.missing else ""
        work(1, 1, f"{self.check_disk()}, device {self.options.device}{absent}")

    def _check_noises(self) -> None:
        recorded = self.config.noise.recorded
        if not recorded:
            return
        if not self.noise_dirs:
            raise StageError(
                f"the noises {', '.join(recorded)} are recordings: give their folder with "
                "--noise-dir"
            )
        from squall.audio.noise import load_noises

        load_noises(self.noise_dirs, recorded)

    def prepare(self, work: Work) -> None:
        whole = self.read_corpus(work)
        wanted = self.config.utterances
        talkers: list[Utterance] = []
        if "babble" in self.config.noise.seen:
            count = self.config.noise.talkers
            whole["train"], talkers = choose_talkers(whole["train"], count, self.config.seed)
        splits = {name: choose_utterances(whole[name], getattr(wanted, name)) for name in SPLITS}
        # The talkers' utterances are heard too. First in order, they give way to the other splits.
        kept, left_out = self.sound_splits(splits, work, aside={"talkers": talkers})
        talkers = kept.pop("talkers")
        for split, utterances in kept.items():
            kept[split] = [cut_utterance(utterance, wanted.max_s) for utterance in utterances]
            self.write_split(split, kept[split])
        work(0, 1, "writing noises")
        noises = write_noises(
            self.data / "noise",
            self.config.noise,
            recordings=self.noise_dirs,
            training=kept["train"],
            talkers=talkers,
            seed=self.config.seed,
            remove_mean=self.config.remove_mean,
        )
        write_json(self.data / "noises.json", noises, indent=1)
        said = ", ".join(f"{name} {len(utterances)}" for name, utterances in kept.items())
        work(1, 1, f"{said} utterances{left_out}; noises {', '.join(noises)}")

    def mix_all(self, work: Work) -> None:
        lengths = read_json(self.data / "noises.json")
        source = self._source()
        offsets: list[str] = []
        for split in SPLITS:
            planned = self._plan(split, lengths, offsets)
            filled = write_mixed(
                source,
                planned,
                audio_dir=self.mix / "audio" if split == "test" else None,
                workers=self.workers,
                progress=lambda d, n, split=split: work(d, n, f"mixing {split}"),  # type: ignore[misc]
            )
            write_mixtures(self.mix / f"mixtures.{split}.jsonl", filled)
        for utterance in self.split("test"):
            path = self.shared.clean / f"{utterance.id}.wav"
            samples = read_samples(utterance)
            write_wav(path, subtract_mean(samples) if self.config.remove_mean else samples)
        for offset in offsets:
            _log.warning("%s", offset)
        if offsets:
            found = f"{len(offsets)} with a constant offset (see the log); the first: {offsets[0]}"
            work(1, 1, found + ("" if self.config.remove_mean else ", kept (remove_mean=false)"))

    def _plan(self, split: str, lengths: dict[str, int], offsets: list[str]) -> list[Mixture]:
        """The mixtures of a split; what utterances have a constant offset is added to `offsets`."""
        utterances = []
        for utterance in self.split(split):
            samples = read_samples(utterance)
            utterances.append((utterance.id, len(samples)))
            mean, spread = samples.mean(dtype=np.float64), samples.std(dtype=np.float64)
            if offset := describe_offset(float(mean), float(spread)):
                offsets.append(f"{utterance.id} has {offset}")
        noise, mixture = self.config.noise, self.config.mixture
        common = {
            "remove_mean": self.config.remove_mean,
            "snrs_db": mixture.snrs_db,
            "seed": self.config.seed,
            "snr_over": mixture.over,
            "dev_share": noise.dev_share,
        }
        seen = {name: lengths[name] for name in noise.seen}
        drawn = mixture.per_utterance if split == "train" else None
        planned = plan_mixtures(utterances, seen, part=split, per_utterance=drawn, **common)  # type: ignore[arg-type]
        if split == "test" and noise.unseen:
            unseen = {name: lengths[name] for name in noise.unseen}
            planned += plan_mixtures(utterances, unseen, part="whole", **common)  # type: ignore[arg-type]
        return planned

    def extract(self, work: Work) -> None:
        source = self._source()
        tables = {split: self._mixtures(split) for split in SPLITS}
        for split, mixtures in tables.items():
            write_frames(
                source,
                mixtures,
                self.features / split,
                config=self.config,
                workers=self.workers,
                progress=lambda d, n, split=split: work(d, n, f"features of {split}"),  # type: ignore[misc]
            )
        # The digests tell a later stage when other sounds lie behind the same names.
        digests = {s: file_digest(self.mix / f"mixtures.{s}.jsonl") for s in SPLITS}
        conditions = {split: sorted(by_condition(m)) for split, m in tables.items()}
        audio = self.audio_of(*SPLITS)
        index = {"mixtures": digests, "audio": audio, "conditions": conditions}
        write_json(self.features / "frames.json", index, indent=1)

    def tune(self, work: Work) -> None:
        from squall.enhance.training import choose_parameters

        found: dict[str, Any] = {"candidates": [], "chosen": {}}
        if self.config.estimator.trained:
            self.set_threads()
            found = choose_parameters(
                self.config, self.features, device=self.options.device, on_progress=work
            )
        write_json(self.tuning, found, indent=1)
        chosen = f"chosen: {json_text(found['chosen'])}" if found["chosen"] else "done"
        work(1, 1, chosen if self.config.estimator.trained else "nothing to tune")

    def train(self, work: Work) -> None:
        from squall.enhance.training import train_models

        if not self.config.estimator.trained:
            work(1, 1, "nothing to train")
            return
        self.set_threads()
        train_models(
            self.config,
            self.features,
            self.train_dir,
            tuning=read_json(self.tuning),
            fingerprint={name: work.stamp[name] for name in ("settings", "inputs")},
            device=self.options.device,
            on_progress=work,
        )

    def enhance(self, work: Work) -> None:
        from squall.enhance.enhancing import enhance_condition

        self.set_threads()
        conditions = by_condition(self._mixtures("test"))
        failed: dict[str, int] = {}
        for done, (condition, mixtures) in enumerate(conditions.items()):
            work(done, len(conditions), condition)
            failed[condition] = enhance_condition(
                self.config,
                mixtures,
                train_dir=self.train_dir,
                frames_dir=self.features / "test" / condition,
                audio_dir=self.mix / "audio" / condition,
                output_dir=self.enhanced / condition,
            )
        # The scores, which read this, are of other mixtures when other ones failed.
        missing, total = sum(failed.values()), sum(map(len, conditions.values()))
        write_json(self.enhanced / "done.json", failed if missing else sorted(conditions))
        if missing:
            told = f"{self.config.system} gives nothing for {missing} of {total} mixtures"
            work(1, 1, f"{told}; the scores tell why")

    def score(self, work: Work) -> None:
        from squall.enhance.evaluation import (
            read_sizes,
            read_training,
            score_conditions,
            write_scores,
        )

        scored = score_conditions(
            self.config,
            by_condition(self._mixtures("test")),
            source=self._source(),
            features_dir=self.features / "test",
            enhanced_dir=self.enhanced,
            workers=self.options.threads,
            on_progress=work,
        )
        records = write_scores(
            self.config,
            scored,
            directory=self.score_dir,
            enhanced_dir=self.enhanced,
            training=read_training(self.train_dir),
            sizes=read_sizes(self.train_dir),
            speakers={u.id: u.speaker for u in self.split("test")},
            provenance=self.provenance,
        )
        write_records(self.result_path, records)
        work(1, 1, "scored")

    def _source(self) -> MixtureSource:
        utterances = {u.id: u for split in SPLITS for u in self.split(split)}
        return MixtureSource(utterances, self.data / "noise")

    def _mixtures(self, split: str) -> list[Mixture]:
        return read_mixtures(self.mix / f"mixtures.{split}.jsonl")


def list_stages(experiment: Experiment[EnhancementConfig]) -> list[Stage]:
    """Stages 0 to 7 of an experiment."""
    return _Recipe(experiment).stages()
