"""The network: what it learns, same bits from same seed, going on after an interruption, errors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from squall.enhance.estimators.adagrad import AdagradMomentum
from squall.enhance.estimators.dnn import DnnEstimator
from squall.enhance.estimators.estimator import MaskEstimator, estimator_kind
from squall.losses import BASELINE_LOSSES, LOSSES, squentropy_loss
from squall.networks.feedforward import FeedForward

DIMENSIONS, CHANNELS = 6, 3
SMALL: dict[str, Any] = {
    "hidden_layers": 2,
    "hidden_units": 24,
    "batch_size": 32,
    "max_epochs": 6,
    "patience": 6,
}


@pytest.fixture
def data() -> dict[str, np.ndarray]:
    """300 training and 100 development frames whose masks follow from their features."""
    random = np.random.default_rng(3)
    features = random.standard_normal((400, DIMENSIONS)).astype(np.float32)
    mixed = np.tanh(features @ random.standard_normal((DIMENSIONS, CHANNELS)))
    masks = (0.5 + 0.5 * mixed).astype(np.float32)
    return {
        "features": features[:300],
        "masks": masks[:300],
        "dev_features": features[300:],
        "dev_masks": masks[300:],
    }


@pytest.fixture
def binary(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same frames with binary masks."""
    rounded = {name: (data[name] > 0.5).astype(np.float32) for name in ("masks", "dev_masks")}
    return data | rounded


def _fit(data: dict[str, np.ndarray], **settings: Any) -> DnnEstimator:
    fitting = {key: settings.pop(key) for key in ("checkpoint", "on_progress") if key in settings}
    return DnnEstimator(**(SMALL | settings)).fit(**data, **fitting)


def _errors(estimator: DnnEstimator) -> list[tuple[float, float, float]]:
    return [(e["epoch"], e["train_loss"], e["dev_mse"]) for e in estimator.history_]


def test_it_is_a_mask_estimator() -> None:
    assert isinstance(DnnEstimator(), MaskEstimator)


def test_its_size_is_that_of_all_weights(data: dict[str, np.ndarray]) -> None:
    hidden = DIMENSIONS * 24 + 24 + 24 * 24 + 24
    assert _fit(data, max_epochs=1).size() == {"params": hidden + 24 * CHANNELS + CHANNELS}
    with pytest.raises(ValueError, match="not trained yet"):
        DnnEstimator().size()


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "adagrad_momentum"])
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_it_learns_ratio_masks(data: dict[str, np.ndarray], optimizer: str, loss: str) -> None:
    settings = {"dropout": 0.0, "max_epochs": 60, "patience": 60, "learning_rate": 0.01}
    estimator = _fit(data, optimizer=optimizer, loss=loss, **settings)
    predicted = estimator.predict(data["dev_features"])
    assert predicted.dtype == np.float32
    assert predicted.shape == data["dev_masks"].shape
    assert predicted.min() >= 0
    assert predicted.max() <= 1
    error = np.square(predicted - data["dev_masks"]).mean(dtype=np.float64)
    assert error < 0.1 * data["dev_masks"].var()
    best = min(estimator.history_, key=lambda entry: entry["dev_mse"])
    assert estimator.best_epoch_ == best["epoch"]
    assert error == pytest.approx(best["dev_mse"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["bce", *LOSSES, *BASELINE_LOSSES])
def test_every_loss_learns_binary_masks(binary: dict[str, np.ndarray], loss: str) -> None:
    settings = {"dropout": 0.0, "max_epochs": 40, "learning_rate": 0.01, "loss": loss}
    estimator = _fit(binary, **settings)
    kept = estimator.predict(binary["dev_features"]) > 0.5
    assert (kept == binary["dev_masks"]).mean() > 0.9


def test_two_logits_per_unit_give_the_softmax_of_class_one(
    binary: dict[str, np.ndarray],
) -> None:
    estimator = _fit(binary, loss="squentropy", max_epochs=2)
    assert estimator.network_ is not None
    with torch.no_grad():
        logits = estimator.network_(torch.from_numpy(binary["dev_features"]))
    expected = logits.view(-1, CHANNELS, 2).softmax(-1)[..., 1].numpy()
    predicted = estimator.predict(binary["dev_features"])
    np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-7)


