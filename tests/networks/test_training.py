"""Training a stack: equal to one network at a time, whatever stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

import naive_networks as naive
from squall.losses import BASELINE_LOSSES, TokenLoss, build_loss
from squall.networks.batches import Problem
from squall.networks.checkpoint import Checkpoint
from squall.networks.stack import NetworkSettings, NetworkStack, random_stream
from squall.networks.training import train_networks

LOSSES: Mapping[str, TokenLoss] = {
    "ce": build_loss("ce"),
    "squentropy": build_loss("squentropy"),
    "rescaled_square": build_loss("rescaled_square", k=1.0, M=5.0),
}
SMALL = NetworkSettings(hidden=(8, 16, 8), epochs=12, batch_size=8, learning_rate=0.02)
# Products and sums in another order differ by units in the last place, which 12 epochs amplify
# little: seen are 7e-16 in float64 and 4e-7 in float32.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}


def problem(
    samples: int,
    *key: str | int,
    dtype: torch.dtype = torch.float64,
    row_weights: torch.Tensor | None = None,
) -> Problem:
    """Three classes in five dimensions, which depend on the key."""
    stream = random_stream("data", *key)
    targets = torch.arange(samples) % 3
    inputs = torch.randn(samples, 5, generator=stream) + 0.8 * targets.unsqueeze(1)
    return Problem(inputs.to(dtype), targets, key, row_weights)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"momentum": 0.0},
        {"nesterov": False, "weight_decay": 0.0},
        {"batch_size": 1000},
        {"hidden": ()},
    ],
    ids=["default", "no momentum", "plain momentum", "full batch", "linear"],
)
def test_a_stack_equals_single_networks_of_torch(
    changed: dict[str, object], dtype: torch.dtype
) -> None:
    settings = NetworkSettings(**{**SMALL.model_dump(), **changed})
    # 21 samples: steps of 8, 8, 5. 16: 8, 8, none. 3: one step an epoch, and the others idle.
    problems = [problem(n, "toy", n, dtype=dtype) for n in (21, 16, 3)]
    trained = train_networks(problems, LOSSES, settings, classes=3)
    new = problem(30, "new", dtype=dtype).inputs
    logits = trained.stack.predict(new)
    assert logits.shape == (9, 30, 3)
    plain = settings.model_copy(update={"nesterov": settings.nesterov and settings.momentum > 0})
    for row, loss in enumerate(LOSSES.values()):
        for column, one in enumerate(problems):
            network, history = naive.train_one(one, loss, plain, classes=3)
            found = logits[row * 3 + column]
            expected = network(new).detach().numpy()
            tolerance = TOLERANCE[dtype] * np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
            np.testing.assert_allclose(
                trained.train_loss[:, row, column], history, rtol=TOLERANCE[dtype]
            )
    assert (trained.diverged == 0).all()
    assert trained.losses == ("ce", "squentropy", "rescaled_square")


def test_baselines_are_trained_side_by_side_with_the_others() -> None:
    problems = [problem(n, "toy", n) for n in (21, 16)]
    losses = {name: build_loss(name) for name in ("ce", *BASELINE_LOSSES)}
    losses["focal"] = build_loss("focal", gamma=1.0, scale=2.0)
    trained = train_networks(problems, losses, SMALL, classes=3)
    new = problem(30, "new").inputs
    logits = trained.stack.predict(new)
    for row, loss in enumerate(losses.values()):
        for column, one in enumerate(problems):
            network, history = naive.train_one(one, loss, SMALL, classes=3)
            expected = network(new).detach().numpy()
            found = logits[row * len(problems) + column]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
            np.testing.assert_allclose(trained.train_loss[:, row, column], history, rtol=1e-9)


def test_row_weights_weigh_the_losses_of_a_step() -> None:
    weights = torch.tensor([0.0, 0.5, 2.5] * 5, dtype=torch.float64)
    problems = [problem(15, "weighted", row_weights=weights), problem(12, "plain")]
    trained = train_networks(problems, LOSSES, SMALL, classes=3)
    new = problem(30, "new").inputs
    for row, loss in enumerate(LOSSES.values()):
        for column, one in enumerate(problems):
            network, history = naive.train_one(one, loss, SMALL, classes=3)
            found = trained.stack.predict(new)[2 * row + column]
            np.testing.assert_allclose(found, network(new).detach().numpy(), rtol=0, atol=1e-10)
            np.testing.assert_allclose(trained.train_loss[:, row, column], history, rtol=1e-10)


def test_a_network_does_not_depend_on_those_beside_it() -> None:
    one = problem(21, "one")
    alone = train_networks([one], {"ce": LOSSES["ce"]}, SMALL, classes=3)
    others = [problem(40, "longer"), one, problem(5, "shorter")]
    together = train_networks(others, LOSSES, SMALL, classes=3)
    new = problem(30, "new").inputs
    np.testing.assert_allclose(
        together.stack.predict(new)[1], alone.stack.predict(new)[0], rtol=0, atol=1e-11
    )


def test_the_losses_begin_with_the_same_weights_and_the_keys_with_others() -> None:
    seen: list[NetworkStack] = []
    tiny = SMALL.model_copy(update={"epochs": 1, "learning_rate": 1e-30, "weight_decay": 0.0})
    problems = [problem(9, "a", 0), problem(9, "a", 1)]
    train_networks(
        problems, LOSSES, tiny, classes=3, on_epoch=lambda _, stack: seen.append(stack.copy())
    )
    (stack,) = seen
    for parameters in stack.parameters():
        by_loss = parameters.unflatten(0, (3, 2))
        assert torch.equal(by_loss[0], by_loss[1])
        assert torch.equal(by_loss[0], by_loss[2])
        assert not torch.isclose(by_loss[0, 0], by_loss[0, 1]).any()


def test_the_same_problems_give_the_same_bits() -> None:
    problems = [problem(20, "bits", dtype=torch.float32)]
    first, second = (train_networks(problems, LOSSES, SMALL, classes=3) for _ in range(2))
    for a, b in zip(first.stack.parameters(), second.stack.parameters(), strict=True):
        assert torch.equal(a, b)


class KilledError(Exception):
    """What ends a training in the middle of a test."""


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path, momentum: float) -> None:
    settings = SMALL.model_copy(update={"momentum": momentum, "nesterov": momentum > 0})
    good = problem(21, "good", dtype=torch.float32)
    bad = Problem(1e18 * good.inputs, good.targets, ("bad",))
    problems = [good, problem(5, "short", dtype=torch.float32), bad]
    checkpoint = Checkpoint(tmp_path / "training.pt", "stamp", every_s=0)
    whole = train_networks(problems, LOSSES, settings, classes=3)

    def die(epoch: int, _: NetworkStack) -> None:
        if epoch == 5:
            raise KilledError

    with pytest.raises(KilledError):
        train_networks(problems, LOSSES, settings, classes=3, on_epoch=die, checkpoint=checkpoint)
    told: list[int] = []
    resumed = train_networks(
        problems,
        LOSSES,
        settings,
        classes=3,
        on_epoch=lambda epoch, _: told.append(epoch),
        checkpoint=checkpoint,
    )
    assert told == list(range(6, 13))
    for a, b in zip(resumed.stack.parameters(), whole.stack.parameters(), strict=True):
        assert torch.equal(a.nan_to_num(), b.nan_to_num())
    np.testing.assert_array_equal(resumed.train_loss, whole.train_loss)
    np.testing.assert_array_equal(resumed.diverged, whole.diverged)
    assert (whole.diverged[:, 2] > 0).all()


def test_a_checkpoint_of_another_training_is_not_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    one, other = [problem(9, "one")], [problem(9, "other")]
    train_networks(one, LOSSES, SMALL, classes=3, checkpoint=Checkpoint(path, "one", every_s=0))
    found = train_networks(
        other, LOSSES, SMALL, classes=3, checkpoint=Checkpoint(path, "other", every_s=0)
    )
    expected = train_networks(other, LOSSES, SMALL, classes=3)
    np.testing.assert_array_equal(found.train_loss, expected.train_loss)


def test_checkpoints_are_written_no_more_often_than_asked_for(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "training.pt", "stamp", every_s=1000)
    train_networks([problem(9, "a")], LOSSES, SMALL, classes=3, checkpoint=checkpoint)
    assert not checkpoint.path.exists()


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "training.pt"
    checkpoint = Checkpoint(path, "stamp", every_s=0)
    train_networks([problem(9, "a")], LOSSES, SMALL, classes=3, checkpoint=checkpoint)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"training\.pt is damaged.*; remove it"):
        train_networks([problem(9, "a")], LOSSES, SMALL, classes=3, checkpoint=checkpoint)


def test_a_network_that_diverges_is_reported_and_leaves_the_others_alone() -> None:
    good = problem(20, "good", dtype=torch.float32)
    bad = Problem(1e18 * good.inputs, good.targets, ("bad",))
    alone = train_networks([good], LOSSES, SMALL, classes=3)
    both = train_networks([good, bad], LOSSES, SMALL, classes=3)
    assert (both.diverged[:, 0] == 0).all()
    assert (both.diverged[:, 1] > 0).all()
    assert (both.diverged[:, 1] <= SMALL.epochs).all()
    assert both.stack.finite().reshape(3, 2)[:, 0].all()
    new = problem(30, "new", dtype=torch.float32).inputs
    np.testing.assert_allclose(
        both.stack.predict(new)[::2], alone.stack.predict(new), rtol=0, atol=1e-4
    )
    first = int(both.diverged[2, 1])
    assert not np.isfinite(both.train_loss[first - 1, 2, 1])
    assert np.isfinite(both.train_loss[: first - 1, 2, 1]).all()


def test_weights_that_break_in_the_last_step_are_reported() -> None:
    step = {"epochs": 1, "batch_size": 100, "learning_rate": 1e30}
    one_step = SMALL.model_copy(update=step)
    bad = Problem(torch.full((6, 5), 1e20), torch.arange(6) % 3, ("bad",))
    trained = train_networks([bad], {"ce": LOSSES["ce"]}, one_step, classes=3)
    assert np.isfinite(trained.train_loss).all()
    assert not trained.stack.finite().any()
    assert trained.diverged.tolist() == [[1]]


def test_training_learns_what_can_be_learnt() -> None:
    longer = SMALL.model_copy(update={"epochs": 60, "batch_size": 30, "hidden": (32,)})
    one = problem(90, "learn", dtype=torch.float32)
    inputs = one.inputs + 3 * one.targets.unsqueeze(1)
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    separable = Problem(inputs, one.targets, one.key)
    trained = train_networks([separable], LOSSES, longer, classes=3)
    predicted = trained.stack.predict(separable.inputs).argmax(2)
    assert ((predicted == separable.targets.numpy()).mean(1) > 0.97).all()
    assert (trained.train_loss[-1] < 0.3 * trained.train_loss[0]).all()


def test_the_callback_ends_the_training() -> None:
    epochs: list[int] = []

    def third(epoch: int, stack: NetworkStack) -> bool:
        epochs.append(epoch)
        return epoch == 3

    trained = train_networks([problem(9, "a")], LOSSES, SMALL, classes=3, on_epoch=third)
    assert epochs == [1, 2, 3]
    assert trained.train_loss.shape == (3, 3, 1)


def test_the_result_asks_for_no_gradient_and_the_global_generator_is_untouched() -> None:
    state = torch.get_rng_state()
    trained = train_networks([problem(9, "a")], LOSSES, SMALL, classes=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(parameter.requires_grad for parameter in trained.stack.parameters())


GOOD = problem(9, "a")
WRONG: dict[str, tuple[list[Problem], str]] = {
    "none": ([], "nothing to train: 0 problems, 3 losses"),
    "a class too high": (
        [GOOD, Problem(GOOD.inputs, GOOD.targets + 1, ("b",))],
        "problem 1 has the class 3; with 3 classes it must be 0 to 2",
    ),
    "a class below 0": (
        [Problem(GOOD.inputs, GOOD.targets - 1, ("b",))],
        "problem 0 has the class -1",
    ),
    "other inputs": (
        [GOOD, Problem(GOOD.inputs[:, :4], GOOD.targets, ("b",))],
        "problem 1 has 4 inputs in torch.float64, problem 0 has 5",
    ),
    "another type": (
        [GOOD, Problem(GOOD.inputs.float(), GOOD.targets, ("b",))],
        "problem 1 has 5 inputs in torch.float32, problem 0 has 5 in torch.float64",
    ),
    "too few targets": ([Problem(GOOD.inputs, GOOD.targets[:3], ("b",))], r"targets \(3,\)"),
    "no samples": ([Problem(GOOD.inputs[:0], GOOD.targets[:0], ("b",))], r"inputs \(0, 5\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_problems_that_do_not_fit_are_refused(case: str) -> None:
    problems, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        train_networks(problems, LOSSES, SMALL, classes=3)
