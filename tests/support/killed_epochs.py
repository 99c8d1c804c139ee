"""Trainings that are killed at the beginning of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest

from squall.networks import loop


class KilledError(RuntimeError):
    """What stops a training here."""


def kill_epochs(
    monkeypatch: pytest.MonkeyPatch, numbers: Collection[int], run: Callable[[], object]
) -> list[int]:
    """Run until it comes to its end, after it was killed at the beginning of some epochs.

    Args:
        monkeypatch: the test's.
        numbers: of the epochs that are killed, counted from 1 over all trainings.
        run: called once more than there are numbers.

    Returns:
        The epochs that were begun, in order.
    """
    plain, begun = loop._train_one, []

    def train_one(*arguments: Any) -> Any:
        begun.append(arguments[1])
        if len(begun) in numbers:
            raise KilledError
        return plain(*arguments)

    monkeypatch.setattr(loop, "_train_one", train_one)
    for _ in numbers:
        with pytest.raises(KilledError):
            run()
    run()
    return begun
