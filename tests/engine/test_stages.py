"""Stages: when one runs, when it is skipped, what it leaves behind."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from little_space import file_sizes_up_to
from squall.engine.stages import Stage, StageError, Work, log_to, run_stages


@dataclass
class Workshop:
    """A stage that copies its input, and a record of when it ran and what it told."""

    folder: Path
    runs: list[int] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)

    @property
    def source(self) -> Path:
        return self.folder / "in" / "source.txt"

    @property
    def target(self) -> Path:
        return self.folder / "work" / "target.txt"

    def stage(self, number: int = 2, **changes: Any) -> Stage:
        def copy(work: Work) -> None:
            self.runs.append(number)
            work(1, 2, "copying")
            self.target.write_text(self.source.read_text())

        stage = Stage(
            number,
            "copy",
            self.folder / "work",
            copy,
            settings={"case": "upper", "sizes": (1, 2)},
            inputs=(self.source,),
            outputs=(self.target,),
            fingerprint=lambda: {"files": (3, 4)},
        )
        return replace(stage, **changes)

    def run(self, *stages: Stage, **options: Any) -> None:
        self.told.clear()
        run_stages(
            stages,
            log_dir=self.folder / "logs",
            on_stage=lambda stage, done, total, message: self.told.append((stage.title, message)),
            **options,
        )

    def log(self, name: str = "2-copy") -> str:
        return (self.folder / "logs" / f"{name}.log").read_text()


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    workshop = Workshop(tmp_path)
    workshop.source.parent.mkdir()
    workshop.source.write_text("hello")
    return workshop


def test_a_stage_runs_once_and_is_then_skipped(shop: Workshop) -> None:
    shop.run(shop.stage())
    assert shop.told[0] == ("2 copy", "not done yet")
    assert ("2 copy", "copying") in shop.told
    shop.run(shop.stage())
    assert shop.told == [("2 copy", "done before, skipped")]
    assert shop.runs == [2]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda shop: shop.stage(settings={"case": "lower", "sizes": (1, 2)}),
            'settings.case was "upper", is "lower"',
        ),
        (
            lambda shop: shop.stage(fingerprint=lambda: {"files": (3, 5)}),
            "fingerprint.files was [3, 4], is [3, 5]",
        ),
        (
            lambda shop: (shop.source.write_text("other"), shop.stage())[1],
            "inputs.source.txt was ",
        ),
        (lambda shop: (shop.target.unlink(), shop.stage())[1], "output target.txt is missing"),
    ],
    ids=["setting", "fingerprint", "input", "output"],
)
def test_a_stage_runs_again_when_something_differs_and_says_what(
    shop: Workshop, change: Callable[[Workshop], Stage], reason: str
) -> None:
    shop.run(shop.stage())
    changed = change(shop)
    shop.run(changed)
    assert shop.runs == [2, 2]
    assert shop.told[0][1].startswith(reason)
    shop.run(changed)
    assert shop.runs == [2, 2]


def test_an_input_that_is_only_touched_changes_nothing(shop: Workshop) -> None:
    shop.run(shop.stage())
    shop.source.write_text(shop.source.read_text())
    shop.run(shop.stage())
    assert shop.runs == [2]


def test_what_an_earlier_version_did_not_record_is_no_change_but_is_watched_from_then_on(
    shop: Workshop,
) -> None:
    earlier = shop.stage(fingerprint=lambda: None)
    shop.run(earlier)
    further = shop.folder / "in" / "further.txt"
    further.write_text("hello")
    now = shop.stage(inputs=(shop.source, further))
    shop.run(now, dry_run=True)
    assert shop.told == [("2 copy", "done, skip")]
    assert json.loads(now.stamp_path.read_text())["fingerprint"] is None
    shop.run(now)
    assert shop.runs == [2]
    shop.run(replace(now, fingerprint=lambda: {"files": 1}), dry_run=True)
    assert shop.told == [("2 copy", "would run: fingerprint.files was [3, 4], is 1")]
    further.write_text("other")
    shop.run(now)
    assert shop.runs == [2, 2]
    assert shop.told[0][1].startswith("inputs.further.txt was ")


def test_a_setting_that_an_earlier_version_did_not_have_is_a_change(shop: Workshop) -> None:
    shop.run(shop.stage(settings={"case": "upper"}))
    shop.run(shop.stage(settings={"case": "upper", "sizes": 1}))
    assert shop.runs == [2, 2]


def test_inputs_of_the_same_name_are_told_apart(shop: Workshop) -> None:
    inputs = tuple(shop.folder / split / "text" for split in ("train", "dev"))
    for path in inputs:
        path.parent.mkdir()
        path.write_text("a")
    shop.run(shop.stage(inputs=inputs))
    for count, path in enumerate(inputs, start=2):
        path.write_text("b")
        shop.run(shop.stage(inputs=inputs))
        assert len(shop.runs) == count
        assert shop.told[0][1].startswith(f"inputs.{path.parent.name}/text was ")


def test_what_a_stage_fetches_itself_is_not_a_change(shop: Workshop) -> None:
    """The first stage may download the corpus whose files are its fingerprint."""
    stage = shop.stage(fingerprint=shop.target.exists)
    shop.run(stage)
    shop.run(stage)
    assert shop.runs == [2]


def test_force_runs_what_is_done(shop: Workshop) -> None:
    shop.run(shop.stage())
    shop.run(shop.stage(), force=True)
    assert shop.runs == [2, 2]
    assert shop.told[0] == ("2 copy", "--force")


def test_only_force_sets_earlier_work_aside(shop: Workshop) -> None:
    aside: list[bool] = []
    stage = shop.stage(set_aside=lambda: aside.append(shop.target.exists()))
    shop.run(stage)
    shop.run(stage)
    assert aside == []
    shop.run(stage, force=True)
    assert aside == [True]


def test_a_stage_without_outputs_runs_every_time(shop: Workshop) -> None:
    stage = shop.stage(outputs=())
    shop.run(stage)
    shop.run(stage)
    assert shop.runs == [2, 2]
    assert not stage.stamp_path.exists()


def test_only_the_stages_of_the_range_run(shop: Workshop) -> None:
    stages = [shop.stage(number) for number in range(5)]
    shop.run(*stages, first=1, last=3)
    assert shop.runs == [1, 2, 3]


def test_a_dry_run_says_why_and_writes_nothing(shop: Workshop) -> None:
    shop.run(shop.stage(), dry_run=True)
    assert shop.told == [("2 copy", "would run: not done yet")]
    assert not (shop.folder / "work").exists()
    assert not (shop.folder / "logs").exists()
    shop.run(shop.stage())
    before = {path: path.stat().st_mtime_ns for path in shop.folder.rglob("*")}
    shop.run(shop.stage(), dry_run=True)
    assert shop.told == [("2 copy", "done, skip")]
    shop.run(shop.stage(), dry_run=True, force=True)
    assert shop.told == [("2 copy", "would run: --force")]
    shop.source.unlink()
    shop.run(shop.stage(), dry_run=True)
    assert "source.txt, which is not there" in shop.told[0][1]
    before.pop(shop.source)
    before.pop(shop.source.parent)
    after = {path: path.stat().st_mtime_ns for path in shop.folder.rglob("*")}
    after.pop(shop.source.parent)
    assert after == before


def test_a_dry_run_says_what_depends_on_a_stage_that_would_run(shop: Workshop) -> None:
    after = shop.folder / "after" / "target.txt"

    def write(work: Work) -> None:
        after.write_text("")

    second = shop.stage(2, directory=after.parent, inputs=(), outputs=(after,), run=write)
    shop.run(shop.stage(1), second)
    shop.source.write_text("changed")
    shop.run(shop.stage(1), second, dry_run=True)
    assert shop.told[0][1].startswith("would run: inputs.")
    assert shop.told[1] == ("2 copy", "done, but 1 copy may change what it reads")


def test_a_missing_input_says_what_to_do(shop: Workshop) -> None:
    shop.source.unlink()
    with pytest.raises(StageError, match=r"stage 2 copy needs .*source\.txt.*leave out --stage"):
        shop.run(shop.stage())
    assert shop.runs == []


def test_a_stage_that_raises_is_logged_and_run_again(shop: Workshop) -> None:
    def fail(work: Work) -> None:
        shop.target.write_text("half")
        raise RuntimeError("out of paper")

    shop.run(shop.stage())
    with pytest.raises(RuntimeError, match="out of paper"):
        shop.run(shop.stage(run=fail), force=True)
    assert not shop.stage().stamp_path.exists()
    assert "RuntimeError: out of paper" in shop.log()
    assert "Traceback" in shop.log()
    shop.run(shop.stage())
    assert shop.runs == [2, 2]


def test_stages_after_one_that_raises_are_not_run(shop: Workshop) -> None:
    shop.source.unlink()
    with pytest.raises(FileNotFoundError):
        shop.run(shop.stage(1, inputs=()), shop.stage(2))
    assert shop.runs == [1]


def test_a_stage_that_ends_without_its_output_is_an_error(shop: Workshop) -> None:
    stage = shop.stage(run=lambda work: None)
    with pytest.raises(StageError, match=r"stage 2 copy ended without writing .*target\.txt"):
        shop.run(stage)
    assert not stage.stamp_path.exists()


def test_logs_of_several_runs_follow_one_another(shop: Workshop) -> None:
    shop.run(shop.stage())
    shop.run(shop.stage(), force=True)
    lines = [line.split(": ", 1)[1] for line in shop.log().splitlines()]
    assert [line for line in lines if "done in" not in line] == [
        "stage 2 copy: not done yet",
        "stage 2 copy: --force",
    ]


_PRINTING = """
import ctypes, logging, os, subprocess, sys
from pathlib import Path
from squall.engine.stages import Stage, run_stages

