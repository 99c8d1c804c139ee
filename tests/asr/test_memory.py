"""Memory of a recognition: what is told of the machine, and estimates against what is taken."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny

pytest.importorskip("espnet2")

from squall.asr import needs
from squall.asr.bridge.espnet import MultiHeadedAttention
from squall.asr.memory import (
    MemoryNeed,
    NotEnoughMemoryError,
    check_memory,
    forget_attention,
    free_memory_bytes,
    measure_need,
    out_of_memory,
)

MB = 10**6
NO_CTC = {"beam_size": 1, "candidates": 0}


@given(
    bytes_per_s=st.floats(1.0, 1e9),
    bytes_per_s2=st.one_of(st.just(0.0), st.floats(1.0, 1e8)),
    memory=st.integers(0, 10**13),
)
def test_the_longest_recording_is_the_longest_that_fits(
    bytes_per_s: float, bytes_per_s2: float, memory: int
) -> None:
    need = MemoryNeed(bytes_per_s, bytes_per_s2)
    longest_s = need.longest_s(memory)
    assert need.bytes(0.999999 * longest_s) <= memory
    assert need.bytes(1.000001 * longest_s + 1) > memory


def test_a_recording_that_does_not_fit_is_refused_with_the_longest_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("squall.asr.memory.free_memory_bytes", lambda device: 400 * MB)
    need = MemoryNeed(0.1 * MB, 0.01 * MB)
    check_memory(need, 200.0, "cpu")
    message = r"its 600\.0 s take about 3\.6 GB .* 0\.4 GB are free: recordings of up to 200 s fit"
    with pytest.raises(NotEnoughMemoryError, match=message):
        check_memory(need, 600.0, "cpu")


def _machine(folder: Path, **files: str) -> dict[str, Path]:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "proc").mkdir(exist_ok=True)
    return {"proc": folder / "proc", "control_groups": folder / "groups"}


MEMINFO = "MemTotal:       24000 kB\nMemAvailable:   20000 kB\nHugePages_Total:       0\n"


def test_free_memory_is_what_the_machine_has_available(tmp_path: Path) -> None:
    assert free_memory_bytes("cpu", **_machine(tmp_path)) is None
    places = _machine(tmp_path, proc__meminfo=MEMINFO)
    assert free_memory_bytes("cpu", **places) == 20000 * 1024


@pytest.mark.parametrize(("limit", "used"), [("AS", "VmSize"), ("DATA", "VmData")])
def test_free_memory_is_within_the_limits_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, used: str
) -> None:
    limits = {getattr(resource, f"RLIMIT_{limit}"): (5000 * 1024, -1)}
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits.get(which, (-1, -1)))
    places = _machine(tmp_path, proc__meminfo=MEMINFO, proc__self__status=f"{used}:\t 3000 kB\n")
    assert free_memory_bytes("cpu", **places) == 2000 * 1024


@pytest.mark.parametrize(
    ("listed", "files"),
    [
        (
            "0::/job/step\n",
            {
                "groups__job__memory.max": "max\n",
                "groups__job__memory.current": "900\n",
                "groups__job__step__memory.max": "1000\n",
                "groups__job__step__memory.current": "900\n",
                "groups__job__step__memory.stat": "anon 500\ninactive_file 400\n",
            },
        ),
        (
            "0::/job/step\n",
            {
                "groups__job__memory.max": "1000\n",
                "groups__job__memory.current": "500\n",
                "groups__job__step__memory.max": "5000\n",
                "groups__job__step__memory.current": "500\n",
            },
        ),
        (
            "5:cpu:/job\n4:memory:/docker/123\n",  # a container sees its group as the root
            {
                "groups__memory__memory.limit_in_bytes": "1000\n",
                "groups__memory__memory.usage_in_bytes": "900\n",
                "groups__memory__memory.stat": "inactive_file 1\ntotal_inactive_file 400\n",
            },
        ),
    ],
    ids=["own group", "outer group", "version 1 in a container"],
)
def test_free_memory_is_within_the_control_groups(
    tmp_path: Path, listed: str, files: dict[str, str]
) -> None:
    places = _machine(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup=listed, **files)
    assert free_memory_bytes("cpu", **places) == 500


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    ],
)
def test_errors_of_full_memory_are_known(error: Exception) -> None:
    assert out_of_memory(error)
    assert not out_of_memory(RuntimeError("selected index k out of range"))
    assert not out_of_memory(ValueError("not enough memory"))


ENCODERS: dict[str, dict[str, Any]] = {
    "conformer": {},
    "transformer": {
        "espnet.encoder": "transformer",
        "espnet.encoder_conf": {"output_size": 16, "attention_heads": 4, "num_blocks": 6},
    },
    "e_branchformer": {
        "espnet.encoder": "e_branchformer",
        "espnet.encoder_conf": {
            "output_size": 16,
            "attention_heads": 4,
            "attention_layer_type": "rel_selfattn",
            "pos_enc_layer_type": "rel_pos",
            "rel_pos_type": "latest",
            "cgmlp_linear_units": 32,
            "num_blocks": 3,
        },
    },
    "vgg_rnn": {
        "espnet.encoder": "vgg_rnn",
        "espnet.encoder_conf": {"hidden_size": 16, "output_size": 16, "num_layers": 1},
    },
}


def _model(encoder: str) -> Any:
    model = needs._build_model(tiny.config(**ENCODERS[encoder])).eval()
    forget_attention(model)
    return model


def _taken(model: Any, samples: int) -> int:
    """The most memory that encoding takes beside what there is before it."""
    status, random = Path("/proc/self/status"), torch.Generator().manual_seed(0)
    speech = torch.randn(1, samples, generator=random) / 10

    def bytes_of(name: str) -> int:
        (kilobytes,) = re.findall(rf"{name}:\s+(\d+)", status.read_text())
        return 1024 * int(kilobytes)

    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now on
    before = bytes_of("VmRSS")
    with torch.no_grad():
        model.encode(speech, torch.tensor([samples]))
    return bytes_of("VmHWM") - before


MEASURE = """
import json
from asr.test_memory import ENCODERS, NO_CTC, _model, _taken, measure_need
found = {}
for encoder in ENCODERS:
    model = _model(encoder)
    need = measure_need(model, **NO_CTC, sample_rate_hz=16000, device="cpu")
    found[encoder] = need.bytes(60), need.bytes_per_s2, _taken(model, 16000 * 60)
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads /proc")
def test_the_estimate_is_what_encoding_takes() -> None:
    """In a process whose tensors go back to the system when they are freed, as large ones do."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "MALLOC_MMAP_THRESHOLD_": "1000000",
            "MALLOC_ARENA_MAX": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == ENCODERS.keys()
    for encoder, (estimate, bytes_per_s2, taken) in found.items():
        assert (bytes_per_s2 > 0) == (encoder != "vgg_rnn")
        assert 0.6 * estimate < taken < 1.1 * estimate, encoder


@pytest.mark.parametrize("encoder", ["conformer", "transformer", "e_branchformer"])
def test_attention_weights_are_not_kept(encoder: str) -> None:
    model = _model(encoder)
    with torch.no_grad():
        model.encode(torch.zeros(1, 16000), torch.tensor([16000]))
    layers = [module for module in model.modules() if isinstance(module, MultiHeadedAttention)]
    assert layers
    assert all(layer.attn is None for layer in layers)


def test_a_wider_search_takes_more() -> None:
    model = _model("vgg_rnn")
    found = [
        measure_need(
            model,
            beam_size=beam,
            candidates=vocabulary,
            sample_rate_hz=16000,
            device="cpu",
        ).bytes_per_s
        for beam, vocabulary in ((10, 5000), (20, 5000), (20, 10000))
    ]
    assert found[1] == pytest.approx(2 * found[0])
    assert found[2] == pytest.approx(2 * found[1], rel=0.01)
