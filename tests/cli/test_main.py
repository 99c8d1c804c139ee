"""The command line as a whole: help, wrong arguments, and errors as one readable message."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import squall
from squall.cli import main

VERBS = ["run", "transcribe", "enhance", "score", "score-speech", "report"]


def _exit(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    assert isinstance(caught.value.code, int)
    return caught.value.code, captured.out, captured.err


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _exit(capsys, "--help")
    assert code == 0
    assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    code, out, _ = _exit(capsys, verb, "--help")
    assert code == 0
    assert out.startswith(f"usage: squall {verb}")


def test_help_of_run_lists_the_stages_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = _exit(capsys, "run", "--help")
    words = " ".join(out.split())
    assert "0 check · 1 prepare · 2 tokens · 3 stats · 4 lm · 5 train · 6 decode · 7 score" in words
    assert "8 report" in words


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit(capsys, "--version")[1] == f"squall {squall.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("walk",),
        ("run",),
        ("run", "demo", "--threads", "0"),
        ("run", "demo", "--jobs", "-1"),
        ("run", "demo", "--stage", "two"),
        ("run", "demo", "--device", "tpu"),
        ("report",),
        ("score", "--reference", "a"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, _, err = _exit(capsys, *arguments)
    assert code == 2
    assert err.startswith("usage: squall")


@pytest.mark.parametrize(
    "arguments",
    [
        ("enhance", "-", "--model", "m", "-o", "out"),
        ("score", "--reference", "-", "--hypothesis", "b"),
        ("score", "--reference", "a", "--hypothesis", "-"),
        ("score-speech", "--reference", "-", "--estimate", "b"),
        ("score-speech", "--reference", "a", "--estimate", "-"),
    ],
)
def test_a_verb_that_does_not_read_standard_input_says_so(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, _, err = _exit(capsys, *arguments)
    assert code == 2
    assert err.endswith("standard input is not read here, give a file\n")


def test_an_error_is_one_message_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "squall", "report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"squall: .* is not an experiment directory: .*\n", done.stderr)


@pytest.mark.slow
@pytest.mark.fault(
    "Environment", "the reader of standard output has enough, as `head -1`", "no message"
)
def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    for name in ("ref", "hyp"):
        (tmp_path / name).write_text("".join(f"u{k} WORD\n" for k in range(20000)))
    command = (
        f"{sys.executable} -m squall score --alignments --reference {tmp_path / 'ref'} "
        f"--hypothesis {tmp_path / 'hyp'} | head -n 1"
    )
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("u0")


def test_the_command_line_needs_neither_torch_nor_espnet() -> None:
    code = (
        "import sys; from squall.cli import _parser; _parser();"
        "print(*{name.split('.')[0] for name in sys.modules} & {'torch', 'espnet2', 'matplotlib'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
