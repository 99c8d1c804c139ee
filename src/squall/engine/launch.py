"""How a command was started: alone, or side by side with the same one on other machines.

`torchrun` starts a command several times and tells each copy its place by environment variables.
The one of rank 0 leads: it alone goes through the stages. The others wait until it begins a
training, take part in that, and end when it does. They hear of it from a board, which is torch's
`TCPStore` at the address that all have been given.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from squall.settings import ConfigError

__all__ = ["Board", "Launch", "leading"]

_START_TIMEOUT = timedelta(minutes=30)
_POLL_S = 0.5
_LEAVING_S = 30.0


@dataclass(frozen=True)
class Launch:
    """The place of this command among those that were started together.

    Args:
        rank: its number; 0 leads.
        size: how many there are.
        local_rank: its number among those on its machine.
        local_size: how many there are on each machine.
        address, port: where the board is.
        agent: whether torchrun itself keeps the board.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    address: str = "127.0.0.1"
    port: int = 0
    agent: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Launch:
        """The place that torchrun's variables tell: `WORLD_SIZE`, `RANK`, `MASTER_ADDR`, ...

        Raises:
            ConfigError: a variable is missing or is not a number that fits.
        """
        size = _number(environment, "WORLD_SIZE", 1)
        if size == 1:
            return cls()
        missing = [n for n in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.get(n)]
        if missing:
            raise ConfigError(
                f"WORLD_SIZE is {size}, but {' and '.join(missing)} is not set: start the command "
                "under torchrun, set all four, or unset WORLD_SIZE"
            )
        launch = cls(
            rank=_number(environment, "RANK", 0),
            size=size,
            local_rank=_number(environment, "LOCAL_RANK", 0),
            local_size=_number(environment, "LOCAL_WORLD_SIZE", 1),
            address=environment["MASTER_ADDR"],
            port=_number(environment, "MASTER_PORT", 0),
            agent=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        )
        if not launch.rank < size or not launch.local_size or size % launch.local_size:
            raise ConfigError(
                f"RANK {launch.rank}, WORLD_SIZE {size} and LOCAL_WORLD_SIZE {launch.local_size} "
                "do not fit: ranks count from 0, and every machine has as many commands"
            )
        return launch

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.size // self.local_size


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal():
        raise ConfigError(f"the environment variable {name} is {text!r}, not a number")
    return int(text)


class Board:
    """Where the leading command tells the others what it begins, and all tell what failed.

    Args:
        launch: the place of this command; a client connects for up to half an hour.
        keeps: whether this process keeps the board for the others.
    """

    def __init__(self, launch: Launch, *, keeps: bool = False) -> None:
        import torch.distributed

        # Any: torch's stub lacks some of its methods.
        self._store: Any = torch.distributed.TCPStore(  # type: ignore[attr-defined]
            launch.address,
            launch.port,
            is_master=keeps,
            wait_for_workers=False,
            timeout=_START_TIMEOUT,
        )

    def announce(self, job: Mapping[str, Any]) -> int:
        """Tell the others of a training; its number, from 1."""
        number = int(self._store.add("squall jobs", 1))
        self._store.set(f"squall job {number}", json.dumps(job))
        return number

    def wait_for(self, number: int) -> dict[str, Any] | None:
        """The training of that number as soon as it is announced, None when none will be.

        Raises:
            RuntimeError: the leading command has gone.
        """
        key = f"squall job {number}"
        try:
            while not self._store.check([key]):
                if self._store.check(["squall over"]):
                    return None
                time.sleep(_POLL_S)
            job: dict[str, Any] = json.loads(self._store.get(key))
        except RuntimeError as error:
            raise RuntimeError(f"the command of rank 0 has gone ({error})") from error
        return job

    def fail(self, number: int, message: str) -> None:
        """Tell that a training failed here, in one line."""
        self._store.append(f"squall failure {number}", " ".join(message.split()) + "\n")

    def failures(self, number: int) -> list[str]:
        """What has been told of a training by `fail`."""
        key = f"squall failure {number}"
        found = self._store.get(key).decode() if self._store.check([key]) else ""
        return found.splitlines()

    def leave(self) -> None:
        """Tell that this command ends; the keeper of the board waits for that."""
        self._store.add("squall left", 1)

    def close(self, others: int) -> None:
        """Tell the others that no training comes any more, and wait a while until they know."""
        self._store.set("squall over", "")
        deadline = time.monotonic() + _LEAVING_S
        while self._store.add("squall left", 0) < others and time.monotonic() < deadline:
            time.sleep(_POLL_S)


@contextmanager
def leading(launch: Launch) -> Iterator[None]:
    """Keep the board, if there are others, as long as the leading command works."""
    if launch.size == 1:
        yield
        return
    board = Board(launch, keeps=not launch.agent)
    try:
        yield
    finally:
        board.close(launch.size - 1)
