"""What a run trains on: `--device`, `--gpus`, `--nodes` and torchrun's variables."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch

from squall.cli import main
from squall.cli.devices import check_launch, check_options, device_of, gpus_of
from squall.engine.experiment import RunOptions
from squall.engine.launch import Launch
from squall.engine.runner import Cell
from squall.engine.tasks import OPTIONS, TASKS, load_config
from squall.settings import ConfigError

TWO_NODES = Launch(rank=0, size=2)
TWO_ON_ONE = Launch(rank=0, size=2, local_size=2)


def _options(**given: object) -> argparse.Namespace:
    names = ("device", "gpus", "nodes", "cluster", "jobs", *OPTIONS)
    return argparse.Namespace(recipe="toy", **{name: given.get(name) for name in names})


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(
    ("given", "launch", "device", "gpus"),
    [
        ({}, Launch(), "cpu", 0),
        ({"device": "cpu"}, Launch(), "cpu", 0),
        ({"device": "cuda"}, Launch(), "cuda", 1),
        ({"gpus": 1}, Launch(), "cuda", 1),
        ({"gpus": 4}, Launch(), "cuda", 4),
        ({"gpus": 4, "device": "cuda"}, Launch(), "cuda", 4),
        ({"gpus": 4}, TWO_NODES, "cuda", 4),
        ({"gpus": 4}, TWO_ON_ONE, "cuda", 2),
        ({"device": "cuda"}, TWO_ON_ONE, "cuda", 1),
        ({}, TWO_ON_ONE, "cpu", 0),
        ({"gpus": 8, "cluster": ["slurm"]}, Launch(), "cuda", 8),
    ],
)
def test_gpus_are_those_asked_for(
    given: dict[str, object], launch: Launch, device: str, gpus: int
) -> None:
    options = _options(**given)
    assert device_of(options) == device
    assert gpus_of(options, launch) == gpus


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(
    ("given", "launch", "reason"),
    [
        ({"gpus": 2, "device": "cpu"}, Launch(), "--gpus 2 and --device cpu exclude each other"),
        ({"gpus": 8}, Launch(), "--gpus 8: PyTorch sees 4 CUDA devices here. Give as many"),
        ({"gpus": 3}, TWO_ON_ONE, "--gpus 3 is not a multiple of the 2 commands"),
    ],
)
def test_gpus_that_cannot_be_had_are_an_error(
    given: dict[str, object], launch: Launch, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        gpus_of(_options(**given), launch)


@pytest.mark.parametrize(
    ("given", "launch"),
    [({}, Launch()), ({"nodes": 1}, Launch()), ({"nodes": 2}, TWO_NODES), ({}, TWO_NODES),
     ({"nodes": 1}, TWO_ON_ONE)],
)  # fmt: skip
def test_machines_are_those_of_the_launch(given: dict[str, object], launch: Launch) -> None:
    check_launch(_options(**given), launch)
    check_options(_options(**given), launch, {"recognition"})


@pytest.mark.parametrize(
    ("given", "launch", "reason"),
    [
        ({"nodes": 2}, Launch(), "--nodes 2: the command was started on 1"),
        ({"nodes": 2}, TWO_ON_ONE, "torchrun --nnodes 2 --nproc-per-node 1"),
        ({"cluster": ["slurm"]}, TWO_NODES, "leave torchrun out"),
        ({"jobs": 2}, TWO_NODES, "--jobs 2: under torchrun one experiment trains at a time"),
        ({"jobs": 2, "cluster": ["slurm"]}, Launch(), "slurm_array_parallelism"),
    ],
)
def test_a_launch_that_does_not_fit_is_an_error(
    given: dict[str, object], launch: Launch, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_launch(_options(**given), launch)


GIVEN = {"device": "cuda", "gpus": 2, "nodes": 2, "download": True, "noise_dir": "noise",
         "skip_bad": True, "corpus_dir": ["corpus"], "subset": "mini", "workers": 2}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_honoured_or_refused_with_a_sentence(task: str, option: str) -> None:
    options = _options(**{option: GIVEN[option]})
    if option in TASKS[task].supports:
        check_options(options, Launch(), {task})
        return
    able = [name for name, one in TASKS.items() if option in one.supports]
    with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')}: {task} is no task that"):
        check_options(options, Launch(), {task, *able})


def test_one_gpu_is_a_device_and_one_machine_no_launch() -> None:
    check_options(_options(gpus=1, nodes=1, device="cpu"), Launch(), {"enhancement"})
    for task in ("spiral", "tabular"):
        with pytest.raises(ConfigError, match="--device: "):
            check_options(_options(gpus=1), Launch(), {task})


@pytest.mark.parametrize("task", sorted(TASKS.keys() - {"recognition"}))
def test_torchrun_is_refused_by_what_trains_in_one_process(task: str) -> None:
    with pytest.raises(ConfigError, match=r"trains on several machines \(only: recognition\)"):
        check_options(_options(), TWO_NODES, {task})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one recipe of one experiment."""
    (tmp_path / "conf" / "toy").mkdir(parents=True)
    config = "corpus: {name: manifest}\nespnet: {max_epoch: 1}\n"
    (tmp_path / "conf" / "toy" / "small.yaml").write_text(config)
    monkeypatch.setenv("SQUALL_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--gpus", "512"), "--gpus 512: PyTorch sees "),
        (("--gpus", "2", "--device", "cpu"), "exclude each other"),
        (("--nodes", "2"), "--no-python ./run.sh toy ... --nodes 2"),
    ],
)
def test_the_command_line_says_what_to_do(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], reason: str
) -> None:
    assert main(["run", "toy", *arguments]) == 1
    assert reason in capsys.readouterr().err
    assert not (root / "exp").exists()


def test_a_broken_launch_is_told_before_anything_is_made(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    assert main(["run", "toy"]) == 1
    assert "WORLD_SIZE is 2, but RANK" in capsys.readouterr().err
    assert not (root / "exp").exists()


def test_the_number_of_gpus_is_not_in_the_name_of_an_experiment(root: Path) -> None:
    config = load_config(root / "conf" / "toy" / "small.yaml")
    cells = [Cell(config, RunOptions(str(root / "exp"), gpus=gpus)) for gpus in (0, 1, 4)]
    assert len({cell.experiment.directory for cell in cells}) == 1
    assert Cell.from_json(cells[2].to_json()).options.gpus == 4
