"""The constant offset of a signal: taken away, and told where it is worth a word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.audio.offset import describe_offset, subtract_mean


@settings(max_examples=50, deadline=None)
@given(
    samples=st.integers(2, 3000),
    offset=st.floats(-1, 1, width=32),
    seed=st.integers(0, 2**32),
)
def test_what_is_left_has_no_mean_and_its_shape(samples: int, offset: float, seed: int) -> None:
    plain = 0.1 * np.random.default_rng(seed).standard_normal(samples)
    left = subtract_mean((plain + offset).astype(np.float32))
    assert left.dtype == np.float32
    assert abs(left.mean(dtype=np.float64)) < 1e-7
    np.testing.assert_allclose(left, plain - plain.mean(), atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -0.257, 1e-30])
def test_nothing_is_left_of_a_constant(value: float) -> None:
    assert not subtract_mean(np.full(1001, value, np.float32)).any()


def test_only_an_offset_of_some_size_is_told() -> None:
    assert describe_offset(-0.257, 0.048) == "a constant offset of -0.257, 5.4 times its spread"
    assert describe_offset(0.0024, 0.048) == ""
    assert describe_offset(0.0025, 0.048) == "a constant offset of 0.0025, 0.052 times its spread"
    assert describe_offset(0.5, 0.0) == "a constant offset of 0.5"
    assert describe_offset(0.0, 0.0) == ""