def talk(name):
    def run(work):
        print("python", name)
        print("error", name, file=sys.stderr)
        os.write(1, f"descriptor {name}\\n".encode())
        ctypes.CDLL(None).puts(f"library {name}".encode())
        ctypes.CDLL(None).fflush(None)
        subprocess.run(["echo", "child", name], check=True)
        logging.getLogger("other").info("logged %s", name)
    return run

folder = Path(sys.argv[1])
stages = [Stage(n, name, folder, talk(name)) for n, name in enumerate(["first", "second"])]
run_stages(stages, log_dir=folder / "logs")
print("afterwards")
"""


def test_each_stage_has_a_log_with_all_that_it_printed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PRINTING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("afterwards\n", "")
    for name, path in [("first", "0-first.log"), ("second", "1-second.log")]:
        text = (tmp_path / "logs" / path).read_text()
        for source in ("python", "error", "descriptor", "library", "child", "logged"):
            assert f"{source} {name}" in text
        assert ("second" in text) == (name == "second")


def test_a_log_that_cannot_be_written_stops_nothing_and_hides_no_error(tmp_path: Path) -> None:
    def work(fails: bool) -> None:
        with file_sizes_up_to(10), log_to(tmp_path / "stage.log"):
            logging.getLogger("squall").warning("more than ten bytes")
            if fails:
                raise KeyError("stop")

    work(fails=False)
    with pytest.raises(KeyError, match="stop"):
        work(fails=True)


def test_a_second_process_waits_and_then_finds_the_work_done(shop: Workshop) -> None:
    import fcntl

    waiting = threading.Event()
    messages: list[str] = []

    def tell(stage: Stage, done: int, total: int, message: str) -> None:
        messages.append(message)
        waiting.set()

    shop.run(shop.stage())
    done = json.loads(shop.stage().stamp_path.read_text())
    shop.stage().stamp_path.unlink()
    with (shop.folder / "work" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        other = threading.Thread(
            target=run_stages,
            args=([shop.stage()],),
            kwargs={"log_dir": shop.folder / "logs", "on_stage": tell},
        )
        other.start()
        assert waiting.wait(timeout=30)
        assert messages == ["waiting for another experiment that works on this stage"]
        shop.stage().stamp_path.write_text(json.dumps(done))
    other.join(timeout=30)
    assert not other.is_alive()
    assert messages[1:] == ["done before, skipped"]
    assert shop.runs == [2]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _keep_times(path: Path, change: Callable[[Path], object]) -> None:
    found = path.stat()
    change(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "one bit": _flip,
    "of another": lambda path: path.write_text("HELLO, you"),
}


@pytest.mark.fault(
    "State", "an output that is cut off, empty, has one bit flipped or is another's",
    "the stage makes it again",
)  # fmt: skip
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("within", ["a file", "a folder"])
def test_an_output_that_is_not_as_it_was_written_is_made_again(
    shop: Workshop, damage: Callable[[Path], object], within: str
) -> None:
    outputs = (shop.target,) if within == "a file" else (shop.target.parent,)
    shop.target.parent.mkdir()
    stage = shop.stage(outputs=outputs, directory=shop.folder / "stamps")
    shop.run(stage)
    damage(shop.target)
    shop.run(stage)
    assert shop.told[0][1].startswith(
        f"output {shop.target.name} is not as it was written, kept in "
    )
    assert shop.target.read_text() == "hello"
    shop.run(stage)
    assert shop.runs == [2, 2]


def test_an_output_that_is_only_touched_or_copied_is_as_it_was_written(shop: Workshop) -> None:
    shop.run(shop.stage())
    os.utime(shop.target, ns=(1, 1))
    shop.run(shop.stage())
    assert shop.runs == [2]


@pytest.mark.fault(
    "State", "a file that decays on the disk: other content, the same time of change",
    "the stage that would read it names it, and which stage makes it again",
)  # fmt: skip
def test_an_input_that_decayed_is_not_read(shop: Workshop) -> None:
    first = shop.stage()
    further = shop.folder / "work" / "further.txt"
    second = Stage(
        3, "further", shop.folder / "work",
        lambda work: further.write_text(shop.target.read_text().upper()),
        inputs=(shop.target,), outputs=(further,),
    )  # fmt: skip
    shop.run(first, second)
    _keep_times(shop.target, _flip)
    for begin in (2, 3):
        with pytest.raises(StageError, match=r"target.txt is not as stage 2 copy wrote it"):
            shop.run(first, second, first=begin)
    assert further.read_text() == "HELLO"
    shop.target.unlink()
    shop.run(first, second)
    assert shop.runs == [2, 2]


@pytest.mark.fault(
    "State", "the stamp of a stage cut off, empty or another file", "the stage runs again"
)
@pytest.mark.parametrize("damage", ["cut", "empty", "of another"])
def test_a_stage_with_a_damaged_stamp_runs_again(shop: Workshop, damage: str) -> None:
    stage = shop.stage()
    shop.run(stage)
    DAMAGES[damage](stage.stamp_path)
    shop.run(stage)
    assert shop.runs == [2, 2]
    assert shop.target.read_text() == "hello"


@pytest.mark.fault(
    "State", "any bit of a stage's stamp flipped",
    "the stage runs again where it cannot tell; nothing else happens",
)  # fmt: skip
def test_no_flipped_bit_of_a_stamp_is_an_error(shop: Workshop) -> None:
    stage = shop.stage()
    shop.run(stage)
    whole = stage.stamp_path.read_bytes()
    again = 0
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        stage.stamp_path.write_bytes(flipped)
        again += bool(stage.reasons_to_run())
        stage.recorded()
    assert again > len(whole) / 2


def test_a_stamp_of_an_earlier_version_learns_how_the_outputs_are(shop: Workshop) -> None:
    stage = shop.stage()
    shop.run(stage)
    stamp = json.loads(stage.stamp_path.read_text())
    del stamp["outputs"]
    stage.stamp_path.write_text(json.dumps(stamp))
    shop.run(stage)
    assert shop.runs == [2]
    DAMAGES["cut"](shop.target)
    shop.run(stage)
    assert shop.runs == [2, 2]
