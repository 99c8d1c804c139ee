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


@pytest.mark.fault(
    "Environment",
    "no Python on the PATH, or only one that does not fit",
    "an error that names the versions; nothing is made",
)
@pytest.mark.parametrize("tools", [{}, {"python3": OLD_PYTHON}], ids=["absent", "too old"])
def test_python_is_missing(checkout: Path, tools: dict[str, str]) -> None:
    done = _run(checkout, "toy", **tools)
    assert done.returncode == 1
    assert "needs Python 3.10 to 3.13" in done.stderr
    assert not (checkout / ".venv").exists()


def _this_python() -> str:
    return f'#!/bin/sh\nexec {sys.executable} "$@"\n'


@pytest.mark.fault(
    "Environment", "no C compiler", "an error that says what to install; nothing is made"
)
def test_the_compiler_is_missing(checkout: Path) -> None:
    done = _run(checkout, "toy", python3=_this_python())
    assert done.returncode == 1
    assert "needs a C compiler" in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.fault(
    "Disk",
    "no room for the environment",
    "an error with the space that is needed and free; nothing is made",
)
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


STUB = """#!/bin/sh
# A Python that makes an environment of itself and has the pip of these lines.
case "$*" in
    "-m venv"*)
        for folder; do :; done
        mkdir -p "$folder/bin"
        cp "$0" "$folder/bin/python"
        ;;
    "-m pip --version") echo pip 30 ;;
    "-m pip install"*)
        printf '%s\\n' "$*" >>"$0.log"
        case "$*" in *{fails}*) exit 1 ;; esac
        ;;
    "-c import squall") exit 1 ;;
    *version_info*) [ -z "${2##*3.12*}" ] ;;
esac
"""


def _stubs(fails: str = "nothing") -> dict[str, str]:
    tools = {tool: f'#!/bin/sh\nexec {shutil.which(tool)} "$@"\n' for tool in ("mkdir", "cp", "rm")}
    df = "#!/bin/sh\necho head\necho /dev/x 100 50 209715200 50% /\n"
    return {**tools, "cc": "#!/bin/sh\n", "df": df, "python3": STUB.replace("{fails}", fails)}


def _broken(venv: Path, *, stamp: bool, script: str | None) -> None:
    (venv / "bin").mkdir(parents=True)
    (venv / "old").touch()
    if stamp:
        shutil.copy(venv.parent / "pyproject.toml", venv / ".squall-installed")
    if script is not None:
        (venv / "bin" / "python").write_text(script)
        (venv / "bin" / "python").chmod(0o755)


@pytest.mark.fault(
    "Environment",
    "an environment that is half installed, or whose Python is broken or gone",
    "it is made anew",
)
@pytest.mark.parametrize(
    ("stamp", "script"),
    [(False, STUB), (True, "#!/bin/sh\nexit 1\n"), (True, "#!/no/such/python\n"), (True, None)],
    ids=["no stamp", "python fails", "python does not start", "no python"],
)
def test_a_broken_environment_is_made_anew(checkout: Path, stamp: bool, script: str | None) -> None:
    _broken(checkout / ".venv", stamp=stamp, script=script)
    done = _run(checkout, "toy", "--stage", "3", **_stubs())
    assert done.returncode == 0, done.stderr
    assert "setting up" in done.stdout
    assert done.stdout.endswith("ran with: --stage 3\n")
    again = _run(checkout, "toy", **_stubs())
    assert (again.returncode, again.stdout) == (0, "ran with:\n")


@pytest.mark.fault(
    "Environment",
    "a pip that is too new for a dependency",
    "the environment gets one that fits before anything else",
)
def test_pip_is_brought_to_a_version_that_fits_first(checkout: Path) -> None:
    assert _run(checkout, "toy", **_stubs()).returncode == 0
    first, second, _ = (checkout / ".venv/bin/python.log").read_text().splitlines()
    assert first.endswith("pip>=23.2,<26.3")
    assert f"-e {checkout}[" in second


@pytest.mark.fault(
    "Environment",
    "no network while the environment is set up, at any of its steps",
    "an error that says what to do, and no environment that is taken for whole",
)
@pytest.mark.parametrize("step", ["'pip>=23.2'", "' -e '"])
def test_an_installation_that_fails_says_what_to_do(checkout: Path, step: str) -> None:
    done = _run(checkout, "toy", **_stubs(fails=step))
    assert done.returncode == 1
    assert "Without a network, give pip a mirror" in done.stderr
    assert "ran with" not in done.stdout
    done = _run(checkout, "toy", **_stubs())
    assert "setting up" in done.stdout
    assert done.stdout.endswith("ran with:\n")


def _whole(checkout: Path) -> None:
    _broken(checkout / ".venv", stamp=True, script="#!/bin/sh\nexit 0\n")


@pytest.mark.fault(
    "Environment",
    "run.sh called by a symbolic link, from another folder, with CDPATH set, or without HOME",
    "it finds its checkout",
)
@pytest.mark.parametrize("links", [0, 1, 2])
def test_run_sh_finds_its_checkout(checkout: Path, tmp_path: Path, links: int) -> None:
    _whole(checkout)
    script = Path("checkout") / "run.sh"
    for number in range(links):  # the first is relative
        (tmp_path / f"link{number}").symlink_to(tmp_path / script if number else script)
        script = Path(f"link{number}")
    (tmp_path / "elsewhere" / "checkout").mkdir(parents=True)
    done = subprocess.run(
        ["bash", str(script), "toy", "a b", "'c'"],
        env={"PATH": os.environ["PATH"], "CDPATH": str(tmp_path / "elsewhere")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ran with: a b 'c'\n"


@pytest.mark.fault(
    "Environment", "a checkout whose path has spaces, quotes and umlauts", "it is set up and runs"
)
def test_a_checkout_may_lie_anywhere(checkout: Path) -> None:
    odd = checkout.rename(checkout.parent / 'it\'s "ä" $HOME & [co]')
    done = _run(odd, "toy", "--stage", "3", **_stubs())
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("ran with: --stage 3\n")


@pytest.mark.fault(
    "Environment",
    "a checkout that cannot be written to",
    "an error that says so before the installation; an environment that is there is used",
)
def test_a_checkout_that_cannot_be_written_to_is_named(checkout: Path) -> None:
    if os.geteuid() == 0:
        refuse = 'test() { case "$1 $2" in "-w "*) false ;; *) builtin test "$@" ;; esac; }\n'
        text = (checkout / "run.sh").read_text().replace('[ -w "$root" ]', 'test -w "$root"')
        (checkout / "run.sh").write_text(text.replace("set -euo", refuse + "set -euo"))
    checkout.chmod(0o555)
    done = _run(checkout, "toy", **_stubs())
    checkout.chmod(0o755)
    assert done.returncode == 1
    assert f"{checkout} cannot be written to" in done.stderr
    assert "setting up" not in done.stdout
    _whole(checkout)
    assert _run(checkout, "toy").stdout == "ran with:\n"


@pytest.mark.parametrize("version", ["3.9", "python3", ""])
def test_a_python_that_is_not_known_is_named(checkout: Path, version: str) -> None:
    done = _run(checkout, "--python", version, "toy")
    assert done.returncode == 1
    assert f"--python takes 3.10, 3.11, 3.12 or 3.13, not '{version}'" in done.stderr


@pytest.mark.fault(
    "Environment",
    "a Python on the PATH that does not run, and one of pyenv that does",
    "the one that runs",
)
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
