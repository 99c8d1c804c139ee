"""Which images of a set are used: classes, groups, numbers, held-out parts, scaling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from squall.corpora.images import ImageSet, ImageSetError
from squall.corpora.settings import CorpusConfig
from squall.studies.images import preparation
from squall.studies.images.preparation import (
    SPLITS,
    Choice,
    choose_images,
    prepared_files,
    read_classes,
    read_prepared,
)
from squall.studies.images.settings import ChosenImages, ImagesConfig

NAMES = ("ant", "bee", "cat", "dog")


def _set() -> ImageSet:
    """40 training and 16 test images of 2 x 3 pixels, whose first pixel tells their row."""
    parts = []
    for count in (40, 16):
        images = np.random.default_rng(0).integers(0, 255, (count, 2, 3, 3), dtype=np.uint8)
        images[:, 0, 0, 0] = np.arange(count)
        parts.append((images, np.arange(count) % 4))
    return ImageSet(parts[0], parts[1], NAMES)


def _chosen(**choice: Any) -> Choice:
    return choose_images(_set(), ChosenImages(**choice))


def _images(found: Choice, split: str) -> np.ndarray:
    return np.concatenate(list(found.parts[split].blocks()))


def _rows(found: Choice, split: str) -> list[int]:
    return _images(found, split)[:, 0, 0, 0].tolist()


def test_all_images_are_used_and_the_last_of_each_class_are_held_out() -> None:
    found = _chosen()
    assert found.classes == NAMES
    assert _rows(found, "dev") == [36, 37, 38, 39]
    assert _rows(found, "train") == list(range(36))
    assert _rows(found, "test") == list(range(16))
    assert found.parts["dev"].targets.tolist() == [0, 1, 2, 3]


def test_classes_by_name_keep_their_order() -> None:
    found = _chosen(classes=["dog", "bee"])
    assert found.classes == ("dog", "bee")
    assert _rows(found, "test") == [1, 3, 5, 7, 9, 11, 13, 15]
    assert found.parts["test"].targets.tolist() == [1, 0] * 4


def test_so_many_classes_are_drawn_once_and_for_all() -> None:
    found = _chosen(classes=2)
    assert found.classes == _chosen(classes=2, train=8).classes
    assert len(found.classes) == 2
    assert set(found.classes) <= set(NAMES)


def test_groups_are_learnt_in_place_of_their_classes() -> None:
    found = _chosen(groups={"small": ("ant", "bee"), "large": ("dog",)})
    assert found.classes == ("small", "large")
    assert found.parts["test"].targets.tolist() == [0, 0, 1] * 4
    assert _rows(found, "test") == [0, 1, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15]


def test_so_many_images_are_shared_out_over_the_classes() -> None:
    found = _chosen(train=10, test=6)
    assert np.bincount(found.parts["train"].targets).tolist() in ([2, 3, 3, 2], [2, 3, 2, 3])
    assert len(found.parts["test"].targets) == 6
    assert _rows(found, "train")[0] == 0


def test_two_choices_may_have_no_image_in_common() -> None:
    first, second = _chosen(train=8), _chosen(train=8, skip=4)
    assert not set(_rows(first, "train")) & set(_rows(second, "train"))


@pytest.mark.parametrize(("kind", "shape"), [("channel", (3, 1, 1)), ("pixel", (3, 2, 3))])
def test_training_images_have_mean_0_and_deviation_1(
    tmp_path: Path, kind: str, shape: tuple[int, ...]
) -> None:
    found = _chosen(scaling=kind)
    found.write(tmp_path)
    images = read_prepared(tmp_path, "train")
    assert images.mean.shape == images.scale.shape == shape
    values = images.batch(np.arange(36)).numpy()
    axes = (0, 2, 3) if kind == "channel" else (0,)
    np.testing.assert_allclose(values.mean(axis=axes), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(axis=axes), 1, atol=1e-5)
    assert images.shape == (3, 2, 3)
    for split in SPLITS:
        again = read_prepared(tmp_path, split)
        np.testing.assert_array_equal(
            again.values.permute(0, 2, 3, 1).numpy(), _images(found, split)
        )
        np.testing.assert_array_equal(again.targets, found.parts[split].targets)
    assert read_classes(tmp_path) == list(NAMES)


@pytest.mark.parametrize("kind", ["channel", "pixel"])
def test_blocks_of_any_size_give_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    told: list[int] = []
    _chosen(scaling=kind).write(tmp_path / "whole")
    monkeypatch.setattr(preparation, "_BLOCK_BYTES", 5 * 2 * 3 * 3)  # five images
    _chosen(scaling=kind).write(tmp_path / "blocks", told.append)
    assert told == [*range(5, 36, 5), 36, 40, 45, 50, 55, 56]
    for one, other in zip(
        *(prepared_files(tmp_path / n) for n in ("whole", "blocks")), strict=True
    ):
        assert one.read_bytes() == other.read_bytes()


def test_scaling_is_numpys_mean_and_deviation(tmp_path: Path) -> None:
    found = _chosen()
    found.write(tmp_path)
    train = _images(found, "train")
    images = read_prepared(tmp_path, "train")
    np.testing.assert_allclose(images.mean.ravel(), train.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(images.scale.ravel(), train.std(axis=(0, 1, 2)), rtol=1e-6)


def test_what_tells_the_images_changes_with_any_of_them(tmp_path: Path) -> None:
    images = _set()
    choose_images(images, ChosenImages()).write(tmp_path / "before")
    images.test[0][3, 1, 2, 0] ^= 1
    choose_images(images, ChosenImages()).write(tmp_path / "after")
    before, after = (prepared_files(tmp_path / n)[-1] for n in ("before", "after"))
    assert before.read_bytes() != after.read_bytes()


def test_damaged_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_prepared(tmp_path, "train")
    _chosen().write(tmp_path)
    path = tmp_path / "train.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"train\.npy is damaged: .*--stage 1 --force"):
        read_prepared(tmp_path, "train")
    (tmp_path / "dev.npy").write_bytes((tmp_path / "test.npy").read_bytes())
    with pytest.raises(ValueError, match=r"dev\.npy is damaged: uint8 \(16, 3, 2, 3\)"):
        read_prepared(tmp_path, "dev")


def test_a_pixel_that_is_the_same_in_all_images_stays_finite(tmp_path: Path) -> None:
    images = _set()
    images.train[0][:, 1, 1] = 7
    choose_images(images, ChosenImages(scaling="pixel")).write(tmp_path)
    found = read_prepared(tmp_path, "train")
    assert found.scale.min() == 1.0
    assert bool(found.mean.isfinite().all())


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"classes": ["ant", "cow"]}, "the choice has no class 'cow'; there are ant, bee"),
        ({"classes": ["ant", "ant"]}, "the choice has a class in two places"),
        ({"classes": ["ant"]}, "there is one class only"),
        ({"classes": 5}, r"images\.classes is 5; the set has 4"),
        ({"groups": {"a": ("ant",), "b": ("ant",)}}, "a class in two places"),
        ({"train": 39}, r"images\.train is 39, but there are 36 images"),
        ({"dev": 0.99}, "a class has 10 training images, too few to hold out"),
    ],
)
def test_choices_that_cannot_be_made(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageSetError, match=message):
        _chosen(**choice)


@pytest.mark.parametrize(
    ("choice", "label"),
    [
        ({}, "cifar10"),
        ({"classes": 25}, "cifar10, 25 classes"),
        ({"classes": ["cat", "dog"], "train": 100}, "cifar10, 2 classes, 100 images"),
        ({"name": "pets", "classes": ["cat", "dog"]}, "cifar10, pets"),
        ({"groups": {"odd": ("1",), "even": ("2",)}}, "cifar10, of odd and even"),
    ],
)
def test_results_tell_choices_apart(choice: dict[str, Any], label: str) -> None:
    config = ImagesConfig(
        recipe="images", experiment="x", corpus=CorpusConfig(name="cifar10"),
        images=ChosenImages(**choice),
    )  # fmt: skip
    assert config.dataset == label
