"""Files of tensors are whole, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from squall.networks.checkpoint import Checkpoint
from squall.networks.tensors import read_tensors, write_tensors

VALUE = {"weights": torch.arange(50.0), "epoch": 3, "name": "first"}


def _same(found: object) -> bool:
    return (
        isinstance(found, dict)
        and found.keys() == VALUE.keys()
        and torch.equal(found["weights"], VALUE["weights"])  # type: ignore[arg-type]
        and (found["epoch"], found["name"]) == (3, "first")
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.pt", VALUE)
    assert _same(read_tensors(tmp_path / "a.pt", remedy=""))
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "b.pt", remedy="")


@pytest.mark.fault(
    "State", "weights with any one bit flipped, which torch.load takes",
    "an error that names the file, or the same weights",
)  # fmt: skip
def test_no_flipped_bit_gives_other_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_tensors(path, VALUE)
    whole = path.read_bytes()
    refused = 0
    for position in range(0, len(whole), 3):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            assert _same(read_tensors(path, remedy="do it again")), position
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
            assert str(error).endswith("do it again")  # noqa: PT017
            refused += 1
    weights = whole.find(VALUE["weights"].numpy().tobytes())  # type: ignore[attr-defined]
    assert weights > 0
    assert refused > 50 * 4 / 3


@pytest.mark.fault("State", "a checkpoint that is cut off anywhere", "an error that names it")
def test_a_checkpoint_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    Checkpoint(path, "one").write({"weights": torch.arange(50.0)})
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.pt is damaged.*remove it"):
            Checkpoint(path, "one").read()
