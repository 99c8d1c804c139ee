"""Whether the processor multiplies in bfloat16."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from squall.networks import precision
from squall.networks.precision import multiplies_bfloat16, rounded_as

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
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: has_it)
    matrix = torch.ones(2, 2)
    for asked, expected in (("auto", has_it), ("float32", False), ("bfloat16", True)):
        with rounded_as(asked, "cpu"):
            found = (matrix @ matrix).dtype
        assert found == (torch.bfloat16 if expected else torch.float32)