def test_logits_of_logit_norm_are_normalised_for_the_mask(binary: dict[str, np.ndarray]) -> None:
    estimator = _fit(binary, loss="logit_norm", loss_parameters={"tau": 0.5}, max_epochs=2)
    assert estimator.network_ is not None
    with torch.no_grad():
        logits = estimator.network_(torch.from_numpy(binary["dev_features"]))
    logits = logits.view(-1, CHANNELS, 2)
    normalised = logits / logits.norm(dim=-1, keepdim=True) / 0.5
    predicted = estimator.predict(binary["dev_features"])
    np.testing.assert_allclose(predicted, normalised.softmax(-1)[..., 1].numpy(), rtol=1e-4)


def test_the_first_step_is_that_of_plain_torch(binary: dict[str, np.ndarray]) -> None:
    """One batch of all frames, against autograd and torch's own optimizer written out."""
    settings = {"dropout": 0.0, "batch_size": 300, "max_epochs": 1, "learning_rate": 0.01}
    loss = {"loss": "squentropy", "loss_parameters": {"alpha": 0.5}}
    estimator = _fit(binary, seed=4, **settings, **loss)
    plain = torch.nn.Sequential(
        torch.nn.Linear(DIMENSIONS, 24),
        torch.nn.ReLU(),
        torch.nn.Linear(24, 24),
        torch.nn.ReLU(),
        torch.nn.Linear(24, 2 * CHANNELS),
    )
    start = FeedForward(
        DIMENSIONS, 2 * CHANNELS, hidden_layers=2, hidden_units=24, dropout=0.0, seed=4
    )
    with torch.no_grad():
        for ours, theirs in zip(start.parameters(), plain.parameters(), strict=True):
            theirs.copy_(ours)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    logits = plain(torch.from_numpy(binary["features"])).view(-1, 2)
    value = squentropy_loss(logits, torch.from_numpy(binary["masks"]).long().view(-1), alpha=0.5)
    value.backward()
    optimizer.step()
    assert estimator.history_[0]["train_loss"] == pytest.approx(value.item(), rel=1e-5)
    assert estimator.network_ is not None
    for ours, theirs in zip(estimator.network_.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_same_seed_gives_the_same_bits(data: dict[str, np.ndarray]) -> None:
    first = _fit(data)
    torch.manual_seed(99)
    second, other = _fit(data), _fit(data, seed=1)
    assert _errors(first) == _errors(second)
    assert _errors(first) != _errors(other)
    predictions = [e.predict(data["dev_features"]) for e in (first, second)]
    assert predictions[0].tobytes() == predictions[1].tobytes()


def test_a_second_fit_starts_anew(data: dict[str, np.ndarray]) -> None:
    estimator = _fit(data)
    errors = _errors(estimator)
    assert _errors(estimator.fit(**data)) == errors


def test_the_random_state_of_others_is_left_alone(data: dict[str, np.ndarray]) -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tobytes()
    _fit(data, max_epochs=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tobytes() == numpy_before


@pytest.mark.parametrize("killed_after", [1, 4])
@pytest.mark.parametrize("optimizer", ["adam", "adagrad_momentum"])
def test_an_interrupted_training_ends_with_the_same_bits(
    data: dict[str, np.ndarray], tmp_path: Path, optimizer: str, killed_after: int
) -> None:
    settings = {"optimizer": optimizer, "max_epochs": 8, "patience": 8, "learning_rate": 0.01}
    whole = _fit(data, **settings)

    def kill(done: int, _total: int, _message: str) -> None:
        if done == killed_after:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "new" / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        _fit(data, **settings, checkpoint=checkpoint, on_progress=kill)
    epochs: list[int] = []
    resumed = _fit(
        data,
        **settings,
        checkpoint=checkpoint,
        on_progress=lambda done, _total, _message: epochs.append(done),
    )
    assert epochs == list(range(killed_after + 1, 9))
    assert _errors(resumed) == _errors(whole)
    seconds = [entry["seconds"] for entry in resumed.history_]
    assert seconds == sorted(seconds)
    predictions = [e.predict(data["dev_features"]) for e in (whole, resumed)]
    assert predictions[0].tobytes() == predictions[1].tobytes()


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_a_best_epoch_before_the_interruption_is_kept(
    data: dict[str, np.ndarray], tmp_path: Path, decay: float
) -> None:
    # Masks turned round for development: the better the training, the worse.
    data = data | {"dev_masks": 1 - data["dev_masks"]}
    settings = {"learning_rate": 0.01, "max_epochs": 50, "patience": 4, "decay": decay}
    whole = _fit(data, **settings)
    checkpoint = tmp_path / "checkpoint.pt"
    _fit(data, **(settings | {"max_epochs": whole.best_epoch_ + 2}), checkpoint=checkpoint)
    resumed = _fit(data, **settings, checkpoint=checkpoint)
    assert _errors(resumed) == _errors(whole)
    predictions = [e.predict(data["dev_features"]) for e in (whole, resumed)]
    assert predictions[0].tobytes() == predictions[1].tobytes()


def test_more_epochs_continue_a_finished_run(data: dict[str, np.ndarray], tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    short = _fit(data, max_epochs=3, checkpoint=checkpoint)
    again = _fit(data, max_epochs=3, checkpoint=checkpoint)
    assert again.history_ == short.history_
    longer = _fit(data, max_epochs=5, checkpoint=checkpoint)
    assert _errors(longer) == _errors(_fit(data, max_epochs=5))


def test_a_checkpoint_of_another_run_is_refused(
    data: dict[str, np.ndarray], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    _fit(data, max_epochs=1, checkpoint=checkpoint)
    with pytest.raises(ValueError, match="of a training with other dropout, seed; remove it"):
        _fit(data, dropout=0.5, seed=7, checkpoint=checkpoint)
    with pytest.raises(ValueError, match="other data"):
        _fit(data | {"masks": data["masks"][::-1]}, checkpoint=checkpoint)
    checkpoint.write_bytes(b"nothing of use")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
        _fit(data, checkpoint=checkpoint)


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(
    data: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """As they were written before the loop was that of `squall.networks`: other names, one level.

    Experiments that were made then are continued with more epochs.
    """
    path = tmp_path / "checkpoint.pt"
    short = _fit(data, max_epochs=3, checkpoint=path)
    now = torch.load(path, weights_only=True)
    state = now["state"]
    order, dropout = state["generators"]
    names = ("network", "optimizer", "best_epoch", "best_weights")
    earlier = {
        "identity": now["stamp"],
        **{name: state[name] for name in names},
        "order_random": order,
        "dropout_random": dropout,
        "history": short.history_,
        "best_mse": min(entry["dev_mse"] for entry in short.history_),
    }
    torch.save(earlier, path)
    longer = _fit(data, max_epochs=5, checkpoint=path)
    whole = _fit(data, max_epochs=5)
    assert _errors(longer) == _errors(whole)
    predictions = [e.predict(data["dev_features"]) for e in (whole, longer)]
    assert predictions[0].tobytes() == predictions[1].tobytes()
    torch.save({**earlier, "identity": {**now["stamp"], "seed": 7}}, path)
    with pytest.raises(ValueError, match="of a training with other seed; remove it"):
        _fit(data, checkpoint=path)


def test_it_stops_when_it_gets_no_better_and_keeps_the_best_epoch(
    data: dict[str, np.ndarray],
) -> None:
    # Masks turned round for development: the better the training, the worse.
    data = data | {"dev_masks": 1 - data["dev_masks"]}
    estimator = _fit(data, learning_rate=0.01, max_epochs=50, patience=3)
    errors = [entry["dev_mse"] for entry in estimator.history_]
    best = int(np.argmin(errors)) + 1
    assert estimator.best_epoch_ == best == len(errors) - 3
    predicted = estimator.predict(data["dev_features"])
    error = np.square(predicted - data["dev_masks"]).mean(dtype=np.float64)
    assert error == pytest.approx(min(errors), rel=1e-5)


def test_the_learning_rate_decays_and_training_goes_on_from_the_best_weights(
    data: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data | {"dev_masks": 1 - data["dev_masks"]}
    rates: list[float] = []
    weights: list[torch.Tensor] = []
    step = torch.optim.Adam.step

    def spy(self: torch.optim.Adam, closure: Any = None) -> Any:
        group = self.param_groups[0]
        rates.append(group["lr"])
        weights.append(group["params"][0].detach().clone())
        return step(self, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    settings = {"learning_rate": 0.01, "batch_size": 300, "decay": 0.5}
    estimator = _fit(data, **settings, max_epochs=50, patience=5)
    best, epochs = estimator.best_epoch_, len(estimator.history_)
    assert epochs == best + 5
    assert rates == [0.01] * (best + 2) + [0.005] * 2 + [0.0025]
    # Before the step that follows the best epoch, and after each decay, the weights are the best.
    assert torch.equal(weights[best], weights[best + 2])
    assert torch.equal(weights[best], weights[best + 4])
    assert not torch.equal(weights[best], weights[best + 1])


def test_momentum_rises_after_five_epochs(
    data: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    step = AdagradMomentum.step

    def spy(self: AdagradMomentum, closure: Any = None) -> Any:
        seen.append(self.param_groups[0]["momentum"])
        return step(self, closure)

    monkeypatch.setattr(AdagradMomentum, "step", spy)
    _fit(data, optimizer="adagrad_momentum", batch_size=300, max_epochs=7, patience=7)
    assert seen == [0.5] * 5 + [0.9] * 2


def test_features_of_a_read_only_memory_map(data: dict[str, np.ndarray], tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", data["features"])
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    assert _errors(_fit(data | {"features": mapped})) == _errors(_fit(data))


def test_inputs_are_left_as_they_were(data: dict[str, np.ndarray]) -> None:
    before = {name: array.copy() for name, array in data.items()}
    _fit(data, max_epochs=2)
    assert all(np.array_equal(before[name], data[name]) for name in data)


def test_prediction_in_blocks(data: dict[str, np.ndarray]) -> None:
    estimator = _fit(data, max_epochs=2)
    many = np.tile(data["features"], (20, 1))  # 6000 frames, more than one block
    predicted = estimator.predict(many)
    expected = np.tile(estimator.predict(data["features"]), (20, 1))
    np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-7)


def test_the_development_error_in_blocks(
    data: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _fit(data, max_epochs=1).history_[0]["dev_mse"]
    monkeypatch.setattr("squall.enhance.estimators.dnn._BLOCK_ROWS", 30)
    assert _fit(data, max_epochs=1).history_[0]["dev_mse"] == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("loss", ["mse", "squentropy"])
def test_saved_and_loaded_it_predicts_the_same_bits(
    binary: dict[str, np.ndarray], tmp_path: Path, loss: str
) -> None:
    folder = tmp_path / "models" / "dnn"
    estimator = _fit(binary, loss=loss, max_epochs=2)
    estimator.save(folder)
    assert estimator_kind(folder) == "dnn"
    loaded = DnnEstimator.load(folder)
    assert loaded.parameters() == estimator.parameters()
    assert loaded.history_ == estimator.history_
    assert loaded.best_epoch_ == estimator.best_epoch_
    predictions = [e.predict(binary["dev_features"]) for e in (estimator, loaded)]
    assert predictions[0].tobytes() == predictions[1].tobytes()


def test_damaged_and_foreign_folders_are_named(data: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path}: no estimator"):
        DnnEstimator.load(tmp_path)
    _fit(data, max_epochs=1).save(tmp_path)
    weights = (tmp_path / "weights.pt").read_bytes()
    (tmp_path / "weights.pt").write_bytes(weights[:200])
    with pytest.raises(ValueError, match=r"weights\.pt is damaged"):
        DnnEstimator.load(tmp_path)
    (tmp_path / "weights.pt").write_bytes(weights)
    content = json.loads((tmp_path / "estimator.json").read_text())
    (tmp_path / "estimator.json").write_text(json.dumps(content | {"kind": "kernel"}))
    with pytest.raises(ValueError, match="kind 'kernel', not 'dnn'"):
        DnnEstimator.load(tmp_path)
    (tmp_path / "estimator.json").write_text(json.dumps(content | {"format": 9}))
    with pytest.raises(ValueError, match="format 9"):
        DnnEstimator.load(tmp_path)
    (tmp_path / "estimator.json").write_text("{")
    with pytest.raises(ValueError, match=r"estimator\.json: damaged"):
        DnnEstimator.load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'; use one of adam, adagrad_momentum"),
        ({"loss": "squentropi"}, "unknown loss 'squentropi'; use one of mse, bce, ce"),
        ({"loss": "mse", "loss_parameters": {"alpha": 1.0}}, "mse has no parameters"),
        ({"loss": "square", "loss_parameters": {"alpha": 1.0}}, "square has no parameter 'alpha'"),
        (
            {"loss": "ce", "loss_parameters": {"reduction": "sum"}},
            "reduction cannot be chosen here",
        ),
        ({"loss": "squentropy", "loss_parameters": {"alpha": -1.0}}, "alpha"),
        ({"hidden_units": 0}, "hidden_units is 0"),
        ({"hidden_layers": -1}, "hidden_layers is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"decay": 0.0}, r"decay is 0.0; it must be in \(0, 1\]"),
        ({"decay": 1.5}, "decay is 1.5"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DnnEstimator(**settings)


def _spoilt(array: np.ndarray, value: float) -> np.ndarray:
    spoilt = array.copy()
    spoilt[17, 1] = value
    return spoilt


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("features", lambda a: a[:, 0], r"features have shape \(300,\)"),
        ("features", lambda a: a[:0], r"features have shape \(0, 6\)"),
        ("features", lambda a: _spoilt(a, np.nan), "features have a value .* row 17"),
        ("dev_features", lambda a: _spoilt(a, np.inf), "dev_features have a value .* row 17"),
        ("dev_features", lambda a: a[:, :5], "dev_features have 5 dimensions instead of 6"),
        ("masks", lambda a: a[:-1], "masks have 299 frames, their features 300"),
        ("masks", lambda a: _spoilt(a, np.nan), "masks have nan in row 17, channel 1"),
        ("masks", lambda a: _spoilt(a, 1.01), "masks have 1.01 in row 17"),
        ("dev_masks", lambda a: _spoilt(a, -0.1), "dev_masks have -0.1 in row 17"),
        ("dev_masks", lambda a: a[:, :2], "dev_masks have 2 channels instead of 3"),
        ("dev_masks", lambda a: a[:3], "dev_masks have 3 frames, their features 100"),
    ],
)
def test_wrong_data_are_named(
    data: dict[str, np.ndarray], name: str, spoil: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _fit(data | {name: spoil(data[name])})


def test_a_loss_on_classes_needs_binary_masks(data: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="needs binary masks"):
        _fit(data, loss="squentropy")


def test_a_training_that_diverges_says_so(data: dict[str, np.ndarray]) -> None:
    with pytest.raises(RuntimeError, match=r"diverged in epoch 1.*lower learning_rate"):
        _fit(data, loss="bce", learning_rate=1e30)


def test_prediction_needs_a_fit_and_the_same_dimensions(data: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="not trained yet"):
        DnnEstimator().predict(data["features"])
    with pytest.raises(ValueError, match="not trained yet"):
        DnnEstimator().save(Path("nowhere"))
    estimator = _fit(data, max_epochs=1)
    with pytest.raises(ValueError, match="5 dimensions instead of 6"):
        estimator.predict(data["features"][:, :5])
    with pytest.raises(ValueError, match="row 17"):
        estimator.predict(_spoilt(data["features"], np.nan))


def _weights_after(optimizer_of: Any, steps: int = 20) -> torch.Tensor:
    weight = torch.linspace(-2, 2, 40, dtype=torch.float64).requires_grad_()
    optimizer = optimizer_of([weight])
    for step in range(steps):
        optimizer.zero_grad()
        ((weight - 0.3 * step) ** 4).sum().backward()
        optimizer.step()
    return weight.detach()


def test_adagrad_without_momentum_is_that_of_torch() -> None:
    ours = _weights_after(lambda params: AdagradMomentum(params, lr=0.1, momentum=0.0))
    torchs = _weights_after(lambda params: torch.optim.Adagrad(params, lr=0.1))
    torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=1e-12)


def test_adagrad_with_momentum_against_its_formula() -> None:
    ours = _weights_after(lambda params: AdagradMomentum(params, lr=0.1, momentum=0.7))
    weight = np.linspace(-2, 2, 40)
    squares, velocity = np.zeros(40), np.zeros(40)
    for step in range(20):
        gradient = 4 * (weight - 0.3 * step) ** 3
        squares += gradient**2
        velocity = 0.7 * velocity - 0.1 * gradient / (np.sqrt(squares) + 1e-10)
        weight = weight + velocity
    np.testing.assert_allclose(ours.numpy(), weight, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "parameters", [{"lr": 0.0}, {"momentum": 1.0}, {"momentum": -0.1}, {"eps": 0.0}]
)
def test_adagrad_refuses_parameters_out_of_range(parameters: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        AdagradMomentum([torch.zeros(1, requires_grad=True)], **parameters)
