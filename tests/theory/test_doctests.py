from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import squall.theory

MODULES = ["squall.theory"] + [
    f"squall.theory.{module.name}" for module in pkgutil.iter_modules(squall.theory.__path__)
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_are_true(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0
