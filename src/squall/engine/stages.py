"""A stage: what it reads, what it writes, when it can be skipped; and running a range of them."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from squall.files import (
    changed_files,
    file_digest,
    json_text,
    read_json,
    write_json,
    written_digests,
    written_state,
)
from squall.settings import changes_since
from squall.workers import OnProgress

__all__ = ["OnStage", "Stage", "StageError", "Work", "log_to", "refuse_changed", "run_stages"]

_log = logging.getLogger(__name__)


class StageError(RuntimeError):
    """A stage cannot go on; the message says what the user can do."""


@dataclass(frozen=True)
class Work:
    """What a stage is given while it works; called as an `OnProgress` to tell how far it is.

    Args:
        tell: told (done, total, message).
        stamp: what decides the stage's outputs, as `Stage.stamp` found it before the work; nothing
            for a stage without outputs.
    """

    tell: OnProgress
    stamp: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, done: int, total: int, message: str) -> None:
        self.tell(done, total, message)


@dataclass(frozen=True)
class Stage:
    """One numbered step of a recipe.

    Args:
        number: position in the recipe; the same in every recipe of a kind.
        name: one word, as in `--help` and in the log's name.
        directory: where its outputs and its stamp lie.
        run: does the work; given a `Work`, by which it tells its progress.
        settings: everything besides files that decides the outputs.
        inputs: files that decide the outputs.
        outputs: the files and folders that it writes, and that no other stage touches. One without
            any is never skipped; one whose outputs are no longer as it wrote them is run again.
        set_aside: puts earlier work out of the way, so that `--force` begins anew where `run` would
            go on with what it finds.
        fingerprint: further state of the outside world, e.g. the list of a corpus's files.

    What the stamp of an earlier version lacks of inputs, outputs and fingerprint is not taken for a
    change: its outputs stay in use, and the stamp is completed.
    """

    number: int
    name: str
    directory: Path
    run: Callable[[Work], None]
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    set_aside: Callable[[], None] = lambda: None
    fingerprint: Callable[[], Any] = lambda: None

    @property
    def title(self) -> str:
        """Number and name, as shown while it runs."""
        return f"{self.number} {self.name}"

    @property
    def stamp_path(self) -> Path:
        """Where the finished stage keeps what decided its outputs."""
        return self.directory / ".stages" / f"{self.number}-{self.name}.json"

    def stamp(self) -> dict[str, Any]:
        """What decides the outputs, as it is now.

        Raises:
            StageError: an input is missing.
        """
        missing = [str(path) for path in self.inputs if not path.exists()]
        if missing:
            raise StageError(
                f"stage {self.title} needs {missing[0]}, which is not there: "
                "run the earlier stages first (leave out --stage)"
            )
        names = Counter(path.name for path in self.inputs)
        inputs = {
            path.name if names[path.name] == 1 else f"{path.parent.name}/{path.name}": path
            for path in self.inputs
        }
        return _as_read_back(
            {
                "settings": self.settings,
                "inputs": {name: file_digest(path) for name, path in inputs.items()},
                "fingerprint": self.fingerprint(),
            }
        )

    def reasons_to_run(self, *, complete: bool = False) -> list[str]:
        """Why the stage has to run; empty when it is done and nothing has changed.

        Args:
            complete: whether to complete the stamp of an earlier version then.
        """
        if not self.outputs:
            return ["runs every time"]
        missing = [path.name for path in self.outputs if not path.exists()]
        if not self.stamp_path.exists():
            return ["not done yet"]
        if missing:
            return [f"output {name} is missing" for name in missing]
        try:
            before = dict(read_json(self.stamp_path))
            written = dict(before.pop("outputs", {}))
        except (ValueError, TypeError):
            return [f"{self.stamp_path} is damaged"]
        if changed := self._changed(written):
            kept = f"kept in {self._aside}"
            return [f"output {path.name} is not as it was written, {kept}" for path in changed]
        now = self.stamp()
        reasons = changes_since(before, now)
        if complete and not reasons and (before != now or len(written) < len(self.outputs)):
            self.write_stamp(now)
        return reasons

    def _changed(self, written: Mapping[str, Any]) -> list[Path]:
        """The outputs, or files in them, that are not as the stamp says."""
        return [
            path
            for output in self.outputs
            for path in changed_files(output, written.get(self._place(output)))
        ]

    @property
    def _aside(self) -> Path:
        return self.stamp_path.with_suffix(".changed")

    def put_changed_aside(self) -> None:
        """Move outputs that are not as they were written, so that `run` makes them anew."""
        if not self.stamp_path.exists():
            return
        written = _outputs_of(self.stamp_path)
        for path in self._changed(written):
            if path.exists():
                target = self._aside / self._place(path).replace("../", "")
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)

    def _place(self, path: Path) -> str:
        return os.path.relpath(path, self.directory)

    def write_stamp(self, stamp: Mapping[str, Any]) -> None:
        """Keep what decided the outputs, which are whole by now, and how they are."""
        written = {self._place(path): written_state(path) for path in self.outputs}
        write_json(self.stamp_path, {**stamp, "outputs": written}, indent=1, sort_keys=True)

    def recorded(self) -> dict[Path, tuple[Stage, str]]:
        """The files that it wrote, with this stage and the digest that its stamp has."""
        written = _outputs_of(self.stamp_path)
        return {
            path: (self, digest)
            for output in self.outputs
            for path, digest in written_digests(output, written.get(self._place(output)))
        }


OnStage = Callable[[Stage, int, int, str], None]
"""Told (stage, done, total, message) as the stages of an experiment go on."""


def run_stages(
    stages: Sequence[Stage],
    *,
    log_dir: Path,
    first: int = 0,
    last: int = 99,
    force: bool = False,
    dry_run: bool = False,
    on_stage: OnStage = lambda *_: None,
) -> None:
    """Run the stages numbered `first` to `last` in order, each with a log of its own.

    A stage is skipped when its outputs exist and its stamp is unchanged. The stamp is written last,
    so that a stage killed at any moment is run again.

    Args:
        stages: all stages of the recipe, in order.
        log_dir: folder of the logs, `<number>-<name>.log`; a stage run again adds to its log.
        force: run the stages of the range even if nothing has changed.
        dry_run: only say what would run, and why; the check is made all the same, at the end.
        on_stage: told how far they are.

    Raises:
        StageError: an input is missing, or a stage ended without one of its outputs.
        Exception: whatever a stage raises; the stages after it are not run.
    """
    changing: Stage | None = None  # the first that would write anew what later ones read
    written: dict[Path, tuple[Stage, str]] = {}  # files, the stages that wrote them, digests
    for stage in stages:
        if not first <= stage.number <= last:
            written |= stage.recorded()
            continue
        if dry_run:
            reasons = ["--force"] if force else _reasons_or_problem(stage)
            if reasons:
                plan = "would run: " + "; ".join(reasons)
            elif changing:
                plan = f"done, but {changing.title} may change what it reads"
            else:
                plan = "done, skip"
            on_stage(stage, 0, 1, plan)
            if reasons and stage.outputs:
                changing = changing or stage
            continue
        with _locked(stage.directory, lambda s=stage: on_stage(s, 0, 1, _WAITING)):  # type: ignore[misc]
            _refuse_decayed(stage, written)
            reasons = ["--force"] if force else stage.reasons_to_run(complete=True)
            if reasons:
                on_stage(stage, 0, 1, "; ".join(reasons[:4]))
                with log_to(log_dir / f"{stage.number}-{stage.name}.log"):
                    stage.put_changed_aside()
                    if force:
                        stage.set_aside()
                    _run(stage, reasons, on_stage)
            else:
                on_stage(stage, 1, 1, "done before, skipped")
            written |= stage.recorded()
    if dry_run and first <= 0:
        for stage in stages:
            if stage.name == "check":
                stage.run(Work(lambda *_: None))


def _outputs_of(stamp_path: Path) -> dict[str, Any]:
    """How a finished stage's outputs were; nothing where the stamp does not say."""
    try:
        return dict(read_json(stamp_path)["outputs"])
    except (OSError, ValueError, TypeError, LookupError):
        return {}


