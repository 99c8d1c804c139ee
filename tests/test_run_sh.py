"""run.sh on machines that lack something: it says what, before it makes anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("bash", "cat", "dirname", "basename", "sed", "df", "awk", "cmp")
OLD_PYTHON = "#!/bin/sh\nexit 1\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one recipe and no environment."""
    folder = tmp_path / "checkout"
    recipe = folder / "recipes" / "toy"
    recipe.mkdir(parents=True)
    (recipe / "run.sh").write_text('#!/usr/bin/env bash\n# A toy\necho ran with: "$@"\n')
    shutil.copy(ROOT / "run.sh", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def _run(
    checkout: Path, *arguments: str, pyenv_root: Path | None = None, **tools: str
) -> subprocess.CompletedProcess[str]:
    """Run run.sh where only a few tools exist, and those given as `name=script`."""
    programs = checkout.parent / "bin"
    programs.mkdir(exist_ok=True)
    for tool in TOOLS:
        if not (programs / tool).exists():
            os.symlink(shutil.which(tool) or tool, programs / tool)
    for name, script in tools.items():
        (programs / name).unlink(missing_ok=True)
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    return subprocess.run(
        [str(programs / "bash"), str(checkout / "run.sh"), *arguments],
        env={"PATH": str(programs), "PYENV_ROOT": str(pyenv_root or programs / "no pyenv")},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("help",)])
def test_help_lists_the_recipes_and_needs_nothing(
    checkout: Path, arguments: tuple[str, ...]
) -> None:
    done = _run(checkout, *arguments)
    assert done.returncode == 0
    assert "toy        A toy" in done.stdout


def test_an_unknown_recipe_is_named(checkout: Path) -> None:
    done = _run(checkout, "toi")
    assert done.returncode == 1
    assert "there is no recipe 'toi'" in done.stderr


@pytest.mark.parametrize("tools", [{}, {"python3": OLD_PYTHON}], ids=["absent", "too old"])
def test_python_is_missing(checkout: Path, tools: dict[str, str]) -> None:
    done = _run(checkout, "toy", **tools)
    assert done.returncode == 1
    assert "needs Python 3.10 to 3.13" in done.stderr
    assert not (checkout / ".venv").exists()


def _this_python() -> str:
    return f'#!/bin/sh\nexec {sys.executable} "$@"\n'


def test_the_compiler_is_missing(checkout: Path) -> None:
    done = _run(checkout, "toy", python3=_this_python())
    assert done.returncode == 1
    assert "needs a C compiler" in done.stderr
    assert not (checkout / ".venv").exists()


def test_the_disk_is_too_small(checkout: Path) -> None:
    df = "#!/bin/sh\necho head\necho /dev/x 100 50 2097152 50% /\n"
    done = _run(checkout, "toy", python3=_this_python(), cc="#!/bin/sh\n", df=df)
    assert done.returncode == 1
    assert "needs 8 GB of free disk" in done.stderr
    assert "2 GB are free" in done.stderr
    assert not (checkout / ".venv").exists()


def test_an_environment_that_is_whole_is_used_as_it_is(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    python = checkout / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    shutil.copy(checkout / "pyproject.toml", checkout / ".venv" / ".squall-installed")
    done = _run(checkout, "toy", "--stage", "3")
    assert (done.returncode, done.stdout) == (0, "ran with: --stage 3\n")


ODD = [
    *("--set", "description=$(touch harm)", "`touch harm`", "; touch harm", "&& touch harm"),
    *("a  b", "*", "~", "'", '"', "\\", "$HOME", "new\nline", "", "-n", "!!", "{a,b}", ">harm"),
]
REFUSED = "passed on as it is; nothing is run"


@pytest.mark.fault("Hostile input", "arguments of run.sh with shell characters", REFUSED)
def test_arguments_are_passed_on_as_they_are(checkout: Path) -> None:
    bin = checkout / ".venv" / "bin"
    bin.mkdir(parents=True)
    for name in ("python", "squall"):
        (bin / name).write_text("#!/bin/sh\nprintf '%s\\037' \"$@\"\n")
        (bin / name).chmod(0o755)
    shutil.copy(checkout / "pyproject.toml", checkout / ".venv" / ".squall-installed")
    (checkout / "recipes" / "toy" / "run.sh").write_text('squall "$@"\n')
    for recipe in ("toy", "test"):
        done = _run(checkout, recipe, *ODD)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split("\x1f")[-1 - len(ODD) : -1] == ODD
    assert not list(checkout.parent.rglob("harm*"))


@pytest.mark.fault("Hostile input", "arguments of recipes with shell characters", REFUSED)
@pytest.mark.parametrize("recipe", sorted(path.name for path in (ROOT / "recipes").iterdir()))
def test_recipes_pass_arguments_on(recipe: str, tmp_path: Path) -> None:
    squall = tmp_path / "squall"
    squall.write_text("#!/bin/sh\nprintf '%s\\037' \"$@\"\n")
    squall.chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / "recipes" / recipe / "run.sh"), *ODD],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SQUALL_ROOT": str(tmp_path)},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "\x1f".join(ODD) in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["squall"]


@pytest.mark.fault("Hostile input", "a recipe that is a path", "there is no such recipe")
@pytest.mark.parametrize("recipe", ["..", ".", "../..", "/", "toy/../..", "$(touch harm)", "to?"])
def test_a_recipe_is_no_path(checkout: Path, recipe: str) -> None:
    done = _run(checkout, recipe)
    assert done.returncode == 1
    assert f"run.sh: there is no recipe '{recipe}'" in done.stderr


def test_another_python_gets_an_environment_of_its_own(checkout: Path) -> None:
    done = _run(checkout, "--python", "3.12", "toy", python3=_this_python())
    assert done.returncode == 1
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    expected = "needs a C compiler" if ours == "3.12" else "needs Python 3.12"
    assert expected in done.stderr
    (checkout / ".venv-3.12" / "bin").mkdir(parents=True)
    python = checkout / ".venv-3.12" / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    shutil.copy(checkout / "pyproject.toml", checkout / ".venv-3.12" / ".squall-installed")
    done = _run(checkout, "--python", "3.12", "toy", "--stage", "3")
    assert (done.returncode, done.stdout) == (0, "ran with: --stage 3\n")


@pytest.mark.parametrize("version", ["3.9", "python3", ""])
def test_a_python_that_is_not_known_is_named(checkout: Path, version: str) -> None:
    done = _run(checkout, "--python", version, "toy")
    assert done.returncode == 1
    assert f"--python takes 3.10, 3.11, 3.12 or 3.13, not '{version}'" in done.stderr


def test_a_python_of_pyenv_is_found_behind_a_shim_that_does_not_run(checkout: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    kept = checkout.parent / "pyenv" / "versions" / f"{version}.9" / "bin" / "python"
    kept.parent.mkdir(parents=True)
    kept.write_text(_this_python())
    kept.chmod(0o755)
    done = _run(
        checkout,
        "--python",
        version,
        "toy",
        pyenv_root=kept.parents[3],
        **{f"python{version}": OLD_PYTHON},
    )
    assert "needs a C compiler" in done.stderr
