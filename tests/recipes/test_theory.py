"""The recipes of the theory studies run all their stages on small data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from squall.report.records import Record, read_records
from tiny_images import write_bright_images
from tiny_studies import MIXTURES

pytest.importorskip("matplotlib")

Squall = Callable[..., tuple[int, str, str]]

ASYMPTOTICS: dict[str, Any] = {
    "study.grids": {
        "few": {"classes": [3], "beta": [0.5, 4.0], "features": [30, 60], "rescale": [1, 10]},
        "noisy": {
            "classes": [3],
            "beta": [0.5],
            "label_noise": [1.0],
            "features": [30],
            "rescale": [1],
        },
    },
    "study.seeds": 2,
    "study.samples": 500,
    "study.descent.steps": 5,
    "study.vamp.iterations": 20,
    "study.vamp.followed": 2,
    "study.equations_size": 40,
    "seed": 3,
}

IMAGES: dict[str, Any] = {
    "study.images": {
        "classes": [3, 5],
        "per_class": 10,
        "rescale": [1, 10],
        "minimised": 30,
        "ridges": [0.1],
    },
    "study.seeds": 2,
    "study.descent.steps": 5,
    "seed": 3,
}


def records_of(tmp_path: Path) -> list[Record]:
    return read_records(tmp_path / "results" / "results.json")


@pytest.mark.slow
def test_asymptotics(squall: Squall, tmp_path: Path) -> None:
    code, out, err = squall("asymptotics", "--workers", 1, settings=ASYMPTOTICS)
    assert code == 0, err
    # predictions of three settings, equations for two seeds, minima of sizes and seeds
    assert f"{3 + 3 * 2 + (2 * 2 + 1) * 2} simulations in 1 processes" in out
    records = records_of(tmp_path)
    accuracies = {
        (r.system, r.condition, r.seed): r.number for r in records if r.metric == "accuracy"
    }
    few = "k 3, beta 4, noise 0, lambda 1e-05, "
    assert {key[0] for key in accuracies} == {
        *("printed", "corrected", "convex"),
        *("least_squares", "random", "vamp", "gradient_descent"),
    }
    assert {key[2] for key in accuracies} == {3, 4}
    assert ("gradient_descent", few + "R 10, d 60", 4) in accuracies
    assert ("least_squares", few + "R 1, d 60", 4) in accuracies
    assert ("least_squares", few + "R 10, d 60", 4) not in accuracies
    assert ("corrected", few + "R 10", 3) in accuracies
    text = (tmp_path / "results" / "RESULTS.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| prox of the objective, y"))
    assert row.endswith("| holds with a correction |")
    assert "## figures: accuracy % in the limit" in text
    page = (tmp_path / "exp" / "asymptotics" / "report.html").read_text()
    assert page.count("<svg") == 5  # two of `few`, one of `noisy`, iterations, the prox


@pytest.mark.slow
def test_asymptotics_goes_on_to_the_same_numbers(squall: Squall, tmp_path: Path) -> None:
    arguments = ("asymptotics", "--workers", 1, "--stop-stage", 5)
    settings = ASYMPTOTICS | {"study.grids": {"noisy": ASYMPTOTICS["study.grids"]["noisy"]}}
    assert squall(*arguments, settings=settings)[0] == 0
    (path,) = (tmp_path / "exp").rglob("numbers.json")
    whole = json.loads(path.read_text())
    simulations = path.parent / "simulations"
    kept = sorted(simulations.iterdir())[::2]
    for one in set(simulations.iterdir()) - set(kept):
        one.unlink()
    path.unlink()  # as if it had been killed
    times = [one.stat().st_mtime_ns for one in kept]
    assert squall(*arguments, settings=settings)[0] == 0
    assert json.loads(path.read_text()) == whole
    assert [one.stat().st_mtime_ns for one in kept] == times


@pytest.mark.slow
def test_asymptotics_on_images(squall: Squall, tmp_path: Path) -> None:
    folder = write_bright_images(tmp_path / "bright", classes=6, train=120, test=60)
    arguments = ("asymptotics", "--preset", "cifar100", "--corpus-dir", folder, "--workers", 1)
    code, out, err = squall(*arguments, settings=IMAGES)
    assert code == 0, err
    assert "4 simulations in 1 processes" in out
    records = records_of(tmp_path)
    assert {(r.dataset, r.seed) for r in records} == {("cifar100-part", 3), ("cifar100-part", 4)}
    by_system = {s: [r for r in records if r.system == s] for s in ("random", "gradient_descent")}
    conditions = {r.condition for r in by_system["gradient_descent"]}
    at = "images: k {}, n {}, d 64, lambda 1e-05, R {}, start {}"
    assert conditions == {
        at.format(k, 10 * k, R, start)
        for k in (3, 5) for R in (1, 10) for start in (0.01, 0.1, 1)
    }  # fmt: skip
    reasons = {r.condition[:11]: r.reason for r in by_system["random"] if r.metric == "accuracy"}
    assert reasons["images: k 3"] == ""
    assert "50 training images are more" in reasons["images: k 5"]
    text = (tmp_path / "results" / "RESULTS.md").read_text()
    assert "## cifar100: images: R > 1 helps by more than 15 points" in text
    page = (tmp_path / "exp" / "asymptotics" / "report.html").read_text()
    assert page.count("<svg") == 1  # no prox, no message passing

    # What is there is used, until the images are others.
    (simulations,) = (tmp_path / "exp").rglob("simulations")
    times = {one: one.stat().st_mtime_ns for one in simulations.iterdir()}
    next(simulations.iterdir()).unlink()
    (simulations.parent / "numbers.json").unlink()  # as if it had been killed
    assert squall(*arguments, settings=IMAGES)[0] == 0
    assert records_of(tmp_path) == records
    again = {one: one.stat().st_mtime_ns for one in simulations.iterdir()}
    assert sum(again[one] == times[one] for one in times) == 3
    write_bright_images(folder, classes=6, train=120, test=60, brighter=20)
    assert squall(*arguments, settings=IMAGES)[0] == 0
    assert len(list(simulations.iterdir())) == 8
    assert records_of(tmp_path) != records


def test_asymptotics_names_images_that_cannot_be_used(squall: Squall, tmp_path: Path) -> None:
    folder = write_bright_images(tmp_path / "bright")
    preset = ("asymptotics", "--preset", "cifar100", "--stop-stage", 0, "--corpus-dir")
    code, _, err = squall(*preset, tmp_path / "nowhere", settings=IMAGES)
    assert code != 0
    assert "nowhere does not exist: give the images with --corpus-dir" in err
    code, _, err = squall(*preset, folder, settings=IMAGES)
    assert code != 0
    assert "study.images.classes has 5; the set has 4" in err
    code, _, err = squall("asymptotics", "--stop-stage", 0, "--corpus-dir", folder)
    assert code != 0
    assert "figures draws its data" in err


def test_a_setting_that_cannot_be_is_named(squall: Squall) -> None:
    code, _, err = squall("asymptotics", settings={"study.grids": {"few": {"beta": [-1.0]}}})
    assert code != 0
    assert "beta is -1" in err


@pytest.mark.slow
def test_mixtures(squall: Squall, tmp_path: Path) -> None:
    code, out, err = squall("mixtures", "--workers", 2, settings=MIXTURES, processes=True)
    assert code == 0, err
    # two mixtures of paths; with three noises 3 classes of both centres, 8 of random ones
    assert f"{2 * 2 + 3 * 3 * 2} simulations in 2 processes" in out
    records = records_of(tmp_path)
    assert {r.seed for r in records} == {1, 2}
    assert {r.metric for r in records} == {"equation", "accuracy", "train_accuracy", "train_steps"}
    text = (tmp_path / "results" / "RESULTS.md").read_text()
    rows = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert rows["| 3.4: minimum of QL"].endswith("| holds with a correction |")
    assert rows["| 3.5: bound of min CCQL"].endswith("| holds with a correction |")
    bounded = "| 3.2: cross-entropy at R = log(K/eps)/g, bounded noise"
    assert rows[bounded].endswith("| holds |")
    assert "## lemmas: training time against test accuracy" in text
    page = (tmp_path / "exp" / "mixtures" / "report.html").read_text()
    assert page.count("<svg") == 1
