"""The benchmarks run, at sizes that say nothing about time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from squall.enhance.frames import FrameSet
from tiny_texts import write_pairs, write_tiny_encoder

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def _run(name: str, *options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / name), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_gpu_benchmark_on_a_cpu(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    table = _run("gpu.py", "--device", "cpu", "--tiny", "--rounds", "1", "--json", str(path))
    rows = json.loads(path.read_text())["rows"]
    assert {row["part"] for row in rows} == {"loss", "kernel", "recogniser"}
    assert all(row["seconds"] > 0 for row in rows)
    assert table.count("\n| ") == len(rows) + 1


@pytest.mark.slow
def test_benchmark_of_linear_losses(tmp_path: Path) -> None:
    path = tmp_path / "linear.json"
    options = ["--tiny", "--rounds", "2", "--warmup", "1", "--threads", "1"]
    table = _run("linear_losses.py", *options, "--json", str(path))
    rows = json.loads(path.read_text())["rows"]
    rows = [row for row in rows if "reference" in row]  # others are ratios to torch's
    assert {row["reference"] for row in rows} <= {row["name"] for row in rows}
    assert all(len(row["seconds"]) == 2 and row["ratio"] > 0 for row in rows)
    assert table.count("\n| linear_squentropy |") == 2


@pytest.mark.slow
def test_kernel_benchmark_with_an_earlier_build_and_peers(tmp_path: Path) -> None:
    figure, path = tmp_path / "curves.png", tmp_path / "kernels.json"
    options = ["-N", "300", "-D", "30", "--rounds", "1", "--threads", "1"]
    options += ["--before", str(BENCHMARKS.parent / "src"), "--peers", "250"]
    options += ["--growth", "200", "300", "--centres", "100"]
    table = _run("kernels.py", *options, "--figure", str(figure), "--json", str(path))
    found = json.loads(path.read_text())
    # The same build twice gives the same error.
    for name in ("kernel, 1 subband", "kernel, 4 subbands"):
        assert found["fits"][name][0]["error"] == found["fits"][f"{name}, before"][0]["error"]
    assert {"Cholesky, float32", "KernelRidge, precomputed"} <= found["peers"]["250"].keys()
    assert "rlaopt" in table
    assert [row["centres"] for row in found["growth"]] == [100, 200, 100, 300]
    if sys.platform == "linux":
        assert all(0 <= row["peak_gb"] < 1 for row in found["growth"])
    assert figure.stat().st_size > 10_000


@pytest.mark.slow
def test_choices_are_compared_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "choices.json"
    options = ["-N", "400", "-D", "20", "--threads", "1", "--gammas", "0.7", "1.0"]
    options += ["--bandwidths", "1.0", "2.0", "4.0", "--json", str(path)]
    first = _run("kernel_choices.py", *options, "--grid")
    both = _run("kernel_choices.py", *options, "--grid", "--metrics")
    assert first.splitlines() == both.splitlines()[: len(first.splitlines())]
    found = json.loads(path.read_text())
    grid = found["grid"]["drawn"]["grid"]
    assert len({tuple(row[:2]) for row in grid}) == len(grid) == 6
    assert len({row[2] for row in grid}) == 6
    assert len(found["metrics"]["drawn"]) == 6


@pytest.mark.slow
def test_noises_and_frames_are_compared_and_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, noises in (("train", "abc"), ("dev", "abc"), ("test", "abcde")):
        for noise in noises:
            frames = FrameSet(
                mixtures=["m"],
                counts=[120],
                features=rng.standard_normal((120, 4)).astype("f4"),
                masks=rng.random((120, 3)).astype("f4"),
            )
            frames.write(tmp_path / "frames" / split / noise / "0dB")
    figure, path = tmp_path / "noises.png", tmp_path / "noises.json"
    options = ["--frames", str(tmp_path / "frames"), "--threads", "1", "--json", str(path)]
    options += ["-N", "200", "--many-frames", "100", "200", "--figure", str(figure)]
    first = _run("noises.py", *options, "--noises")
    both = _run("noises.py", *options, "--noises", "2")
    assert both.startswith(first)
    runs = json.loads(path.read_text())["runs"]
    assert [len(run["noises"]) for run in runs] == [3, 3, 3, 3, 2, 2]
    assert [run["frames"] for run in runs] == [100, 100, 200, 200, 200, 200]
    for run in runs:
        unseen = [run["test"][noise] for noise in "de"]
        assert run["unseen"] == pytest.approx(sum(unseen) / 2)
    assert figure.stat().st_size > 10_000


@pytest.mark.slow
def test_text_benchmark_beside_the_trainer(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    corpus = write_pairs(tmp_path / "pairs")
    encoder = write_tiny_encoder(tmp_path / "encoder")
    options = ["--layers", "1", "--rounds", "1", "--max-length", "32"]
    out = _run("text.py", "--corpus-dir", str(corpus), "--pretrained", str(encoder), *options)
    assert out.count("| Trainer, group_by_length |") == 2
    assert out.count("| squall |") == 2
    assert "| float32 | Trainer | " in out
