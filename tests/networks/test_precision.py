"""Which precision a training takes: what was asked, what it began with, what the processor has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from squall.networks.precision import choose_precision, multiplies_bfloat16, rounded_as

AMD = "processor : 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n"
ARM = "processor : 0\nFeatures\t: fp asimd bf16 i8mm\n"
OLD = "processor : 0\nflags\t\t: fpu avx512f avx512bw sse\nbogomips : 4\n"


@pytest.mark.parametrize(("cpuinfo", "expected"), [(AMD, True), (ARM, True), (OLD, False)])
def test_the_processor_is_asked(tmp_path: Path, cpuinfo: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert multiplies_bfloat16(tmp_path / "cpuinfo") == expected
    assert not multiplies_bfloat16(tmp_path / "absent")


@pytest.mark.parametrize("has_it", [True, False])
def test_auto_is_what_the_processor_has(monkeypatch: pytest.MonkeyPatch, has_it: bool) -> None:
    monkeypatch.setattr("squall.networks.precision.multiplies_bfloat16", lambda: has_it)
    assert choose_precision("auto", device="cpu") == ("bfloat16" if has_it else "float32")
    assert choose_precision("auto", device="cuda") == "float32"


@pytest.mark.parametrize("has_it", [True, False])
def test_a_training_goes_on_as_it_began(monkeypatch: pytest.MonkeyPatch, has_it: bool) -> None:
    monkeypatch.setattr("squall.networks.precision.multiplies_bfloat16", lambda: has_it)
    for precision in ("float32", "bfloat16"):
        assert choose_precision("auto", device="cpu", begun=precision) == precision


def test_what_was_asked_is_taken() -> None:
    assert choose_precision("float32", device="cpu", begun="bfloat16") == "float32"
    assert choose_precision("bfloat16", device="cuda", begun="float32") == "bfloat16"


@pytest.mark.parametrize("has_it", [True, False])
def test_products_are_rounded_as_was_chosen(monkeypatch: pytest.MonkeyPatch, has_it: bool) -> None:
    monkeypatch.setattr("squall.networks.precision.multiplies_bfloat16", lambda: has_it)
    matrix = torch.ones(2, 2)
    for asked, expected in (("auto", has_it), ("float32", False), ("bfloat16", True)):
        with rounded_as(asked, "cpu"):
            found = (matrix @ matrix).dtype
        assert found == (torch.bfloat16 if expected else torch.float32)
