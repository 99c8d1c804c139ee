"""What the stages of every recipe share: checks, the corpus, the origin of its numbers."""

from __future__ import annotations

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from squall.corpora.fingerprint import write_audio_digests
from squall.corpora.manifest import Utterance, read_manifest, write_manifest
from squall.corpora.preparation import (
    check_folders,
    corpus_state,
    download_corpus,
    is_downloadable,
    prepare_corpus,
)
from squall.corpora.validation import (
    ValidationError,
    leave_out,
    only_speaker,
    validate,
    write_left_out,
)
from squall.engine.config import ExperimentConfig
from squall.engine.environment import commit_mark, environment
from squall.engine.experiment import Experiment
from squall.engine.scored import blank_record
from squall.engine.stages import Stage, StageError, Work
from squall.engine.tasks import task_of
from squall.files import file_digest
from squall.report.records import Record

__all__ = ["SPLITS", "Recipe", "SpeechRecipe"]

SPLITS = ("train", "dev", "test")
_log = logging.getLogger(__name__)
_MIN_FREE_BYTES = 2 * 1024**3

Config = TypeVar("Config", bound=ExperimentConfig)


class Recipe(ABC, Generic[Config]):
    """The stages of one experiment; a task's own class lists them.

    Args:
        experiment: its settings, options and folder.
    """

    def __init__(self, experiment: Experiment[Config]) -> None:
        self.experiment = experiment
        self.config = experiment.config
        self.options = experiment.options
        self.directory = experiment.directory
        self.train_dir = experiment.directory / "train"
        self.score_dir = experiment.score_dir
        self.result_path = experiment.result_path

    @abstractmethod
    def stages(self) -> list[Stage]:
        """All stages but the report, in order."""

    def stage(
        self, name: str, directory: Path, run: Callable[[Work], None], **further: Any
    ) -> Stage:
        """A stage of the task; its number is that of its name in `squall.engine.tasks`.

        Args:
            name: one of the task's `stage_names`.
            directory, run, further: as `Stage` takes them; all in the score folder is an output of
                the stage `score`.
        """
        if name == "score":
            further["outputs"] = (*further["outputs"], self.score_dir)
        numbers = {name: number for number, name in task_of(self.config).stage_names.items()}
        return Stage(numbers[name], name, directory, run, **further)

    @property
    def corpus_dirs(self) -> tuple[Path, ...]:
        """The folders of the corpus."""
        return self.experiment.corpus_dirs

    @property
    def corpus_dir(self) -> Path:
        """The folder of a corpus that lies in one; ValueError where several are given."""
        check_folders(self.config.corpus, len(self.corpus_dirs))
        return self.corpus_dirs[0]

    @property
    def provenance(self) -> dict[str, Any]:
        """The environment stamp of the numbers that are made now; `+` marks changed files."""
        stamp = environment(command=self.options.command)
        return {**stamp, "commit": commit_mark(stamp)}

    @property
    def blank_record(self) -> Record:
        """A record of the experiment, for `measured` to fill in."""
        return blank_record(self.config, self.provenance)

    def set_threads(self) -> None:
        """Let torch use as many threads in this process as the options say."""
        import torch

        torch.set_num_threads(self.options.threads)

    def check_device(self) -> None:
        """Raise StageError where the device of the options is not there."""
        import torch

        if self.options.device == "cuda" and not torch.cuda.is_available():
            raise StageError("--device cuda: PyTorch sees no CUDA device here; leave --device out")

    def check_disk(self) -> str:
        """What is free, in words.

        Raises:
            StageError: it is less than a run needs.
        """
        folder = self.experiment.recipe_dir
        there = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(there).free
        if free < _MIN_FREE_BYTES:
            raise StageError(
                f"{free / 1e9:.1f} GB free under {self.experiment.recipe_dir}; a run needs "
                f"{_MIN_FREE_BYTES / 1e9:.0f} GB. Free some space or give another --exp-dir"
            )
        return f"{free / 1e9:.0f} GB free"


