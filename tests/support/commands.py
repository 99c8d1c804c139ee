"""What the commands of a recipe print, and the stages of its tasks."""

from __future__ import annotations

RECOGNITION = ["check", "prepare", "tokens", "stats", "lm", "train", "decode", "score"]
ENHANCEMENT = ["check", "prepare", "mix", "features", "tune", "train", "enhance", "score"]


def numbered(stages: list[str]) -> list[str]:
    """The stages as they are told, e.g. `5 train`."""
    return [f"{number} {name}" for number, name in enumerate(stages)]


def work_done(out: str) -> list[str]:
    """The stages that did not skip, e.g. `5 train`, each as often as it was run; sorted."""
    done = [line for line in out.splitlines() if ": done in " in line]
    return sorted(line.split("] ")[1].split(":")[0] for line in done)
