"""Commands started side by side: their places, and the board between them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from torch.multiprocessing.spawn import ProcessException

import tiny
from squall.asr.bridge import distributed
from squall.engine.launch import Board, Launch, leading
from squall.settings import ConfigError

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
            "MASTER_ADDR": "first", "MASTER_PORT": "29500",
            "TORCHELASTIC_USE_AGENT_STORE": "True"}  # fmt: skip


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at the board or at the processes of a training."""
    monkeypatch.setattr("squall.engine.launch._POLL_S", 0.05)
    monkeypatch.setattr(distributed, "_POLL_S", 0.05)


@pytest.mark.parametrize(
    "environment", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": "1", "RANK": "0"}]
)
def test_a_command_that_is_alone_leads(environment: dict[str, str]) -> None:
    launch = Launch.from_environment(environment)
    assert launch == Launch()
    assert (launch.rank, launch.size, launch.nodes) == (0, 1, 1)


def test_the_place_is_what_torchrun_tells() -> None:
    launch = Launch.from_environment(TORCHRUN)
    assert launch == Launch(5, 8, 1, 4, "first", 29500, agent=True)
    assert launch.nodes == 2


def test_a_person_may_set_the_four_variables() -> None:
    environment = {name: TORCHRUN[name] for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")}
    launch = Launch.from_environment({**environment, "MASTER_PORT": "1234"})
    assert launch == Launch(5, 8, 0, 1, "first", 1234)
    assert launch.nodes == 8


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"RANK": ""}, "WORLD_SIZE is 8, but RANK is not set"),
        ({"MASTER_ADDR": "", "MASTER_PORT": ""}, "MASTER_ADDR and MASTER_PORT is not set"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', not a number"),
        ({"RANK": "-1"}, "RANK is '-1', not a number"),
        ({"RANK": "8"}, "RANK 8, WORLD_SIZE 8 .* do not fit"),
        ({"LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE 3 do not fit"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE 0 .* do not fit"),
    ],
)
def test_variables_that_do_not_fit_are_named(changed: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Launch.from_environment({**TORCHRUN, **changed})


@pytest.fixture
def pair() -> tuple[Launch, Launch]:
    """The places of two commands on this machine."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port = int(tried.getsockname()[1])
    return Launch(0, 2, port=port), Launch(1, 2, port=port)


def _follow(launch: Launch, seen: list[Any]) -> None:
    board, number = Board(launch), 1
    while job := board.wait_for(number):
        seen.append(job)
        board.fail(number, f"no luck\nwith {job['task']}")
        number += 1
    board.leave()
    seen.append("left")


def test_trainings_are_joined_in_their_order_until_the_leader_ends(
    pair: tuple[Launch, Launch],
) -> None:
    seen: list[Any] = []
    other = threading.Thread(target=_follow, args=(pair[1], seen))
    with leading(pair[0]):
        other.start()
        board = Board(pair[0])
        assert [board.announce({"task": name}) for name in ("lm", "asr")] == [1, 2]
        while not board.failures(2):
            assert other.is_alive()
        assert board.failures(1) == ["no luck with lm"]
        assert board.failures(2) == ["no luck with asr"]
    assert seen[:2] == [{"task": "lm"}, {"task": "asr"}]
    other.join(timeout=30)
    assert seen[2:] == ["left"]


def test_the_leaders_failure_ends_the_others_too(pair: tuple[Launch, Launch]) -> None:
    seen: list[Any] = []
    other = threading.Thread(target=_follow, args=(pair[1], seen))
    other.start()

    def fail_while_leading() -> None:
        with leading(pair[0]):
            raise KeyError

    with pytest.raises(KeyError):
        fail_while_leading()
    other.join(timeout=30)
    assert seen == ["left"]


@pytest.mark.slow
def test_a_leader_that_has_gone_is_told(pair: tuple[Launch, Launch]) -> None:
    program = (
        "import sys, time; from squall.engine.launch import Board, Launch; "
        "board = Board(Launch(0, 2, port=int(sys.argv[1])), keeps=True); "
        "print('kept', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(pair[0].port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"kept\n"
        board = Board(pair[1])
        leader.kill()
        leader.wait()
        with pytest.raises(RuntimeError, match="the command of rank 0 has gone"):
            board.wait_for(1)


def test_a_command_that_is_alone_keeps_no_board() -> None:
    with leading(Launch(port=-1)):  # a port that no board could have
        pass


def _job(config: Path) -> dict[str, Any]:
    places = {"task": "SquallTask", "config": str(config), "address": "tcp://127.0.0.1:1"}
    return {**places, "processes": 1, "commands": 2, "threads": 1}


def test_a_failed_training_does_not_keep_from_the_next(
    pair: tuple[Launch, Launch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[str, int]] = []

    def run(job: Any, launch: Launch, on_progress: Any, *, board: Board, number: int) -> None:
        taken.append((Path(job.config).parent.name, number))
        if number == 1:
            raise RuntimeError("no luck")

    monkeypatch.setattr(distributed, "_run_processes", run)
    other = threading.Thread(target=distributed.join_trainings, args=(pair[1],))
    with leading(pair[0]):
        other.start()
        board = Board(pair[0])
        for name in ("lm", "train"):
            board.announce(_job(tmp_path / name / "settings.yaml"))
    other.join(timeout=30)
    assert taken == [("lm", 1), ("train", 2)]
    assert "RuntimeError: no luck" in (tmp_path / "lm" / "rank1.log").read_text()
    assert (tmp_path / "train" / "rank1.log").read_text() == ""


class _Children:
    """Stands for the processes of a training: none ends before `error`, if that is given."""

    def __init__(self, messages: Any, *, error: Exception | None) -> None:
        self.killed = 0
        self.processes = [self]
        self.exitcode = 1
        self._error = error
        if error is not None:
            messages.put(error)

    def join(self, timeout: float | None = None) -> bool:
        if timeout is not None and self._error is not None:
            raise ProcessException("see the messages", 0, 0)
        return False

    def kill(self) -> None:
        self.killed += 1


def _start(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> list[_Children]:
    started: list[_Children] = []

    def start(function: Any, arguments: tuple[Any, ...], **kwargs: Any) -> _Children:
        started.append(_Children(arguments[-1], error=error))
        return started[-1]

    monkeypatch.setattr(distributed, "start_processes", start)
    monkeypatch.setattr(distributed, "_SETTLE_S", 0.1)
    return started


def _run_first_training(launch: Launch, board: Board, config: Path) -> None:
    job = distributed._Job(**_job(config))
    distributed._run_processes(job, launch, lambda *_: None, board=board, number=1)


def test_a_failure_on_another_machine_ends_the_training_here(
    pair: tuple[Launch, Launch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = _start(monkeypatch, None)
    board = Board(pair[0], keeps=True)
    Board(pair[1]).fail(2, "of another training")
    Board(pair[1]).fail(1, "rank 1: the loss is nan")
    with pytest.raises(RuntimeError, match=r"^rank 1: the loss is nan$"):
        _run_first_training(pair[0], board, tmp_path / "settings.yaml")
    assert [children.killed for children in started] == [1]
    assert board.failures(1) == ["rank 1: the loss is nan"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_failure_here_is_told_and_raised(
    pair: tuple[Launch, Launch],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: bool,
) -> None:
    started = _start(monkeypatch, ValueError("bad\nluck"))
    board, other = Board(pair[0], keeps=True), Board(pair[1])
    if elsewhere:
        other.fail(1, "rank 1: the memory is full")
    expected = "rank 1: the memory is full; rank 0: bad luck" if elsewhere else "bad\nluck"
    with pytest.raises(RuntimeError if elsewhere else ValueError, match=f"^{expected}$"):
        _run_first_training(pair[0], board, tmp_path / "settings.yaml")
    assert [children.killed for children in started] == [1]
    assert other.failures(1)[-1] == "rank 0: bad luck"


@pytest.mark.slow
def test_torchrun_trains_in_all_and_runs_the_stages_in_one(
    demo_corpus: Path, tmp_path: Path
) -> None:
    pytest.importorskip("espnet2")
    exp_dir = tmp_path / "exp"
    settings = {
        **tiny.SETTINGS,
        "loss.name": "square",
        "espnet.max_epoch": 1,
        "lm.espnet": "{max_epoch: 1, lm: transformer, lm_conf: {embed_unit: 8, att_unit: 8, "
        "head: 2, unit: 8, layer: 1}, batch_type: sorted, batch_size: 8, use_tensorboard: false}",
    }
    assignments = [part for k, v in settings.items() for part in ("--set", f"{k}={v}")]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "squall", "run", "demo", "--corpus-dir", str(demo_corpus), "--exp-dir", str(exp_dir),
         "--nodes", "1", "--stop-stage", "5", *assignments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for title in ("1 prepare", "3 stats", "4 lm", "5 train"):
        assert done.stdout.count(f"] {title}: not done yet") == 1
        assert done.stdout.count(f"] {title}: done in") == 1
    assert done.stdout.count("starting 2 processes") == 2
    for folder in ("shared/lm-*/lm", "conformer-*/train"):
        (found,) = (exp_dir / "demo").glob(folder)
        assert (found / "model.pth").is_file()
        assert (found / "rank1.log").is_file()
        assert "Traceback" not in (found / "rank1.log").read_text()
