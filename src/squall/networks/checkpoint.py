"""A file that keeps the state of a training, so that one that is killed goes on from there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from squall.files import atomic_path

__all__ = ["Checkpoint", "load_weights"]

_FORMAT = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Where a training keeps its state, and how often.

    Args:
        path: the file, which is there as long as nobody removes it.
        stamp: everything that decides the training; a file with another one is not gone on from. A
            mapping, rather than a digest, lets the message say what differs.
        every_s: seconds from one writing to the next, at the end of an epoch; 0 for every epoch.
        refuse_others: whether a file with another stamp, or of an earlier version, is an error; or
            else the training begins anew and overwrites it.
        earlier: brings the contents of a file of an earlier version into the form of this one.
    """

    path: Path
    stamp: str | Mapping[str, Any]
    every_s: float = 0.0
    refuse_others: bool = False
    earlier: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the file by a state: tensors, numbers, strings, and lists and dicts of them."""
        stamp = self.stamp if isinstance(self.stamp, str) else dict(self.stamp)
        with atomic_path(self.path) as temporary:
            torch.save({"format": _FORMAT, "stamp": stamp, "state": state}, temporary)

    def read(self) -> dict[str, Any] | None:
        """The state in the file, on the CPU; None if there is none to go on from.

        Raises:
            ValueError: the file is damaged; or it is not of this training, where that is refused.
        """
        if not self.path.is_file():
            return None
        try:
            contents = torch.load(self.path, map_location="cpu", weights_only=True)
            if self.earlier is not None and "format" not in contents:
                contents = {"format": _FORMAT, **self.earlier(contents)}
        except Exception as error:  # torch raises many kinds, none its own
            raise ValueError(
                f"{self.path} cannot be read as a checkpoint; remove it to begin its training anew"
            ) from error
        other = self._other(contents)
        if other is None:
            state: dict[str, Any] = contents["state"]
            return state
        if self.refuse_others:
            raise ValueError(
                f"{self.path} is a checkpoint of {other}; remove it to begin its training anew"
            )
        _log.warning("%s is a checkpoint of %s: the training begins anew", self.path, other)
        return None

    def _other(self, contents: Any) -> str | None:
        """What the file is of, if it is not of this training."""
        if not isinstance(contents, dict) or contents.get("format") != _FORMAT:
            return "another version of this program"
        stamp = contents["stamp"]
        if stamp == self.stamp:
            return None
        if isinstance(stamp, Mapping) and isinstance(self.stamp, Mapping):
            names = [n for n in {**self.stamp, **stamp} if stamp.get(n) != self.stamp.get(n)]
            return f"a training with other {', '.join(names)}"
        return "another training"


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Load what `torch.save(network.state_dict(), path)` wrote; nothing in the file is run.

    Raises:
        ValueError: the file is missing or damaged, holds more than weights, or those of another
            network.
    """
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many kinds, none its own
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: damaged or missing weights: {reason}") from error
