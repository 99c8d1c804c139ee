"""Whether the processor multiplies in bfloat16."""

from __future__ import annotations

from pathlib import Path

import pytest

from squall.networks.precision import multiplies_bfloat16

AMD = "processor : 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n"
ARM = "processor : 0\nFeatures\t: fp asimd bf16 i8mm\n"
OLD = "processor : 0\nflags\t\t: fpu avx512f avx512bw sse\nbogomips : 4\n"


@pytest.mark.parametrize(("cpuinfo", "expected"), [(AMD, True), (ARM, True), (OLD, False)])
def test_the_processor_is_asked(tmp_path: Path, cpuinfo: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert multiplies_bfloat16(tmp_path / "cpuinfo") == expected
    assert not multiplies_bfloat16(tmp_path / "absent")
