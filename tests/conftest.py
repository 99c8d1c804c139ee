"""Fixtures for all tests: real recordings, and utterances with audio made on the spot."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # the other cores have workers of their own
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import soundfile
import torch

import tiny
import tiny_enhancement
from cells_here import run_cells_here
from children.no_network import block_network
from fault_table import collect_faults, read_fault, write_table
from made_once import made_once
from squall.corpora.demo.corpus import write_demo_corpus
from squall.corpora.manifest import Utterance

block_network()

ROOT = Path(__file__).parents[1]

MakeUtterance = Callable[..., Utterance]


_LEFT_OUT = pytest.StashKey[set[str]]()


_reports: list[pytest.TestReport] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults",
        action="store_true",
        help="run the tests of faults, nightly ones too, and write docs/faults.md",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEFT_OUT] = set()
    if config.getoption("--faults"):
        config.option.markexpr = "fault"


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("nightly"):
            item.config.stash[_LEFT_OUT].add(item.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left out"] = sorted(session.config.stash[_LEFT_OUT])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if fault := read_fault(item):
        item.user_properties.append(("fault", fault))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if any(name == "fault" for name, _ in report.user_properties):
        _reports.append(report)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[_LEFT_OUT].update(getattr(node, "workeroutput", {}).get("left out", ()))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if config.getoption("--faults"):
        faults = collect_faults(_reports)
        terminalreporter.write_line(f"{len(faults)} faults in {write_table(faults)}")
    if left_out := config.stash[_LEFT_OUT]:
        terminalreporter.write_line(
            f"left out: {len(left_out)} tests that ./run.sh test -m nightly runs"
        )
        for name in sorted(left_out):
            terminalreporter.write_line(f"  {name}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow tests come first, so that no long one is left when the other cores have ended."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _same_draws_in_any_order() -> None:
    """What a test draws at random does not depend on the tests before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _children_start_quickly() -> Iterator[None]:
    """Processes that tests start begin with `support/children/sitecustomize.py`."""
    with pytest.MonkeyPatch.context() as patch:
        folder = Path(__file__).parent / "support" / "children"
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; a test that asks for it is skipped where there is none."""
    folder = Path(os.environ.get("SQUALL_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; set SQUALL_DATA")
    return folder


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose code the processes of cells run as their only stage, instead of ESPnet's.

    The code finds `experiment` and `report` among its variables.
    """
    code = tmp_path / "stage.py"
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, types\n"
        "from squall.engine.stages import Stage\n"
        "def list_stages(experiment):\n"
        f"    run = lambda report: exec(open({str(code)!r}).read(), locals() | "
        "{'experiment': experiment})\n"
        "    return [Stage(0, 'toy', experiment.directory, run)]\n"
        "module = types.ModuleType('squall.asr.recipe')\n"
        "module.list_stages = list_stages\n"
        "sys.modules['squall.asr.recipe'] = module\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return code


@pytest.fixture
def make_utterance(tmp_path: Path) -> MakeUtterance:
    """Make an utterance whose file, seeded noise of its duration, lies in `tmp_path`."""

    def make(
        id: str,
        *,
        speaker: str = "spk1",
        text: str = "GO ON",
        seconds: float = 0.1,
        rate_hz: int = 16000,
        suffix: str = ".wav",
    ) -> Utterance:
        path = tmp_path / f"{id.replace('/', '_')}{suffix}"
        samples = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * rate_hz))
        soundfile.write(path, samples, rate_hz)
        return Utterance(
            id=id,
            audio_path=str(path),
            start_s=0.0,
            duration_s=len(samples) / rate_hz,
            sample_rate_hz=rate_hz,
            speaker=speaker,
            text=text,
        )

    return make


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`squall run` runs its experiments in this process, see `support/cells_here.py`."""
    monkeypatch.setattr("squall.cli.run.run_cells", run_cells_here)


@pytest.fixture(scope="session")
def demo_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo corpus with 14 training, 4 development and 4 test utterances."""
    pytest.importorskip("espeakng_loader")
    counts = {"train_per_voice": 1, "dev_per_voice": 2, "test_per_voice": 1}
    return (
        made_once(tmp_path_factory, "demo", lambda f: write_demo_corpus(f / "corpus", **counts))
        / "corpus"
    )


@pytest.fixture(scope="session")
def an4_corpus(demo_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 training and 4 test utterances in AN4's layout."""
    return made_once(tmp_path_factory, "an4", lambda f: tiny.write_an4(f, demo_corpus))


@pytest.fixture(scope="session")
def tiny_enhancer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an enhancement experiment with a trained model, see `tiny_enhancer.py`."""
    from tiny_enhancer import write_enhancer

    folder = made_once(tmp_path_factory, "enhancer", write_enhancer)
    (settings,) = folder.rglob("config.yaml")
    return settings.parent


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny `corpus` and `noise` of `support/tiny_enhancement.py`."""
    return made_once(tmp_path_factory, "enhancement", tiny_enhancement.write)
