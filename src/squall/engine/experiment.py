"""The experiment directory: its place, the resolved settings and the environment stamp in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from squall.engine.config import ExperimentConfig
from squall.engine.environment import environment
from squall.files import atomic_write, write_json
from squall.settings import digest

__all__ = ["Experiment", "RunOptions", "data_dir", "data_folders", "repository_root"]

Config = TypeVar("Config", bound=ExperimentConfig, covariant=True)


@dataclass(frozen=True)
class RunOptions:
    """How a recipe is run; nothing here changes a number.

    Args:
        exp_dir: folder under which experiments are kept.
        corpus_dir: where the corpus lies, one folder or several, or None for the
            preparer's own place.
        noise_dir: where noise recordings lie, or None for the settings' own place.
        download: fetch the corpus if it is not there.
        skip_bad: list and leave out utterances that fail validation instead of stopping.
        device: `cpu` or `cuda`.
        gpus: how many train one experiment together, on this machine; 0 on the CPU.
        threads: CPU threads of one process.
        workers: processes of a stage that several experiments share; None takes one per core.
        processes: processes that decode, or train the sets of a study, side by side in one
            experiment.
        command: the command line, for the record.
    """

    exp_dir: str
    corpus_dir: str | Sequence[str] | None = None
    noise_dir: str | None = None
    download: bool = False
    skip_bad: bool = False
    device: str = "cpu"
    gpus: int = 0
    threads: int = 1
    workers: int | None = None
    processes: int = 1
    command: str = ""

    @property
    def corpus_dirs(self) -> tuple[Path, ...]:
        """The folders of `corpus_dir`; none where it is not given."""
        given = [self.corpus_dir] if isinstance(self.corpus_dir, str) else self.corpus_dir or ()
        return tuple(Path(folder).absolute() for folder in given)


class Experiment(Generic[Config]):
    """The places of one experiment, `exp/<recipe>/<experiment>-<hash>`.

    The first stages do not depend on what is compared or on the seed; their outputs lie in
    `exp/<recipe>/shared/<stage>-<hash>` and serve every experiment that has the same settings.
    """

    def __init__(self, config: Config, options: RunOptions) -> None:
        self.config = config
        self.options = options
        self.recipe_dir = Path(options.exp_dir).absolute() / config.recipe
        self.directory = self.recipe_dir / config.directory_name

    def shared(self, name: str, settings: Any) -> Path:
        """Folder of a stage that experiments share, named by the settings that decide it."""
        return self.recipe_dir / "shared" / f"{name}-{digest(settings)[:8]}"

    @property
    def corpus_dirs(self) -> tuple[Path, ...]:
        """The user's corpus, the recordings at hand, or the place of a downloaded or spoken one."""
        if self.options.corpus_dirs:
            return self.options.corpus_dirs
        if self.config.corpus.dir:
            return data_folders(self.config.corpus.dir)
        return (self.recipe_dir / "corpus",)

    @property
    def log_dir(self) -> Path:
        """Logs of the stages; each variant has its own, since variants may run side by side."""
        return self.directory / "logs" / self.config.variant

    def variant_dir(self, name: str) -> Path:
        """Folder of a later stage's outputs for this variant, e.g. `decode/default`."""
        return self.directory / name / (self.config.variant or "default")

    @property
    def score_dir(self) -> Path:
        """Per-utterance scores of this variant."""
        return self.variant_dir("score")

    @property
    def result_path(self) -> Path:
        """The records of this variant: `result.json`, or `result.<variant>.json`."""
        return self.directory / f"result{self._suffix}.json"

    @property
    def config_path(self) -> Path:
        """The resolved settings of this variant: `config.yaml`, or `config.<variant>.yaml`."""
        return self.directory / f"config{self._suffix}.yaml"

    @property
    def _suffix(self) -> str:
        return f".{self.config.variant}" if self.config.variant else ""

    def write_settings(self) -> None:
        """Write the resolved settings, options.json and environment.json."""
        with atomic_write(self.config_path) as file:
            yaml.safe_dump(self.config.model_dump(mode="json"), file, sort_keys=False)
        write_json(self.directory / "options.json", asdict(self.options), indent=1)
        stamp = environment(command=self.options.command)
        write_json(self.directory / "environment.json", stamp, indent=1)


def data_dir() -> Path:
    """The folder of recordings at hand: `SQUALL_DATA`, or `../shared/data` beside the checkout."""
    given = os.environ.get("SQUALL_DATA")
    return Path(given).absolute() if given else repository_root().parent / "shared" / "data"


def data_folders(names: str | Sequence[str]) -> tuple[Path, ...]:
    """Folders below `data_dir`, from the one name or the names of a setting."""
    return tuple(data_dir() / name for name in ([names] if isinstance(names, str) else names))


def repository_root() -> Path:
    """The checkout that holds conf/ and recipes/.

    Raises:
        FileNotFoundError: squall was installed without its checkout.
    """
    for place in (os.environ.get("SQUALL_ROOT"), Path(__file__).parents[3], Path.cwd()):
        if place and (Path(place) / "conf").is_dir():
            return Path(place).absolute()
    raise FileNotFoundError(
        "recipes need squall's checkout (conf/ and recipes/): run ./run.sh there, "
        "or set SQUALL_ROOT to it"
    )
