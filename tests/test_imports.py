"""What may import what: the floors of src/squall, no circles, libraries that can be lifted out."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import squall

SOURCE = Path(squall.__path__[0])
FLOORS = (
    {"losses", "kernels", "scoring", "theory", "files", "workers", "settings"},
    {"networks", "report", "audio", "text"},
    {"corpora", "sklearn"},
    {"engine"},
    {"classification"},
    {"asr", "enhance", "studies"},
    {"cli"},
)
"""From the ground up: an import goes to a lower floor, or stays in its room."""

LIBRARIES = ("losses", "kernels", "scoring", "theory")
LIST_MODULES = (
    "import sys, json, importlib; importlib.import_module(sys.argv[1]); "
    "print(json.dumps(sorted(sys.modules)))"
)

Graph = dict[str, set[str]]


def _modules(source: Path) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    paths = {path: path.relative_to(source.parent).with_suffix("") for path in source.rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): p for p, name in paths.items()}


def _imported(path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """The modules that a file imports anywhere in it, in functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _graph(source: Path) -> Graph:
    modules = _modules(source)
    return {
        name: {other for other in _imported(path, modules) if other in modules and other != name}
        for name, path in modules.items()
    }


def _siblings(graph: Graph) -> dict[str, Graph]:
    """For each folder the imports between what it holds: its files and the folders in it."""
    found: dict[str, Graph] = {}
    for one, others in graph.items():
        for other in others:
            a, b = one.split("."), other.split(".")
            shared = 0
            while shared < min(len(a), len(b)) and a[shared] == b[shared]:
                shared += 1
            if shared < min(len(a), len(b)):
                inside = found.setdefault(".".join(a[:shared]), {})
                inside.setdefault(a[shared], set()).add(b[shared])
    return found


def _circle(graph: Graph) -> list[str]:
    """The names on one circle of a graph; none where there is none."""
    done: set[str] = set()

    def follow(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if circle := follow(other, [*trail, name]):
                return circle
        done.add(name)
        return []

    for name in sorted(graph):
        if circle := follow(name, []):
            return circle
    return []


def _upward(graph: Graph) -> list[str]:
    """The imports that go to a floor that is not lower, except within a room."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    return sorted(
        f"{one} imports {other}"
        for one, others in graph.items()
        for other in others
        if (rooms := (one.split(".")[1:2], other.split(".")[1:2])) and all(rooms)
        if rooms[0] != rooms[1] and rooms[0] != ["__main__"]
        if floor[rooms[0][0]] <= floor[rooms[1][0]]
    )


def _loaded_by(module: str) -> set[str]:
    command = [sys.executable, "-c", LIST_MODULES, module]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_every_room_has_a_floor() -> None:
    rooms = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__main__", "__pycache__"} == set().union(*FLOORS)


def test_no_import_runs_upwards() -> None:
    assert _upward(_graph(SOURCE)) == []


def test_there_is_no_circle_among_files() -> None:
    assert _circle(_graph(SOURCE)) == []


@pytest.mark.slow
def test_there_is_no_circle_among_what_a_folder_holds() -> None:
    circles = {folder: _circle(graph) for folder, graph in _siblings(_graph(SOURCE)).items()}
    assert {folder: circle for folder, circle in circles.items() if circle} == {}


@pytest.mark.slow
def test_a_study_imports_no_other_study() -> None:
    studies = {path.name for path in (SOURCE / "studies").iterdir() if path.is_dir()}
    between = _siblings(_graph(SOURCE))["squall.studies"]
    assert {one: others & studies for one, others in between.items() if others & studies} == {}


def test_one_module_imports_espnet() -> None:
    users = [
        name
        for name, path in _modules(SOURCE).items()
        if any(m.partition(".")[0] in ("espnet", "espnet2") for m in _imported(path, {}))
    ]
    assert users == ["squall.asr.bridge.espnet"]


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_imports_nothing_of_the_project(library: str) -> None:
    room = f"squall.{library}"
    ours = {name for name in _loaded_by(room) if name.startswith("squall.")}
    assert {name for name in ours if not name.startswith(room)} == set()
    graph = _graph(SOURCE)
    others = {o for name, found in graph.items() if name.startswith(room) for o in found}
    assert {name for name in others if not name.startswith(room)} == set()


@pytest.mark.slow
def test_enhancement_needs_no_espnet() -> None:
    assert _loaded_by("squall.enhance.recipe") & {"espnet", "espnet2"} == set()


def test_manifests_need_neither_espnet_nor_torch() -> None:
    assert _loaded_by("squall.corpora.validation") & {"espnet", "espnet2", "torch"} == set()


def test_theory_needs_no_torch() -> None:
    assert _loaded_by("squall.theory") & {"torch"} == set()


def test_the_layout_can_be_seen_at_a_glance() -> None:
    assert len([path for path in SOURCE.iterdir() if path.suffix == ".py"]) <= 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "added", "broken"),
    [
        ("files.py", "from squall.settings import Settings", "_circle"),
        ("report/page.py", "def f():\n    from squall.engine import stages", "_upward"),
        ("audio/masks.py", "import squall.cli", "_upward"),
        ("engine/stages.py", "from squall.engine.runner import Cell", "_circle"),
    ],
)
def test_a_wrong_import_would_be_found(
    tmp_path: Path, changed: str, added: str, broken: str
) -> None:
    """The checks above on a copy with an import that should not be."""
    for path in SOURCE.rglob("*.py"):
        copy = tmp_path / "squall" / path.relative_to(SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    file = tmp_path / "squall" / changed
    file.write_text(file.read_text() + f"\n{added}\n")
    if changed == "files.py":  # which imports it back only here
        other = tmp_path / "squall" / "settings.py"
        other.write_text(other.read_text() + "\nfrom squall.files import atomic_write\n")
    graph = _graph(tmp_path / "squall")
    assert {"_circle": _circle, "_upward": _upward}[broken](graph)
