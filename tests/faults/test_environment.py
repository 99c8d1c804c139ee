"""An odd environment: the command ends with the same numbers, or says what is wrong."""

from __future__ import annotations

import ast
import errno
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

import squall
from another_user import as_nobody, folder_for_all
from squall.workers import map_in_processes
from tiny_tasks import TASKS, numbers

pytest.importorskip("matplotlib")

SPIRAL = TASKS["spiral"]
SQUALL = (sys.executable, "-m", "squall")
NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ODD_PLACE = 'it\'s a "Übung" & [so] on'
ODDITIES: dict[str, tuple[str, dict[str, str]]] = {
    "no HOME and no user": ("unset HOME USER LOGNAME", {}),
    "umask 077": ("umask 077", {}),
    "another folder": ("cd /", {}),
    "a locale that is not UTF-8": ("true", NOT_UTF8),
    "a dumb terminal, NO_COLOR": ("true", {"TERM": "dumb", "NO_COLOR": "1"}),
    "32 open files": ("ulimit -n 32", {}),
    "standard streams closed": ("exec <&- >&- 2>&-", {}),
}
"""What the shell does first, and variables."""


def _shell(
    before: str, *command: str, after: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"{before}; {shlex.join(command)} {after}"],
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.slow
@pytest.mark.fault(
    "Environment",
    "no HOME, umask 077, another folder, a locale that is not UTF-8, a dumb terminal, few open "
    "files, standard streams closed, a path with spaces, quotes and umlauts",
    "the same numbers",
)
@pytest.mark.parametrize(
    "oddities",
    [
        pytest.param(list(ODDITIES)[:-1], id="all but closed streams"),
        *(pytest.param([name], id=name, marks=pytest.mark.nightly) for name in ODDITIES),
    ],
)
def test_an_odd_environment_changes_no_number(tmp_path: Path, oddities: list[str]) -> None:
    assert SPIRAL.run(tmp_path, tmp_path / "plain")[0] == 0
    odd = tmp_path / ODD_PLACE
    odd.mkdir()
    command = (*SQUALL, *SPIRAL.command(tmp_path, odd))
    before = "; ".join(ODDITIES[name][0] for name in oddities)
    variables = {key: text for name in oddities for key, text in ODDITIES[name][1].items()}
    done = _shell(before, *command, **variables)
    assert done.returncode == 0, done.stderr
    assert numbers(odd) == numbers(tmp_path / "plain")
    if "standard streams closed" not in oddities:
        assert f"report: {odd / 'exp' / 'spiral' / 'report.html'}\n" in done.stdout
    if "umask 077" in oddities:
        assert not [path for path in odd.rglob("*") if path.stat().st_mode & 0o077]


@pytest.mark.slow
@pytest.mark.fault(
    "Environment",
    "texts and files with umlauts in a locale that is not UTF-8",
    "they are read, written and printed as UTF-8",
)
def test_umlauts_in_a_locale_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "Wörter.txt"
    path.write_text("ä1 größer öde\n", encoding="utf-8")
    files = ("--reference", str(path), "--hypothesis", str(path), "--csv", str(tmp_path / "ö.csv"))
    done = _shell("true", *SQUALL, "score", *files, "--alignments", **NOT_UTF8)
    assert done.returncode == 0, done.stderr
    assert "größer öde" in done.stdout
    assert "ä1" in (tmp_path / "ö.csv").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.fault(
    "Environment", "standard output is a device that is full", "an error, no traceback"
)
def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("u1 some words\n")
    files = ("--reference", str(path), "--hypothesis", str(path))
    done = _shell("true", *SQUALL, "score", *files, after=">/dev/full")
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.fault(
    "Environment", "the output of run goes to `head -1`", "run again, it ends with the same numbers"
)
def test_a_run_whose_output_nobody_takes_goes_on_when_run_again(
    tmp_path: Path,
) -> None:
    assert SPIRAL.run(tmp_path, tmp_path / "plain")[0] == 0
    piped = tmp_path / "piped"
    done = _shell("true", *SQUALL, *SPIRAL.command(tmp_path, piped), after="| head -1")
    assert done.stderr == ""
    assert SPIRAL.run(tmp_path, piped)[0] == 0
    assert numbers(piped) == numbers(tmp_path / "plain")


@pytest.mark.slow
@pytest.mark.fault(
    "Environment", "another user without a home or any right elsewhere", "the same numbers"
)
def test_another_user_gets_the_same_numbers(tmp_path: Path) -> None:
    assert SPIRAL.run(tmp_path, tmp_path)[0] == 0
    with folder_for_all() as folder:
        folder.chmod(0o777)
        code, _, err = as_nobody(lambda: SPIRAL.run(tmp_path, folder))
        assert code == 0, err
        assert numbers(folder) == numbers(tmp_path)


def _times_asked_for(source: Path) -> set[str]:
    """Modules that ask for the time of day, which may go back."""
    clocks = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"}
    return {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in clocks
    }


def test_the_time_of_day_is_asked_for_the_record_alone() -> None:
    assert _times_asked_for(Path(squall.__path__[0])) == {"engine/environment.py"}


@pytest.mark.slow
@pytest.mark.fault(
    "Environment",
    "a clock that goes back, and files of the future or of 1970",
    "the same numbers; what is done stays done",
)
@pytest.mark.parametrize("task", ["spiral", pytest.param("recognition", marks=pytest.mark.nightly)])
def test_the_clock_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    chosen = TASKS[task]
    for package in chosen.packages:
        pytest.importorskip(package)
    assert chosen.run(tmp_path, tmp_path / "plain")[0] == 0
    odd = tmp_path / "odd"
    with monkeypatch.context() as patch:
        now = [time.time()]

        def earlier() -> float:
            now[0] -= 3600
            return now[0]

        patch.setattr(time, "time", earlier)
        code, _, err = chosen.run(tmp_path, odd)
    assert code == 0, err
    assert numbers(odd) == numbers(tmp_path / "plain")
    files = [path for path in (odd / "exp").rglob("*") if path.is_file()]
    for year_s in (0, 100 * 365 * 86400):
        for number, path in enumerate(files):
            os.utime(path, (year_s + number, year_s + number))
        code, out, err = chosen.run(tmp_path, odd)
        assert code == 0, err
        assert "5 train: done before, skipped" in out
    assert numbers(odd) == numbers(tmp_path / "plain")


@pytest.mark.fault(
    "Environment",
    "no /dev/shm that can be written to",
    "work in one process goes on; an error says so where several are asked for",
)
def test_several_processes_without_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refuse)
    assert list(map_in_processes(abs, [-1, -2], workers=1)) == [1, 2]
    with pytest.raises(RuntimeError, match=r"Read-only .*/dev/shm .*--workers 1, --jobs 1"):
        list(map_in_processes(abs, [-1, -2], workers=2))
