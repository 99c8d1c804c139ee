"""The loss of a study's experiment: its parameters, its name, what there is not."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from squall.studies.losses import StudyLoss


def test_further_keys_are_the_losss_own() -> None:
    loss = StudyLoss(name="squentropy", alpha=0.1, label_smoothing=0.05, scale=2)
    assert loss.parameters == {"alpha": 0.1, "label_smoothing": 0.05, "scale": 2}
    assert loss.label == "squentropy-a0.1-ls0.05-scale2"
    assert (StudyLoss().label, StudyLoss(name="rescaled_square", M=15).label) == (
        "ce", "rescaled_square-m15",
    )  # fmt: skip


def test_it_is_built_for_classes_in_the_last_dimension() -> None:
    logits, targets = torch.randn(2, 5, 3), torch.zeros(2, 5, dtype=torch.int64)
    value = StudyLoss(name="square").build()(logits, targets)
    expected = (logits - torch.nn.functional.one_hot(targets, 3)).square().mean()
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "squentropi"}, "did you mean 'squentropy'"),
        ({"name": "ce", "alpha": 1}, "ce has no parameter 'alpha'"),
        ({"name": "squentropy", "alpha": -1}, "alpha"),
    ],
)
def test_what_there_is_not_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        StudyLoss(**settings)
