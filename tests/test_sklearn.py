"""The scikit-learn classifier: its contract, its losses, its options."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import naive_networks as naive
from squall.losses import BASELINE_LOSSES, LOSSES, build_loss
from squall.networks.batches import Problem
from squall.networks.stack import NetworkSettings
from squall.sklearn import SquentropyClassifier

SMALL: dict[str, Any] = {"hidden": (16, 16), "epochs": 40, "random_state": 0}


def draw(samples: int = 200, classes: int = 3, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    return make_classification(
        samples,
        6,
        n_informative=4,
        n_classes=classes,
        class_sep=1.5,
        random_state=1,
        **options,
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options",
    [{}, {"loss": "rescaled_square", "loss_params": {"M": 5.0}, "early_stopping": True}],
    ids=["default", "early stopping"],
)
def test_scikit_learn_contract(options: dict[str, Any]) -> None:
    estimator = SquentropyClassifier(hidden=(32, 32), epochs=50, batch_size=32, **options)
    outcomes = check_estimator(estimator, on_fail=None)
    wrong = {
        outcome["check_name"]: outcome["exception"]
        for outcome in outcomes
        if outcome["status"] not in ("passed", "skipped")
    }
    assert wrong == {}
    assert sum(outcome["status"] == "passed" for outcome in outcomes) > 40


@pytest.mark.parametrize("loss", [*LOSSES, *BASELINE_LOSSES])
def test_every_loss_learns(loss: str) -> None:
    X, y = draw()
    model = SquentropyClassifier(loss, **SMALL).fit(X, y)
    assert model.score(X, y) > 0.85
    probs = model.predict_proba(X)
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-12)
    np.testing.assert_array_equal(model.classes_[probs.argmax(1)], model.predict(X))
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_the_network_is_that_of_torch_modules() -> None:
    X, y = draw(90)
    params = {"alpha": 0.3}
    model = SquentropyClassifier(loss_params=params, batch_size=20, **SMALL).fit(X, y)
    scaled = torch.from_numpy(((X - X.mean(0)) / X.std(0)).astype(np.float32))
    seed = int(np.random.RandomState(0).randint(2**31 - 1))
    network, history = naive.train_one(
        Problem(scaled, torch.from_numpy(y), ("classifier", seed)),
        build_loss("squentropy", **params),
        NetworkSettings(hidden=(16, 16), epochs=40, batch_size=20),
        classes=3,
    )
    expected = network(scaled).detach().numpy()
    np.testing.assert_allclose(model.decision_function(X), expected, atol=1e-3)
    np.testing.assert_allclose(model.loss_curve_, history, rtol=1e-3)


def test_probabilities_of_logit_norm_are_of_normalised_logits() -> None:
    X, y = draw()
    model = SquentropyClassifier("logit_norm", loss_params={"tau": 0.5}, **SMALL).fit(X, y)
    hidden = (X - model.feature_mean_) * model.feature_scale_
    for weights, offsets in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        hidden = np.maximum(hidden @ weights + offsets, 0)
    logits = hidden @ model.coefs_[-1] + model.intercepts_[-1]
    powers = np.exp(logits / np.linalg.norm(logits, axis=1, keepdims=True) / 0.5)
    expected = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-5)


def test_labels_may_be_strings_and_two_classes_have_one_decision_value() -> None:
    X, y = draw(classes=2)
    names = np.array(["yes", "no"])[y]
    model = SquentropyClassifier(**SMALL).fit(X, names)
    assert model.classes_.tolist() == ["no", "yes"]
    decision = model.decision_function(X)
    assert decision.shape == (200,)
    np.testing.assert_array_equal(model.predict(X), np.where(decision > 0, "yes", "no"))
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 1 / (1 + np.exp(-decision)))
    assert model.score(X, names) > 0.85


@pytest.mark.slow
def test_pipelines_grid_search_and_clones() -> None:
    X, y = load_iris(return_X_y=True)
    options = {**SMALL, "batch_size": 16}
    pipeline = make_pipeline(StandardScaler(), SquentropyClassifier(**options, standardize=False))
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.9
    grid = {"loss": ["ce", "squentropy"], "loss_params": [None, {"label_smoothing": 0.1}]}
    search = GridSearchCV(SquentropyClassifier(**options), grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert (search.cv_results_["mean_test_score"] > 0.8).all()
    copy = clone(search.best_estimator_)
    assert copy.get_params() == search.best_estimator_.get_params()
    assert not hasattr(copy, "coefs_")


def test_grids_over_arrays_of_numpy_are_grids() -> None:
    X, y = draw(60)
    numbers: dict[str, Any] = {"epochs": 2, "batch_size": 32, "patience": 2}
    options: dict[str, Any] = {name: np.int64(value) for name, value in numbers.items()}
    options |= {"hidden": np.array([8]), "momentum": np.float32(0.5), "nesterov": np.True_}
    grid = {"loss": np.array(["rescaled_square"]), "loss_params": [{"k": np.int64(2)}]}
    model = SquentropyClassifier(**options, random_state=0)
    found = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y).best_estimator_
    plain = SquentropyClassifier(
        "rescaled_square",
        loss_params={"k": 2},
        hidden=[8],
        momentum=0.5,
        random_state=0,
        **numbers,
    ).fit(X, y)
    assert found.predict_proba(X).tolist() == plain.predict_proba(X).tolist()


def test_a_pickled_model_predicts_the_same() -> None:
    X, y = draw()
    model = SquentropyClassifier(early_stopping=True, class_weight="balanced", **SMALL).fit(X, y)
    read = pickle.loads(pickle.dumps(model))  # noqa: S301  # written on the line itself
    np.testing.assert_array_equal(read.predict_proba(X), model.predict_proba(X))


def test_the_random_state_decides_and_the_global_ones_do_not() -> None:
    X, y = draw(60)
    few = {**SMALL, "epochs": 3}
    first = SquentropyClassifier(**few).fit(X, y)
    torch.manual_seed(99)
    np.random.seed(99)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    second = SquentropyClassifier(**few).fit(X, y)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    other = SquentropyClassifier(**{**few, "random_state": 1}).fit(X, y)
    assert np.abs(other.predict_proba(X) - first.predict_proba(X)).max() > 1e-3


def test_early_stopping_keeps_the_best_epoch() -> None:
    X, y = draw(120, flip_y=0.4)
    options = {**SMALL, "epochs": 300, "patience": 5, "learning_rate": 0.05}
    model = SquentropyClassifier(early_stopping=True, **options).fit(X, y)
    curve = model.validation_loss_curve_
    assert curve is not None
    assert model.n_iter_ < 300
    assert len(curve) == len(model.loss_curve_) == model.n_iter_
    assert model.best_epoch_ == curve.argmin() + 1 == model.n_iter_ - 5
    until = SquentropyClassifier(
        early_stopping=True, **{**options, "epochs": model.best_epoch_}
    ).fit(X, y)
    np.testing.assert_array_equal(until.predict_proba(X), model.predict_proba(X))
    without = SquentropyClassifier(**{**options, "epochs": 7}).fit(X, y)
    assert without.validation_loss_curve_ is None
    assert without.best_epoch_ == without.n_iter_ == 7


def test_the_validation_loss_is_that_of_the_held_out_rows() -> None:
    X, y = draw(100)
    model = SquentropyClassifier(
        "ce", early_stopping=True, validation_fraction=0.3, **{**SMALL, "epochs": 1}
    ).fit(X, y)
    assert model.validation_loss_curve_ is not None
    rows = _held_out(y, 0.3)
    assert len(rows) == 30
    logs = np.log(model.predict_proba(X)[rows, y[rows]])
    assert model.validation_loss_curve_[0] == pytest.approx(-logs.mean(), rel=1e-5)
    kept = np.setdiff1d(np.arange(100), rows)
    np.testing.assert_allclose(model.feature_mean_, X[kept].mean(0))


def _held_out(y: np.ndarray, fraction: float) -> np.ndarray:
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(y))
    size = round(fraction * len(y))
    return train_test_split(
        rows, test_size=size, stratify=y, random_state=np.random.RandomState(0)
    )[1]


@pytest.mark.slow
def test_class_weights_move_the_decision() -> None:
    X, y = draw(400, classes=2, weights=[0.9, 0.1], flip_y=0.1)
    found = {}
    for name, weight in {
        "none": None,
        "balanced": "balanced",
        "by hand": {0: 1 / np.sum(y == 0), 1: 1 / np.sum(y == 1)},
        "scaled": {0: 100.0, 1: 100.0},
        "rare": {1: 1000.0},
    }.items():
        model = SquentropyClassifier(class_weight=weight, **SMALL).fit(X, y)
        found[name] = model.predict_proba(X)[:, 1].mean()
    assert found["scaled"] == pytest.approx(found["none"], rel=1e-6)
    assert found["by hand"] == pytest.approx(found["balanced"], rel=1e-3)
    assert found["none"] + 0.1 < found["balanced"] < found["rare"]


def test_constant_inputs_are_left_out() -> None:
    X, y = draw()
    X[:, 2] = 0.1
    model = SquentropyClassifier(**SMALL).fit(X, y)
    changed = X.copy()
    changed[:, 2] = 1e9
    np.testing.assert_array_equal(model.predict_proba(changed), model.predict_proba(X))


def test_standardizing_is_what_a_scaler_before_does() -> None:
    X, y = draw()
    X = 1000 + 50 * X
    inside = SquentropyClassifier(**SMALL).fit(X, y)
    before = make_pipeline(StandardScaler(), SquentropyClassifier(**SMALL, standardize=False))
    before.fit(X, y)
    np.testing.assert_allclose(inside.predict_proba(X), before.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "squentropi"}, "did you mean 'squentropy'"),
        ({"loss_params": {"k": 1.0}}, "squentropy has no parameter 'k'"),
        ({"epochs": 0}, "epochs"),
        ({"hidden": (4, 0)}, "hidden"),
        ({"patience": 0}, "patience is 0"),
        ({"validation_fraction": 1.0}, r"validation_fraction is 1\.0"),
        ({"class_weight": {0: -1.0}}, "class_weight"),
        ({"class_weight": {0: 0.0, 1: 0.0, 2: 0.0}}, "class_weight"),
    ],
    ids=["loss", "parameter", "epochs", "hidden", "patience", "fraction", "negative", "zero"],
)
def test_wrong_parameters_are_refused(options: dict[str, Any], message: str) -> None:
    X, y = draw(30)
    with pytest.raises(ValueError, match=message):
        SquentropyClassifier(**options).fit(X, y)


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({"hidden": 16}, {"hidden": (16,)}),
        ({"hidden": np.int64(16)}, {"hidden": (16,)}),
        ({"hidden": np.array([16, 8])}, {"hidden": (16, 8)}),
        ({"epochs": np.int64(5), "batch_size": np.int32(32)}, {"epochs": 5, "batch_size": 32}),
        ({"momentum": np.float64(0.5), "nesterov": np.bool_(True)}, {"momentum": 0.5}),
        ({"loss": np.str_("ce"), "random_state": np.int64(0)}, {"loss": "ce"}),
        (
            {"loss": "rescaled_square", "loss_params": {"k": np.int64(1), "M": np.float32(5)}},
            {"loss": "rescaled_square", "loss_params": {"k": 1.0, "M": 5.0}},
        ),
    ],
    ids=["one layer", "numpy's", "array", "integers", "floats", "loss", "loss_params"],
)
def test_parameters_may_be_those_of_numpy(options: dict[str, Any], same: dict[str, Any]) -> None:
    X, y = draw(60)
    first, second = (
        SquentropyClassifier(**{**SMALL, "epochs": 5, **one}).fit(X, y) for one in (options, same)
    )
    assert np.array_equal(first.predict_proba(X), second.predict_proba(X))


def test_rows_may_be_a_reversed_view() -> None:
    X, y = draw(60)
    model = SquentropyClassifier(**SMALL).fit(X[::-1], y[::-1])
    copy = SquentropyClassifier(**SMALL).fit(X[::-1].copy(), y[::-1].copy())
    assert np.array_equal(model.predict_proba(X[::-1]), copy.predict_proba(X[::-1].copy()))


def test_data_that_cannot_be_learnt_are_refused() -> None:
    X, y = draw(30)
    with pytest.raises(ValueError, match="y has one class only"):
        SquentropyClassifier().fit(X, np.zeros(30))
    lonely = np.where(np.arange(30) == 3, 7, y)
    with pytest.raises(ValueError, match=r"class .*7.* has one sample; early_stopping"):
        SquentropyClassifier(early_stopping=True).fit(X, lonely)
    with pytest.raises(ValueError, match=r"not finite any more in epoch \d: take a smaller"):
        SquentropyClassifier("square", loss_params={"scale": 1e30}).fit(X, y)
    with pytest.raises(ValueError, match="or scale the inputs"):
        SquentropyClassifier(standardize=False).fit(1e30 * X, y)


def test_the_defaults_are_those_of_the_study() -> None:
    ours = SquentropyClassifier().get_params()
    for name, value in NetworkSettings().model_dump().items():
        assert ours[name] == value
