from __future__ import annotations

import math

import numpy as np
import pytest

from squall.theory.accuracy import plurality_agreement
from squall.theory.setting import Setting
from squall.theory.teacher import draw_data, measure_overlaps, sampled_accuracy


def test_data_are_those_of_the_setting() -> None:
    setting = Setting(classes=4, beta=2.0, signal=3.0)
    data = draw_data(setting, features=300, seed=0)
    assert data.X.shape == (600, 300)
    assert data.X.var() * 300 == pytest.approx(1, rel=0.02)
    assert data.weights.std() == pytest.approx(3, rel=0.1)
    np.testing.assert_array_equal(data.labels, (data.X @ data.weights).argmax(axis=1))
    np.testing.assert_array_equal(data.one_hot.argmax(axis=1), data.labels)
    np.testing.assert_array_equal(data.one_hot.sum(axis=1), 1)
    again = draw_data(setting, features=300, seed=0)
    np.testing.assert_array_equal(again.X, data.X)


def test_label_noise_moves_as_many_labels_as_predicted() -> None:
    setting = Setting(classes=5, beta=20.0, label_noise=1.0)
    data = draw_data(setting, features=200, seed=1)
    kept = (data.labels == (data.X @ data.weights).argmax(axis=1)).mean()
    expected = plurality_agreement(5, setting.label_correlation)
    assert abs(kept - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000) + 0.02


def test_overlaps_of_a_student_made_to_have_them() -> None:
    rng = np.random.default_rng(0)
    teacher = rng.standard_normal((4000, 5))
    direction = teacher - teacher.mean(axis=1, keepdims=True)
    direction /= np.linalg.norm(direction, axis=0) / math.sqrt(4000)
    common = rng.standard_normal((4000, 1))
    rest = math.sqrt(0.7) * rng.standard_normal((4000, 5)) + math.sqrt(0.3) * common
    found = measure_overlaps(student=0.4 * direction + 0.5 * rest, teacher=teacher)
    assert found.overlap == pytest.approx(0.4, abs=0.02)
    assert found.noise == pytest.approx(0.5, abs=0.02)
    assert found.noise_correlation == pytest.approx(0.3, abs=0.05)


def test_sampled_accuracy_is_that_of_new_data() -> None:
    rng = np.random.default_rng(3)
    teacher = rng.standard_normal((6, 3))
    student = teacher + rng.standard_normal((6, 3))
    x = rng.standard_normal((100_000, 6)) / math.sqrt(6)
    scores = x @ teacher + 0.5 * rng.standard_normal((100_000, 3))
    expected = ((x @ student).argmax(axis=1) == scores.argmax(axis=1)).mean()
    found = sampled_accuracy(student=student, teacher=teacher, seed=0, label_noise=0.5)
    assert abs(found - expected) < 4 * math.sqrt(2 * 0.25 / 100_000)
    assert sampled_accuracy(student=2 * teacher, teacher=teacher, seed=0, samples=500) == 1.0


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match="0 samples"):
        draw_data(Setting(classes=2, beta=0.01), features=10, seed=0)
    with pytest.raises(ValueError, match=r"\(3, 2\) and teacher \(2, 2\)"):
        measure_overlaps(student=np.zeros((3, 2)), teacher=np.zeros((2, 2)))
