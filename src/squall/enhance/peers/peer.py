"""What is known of an off-the-shelf enhancer, and whether it is installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

__all__ = ["Enhance", "Peer", "PeerError", "Samples", "find_version"]

Samples = NDArray[np.float32]

Enhance = Callable[[Samples], Samples]
"""Takes (N,) noisy samples and gives (N,) enhanced ones, in step with them."""


class PeerError(RuntimeError):
    """An off-the-shelf enhancer gives nothing for a signal; the message says why."""


@dataclass(frozen=True)
class Peer:
    """An off-the-shelf enhancer.

    Args:
        title: what it is called.
        path: `module:function`; the function loads it and gives an `Enhance` at its own rate.
        packages: the distributions that must be installed, the one that it comes in first; none
            where it is part of squall.
        version: of the first of them, with which it was tried.
        install: the command that installs them.
        sample_rate_hz: its own sampling rate.
        latency_ms: how much of the signal behind a sample has to be known before the sample can be
            given, in a stream: window and look-ahead, without resampling and computing.
        parameters: how many numbers were learned or are stored in its model; 0 for none.
        trained_on: the recordings.
        licence: of code and model.
        source: where it is described, and the code.
    """

    title: str
    path: str
    packages: tuple[str, ...]
    version: str
    install: str
    sample_rate_hz: int
    latency_ms: float
    parameters: int
    trained_on: str
    licence: str
    source: str

    @property
    def installed(self) -> dict[str, str | None]:
        """The version of each of its packages that is installed; None for one that is not."""
        return {package: find_version(package) for package in self.packages}

    @property
    def missing(self) -> str:
        """Why it cannot be run here, with what to do; empty where its packages are installed."""
        return f"not installed: {self.install}" if None in self.installed.values() else ""


def find_version(distribution: str) -> str | None:
    """The version of an installed distribution; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
