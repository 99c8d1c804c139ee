"""The numbered stages of every enhancement recipe, from speech and noise to scores.

0 check · 1 prepare · 2 mix · 3 features · 4 tune · 5 train · 6 enhance · 7 score; the report, stage
8, is made once over all experiments of a run.
"""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from squall.audio.mixing import Mixture, plan_mixtures, read_mixtures, write_mixtures
from squall.corpora.manifest import Utterance, read_manifest, write_manifest
from squall.corpora.preparation import check_folders, corpus_fingerprint, prepare_corpus
from squall.corpora.validation import ValidationError, leave_out, validate, write_left_out
from squall.engine.environment import environment
from squall.engine.experiment import Experiment, data_dir
from squall.engine.stages import Report, Stage, StageError
from squall.enhance.corpus import (
    choose_talkers,
    choose_utterances,
    cut_utterance,
    read_samples,
    write_noises,
    write_wav,
)
from squall.enhance.dataset import MixtureSource, by_condition, write_frames, write_mixed
from squall.enhance.settings import EnhancementConfig, model_conditions
from squall.files import atomic_write, file_digest
from squall.report.records import write_records

__all__ = ["enhancement_stages", "mix_dir"]

SPLITS = ("train", "dev", "test")


class _Recipe:
    """The stages of one experiment and the folders that they share."""

    def __init__(self, experiment: Experiment[EnhancementConfig]) -> None:
        config = experiment.config
        settings = config.hashed()
        names = {
            "prepare": ("corpus", "utterances", "noise", "seed"),
            "mix": ("corpus", "utterances", "noise", "seed", "mixture"),
        }
        names["features"] = (*names["mix"], "frontend", "features", "mask")
        self.experiment = experiment
        self.config = config
        self.options = experiment.options
        self.settings = {
            stage: {name: settings[name] for name in keys} for stage, keys in names.items()
        }
        self.data = experiment.shared("data", self.settings["prepare"])
        self.mix = experiment.shared("mix", self.settings["mix"])
        self.features = experiment.shared("features", self.settings["features"])
        self.directory = experiment.directory
        self.corpus_dirs = experiment.corpus_dirs
        self.enhanced = experiment.variant_dir("enhanced")

    @property
    def noise_dir(self) -> Path | None:
        """The user's noises, or the recordings at hand; None where only made noises are used."""
        if self.options.noise_dir:
            return Path(self.options.noise_dir).absolute()
        return data_dir() / self.config.noise.dir if self.config.noise.dir else None

    @property
    def workers(self) -> int:
        return self.options.workers or os.cpu_count() or 1

    def stages(self) -> list[Stage]:
        manifests = tuple(self.data / f"{split}.jsonl" for split in SPLITS)
        noises = tuple(
            self.data / "noise" / f"{name}.wav"
            for name in (*self.config.noise.seen, *self.config.noise.unseen)
        )
        tables = tuple(self.mix / f"mixtures.{split}.jsonl" for split in SPLITS)
        frames = self.features / "frames.json"
        tuning = self.directory / "tune" / "tuning.json"
        train = self.directory / "train"
        models = tuple(train / name / "training.json" for name in model_conditions(self.config))
        if not self.config.estimator.trained:
            models = ()
        training = self.config.hashed() | {"max_epochs": self._max_epochs}
        used = {
            "apply": self.config.apply.model_dump(mode="json"),
            "mask": self.config.mask.model_dump(mode="json"),
            "estimator": self.config.estimator.name,
        }
        return [
            Stage(0, "check", self.directory, self.check),
            Stage(
                1, "prepare", self.data, self.prepare,
                settings=self.settings["prepare"] | {"skip_bad": self.options.skip_bad},
                outputs=(*manifests, *noises),
                fingerprint=lambda: [corpus_fingerprint(d) for d in self._sources],
            ),
            Stage(2, "mix", self.mix, self.mix_all, settings=self.settings["mix"],
                  inputs=(*manifests, *noises), outputs=(*tables, self.mix / "audio" / "clean")),
            Stage(3, "features", self.features, self.extract, settings=self.settings["features"],
                  inputs=tables, outputs=(frames,)),
            Stage(4, "tune", self.directory, self.tune, settings=self.config.hashed(),
                  inputs=(frames,), outputs=(tuning,)),
            Stage(5, "train", self.directory, self.train, settings=training,
                  inputs=(frames, tuning), outputs=models or (tuning,),
                  set_aside=lambda: shutil.rmtree(train, ignore_errors=True)),
            Stage(6, "enhance", self.enhanced, self.enhance, settings=used,
                  inputs=(tables[2], frames, *models), outputs=(self.enhanced / "done.json",)),
            Stage(7, "score", self.experiment.score_dir, self.score,
                  inputs=(tables[2], frames, self.enhanced / "done.json", *models),
                  outputs=(self.experiment.result_path,)),
        ]  # fmt: skip

    @property
    def _max_epochs(self) -> Any:
        return self.config.estimator.parameters.get("max_epochs")

    @property
    def _sources(self) -> list[Path]:
        found = [*self.corpus_dirs, self.noise_dir]
        return [directory for directory in found if directory is not None]

    def check(self, report: Report) -> None:
        """Stop early where a later stage could not go on."""
        import torch

        from squall.enhance.training import build_estimator

        for package in ("pystoi", "pesq"):
            if find_spec(package) is None:
                raise StageError(f"scoring needs {package}: pip install 'squall[enhance]'")
        if self.config.estimator.trained:
            for parameters in self.config.estimator.candidates or ({},):
                build_estimator(self.config, parameters, "cpu")
        if self.options.device == "cuda" and not torch.cuda.is_available():
            raise StageError("--device cuda: PyTorch sees no CUDA device here; leave --device out")
        check_folders(self.config.corpus, len(self.corpus_dirs))
        absent = [folder for folder in self.corpus_dirs if not folder.exists()]
        if self.config.corpus.name != "demo" and absent:
            raise StageError(f"{absent[0]} does not exist: give the speech with --corpus-dir")
        if self.config.noise.recorded:
            if self.noise_dir is None:
                raise StageError(
                    f"the noises {', '.join(self.config.noise.recorded)} are recordings: give "
                    "their folder with --noise-dir"
                )
            from squall.audio.noise import load_noises

            load_noises(self.noise_dir, self.config.noise.recorded)
        free = shutil.disk_usage(self.experiment.recipe_dir).free
        report(1, 1, f"{free / 1e9:.0f} GB free, device {self.options.device}")

    def prepare(self, report: Report) -> None:
        places = ", ".join(map(str, self.corpus_dirs))
        report(0, 1, f"reading {places}")
        whole = prepare_corpus(self.config.corpus, self.corpus_dirs)
        wanted = self.config.utterances
        talkers: list[Utterance] = []
        if "babble" in self.config.noise.seen:
            count = self.config.noise.talkers
            whole["train"], talkers = choose_talkers(whole["train"], count, self.config.seed)
        splits = {name: choose_utterances(whole[name], getattr(wanted, name)) for name in SPLITS}
        # The talkers' utterances are heard too. First in order, they give way to the other splits.
        problems = validate(
            {"talkers": talkers, **splits},
            progress=lambda d, n: report(d, n, "checking audio"),
        )
        if problems and not self.options.skip_bad:
            raise ValidationError(problems)
        kept = leave_out({"talkers": talkers, **splits}, problems)
        talkers = kept.pop("talkers")
        write_left_out(self.data / "left_out.tsv", problems)
        for split, utterances in kept.items():
            if not utterances:
                raise StageError(f"the {split} split of {places} is empty")
            kept[split] = [cut_utterance(utterance, wanted.max_s) for utterance in utterances]
            write_manifest(self.data / f"{split}.jsonl", kept[split])
        report(0, 1, "writing noises")
        noises = write_noises(
            self.data / "noise",
            self.config.noise,
            recordings=self.noise_dir,
            training=kept["train"],
            talkers=talkers,
            seed=self.config.seed,
        )
        with atomic_write(self.data / "noises.json") as file:
            json.dump(noises, file, indent=1)
        said = ", ".join(f"{name} {len(utterances)}" for name, utterances in kept.items())
        report(1, 1, f"{said} utterances; noises {', '.join(noises)}")

    def mix_all(self, report: Report) -> None:
        lengths = json.loads((self.data / "noises.json").read_text(encoding="utf-8"))
        source = self._source()
        for split in SPLITS:
            planned = self._plan(split, lengths)
            filled = write_mixed(
                source,
                planned,
                audio_dir=self.mix / "audio" if split == "test" else None,
                workers=self.workers,
                progress=lambda d, n, split=split: report(d, n, f"mixing {split}"),  # type: ignore[misc]
            )
            write_mixtures(self.mix / f"mixtures.{split}.jsonl", filled)
        for utterance in self._split("test"):
            path = self.mix / "audio" / "clean" / f"{utterance.id}.wav"
            write_wav(path, read_samples(utterance))

    def _plan(self, split: str, lengths: dict[str, int]) -> list[Mixture]:
        utterances = [(u.id, len(read_samples(u))) for u in self._split(split)]
        noise, mixture = self.config.noise, self.config.mixture
        common = {
            "snrs_db": mixture.snrs_db,
            "seed": self.config.seed,
            "snr_over": mixture.over,
            "dev_share": noise.dev_share,
        }
        seen = {name: lengths[name] for name in noise.seen}
        planned = plan_mixtures(utterances, seen, part=split, **common)  # type: ignore[arg-type]
        if split == "test" and noise.unseen:
            unseen = {name: lengths[name] for name in noise.unseen}
            planned += plan_mixtures(utterances, unseen, part="whole", **common)  # type: ignore[arg-type]
        return planned

    def extract(self, report: Report) -> None:
        source = self._source()
        tables = {split: self._mixtures(split) for split in SPLITS}
        for split, mixtures in tables.items():
            write_frames(
                source,
                mixtures,
                self.features / split,
                config=self.config,
                workers=self.workers,
                progress=lambda d, n, split=split: report(d, n, f"features of {split}"),  # type: ignore[misc]
            )
        with atomic_write(self.features / "frames.json") as file:
            # The digests tell a later stage when other mixtures lie behind the same names.
            digests = {s: file_digest(self.mix / f"mixtures.{s}.jsonl") for s in SPLITS}
            conditions = {split: sorted(by_condition(m)) for split, m in tables.items()}
            json.dump({"mixtures": digests, "conditions": conditions}, file, indent=1)

    def tune(self, report: Report) -> None:
        from squall.enhance.training import choose_parameters

        found: dict[str, Any] = {"candidates": [], "chosen": {}}
        if self.config.estimator.trained:
            self._set_threads()
            found = choose_parameters(
                self.config, self.features, device=self.options.device, on_progress=report
            )
        with atomic_write(self.directory / "tune" / "tuning.json") as file:
            json.dump(found, file, indent=1)
        chosen = f"chosen: {json.dumps(found['chosen'])}" if found["chosen"] else "done"
        report(1, 1, chosen if self.config.estimator.trained else "nothing to tune")

    def train(self, report: Report) -> None:
        from squall.enhance.training import train_models

        if not self.config.estimator.trained:
            report(1, 1, "nothing to train")
            return
        self._set_threads()
        path = self.directory / "tune" / "tuning.json"
        stage = next(stage for stage in self.stages() if stage.name == "train")
        train_models(
            self.config,
            self.features,
            self.directory / "train",
            tuning=json.loads(path.read_text(encoding="utf-8")),
            fingerprint={"settings": stage.settings, "inputs": stage.stamp()["inputs"]},
            device=self.options.device,
            on_progress=report,
        )

    def enhance(self, report: Report) -> None:
        from squall.enhance.enhancing import enhance_condition

        self._set_threads()
        conditions = by_condition(self._mixtures("test"))
        for done, (condition, mixtures) in enumerate(conditions.items()):
            report(done, len(conditions), condition)
            enhance_condition(
                self.config,
                mixtures,
                train_dir=self.directory / "train",
                frames_dir=self.features / "test" / condition,
                audio_dir=self.mix / "audio" / condition,
                output_dir=self.enhanced / condition,
            )
        with atomic_write(self.enhanced / "done.json") as file:
            json.dump(sorted(conditions), file)

    def score(self, report: Report) -> None:
        from squall.enhance.evaluation import read_training, score_conditions, write_scores

        scored = score_conditions(
            self.config,
            by_condition(self._mixtures("test")),
            source=self._source(),
            features_dir=self.features / "test",
            enhanced_dir=self.enhanced,
            workers=self.options.threads,
            report=report,
        )
        stamp = environment(command=self.options.command)
        records = write_scores(
            self.config,
            scored,
            directory=self.experiment.score_dir,
            enhanced_dir=self.enhanced,
            training=read_training(self.directory / "train"),
            provenance={**stamp, "commit": stamp["commit"] + ("+" if stamp["dirty"] else "")},
        )
        write_records(self.experiment.result_path, records)
        report(1, 1, "scored")

    def _set_threads(self) -> None:
        import torch

        torch.set_num_threads(self.options.threads)

    def _source(self) -> MixtureSource:
        utterances = {u.id: u for split in SPLITS for u in self._split(split)}
        return MixtureSource(utterances, self.data / "noise")

    def _split(self, name: str) -> list[Utterance]:
        return read_manifest(self.data / f"{name}.jsonl")

    def _mixtures(self, split: str) -> list[Mixture]:
        return read_mixtures(self.mix / f"mixtures.{split}.jsonl")


def enhancement_stages(experiment: Experiment[EnhancementConfig]) -> list[Stage]:
    """Stages 0 to 7 of an experiment."""
    return _Recipe(experiment).stages()


def mix_dir(experiment: Experiment[EnhancementConfig]) -> Path:
    """The folder of an experiment's mixtures, which it shares with others."""
    return _Recipe(experiment).mix
