"""Building losses by name, the modules, and the examples in the docstrings."""

from __future__ import annotations

import copy
import doctest
import importlib
import math
import pickle
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from squall import losses
from squall.losses import (
    BASELINE_LOSSES,
    LOSSES,
    SOURCE_SETTINGS,
    build_loss,
    initial_value,
    loss_parameters,
    scale_of_ce,
)
from squall.losses.formulas import token_values

every_name = pytest.mark.parametrize("name", [*LOSSES, *BASELINE_LOSSES])

MODULES = [f"squall.losses.{found.name}" for found in pkgutil.iter_modules(losses.__path__)]


def test_config_builds_the_module_it_names() -> None:
    loss = build_loss(**{"name": "squentropy", "alpha": 0.1, "scale": 1.0})
    assert isinstance(loss, losses.SquentropyLoss)
    assert loss.alpha == 0.1


@every_name
def test_module_gives_the_value_of_the_function(name: str) -> None:
    functions = {"ce": losses.cross_entropy}
    function = functions.get(name) or getattr(losses, f"{name}_loss")
    logits, target = torch.randn(5, 3), torch.tensor([0, 1, 2, -1, 0])
    loss = build_loss(name, ignore_index=-1, reduction="sum", scale=0.5)
    expected = function(logits, target, ignore_index=-1, reduction="sum", scale=0.5)
    assert torch.equal(loss(logits, target), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_terms_of_a_module_are_those_of_its_values(name: str) -> None:
    given = {"k": 3.0, "M": 4.0, "w": 0.7, "alpha": 0.3, "label_smoothing": 0.2}
    params = {key: value for key, value in given.items() if key in loss_parameters(name)}
    loss = build_loss(name, **params, reduction="none", scale=0.5)
    logits, target = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 0])
    found = token_values(logits, target, target < 0, loss.terms(3).scaled(0.5))
    torch.testing.assert_close(found, loss(logits, target))


@every_name
def test_modules_are_ordinary_modules(name: str) -> None:
    loss = build_loss(name, scale=2.0)
    model = nn.Sequential(loss)
    assert not model.state_dict()
    assert repr(loss).endswith("(scale=2.0)")
    assert len({loss, build_loss(name)}) == 2
    logits, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 0])
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):  # noqa: S301
        assert torch.equal(twin(logits, target), loss(logits, target))
    model.eval().to("cpu").train()


class OfFeatures(losses.SquentropyLoss):
    """A subclass with its own constructor, layer, and forward."""

    def __init__(self, width: int, **params: object) -> None:
        super().__init__(**params)  # type: ignore[arg-type]
        self.layer = nn.Linear(width, 3)

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        return super().forward(self.layer(features), target)


@dataclass(eq=False, repr=False, kw_only=True)
class ThroughLayer(losses.RescaledSquareLoss):
    """The same as a dataclass, with the layer and a weight for it among the fields."""

    layer: nn.Module
    decay: float = 0.1

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        weights = sum(weight.square().sum() for weight in self.layer.parameters())
        return super().forward(self.layer(features), target) + self.decay * weights


@pytest.mark.parametrize(
    "loss",
    [
        lambda: OfFeatures(5, alpha=0.1, reduction="sum"),
        lambda: ThroughLayer(layer=nn.Linear(5, 3), k=2.0),
    ],
    ids=["constructor", "fields"],
)
def test_subclass_may_have_layers_and_a_forward_of_its_own(
    loss: Callable[[], losses.TokenLoss],
) -> None:
    module = loss()
    assert set(module.state_dict()) == {"layer.weight", "layer.bias"}
    features, target = torch.randn(4, 5), torch.tensor([0, 1, 2, 0])
    value = module(features, target)
    value.backward()
    assert all(weight.grad is not None for weight in module.parameters())
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):  # noqa: S301
        assert torch.equal(twin(features, target), value)
    with pytest.raises(ValueError, match="scale is 0"):
        OfFeatures(5, scale=0.0)


def test_every_loss_has_the_common_parameters() -> None:
    common = {"ignore_index", "reduction", "class_dim", "scale", "check", "check_finite"}
    for name in (*LOSSES, *BASELINE_LOSSES):
        assert common <= set(loss_parameters(name))


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"'squentorpy'; did you mean 'squentropy'\? There"):
        build_loss("squentorpy")
    with pytest.raises(ValueError, match=r"'focl'; did you mean 'focal'\? There"):
        loss_parameters("focl")
    with pytest.raises(ValueError, match=r"'hinge'\. There are: ce, .*, confidence_penalty$"):
        build_loss("hinge")


