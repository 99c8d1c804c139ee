"""The two-spirals study: data, boundaries, figure."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import naive_networks as naive
from squall.losses import build_loss
from squall.networks.batches import Problem
from squall.networks.stack import NetworkSettings
from squall.scoring.temperature import softmax
from squall.studies.spiral.report import spirals_svg
from squall.studies.spiral.settings import SpiralSettings
from squall.studies.spiral.study import Boundary, SpiralStudy, draw_spirals, study_spirals

NETWORK = NetworkSettings(hidden=(16, 16), batch_size=20)
SETTINGS = SpiralSettings(samples=60, network=NETWORK, epochs=(2, 5, 9), grid=7, turns=0.5)


def test_without_noise_the_samples_lie_on_their_spirals() -> None:
    inputs, targets = draw_spirals(201, turns=1.5, noise=0.0, seed=3)
    assert inputs.dtype == np.float32
    assert targets.dtype == np.int64
    assert np.bincount(targets).tolist() == [101, 100]
    radius = np.hypot(*inputs.T.astype(float))
    assert radius.min() >= 0.1 - 1e-6
    assert radius.max() <= 1 + 1e-6
    angle = 2 * np.pi * 1.5 * radius + np.pi * targets
    np.testing.assert_allclose(inputs[:, 0], radius * np.cos(angle), atol=1e-5)
    np.testing.assert_allclose(inputs[:, 1], radius * np.sin(angle), atol=1e-5)


def test_noise_has_the_deviation_that_is_asked_for() -> None:
    clean, _ = draw_spirals(4000, turns=1.5, noise=0.0, seed=1)
    noisy, _ = draw_spirals(4000, turns=1.5, noise=0.2, seed=1)
    assert (noisy - clean).std(0) == pytest.approx([0.2, 0.2], rel=0.05)
    other, _ = draw_spirals(4000, turns=1.5, noise=0.2, seed=2)
    assert np.abs(noisy - other).max() > 0.5


def test_boundaries_are_those_of_single_networks_after_so_many_epochs() -> None:
    epochs: list[int] = []
    study = study_spirals(SETTINGS, on_epoch=epochs.append)
    assert epochs == list(range(1, 10))
    assert study.axis.tolist() == pytest.approx([-1.2, -0.8, -0.4, 0.0, 0.4, 0.8, 1.2])
    losses = {
        "ce": build_loss("ce"),
        "squentropy": build_loss("squentropy"),
        "rescaled_square": build_loss("rescaled_square", k=1.0, M=5.0),
    }
    places = [(loss, epoch) for loss in losses for epoch in (2, 5, 9)]
    assert [(one.loss, one.epoch) for one in study.boundaries] == places
    points = np.array([[x, y] for y in study.axis for x in study.axis], dtype=np.float32)
    test, test_targets = draw_spirals(60, turns=0.5, noise=SETTINGS.noise, seed=1)
    inputs, targets = torch.from_numpy(study.inputs), torch.from_numpy(study.targets)
    for one in study.boundaries:
        network, _ = naive.train_one(
            Problem(inputs, targets, ("spirals", 0)),
            losses[one.loss],
            NETWORK.model_copy(update={"epochs": one.epoch}),
            classes=2,
        )
        expected = softmax(logits=network(torch.from_numpy(points)).detach().numpy())[:, 1]
        np.testing.assert_allclose(one.probs, expected.reshape(7, 7), atol=1e-4)
        predicted = network(torch.from_numpy(test)).argmax(1).numpy()
        assert one.accuracy == (predicted == test_targets).mean()
        assert 0 <= one.ece <= 1


def test_the_boundary_of_logit_norm_is_of_normalised_logits() -> None:
    settings = SETTINGS.model_copy(update={"losses": {"logit_norm": {"tau": 0.5}}})
    study = study_spirals(settings)
    points = np.array([[x, y] for y in study.axis for x in study.axis], dtype=np.float32)
    network, _ = naive.train_one(
        Problem(torch.from_numpy(study.inputs), torch.from_numpy(study.targets), ("spirals", 0)),
        build_loss("logit_norm", tau=0.5),
        NETWORK.model_copy(update={"epochs": 9}),
        classes=2,
    )
    logits = network(torch.from_numpy(points)).detach()
    expected = (logits / logits.norm(dim=1, keepdim=True) / 0.5).softmax(1)[:, 1].numpy()
    np.testing.assert_allclose(study.boundaries[-1].probs, expected.reshape(7, 7), atol=1e-3)


def test_training_and_test_part_have_nothing_in_common_and_follow_the_seed() -> None:
    fast = {"network": NetworkSettings(hidden=(2,)), "epochs": (1,), "samples": 10, "grid": 2}
    studies = [study_spirals(SpiralSettings(**fast), seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(studies[0].inputs, studies[1].inputs)
    np.testing.assert_array_equal(studies[0].boundaries[0].probs, studies[1].boundaries[0].probs)
    assert not np.isclose(studies[0].inputs, studies[2].inputs).any()
    test, _ = draw_spirals(10, turns=1.5, noise=0.05, seed=1)
    assert not np.isclose(studies[0].inputs, test).any()


def test_a_diverged_network_has_an_empty_boundary_and_can_still_be_drawn() -> None:
    settings = SpiralSettings(
        losses={"ce": {}, "square": {"scale": 1e30}},
        samples=20,
        network=NETWORK,
        epochs=(3,),
        grid=5,
    )
    study = study_spirals(settings)
    by_loss = {one.loss: one for one in study.boundaries}
    assert np.isnan(by_loss["square"].probs).all()
    assert by_loss["square"].probs.shape == (5, 5)
    assert np.isnan(by_loss["square"].accuracy)
    assert np.isfinite(by_loss["ce"].probs).all()
    pytest.importorskip("matplotlib")
    assert "accuracy nan" in spirals_svg(study)


@pytest.mark.slow
def test_the_figure_has_a_panel_for_each_loss_and_epoch() -> None:
    pytest.importorskip("matplotlib")
    study = study_spirals(SETTINGS)
    svg = spirals_svg(study)
    root = ElementTree.fromstring(svg)
    texts = [
        "".join(element.itertext()).strip() for element in root.iter() if "text" in element.tag
    ]
    for one in study.boundaries:
        assert f"{one.loss}, {one.epoch} epochs" in texts
    assert svg.count("<image") == 9 * 2  # the probabilities, and the dots as a picture


def test_a_boundary_is_drawn_where_both_classes_are_equally_likely() -> None:
    pytest.importorskip("matplotlib")
    axis = np.linspace(-1, 1, 11, dtype=np.float32)
    split = np.repeat(np.linspace(0, 1, 11)[:, None], 11, axis=1)
    sizes = []
    for probs in (split, 0.4 * split):  # the second is never 0.5
        boundary = Boundary("ce", 1, probs, 1.0, 0.0)
        study = SpiralStudy(np.zeros((2, 2), np.float32), np.array([0, 1]), axis, (boundary,))
        sizes.append(spirals_svg(study).count("<path"))
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize("epochs", [(), (5, 5), (5, 2), (0, 3)], ids=str)
def test_epochs_must_rise(epochs: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="epochs"):
        SpiralSettings(epochs=epochs)


def test_the_defaults_are_the_epochs_of_the_source() -> None:
    settings = SpiralSettings()
    assert settings.epochs == (100, 500, 1000)
    assert list(settings.losses) == ["ce", "squentropy", "rescaled_square"]


@pytest.mark.slow
def test_every_loss_learns_the_spirals() -> None:
    study = study_spirals(SpiralSettings(samples=400, epochs=(20, 300), grid=11))
    for one in study.boundaries:
        if one.epoch == 300:
            assert one.accuracy > 0.9
