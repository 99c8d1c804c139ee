"""The tabular study on a set: scaling, splits, scores."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import naive_networks as naive
from squall.losses import build_loss
from squall.networks.batches import Problem
from squall.networks.checkpoint import Checkpoint
from squall.networks.stack import NetworkSettings
from squall.scoring.calibration import score_logits
from squall.studies.losses import build_losses
from squall.studies.tabular.collection import Split, UciSet, read_set
from squall.studies.tabular.settings import TabularSettings
from squall.studies.tabular.splits import chosen_splits
from squall.studies.tabular.study import scale_parts, score_set, set_cost

NETWORK = NetworkSettings(hidden=(8, 16), epochs=10, batch_size=16, learning_rate=0.05)
SETTINGS = TabularSettings(initialisations=2, network=NETWORK)


def toy_set(samples: int = 60, *, files: Split | None = None) -> UciSet:
    """Three classes, whose inputs are far from mean 0 and deviation 1; folds of unequal size."""
    random = np.random.default_rng(5)
    targets = np.arange(samples) % 3
    inputs = 100 + 7 * random.standard_normal((samples, 4)) + 6 * targets[:, None]
    rows = random.permutation(samples)
    folds = tuple(Split(rows[k:], rows[:k]) for k in (15, 16, 17, 20))
    return UciSet("toy", inputs, targets, folds, Split(rows[30:], rows[:30]), files)


@pytest.mark.slow
def test_scores_are_those_of_single_networks_on_their_test_parts() -> None:
    data = toy_set()
    found = score_set(data, SETTINGS, seed=3)
    assert (found.name, found.samples, found.inputs, found.classes) == ("toy", 60, 4, 3)
    assert found.seconds > 0
    assert found.constant_inputs == (0, 0, 0, 0)
    losses = {
        "ce": build_loss("ce"),
        "squentropy": build_loss("squentropy"),
        "rescaled_square": build_loss("rescaled_square", k=1.0, M=5.0),
    }
    places = [(f, loss, s) for f in (1, 2, 3, 4) for loss in losses for s in (3, 4)]
    assert [(one.fold, one.loss, one.seed) for one in found.networks] == places
    for one in found.networks:
        split = data.folds[one.fold - 1]
        mean, deviation = data.inputs[split.train].mean(0), data.inputs[split.train].std(0)
        scaled = torch.from_numpy(((data.inputs - mean) / deviation).astype(np.float32))
        targets = torch.from_numpy(data.targets)
        problem = Problem(scaled[split.train], targets[split.train], ("toy", one.fold, one.seed))
        network, history = naive.train_one(problem, losses[one.loss], NETWORK, classes=3)
        logits = network(scaled[split.test]).detach().numpy()
        expected = score_logits(logits=logits, targets=data.targets[split.test]).calibration()
        assert one.samples == len(split.test)
        assert one.accuracy == expected.accuracy
        for metric in ("ece", "ece_adaptive", "brier", "nll"):
            assert getattr(one, metric) == pytest.approx(getattr(expected, metric), abs=1e-4)
        assert one.train_loss == pytest.approx(history[-1], rel=1e-4)
        assert one.diverged == 0
    assert len({one.nll for one in found.networks}) == 24


def test_ece_has_the_number_of_bins_of_the_settings() -> None:
    data = toy_set()
    by_bins = {
        bins: score_set(data, SETTINGS.model_copy(update={"bins": bins})).networks
        for bins in (1, 10)
    }
    for one, ten in zip(by_bins[1], by_bins[10], strict=True):
        assert one.accuracy == ten.accuracy
        assert one.ece <= ten.ece + 1e-12  # more bins never give less
    assert sum(a.ece for a in by_bins[1]) < 0.9 * sum(b.ece for b in by_bins[10])


def test_a_set_does_not_depend_on_which_losses_and_seeds_are_asked_for() -> None:
    data = toy_set()
    few = TabularSettings(losses={"squentropy": {}}, initialisations=1, network=NETWORK)
    all_scores = score_set(data, SETTINGS, seed=3).networks
    wanted = [one for one in all_scores if (one.loss, one.seed) == ("squentropy", 4)]
    found = score_set(data, few, seed=4).networks
    assert [one.accuracy for one in found] == [one.accuracy for one in wanted]
    np.testing.assert_allclose([a.nll for a in found], [b.nll for b in wanted], rtol=1e-4)


def test_scores_of_logit_norm_are_of_normalised_logits() -> None:
    data = toy_set()
    settings = TabularSettings(losses={"logit_norm": {}}, initialisations=1, network=NETWORK)
    first = score_set(data, settings, seed=3).networks[0]
    split = data.folds[0]
    mean, deviation = data.inputs[split.train].mean(0), data.inputs[split.train].std(0)
    scaled = torch.from_numpy(((data.inputs - mean) / deviation).astype(np.float32))
    targets = torch.from_numpy(data.targets)
    problem = Problem(scaled[split.train], targets[split.train], ("toy", 1, 3))
    network, _ = naive.train_one(problem, build_loss("logit_norm"), NETWORK, classes=3)
    logits = network(scaled[split.test]).detach()
    normalised = (25 * logits / logits.norm(dim=1, keepdim=True)).numpy()
    expected = score_logits(logits=normalised, targets=data.targets[split.test]).calibration()
    assert first.nll == pytest.approx(expected.nll, rel=1e-2)
    assert first.ece == pytest.approx(expected.ece, abs=1e-2)


def test_a_label_may_differ_from_the_name_of_the_loss() -> None:
    losses = {"plain": {"name": "squentropy"}, "tenth": {"name": "squentropy", "alpha": 0.1}}
    found = score_set(toy_set(), TabularSettings(losses=losses, initialisations=1, network=NETWORK))
    of_fold = {one.loss: one.nll for one in found.networks if one.fold == 1}
    assert of_fold.keys() == losses.keys()
    assert of_fold["plain"] != of_fold["tenth"]
    assert build_losses(losses)["tenth"].arguments()["alpha"] == 0.1


def test_a_diverged_network_has_no_scores(caplog: pytest.LogCaptureFixture) -> None:
    losses = {"ce": {}, "square": {"scale": 1e30}}
    settings = TabularSettings(losses=losses, initialisations=1, network=NETWORK)
    with caplog.at_level(logging.WARNING):
        found = score_set(toy_set(), settings)
    for one in found.networks:
        values = [one.accuracy, one.ece, one.ece_adaptive, one.brier, one.nll]
        assert np.isnan(values).all() == (one.loss == "square")
        assert np.isnan(values).any() == (one.loss == "square")
        assert (one.diverged > 0) == (one.loss == "square")
        assert one.untrained or one.loss == "ce"
    assert "toy: 4 of 8 networks diverged" in caplog.text


@pytest.mark.parametrize(("learning_rate", "untrained"), [(0.05, False), (1e-9, True)])
def test_a_network_is_untrained_that_is_no_better_than_a_constant_answer(
    learning_rate: float, untrained: bool
) -> None:
    data = toy_set()
    network = NETWORK.model_copy(update={"learning_rate": learning_rate})
    found = score_set(data, SETTINGS.model_copy(update={"network": network}))
    assert {one.untrained for one in found.networks} == {untrained}
    for one in found.networks:
        if one.loss == "ce":
            shares = np.bincount(data.targets[data.folds[one.fold - 1].train])
            expected = -(shares / shares.sum() * np.log(shares / shares.sum())).sum()
            assert one.constant_loss == pytest.approx(expected, rel=1e-6)


def test_an_input_that_is_constant_in_training_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = toy_set()
    rare = data.inputs.copy()
    rare[:, 2] = 0.1  # whose mean over many is not 0.1
    rare[data.folds[0].test[:3], 2] = 1e6
    with caplog.at_level(logging.WARNING):
        found = score_set(UciSet("toy", rare, data.targets, data.folds, data.tuning), SETTINGS)
    assert found.constant_inputs[0] == 1
    assert "toy: [1, " in caplog.text
    without = np.where(np.arange(4) == 2, np.arange(60)[:, None] % 2, rare)
    part = scale_parts(rare, data.folds[0], "training")
    assert part.constant == 1
    assert (part.train[:, 2] == 0).all()
    assert (part.test[:, 2] == 0).all()
    others = scale_parts(without, data.folds[0], "training")
    assert others.constant == 0
    np.testing.assert_array_equal(part.test[:, [0, 1, 3]], others.test[:, [0, 1, 3]])


@pytest.mark.parametrize("scaling", ["training", "parts", "published"])
def test_scaling(scaling: str) -> None:
    data, split = toy_set(), toy_set().folds[1]
    part = scale_parts(data.inputs, split, scaling)
    train, test = data.inputs[split.train], data.inputs[split.test]
    assert part.train.dtype == part.test.dtype == np.float32
    if scaling == "published":
        np.testing.assert_allclose(part.train, train, rtol=1e-6)
        np.testing.assert_allclose(part.test, test, rtol=1e-6)
        return
    np.testing.assert_allclose(part.train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(part.train.std(0), 1, rtol=1e-5)
    by = train if scaling == "training" else test
    np.testing.assert_allclose(part.test, (test - by.mean(0)) / by.std(0), rtol=1e-4, atol=1e-5)


def test_the_test_file_is_used_when_asked_for() -> None:
    files = Split(np.arange(45), np.arange(45, 60))
    two, one = toy_set(files=files), toy_set()
    by_file = SETTINGS.model_copy(update={"test": "file"})
    assert chosen_splits(two, by_file) == (files,)
    assert chosen_splits(two, SETTINGS) == two.folds
    assert chosen_splits(one, by_file) == one.folds
    found = score_set(two, by_file)
    assert [(s.fold, s.samples) for s in found.networks] == [(1, 15)] * 6


def test_the_best_epoch_on_the_test_part_is_scored_when_asked_for() -> None:
    data = toy_set()
    by_epochs = {}
    for epochs in range(1, 11):
        network = NETWORK.model_copy(update={"epochs": epochs})
        shorter = SETTINGS.model_copy(update={"network": network})
        by_epochs[epochs] = score_set(data, shorter).networks
    best = score_set(data, SETTINGS.model_copy(update={"epoch": "best_test"})).networks
    for place, one in enumerate(best):
        history = [by_epochs[epochs][place] for epochs in range(1, 11)]
        first = max(history, key=lambda network: network.accuracy)  # the first of equals
        assert (one.loss, one.fold, one.seed) == (first.loss, first.fold, first.seed)
        assert one.accuracy == first.accuracy
        assert one.ece == pytest.approx(first.ece, abs=1e-4)
        assert one.train_loss == pytest.approx(history[-1].train_loss, rel=1e-4)
    last = by_epochs[10]
    assert sum(one.accuracy for one in best) > sum(one.accuracy for one in last)


def test_the_best_epoch_does_not_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    best = SETTINGS.model_copy(update={"epoch": "best_test"})
    checkpoint = Checkpoint(tmp_path / "toy.pt", "stamp")
    whole = score_set(toy_set(), best, checkpoint=checkpoint)
    assert not checkpoint.path.exists()
    cut = score_set(toy_set(), best, on_epoch=lambda epoch, _: epoch == 4, checkpoint=checkpoint)
    again = score_set(toy_set(), best, checkpoint=checkpoint)
    assert again.networks == whole.networks != cut.networks


def test_cost_counts_all_networks() -> None:
    data = toy_set()
    weights = 4 * 8 + 8 * 16 + 16 * 3
    samples = sum(len(fold.train) for fold in data.folds)
    assert set_cost(data, SETTINGS) == 6 * 10 * samples * (3 * weights - 4 * 8)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"losses": {"squentropi": {}}}, "did you mean 'squentropy'"),
        ({"losses": {"ce": {"alpha": 1}}}, "ce has no parameter 'alpha'"),
        ({"losses": {}}, "losses"),
        ({"initialisations": 0}, "initialisations"),
        ({"scaling": "none"}, "scaling"),
        ({"bins": 0}, "bins"),
        ({"fold": 1}, "fold"),
        ({"test": "fifth"}, "test"),
        ({"epoch": "best"}, "epoch"),
    ],
    ids=["loss", "parameter", "no loss", "none", "scaling", "bins", "unknown", "test", "epoch"],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TabularSettings(**wrong)


@pytest.mark.corpus
def test_iris_is_learnt_by_every_loss(real_data: Path) -> None:
    data = read_set(real_data / "uci121" / "data" / "iris")
    settings = TabularSettings(initialisations=1, network=NetworkSettings(epochs=40))
    found = score_set(data, settings)
    for loss in settings.losses:
        scores = [one for one in found.networks if one.loss == loss]
        assert len(scores) == 4
        assert np.mean([one.accuracy for one in scores]) > 0.9
        assert np.mean([one.ece for one in scores]) < 0.3
