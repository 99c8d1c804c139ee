"""When a training is continued, and when it is put aside for another one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("espnet2")

from squall.asr.training import begin_or_continue

NOW: dict[str, Any] = {
    "settings": {"seed": 1},
    "inputs": {"tokens.txt": "12", "train.jsonl": "34"},
    "audio": {"train": "56"},
}


def _continued(folder: Path, before: dict[str, Any] | None) -> bool:
    """Whether a training that recorded `before` is continued."""
    folder.mkdir()
    (folder / "checkpoint.pth").write_text("weights")
    if before is not None:
        (folder / "started.json").write_text(json.dumps(before))
    begin_or_continue(folder, NOW)
    assert json.loads((folder / "started.json").read_text()) == NOW
    return (folder / "checkpoint.pth").exists()


@pytest.mark.parametrize(
    "before",
    [
        NOW,
        {"settings": {"seed": 1}, "inputs": NOW["inputs"]},
        {"settings": {"seed": 1}, "inputs": {"tokens.txt": "12"}},
    ],
    ids=["the same", "no audio", "fewer inputs"],
)
def test_a_training_of_an_earlier_version_is_continued(
    tmp_path: Path, before: dict[str, Any]
) -> None:
    assert _continued(tmp_path / "train", before)


@pytest.mark.parametrize(
    "before",
    [
        None,
        {**NOW, "settings": {"seed": 2}},
        {**NOW, "settings": {}},
        {**NOW, "inputs": {"tokens.txt": "other"}},
        {**NOW, "inputs": {**NOW["inputs"], "more.txt": "78"}},
        {**NOW, "audio": {"train": "other"}},
    ],
    ids=["unknown", "seed", "settings", "input", "more inputs", "audio"],
)
def test_another_training_is_put_aside(tmp_path: Path, before: dict[str, Any] | None) -> None:
    assert not _continued(tmp_path / "train", before)
    assert (tmp_path / "train.before-1" / "checkpoint.pth").exists()
