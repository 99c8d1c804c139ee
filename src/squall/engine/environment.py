"""The environment stamp: commit, versions, hardware, command and date."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["commit_mark", "environment", "hardware"]


_WRITTEN = ("results.json", "RESULTS.md", "PEERS.md")


_STAMPED = ("squall", "torch", "torchaudio", "espnet", "sentencepiece", "numpy", "rapidfuzz")


def environment(*, command: str) -> dict[str, Any]:
    """What a number needs beside it: commit, versions, hardware, command and date.

    `dirty` says whether a tracked file differs from the commit. The results that the program writes
    into `recipes` do not count: after one run the next would be dirty, though no code had changed.
    """
    return {
        "command": command,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **_commit(),
        "python": platform.python_version(),
        "platform": platform.system() + " " + platform.machine(),
        "versions": {name: _version(name) for name in _STAMPED},
        "hardware": hardware(),
    }


def commit_mark(stamp: Mapping[str, Any]) -> str:
    """The commit of an environment stamp, with `+` behind it where files had been changed."""
    return str(stamp["commit"]) + ("+" if stamp["dirty"] else "")


def hardware() -> str:
    """The machine in one line: processor, cores and, if there is one, the GPU."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        model = names[0] if names else model
    except OSError:
        pass
    text = f"{model}, {os.cpu_count()} cores"
    gpu = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return f"{text}, {gpu.splitlines()[0]}" if gpu else text


def _commit() -> dict[str, Any]:
    root = str(Path(__file__).parent)
    commit = _output("git", "-C", root, "rev-parse", "HEAD")
    code = [":/", *(f":(top,exclude)recipes/*/{name}" for name in _WRITTEN)]
    dirty = _output("git", "-C", root, "status", "--porcelain", "--untracked-files=no", "--", *code)
    return {"commit": commit or "unknown", "dirty": bool(dirty)}


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
