"""Training on images: learning, resuming to the bit, the course of the rate, shifts and mirrors."""

from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import squall.networks.vision.training
from squall.losses import SquareLoss
from squall.networks.checkpoint import Checkpoint
from squall.networks.loop import Epoch, train
from squall.networks.vision.architectures import build_network
from squall.networks.vision.images import Images, shift_and_mirror
from squall.networks.vision.training import (
    ImageTraining,
    SgdPlan,
    feature_blocks,
    predict_images,
    rate_at,
)
from tiny_images import bright_images

PLAN = SgdPlan(epochs=6, batch_size=16, precision="float32", augment=False)


def _images(count: int, seed: int) -> Images:
    values, labels = bright_images(count, 4, seed)
    return Images(
        torch.from_numpy(values[:, None]), torch.from_numpy(labels),
        torch.tensor(70.0), torch.tensor(50.0),
    )  # fmt: skip


def _train(plan: SgdPlan = PLAN, **changes: Any) -> tuple[Any, Any]:
    torch.manual_seed(5)
    network = build_network("resnet18", shape=(1, 8, 8), classes=4, width=4)
    training = ImageTraining(
        network, _images(120, 0), _images(40, 1), SquareLoss(class_dim=-1), plan,
        learning_rate=0.1, seed=2,
    )  # fmt: skip
    return network, train(training, epochs=plan.epochs, **changes)


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(squall.networks.vision.training).failed == 0


def test_a_network_learns_and_tells_how() -> None:
    network, trained = _train()
    last = trained.history[-1].measures
    assert last["dev_accuracy"] > 0.9
    assert last["train_accuracy"] > 0.9
    assert last["weight_norm"] > 0
    test = _images(40, 7)
    logits = predict_images(network, test, PLAN)
    assert (logits.argmax(axis=1) == test.targets.numpy()).mean() > 0.9
    features = np.concatenate([f.numpy() for f, _ in feature_blocks(network, test, PLAN)])
    weights = network.output_layer.weight.detach().numpy()
    bias = network.output_layer.bias.detach().numpy()
    np.testing.assert_allclose(features @ weights.T + bias, logits, atol=1e-5)


@pytest.mark.parametrize("augment", [False, True])
def test_a_training_that_is_stopped_goes_on_to_the_bit(tmp_path: Path, augment: bool) -> None:
    plan = replace(PLAN, augment=augment, epochs=4)
    whole, _ = _train(plan)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "stamp")

    def stop(epoch: Epoch) -> bool:
        return epoch.epoch == 2

    _train(plan, checkpoint=checkpoint, on_epoch=stop)
    again, trained = _train(plan, checkpoint=checkpoint)
    assert len(trained.history) == 4
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_last_epoch_is_kept_where_that_is_asked_for() -> None:
    _, trained = _train(replace(PLAN, keep="last", epochs=2))
    assert trained.best is None
    assert trained.history[-1].measures["dev_errors"] is None
    assert trained.history[-1].measures["dev_accuracy"] is not None


def test_the_cosine_ends_at_nothing() -> None:
    plan = replace(PLAN, epochs=10)
    rates = [rate_at(epoch, plan) for epoch in np.linspace(0, 10, 41)]
    assert rates[0] == 1.0
    assert rates[-1] == pytest.approx(0)
    assert rates == sorted(rates, reverse=True)
    assert rate_at(7, replace(plan, schedule="none")) == 1.0


def test_images_are_shifted_by_four_at_most_and_mirrored_half_the_time() -> None:
    image = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8)
    generator = torch.Generator().manual_seed(0)
    moved = shift_and_mirror(image.expand(400, 1, 8, 8), generator=generator)
    assert moved.shape == (400, 1, 8, 8)
    padded = torch.nn.functional.pad(image, (4, 4, 4, 4))[0, 0]
    crops = {}
    for down in range(9):
        for across in range(9):
            crop = padded[down : down + 8, across : across + 8]
            crops[tuple(crop.flatten().tolist())] = (False, down, across)
            crops[tuple(crop.flip(1).flatten().tolist())] = (True, down, across)
    places = [crops[tuple(found.flatten().tolist())] for found in moved]
    assert {down for _, down, _ in places} == set(range(9))
    assert {across for _, _, across in places} == set(range(9))
    assert sum(mirrored for mirrored, _, _ in places) == pytest.approx(200, abs=40)