class SpeechRecipe(Recipe[Config]):
    """The stages of an experiment on speech, the first of which make manifests from a corpus.

    Attributes:
        data: folder of the manifests, which experiments with the same corpus share.
    """

    data: Path

    def split(self, name: str) -> list[Utterance]:
        """The utterances of a prepared split."""
        return read_manifest(self.data / f"{name}.jsonl")

    @property
    def manifests(self) -> tuple[Path, ...]:
        """Those of the splits, in their order."""
        return tuple(self.data / f"{split}.jsonl" for split in SPLITS)

    def write_split(self, name: str, utterances: Sequence[Utterance]) -> None:
        """Write the manifest of a split, and the digests of its audio."""
        write_manifest(self.data / f"{name}.jsonl", utterances)
        write_audio_digests(self._audio_digests(name), utterances)

    def audio_of(self, *splits: str) -> dict[str, str]:
        """What tells a stage that reads the audio of splits whether it is still the same."""
        paths = {split: self._audio_digests(split) for split in dict.fromkeys(splits)}
        return {split: file_digest(path) for split, path in paths.items() if path.is_file()}

    def _audio_digests(self, split: str) -> Path:
        return self.data / f"{split}.sha256"

    @property
    def places(self) -> str:
        """The folders of the corpus, for messages."""
        return ", ".join(map(str, self.corpus_dirs))

    def prepare_stage(
        self,
        run: Callable[[Work], None],
        settings: Mapping[str, Any],
        *,
        outputs: tuple[Path, ...],
        fingerprint: Callable[[], Any] | None = None,
    ) -> Stage:
        """Stage 1.

        Args:
            run: writes the manifests, and what else the task needs.
            settings: what decides them.
            outputs: what it writes beside the manifests.
            fingerprint: that of all it reads, where that is more than the corpus.
        """
        return self.stage(
            "prepare",
            self.data,
            run,
            settings={**settings, "skip_bad": self.options.skip_bad},
            outputs=(*self.manifests, *map(self._audio_digests, SPLITS), *outputs),
            fingerprint=fingerprint or self.corpus_state,
        )

    def corpus_state(self) -> dict[str, int | str]:
        """What tells that the corpus has changed."""
        return corpus_state(self.config.corpus, self.corpus_dirs)

    def check_corpus(self) -> None:
        """Raise StageError where the corpus is neither there nor can be fetched or spoken."""
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

    def read_corpus(self, work: Work) -> dict[str, list[Utterance]]:
        """The splits of the corpus, which is fetched first where that was asked for."""
        if self.options.download and is_downloadable(self.config.corpus):
            download_corpus(self.config.corpus, self.corpus_dirs[0], progress=work)
        work(0, 1, f"reading {self.places}")
        return prepare_corpus(self.config.corpus, self.corpus_dirs)

    def sound_splits(
        self,
        splits: Mapping[str, Sequence[Utterance]],
        work: Work,
        *,
        aside: Mapping[str, Sequence[Utterance]] | None = None,
    ) -> tuple[dict[str, list[Utterance]], str]:
        """The splits without unsound utterances, and what there is to say of them, in words.

        The problems that were left out are listed in `left_out.tsv`.

        Args:
            splits: those of the corpus; none of them may be empty.
            work: told how far the check is.
            aside: further utterances, which give way to the splits.

        Raises:
            ValidationError: there are problems, and `--skip-bad` was not given.
            StageError: nothing is left of a split.
        """
        every = {**(aside or {}), **splits}
        problems = validate(every, progress=lambda d, n: work(d, n, "checking audio"))
        if problems and not self.options.skip_bad:
            raise ValidationError(problems)
        kept = leave_out(every, problems)
        write_left_out(self.data / "left_out.tsv", problems)
        empty = [split for split in splits if not kept[split]]
        if empty:
            raise StageError(f"the {empty[0]} split of {self.places} is empty")
        words = [f"{len(problems)} problems left out, see left_out.tsv"] if problems else []
        if (speaker := only_speaker(splits)) is not None:
            words.append(f"all are of {speaker}: what is measured holds for this voice alone")
            _log.warning("%s: %s", self.places, words[-1])
        return kept, "".join(f"; {said}" for said in words)
