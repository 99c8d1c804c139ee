"""Files of tensors: written whole, and read without running what is in them.

A file of `torch.save` is a zip archive with checksums, which `torch.load` does not compare: a
flipped bit among the weights would pass, and give other numbers.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from squall.files import atomic_path

__all__ = ["check_tensors", "load_weights", "read_tensors", "write_tensors"]


def write_tensors(path: Path, value: Any) -> None:
    """Replace a file by tensors, numbers, strings, and lists and dicts of them."""
    with atomic_path(path) as temporary:
        torch.save(value, temporary)


def read_tensors(path: Path, *, remedy: str) -> Any:
    """What `write_tensors` wrote, on the CPU.

    Args:
        path: the file.
        remedy: what to do where the file is damaged, for the message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds something else; the message has the file and the remedy.
    """
    try:
        check_tensors(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises many kinds, none its own
        said = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} is damaged, or holds more than tensors and numbers: {said}; {remedy}"
        ) from error


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Load the weights of a network, which `write_tensors` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds those of another network; the message has the file.
    """
    weights = read_tensors(path, remedy="train again, or copy it again")
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        said = str(error).partition("\n")[0]
        raise ValueError(f"{path} holds the weights of another network: {said}") from error


def check_tensors(path: Path) -> None:
    """Compare the checksums of a file that `torch.save` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged; the message does not name it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ValueError(f"cut off, or no file of tensors ({error})") from error
    if bad is not None:
        raise ValueError(f"the checksum of {bad} differs")