@pytest.mark.parametrize("name", LOSSES)
def test_a_name_with_linear_before_it_leads_to_the_linear_losses(name: str) -> None:
    with pytest.raises(ValueError, match=rf"'linear_{name}'; .*LINEAR_LOSSES\['{name}'\]$"):
        build_loss(f"linear_{name}")


def test_a_baseline_has_neither_terms_nor_a_linear_form() -> None:
    assert not BASELINE_LOSSES.keys() & {*LOSSES, *losses.LINEAR_LOSSES}
    for name in BASELINE_LOSSES:
        with pytest.raises(TypeError, match="no sum of cross-entropy and squares"):
            build_loss(name).terms(3)
        with pytest.raises(ValueError, match=rf"'linear_{name}'.* There are"):
            build_loss(f"linear_{name}")


@pytest.mark.parametrize("classes", [2, 7, 1000])
def test_initial_values_by_formula(classes: int) -> None:
    wrong, entropy = 1 - 1 / classes, math.log(classes)
    expected: list[tuple[str, dict[str, float], float]] = [
        ("ce", {}, entropy),
        ("ce", {"label_smoothing": 0.3, "scale": 2.0}, 2 * entropy),
        ("square", {}, 1 / classes),
        ("rescaled_square", {"k": 15.0, "M": 30.0}, 13500 / classes),
        ("ccql", {}, (classes - 1) ** 0.5 / 2),
        ("ccql", {"w": 2.0}, 1.5),
        ("squentropy", {"alpha": 0.3}, entropy),
        ("focal", {}, wrong**3 * entropy),
        ("dual_focal", {"gamma": 2.0}, wrong**2 * entropy),
        ("brier", {}, wrong),
        ("logit_norm", {}, entropy),
        ("confidence_penalty", {"beta": 0.25}, 0.75 * entropy),
    ]
    assert {name for name, _, _ in expected} == {*LOSSES, *BASELINE_LOSSES}
    for name, params, value in expected:
        found = initial_value(name, classes, **params)
        assert found == pytest.approx(value, rel=1e-14), name
        plain = {key: value for key, value in params.items() if key != "scale"}
        begun = scale_of_ce(name, classes, **plain) * initial_value(name, classes, **plain)
        assert begun == pytest.approx(entropy, rel=1e-14), name


def test_the_form_of_the_call_does_not_change_the_initial_value() -> None:
    options = {"reduction": "none", "class_dim": 1, "ignore_index": 0, "check_finite": True}
    assert initial_value("squentropy", 5, **options) == initial_value("squentropy", 5)
    with torch.device("meta"):
        assert initial_value("brier", 4) == 0.75


def test_a_loss_that_begins_at_zero_has_no_scale_of_cross_entropy() -> None:
    with pytest.raises(ValueError, match=r"confidence_penalty with \{'beta': 1.0\} is 0 at logits"):
        scale_of_ce("confidence_penalty", 4, beta=1.0)
    with pytest.raises(ValueError, match="1 classes"):
        scale_of_ce("square", 1)
    with pytest.raises(ValueError, match="no parameter 'k'"):
        initial_value("square", 3, k=2)


def test_unknown_parameter_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"ce has no parameter 'label_smoothin'; did you mean"):
        build_loss("ce", label_smoothin=0.1)
    with pytest.raises(ValueError, match=r"square has no parameter 'k'\. There are: ignore_index"):
        build_loss("square", k=15)


@pytest.mark.parametrize("settings", SOURCE_SETTINGS.values(), ids=SOURCE_SETTINGS)
def test_settings_of_the_sources_build(settings: dict[str, float]) -> None:
    loss = build_loss("rescaled_square", **settings)
    # At f = 0 the loss is k M^2 / C.
    expected = settings["k"] * settings["M"] ** 2 / 10
    assert loss(torch.zeros(1, 10), torch.tensor([3])).item() == pytest.approx(expected)


@pytest.mark.parametrize("module", ["squall.losses", *MODULES])
def test_examples_in_docstrings(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_docstrings_have_examples() -> None:
    finder = doctest.DocTestFinder()
    linear = [name for name in losses.linear.__all__ if hasattr(losses, name)]
    baselines = [name for name in losses.baselines.__all__ if name.endswith("_loss")]
    for name in [*losses.functional.__all__, *linear, *baselines]:
        examples = [test.examples for test in finder.find(getattr(losses, name), name)]
        assert any(examples), f"{name} has no example"


@pytest.mark.slow
def test_needs_torch_only() -> None:
    code = (
        "import sys, torch; before = set(sys.modules); import squall.losses;"
        "tops = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(*sorted(tops - set(sys.stdlib_module_names) - {'torch'}));"
        "print(*sorted(name for name in sys.modules if name.startswith('squall.')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others, own = run.stdout.splitlines()
    assert others == "squall"
    assert all(name.startswith("squall.losses") for name in own.split())