def refuse_changed(directory: Path, name: str) -> None:
    """Refuse what a stage wrote where it is no longer so; files may be absent.

    Args:
        directory: of an experiment, or a part of one.
        name: of the stage.

    Raises:
        ValueError: a file is damaged or another one; the message names it.
    """
    for stamp_path in sorted(directory.glob(f"**/.stages/*-{name}.json")):
        folder = stamp_path.parents[1]
        for place, state in _outputs_of(stamp_path).items():
            for path in changed_files(folder / place, state):
                if path.exists():
                    raise ValueError(
                        f"{path} is not as stage {name} wrote it: copy the experiment again, or "
                        "give its recipe's command again, which makes the file anew"
                    )


def _refuse_decayed(stage: Stage, written: Mapping[Path, tuple[Stage, str]]) -> None:
    """Raise StageError where the content of an input changed, but not its size and time."""
    for path in stage.inputs:
        writer, digest = written.get(path, (None, ""))
        if writer is not None and path.is_file() and file_digest(path) != digest:
            raise StageError(
                f"{path} is not as stage {writer.title} wrote it by {writer.stamp_path}, though "
                "its time of change is: the disk may be failing. Remove the file, and the stage "
                "makes it again"
            )


def _reasons_or_problem(stage: Stage) -> list[str]:
    try:
        return stage.reasons_to_run()
    except StageError as error:
        return [str(error)]


def _run(stage: Stage, reasons: Sequence[str], on_stage: OnStage) -> None:
    _log.info("stage %s: %s", stage.title, "; ".join(reasons))
    started = time.perf_counter()
    stamp = stage.stamp() if stage.outputs else {}
    stage.stamp_path.unlink(missing_ok=True)
    try:
        stage.run(Work(lambda done, total, message: on_stage(stage, done, total, message), stamp))
    except Exception:
        _log.exception("stage %s stopped", stage.title)
        raise
    absent = [str(path) for path in stage.outputs if not path.exists()]
    if absent:
        raise StageError(f"stage {stage.title} ended without writing {absent[0]}; see its log")
    seconds = time.perf_counter() - started
    if stage.outputs:
        # Taken after the work: the first stage may itself fetch what it looks at.
        stamp |= _as_read_back({"fingerprint": stage.fingerprint()})
        stage.write_stamp(stamp)
    _log.info("stage %s done in %.1f s", stage.title, seconds)
    on_stage(stage, 1, 1, f"done in {seconds:.0f} s")


def _as_read_back(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON gives them back, so that a stamp and its copy on disk compare equal."""
    read: dict[str, Any] = json.loads(json_text(values, default=str))
    return read


@contextmanager
def _locked(directory: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold a folder for this process; experiments that share a stage wait for one another."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


_WAITING = "waiting for another experiment that works on this stage"


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Send everything that this process prints, its libraries included, to the end of a file.

    A log that cannot be written, as on a full disk, stops nothing and hides no other error.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    handler = logging.StreamHandler()
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    handler.setStream(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for one in (sys.stdout, sys.stderr):
            with suppress(OSError):
                one.flush()
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in saved:
            os.close(descriptor)
        with suppress(OSError):
            file.close()
