"""Gradient descent and minima on images, their tables, and the verdict on what R gains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from a_record import a_record
from squall.corpora.images import ImageSet, ImageSetError, read_images
from squall.report.records import Record
from squall.report.tables import UNDEFINED
from squall.studies.asymptotics.image_tables import ImageNumbers, image_tables
from squall.studies.asymptotics.images import check_images, draw_images, simulate_images
from squall.studies.asymptotics.settings import (
    AsymptoticsConfig,
    AsymptoticsSettings,
    ImageSettings,
)
from squall.studies.simulations import Number
from squall.theory import gradient_descent, initial_weights, minimise
from tiny_images import bright_images, write_bright_images

SETTINGS = ImageSettings(
    classes=(3, 4), per_class=20, rescale=(1.0, 10.0), starts=(0.1, 1.0), ridges=(0.1, 1.0)
)
STEPS = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bright_images(tmp_path / "bright", classes=4, train=120, test=40, brighter=30)


def simulated(folder: Path, seed: int = 1, **changes: Any) -> list[Number]:
    settings = SETTINGS.model_copy(update=changes)
    return simulate_images(folder, settings, classes=3, steps=STEPS, seed=seed)


def values(numbers: list[Number], metric: str = "accuracy") -> dict[tuple[str, str], float]:
    return {
        (n.system, n.condition.partition("R ")[2]): n.value for n in numbers if n.metric == metric
    }


def test_pixels_are_as_the_study_draws_features(folder: Path) -> None:
    drawn = draw_images(read_images(folder), classes=3, per_class=20, seed=1)
    assert drawn.X.shape == (60, 64)
    assert np.bincount(drawn.labels).tolist() == [20, 20, 20]
    assert np.bincount(drawn.labels_test).tolist() == [10, 10, 10]
    np.testing.assert_allclose(drawn.X.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(drawn.X.var(axis=0), 1 / 64, rtol=1e-9)
    # Test images are on the same scale, and labels belong to them.
    means = np.stack([drawn.X[drawn.labels == k].mean(axis=0) for k in range(3)])
    nearest = ((drawn.X_test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == drawn.labels_test).mean() > 0.6


def test_classes_are_the_first_of_an_order_of_the_seed() -> None:
    labels = np.arange(60) % 6
    images = (40 * labels[:, None, None, None] * np.ones((1, 2, 2, 1))).astype(np.uint8)
    found = ImageSet((images, labels), (images, labels), tuple("abcdef"))

    def order(k: int, seed: int) -> list[float]:
        """The chosen classes, in their new numbers, by the brightness of their images."""
        drawn = draw_images(found, classes=k, per_class=3, seed=seed)
        assert np.bincount(drawn.labels).tolist() == [3] * k
        return [float(drawn.X_test[drawn.labels_test == c].mean()) for c in range(k)]

    few, more = np.argsort(order(3, 1)), np.argsort(order(6, 1))
    kept = [c for c in more if c < 3]
    assert few.tolist() == kept
    assert any(order(6, 1) != order(6, seed) for seed in (2, 3))


def test_gradient_descent_is_that_of_the_library_at_every_r(folder: Path) -> None:
    found = values(simulated(folder))
    drawn = draw_images(read_images(folder), classes=3, per_class=20, seed=1)
    one_hot = np.eye(3)[drawn.labels]
    start = np.random.default_rng(1_000_001).standard_normal((64, 3))
    for size in (0.1, 1.0):
        for R in (1.0, 10.0):
            weights = gradient_descent(
                *(drawn.X, one_hot), rescale=R, ridge=1e-5, start=size * start, steps=STEPS
            )
            hits = (drawn.X_test @ weights).argmax(axis=1) == drawn.labels_test
            expected = 100 * hits.mean()
            assert found["gradient_descent", f"{R:g}, start {size:g}"] == pytest.approx(expected)
    assert len(set(found.values())) > 2


def test_minima_are_those_of_the_library(folder: Path) -> None:
    found = simulated(folder)
    drawn = draw_images(read_images(folder), classes=3, per_class=20, seed=1)
    one_hot = np.eye(3)[drawn.labels]
    options: dict[str, Any] = {"rescale": 1.0, "ridge": 1e-5}
    start = initial_weights("least_squares", drawn.X, one_hot, **options)
    expected = minimise(drawn.X, one_hot, **options, start=start, tolerance=1e-7)
    objective = values(found, "objective")["least_squares", "1"]
    assert objective == pytest.approx(expected.objective.mean() / 60, rel=1e-4)
    hits = (drawn.X_test @ expected.weights).argmax(axis=1) == drawn.labels_test
    assert values(found)["least_squares", "1"] == pytest.approx(100 * hits.mean())
    assert all(value == 100 for value in values(found, "converged").values())
    assert values(found, "objective")["random", "1"] >= objective * (1 - 1e-9)


def test_the_minimiser_gains_nothing_from_r(folder: Path) -> None:
    """The objective is homogeneous: at R the same minimum is found, R times as large."""
    one, many = (simulated(folder, rescale=(R, 100.0)) for R in (1.0, 30.0))
    for system in ("least_squares", "random", "tuned_ridge"):
        assert values(one)[system, "1"] == values(many)[system, "30"]
    for system in ("least_squares", "random"):
        expected = values(one, "objective")[system, "1"]
        assert values(many, "objective")[system, "30"] == pytest.approx(expected, rel=1e-9)


def test_the_ridge_is_the_best_on_images_held_out(folder: Path) -> None:
    found = simulated(folder, ridges=(0.1, 1e6))
    assert values(found, "ridge")["tuned_ridge", "1"] == 0.1
    (record,) = (n for n in found if n.metric == "ridge")
    assert record.n == 12  # a fifth of 60


def test_with_too_many_images_minima_are_left_out_with_the_reason(folder: Path) -> None:
    found = simulated(folder, minimised=59)
    left = {n.system: n for n in found if n.system != "gradient_descent"}
    assert set(left) == {"least_squares", "random", "tuned_ridge"}
    for number in left.values():
        assert math.isnan(number.value)
        assert "60 training images are more" in number.reason
    assert not any(math.isnan(n.value) for n in simulated(folder, minimised=60))


def test_a_simulation_is_the_same_again_and_another_with_another_seed(folder: Path) -> None:
    assert simulated(folder) == simulated(folder)
    assert simulated(folder) != simulated(folder, seed=2)


def test_more_classes_than_the_set_has_are_named(folder: Path) -> None:
    found = read_images(folder)
    check_images(found, SETTINGS)
    with pytest.raises(ImageSetError, match="has 5; the set has 4"):
        check_images(found, SETTINGS.model_copy(update={"classes": (3, 5)}))


def test_classes_without_test_images_are_refused() -> None:
    train, (images, labels) = bright_images(40, 4, 0), bright_images(4, 1, 1)
    found = ImageSet((train[0][..., None], train[1]), (images[..., None], labels), tuple("abcd"))
    seed = next(s for s in range(20) if 0 not in np.random.default_rng(s).permutation(4)[:2])
    with pytest.raises(ImageSetError, match=f"no test image is of the 2 classes that seed {seed}"):
        draw_images(found, classes=2, per_class=5, seed=seed)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classes": (1, 3)}, "at least two"),
        ({"classes": (5, 3)}, "rising"),
        ({"rescale": (0.0, 1.0)}, "rising positive"),
        ({"rescale": (1.0,)}, "rescale"),
        ({"starts": (-1.0,)}, "rising positive"),
        ({"ridge": 0.0}, "ridge"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, told) -> None:
    with pytest.raises(ValidationError, match=told):
        ImageSettings(**change)


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing is simulated"):
        AsymptoticsSettings(grids={})
    AsymptoticsSettings(grids={}, images=ImageSettings())


def test_experiments_without_images_keep_their_folders() -> None:
    config = AsymptoticsConfig(recipe="asymptotics", experiment="figures")
    assert "images" not in config.hashed()["study"]
    chosen = config.model_copy(
        update={"study": AsymptoticsSettings(images=ImageSettings(classes=(7,)))}
    )
    assert chosen.hashed()["study"]["images"]["classes"] == [7]


def recorded(accuracies: dict[tuple[float, float], list[float]], k: int = 10) -> list[Record]:
    """Records of gradient descent by R and start, a value for each seed."""
    return [
        a_record(
            recipe="asymptotics", experiment="e", system="gradient_descent", metric="accuracy",
            condition=f"images: k {k}, n 500, d 64, lambda 1e-05, R {R:g}, start {start:g}",
            seed=seed, value=value, unit="%",
        )
        for (R, start), of_seeds in accuracies.items()
        for seed, value in enumerate(of_seeds)
    ]  # fmt: skip


def claim_row(accuracies: dict[tuple[float, float], list[float]]) -> list[str]:
    (table,) = (t for t in image_tables(recorded(accuracies)) if "helps" in t.title)
    (row,) = table.rows
    return dict(zip(table.head, row, strict=True))


SMALL = {(1.0, 0.1): [30.0, 31.0], (10.0, 0.1): [30.5, 31.5], (30.0, 0.1): [30.0, 30.0]}


def test_the_verdict_tells_the_start_that_gains() -> None:
    row = claim_row(
        SMALL | {(1.0, 1.0): [10.0, 11.0], (10.0, 1.0): [28.0, 31.0], (30.0, 1.0): [31.0, 32.5]}
    )
    assert row["gain from a start of 1"] == "21.25 ± 0.25 (30)"
    assert row["gain from a start of 0.1"] == "0.50 ± 0.00 (10)"
    assert row["verdict"] == "holds for gradient descent from a start of 1 only"
    assert row["over 15 by, largest start"] == "6.25 ± 0.25"


def test_the_verdict_tells_what_is_too_near_to_say() -> None:
    row = claim_row(SMALL | {(1.0, 1.0): [10.0, 11.0], (10.0, 1.0): [24.0, 27.0]})
    assert row["verdict"] == "does not hold, within three standard errors"
    assert row["over 15 by, largest start"] == "0.00 ± 1.00"
    row = claim_row(SMALL | {(1.0, 1.0): [10.0, 11.0], (10.0, 1.0): [9.0, 10.5]})
    assert row["verdict"] == "does not hold"
    assert row["gain from a start of 1"] == "-0.75 ± 0.25 (10)"
    both = {key: [v + 20 for v in of] if key[0] > 1 else of for key, of in SMALL.items()}
    assert claim_row(both)["verdict"] == "holds for gradient descent from every start"


def test_tables_have_a_place_for_every_number(folder: Path) -> None:
    records = [
        a_record(
            recipe="asymptotics", experiment="e", system=n.system, metric="m", unit="",
            condition=n.condition, seed=seed, value=0.0,
        ).measured(n.metric, n.value, otherwise=n.reason)
        for seed in (1, 2)
        for n in simulated(folder, seed)
    ]  # fmt: skip
    tables = {table.title: table for table in image_tables(records)}
    for table in tables.values():
        assert {len(row) for row in table.rows} == {len(table.head)}
        assert not any(UNDEFINED in cell for row in table.rows for cell in row)
    numbers = ImageNumbers(records)
    assert (numbers.classes, numbers.starts, numbers.samples) == ([3], [1.0, 0.1], {3: 60})
    assert list(numbers.descent(3, 1.0)) == [1.0, 10.0]
    curves = tables["images: accuracy % of gradient descent"]
    assert [row[:3] for row in curves.rows] == [["3", "60", "1"], ["3", "60", "0.1"]]
    (minima,) = tables["images: minima"].rows
    assert minima[6] == "100"
    # From 0.1 with R 1 it is the same descent as from 1 with R 10.
    assert curves.rows[0][4] == curves.rows[1][3]


def test_without_images_there_are_no_tables() -> None:
    other = a_record(condition="k 3, beta 0.5, noise 0, lambda 1e-05")
    assert all(not table.rows for table in image_tables([other]))


@pytest.mark.corpus
def test_on_cifar_100_a_large_start_is_what_r_makes_up_for(real_data: Path) -> None:
    settings = ImageSettings(
        classes=(5,), per_class=10, rescale=(1.0, 30.0), starts=(0.01, 1.0), ridges=(10.0,)
    )
    folder = real_data / "images" / "cifar100"
    found = simulate_images(folder, settings, classes=5, steps=100, seed=1)
    accuracy = values(found)
    assert {n.condition for n in found if "d 3072" not in n.condition} == set()
    assert accuracy["gradient_descent", "30, start 0.01"] > 20
    assert values(found, "converged")["least_squares", "1"] == 100
