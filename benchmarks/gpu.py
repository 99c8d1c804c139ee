"""Kernels, losses and a recogniser's step on a GPU, beside the CPU and beside their peers.

One command for whoever has a GPU, under ten minutes. Each part gives its seconds on both devices,
how far their results are apart, and the seconds of a peer on the same device: PyTorch's
cross-entropy for the losses, Cholesky for the kernel machine, the recogniser's own cross-entropy
for its step. Medians of rounds in which every entrant runs once.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --device cpu --tiny      # what the tests run
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import squall.losses
from squall.kernels import EigenProRegressor, ExponentialPowerKernel
from squall.kernels.functions import Points, fill_squared_distances

Row = dict[str, Any]

CLASSES = (5_000, 50_000)
FRAMES = (10_000, 20_000, 40_000)
CPU_FRAMES = 20_000  # the most that the CPU is given
LOSSES = ("ce", "squentropy", "rescaled_square")
CONFIG = Path(__file__).parents[1] / "conf" / "an4" / "conformer.yaml"


def seconds(run: Callable[[], object], device: str, rounds: int) -> float:
    """Median of so many runs after one that warms up."""
    times = []
    for _ in range(rounds + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def measure_losses(devices: list[str], tiny: bool, rounds: int) -> list[Row]:
    """Forward and backward, with the value and the gradient of the CPU as the reference."""
    peers: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "F.cross_entropy": F.cross_entropy,
        "ce": squall.losses.cross_entropy,
        "square": squall.losses.square_loss,
        "squentropy": squall.losses.squentropy_loss,
    }
    rows = []
    for classes in (20,) if tiny else CLASSES:
        n = 8 if tiny else 20_000_000 // classes
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(n, classes, generator=generator)
        target = torch.randint(classes, (n,), generator=generator)
        for name, loss in peers.items():
            reference: Tensor | None = None
            for device in devices:
                x = logits.to(device).requires_grad_()
                y = target.to(device)

                def step(loss: Any = loss, x: Tensor = x, y: Tensor = y) -> None:
                    x.grad = None
                    loss(x, y).backward()

                taken = seconds(step, device, rounds)
                assert x.grad is not None
                gradient = x.grad.cpu()
                reference = gradient if reference is None else reference
                away = (gradient - reference).abs().max() / reference.abs().max()
                rows.append(
                    {"part": "loss", "name": name, "device": device, "size": [n, classes],
                     "seconds": taken, "difference": float(away)}
                )  # fmt: skip
    return rows


def draw(n: int, features: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of 40 latent directions, and noisy smooth targets."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, 40)) / np.sqrt(1 + np.arange(40))
    x = z @ rng.standard_normal((40, features)) + 0.3 * rng.standard_normal((n, features))
    y = np.sin(z @ rng.standard_normal((40, outputs))) + 0.3 * rng.standard_normal((n, outputs))
    return (x / x.std()).astype("f4"), y.astype("f4")


def measure_kernels(devices: list[str], tiny: bool, rounds: int) -> list[Row]:
    """A fit and a kernel matrix, and a Cholesky solution of the same system."""
    rows = []
    sizes = (300,) if tiny else FRAMES
    x, y = draw(max(sizes) + 500, 30 if tiny else 1230, 10 if tiny else 320)
    held = x[-500:], y[-500:]
    for n in sizes:
        errors: dict[str, float] = {}
        for device in devices:
            if device == "cpu" and n > CPU_FRAMES:
                continue
            model = EigenProRegressor(memory_gb=16, device=device)
            taken = seconds(
                lambda model=model, n=n: model.fit(x[:n], y[:n], validation=held), device, 1
            )  # type: ignore[misc]
            errors[device] = float(((model.predict(held[0]) - held[1]) ** 2).mean())
            kernel = ExponentialPowerKernel(model.gamma_, model.sigma_)
            points = Points.of(torch.from_numpy(x[:n] - x[:n].mean(0)).to(device))
            targets = torch.from_numpy(y[:n]).to(device)
            out = torch.empty(n, n, device=device)

            def matrix(points: Points = points, out: Tensor = out, kernel: Any = kernel) -> Tensor:
                return fill_squared_distances(points, out=out, kernel=kernel)

            def solve(targets: Tensor = targets, matrix: Any = matrix) -> Tensor:
                values = matrix()
                values.diagonal().add_(0.1)
                return torch.cholesky_solve(targets, torch.linalg.cholesky(values))

            entries = {"EigenProRegressor": taken}
            entries["kernel matrix"] = seconds(matrix, device, rounds)
            entries["Cholesky"] = seconds(solve, device, 1)
            away = abs(errors[device] / errors[next(iter(errors))] - 1)
            rows += [
                {"part": "kernel", "name": name, "device": device, "size": [n, x.shape[1]],
                 "seconds": took, "difference": away if name == "EigenProRegressor" else None}
                for name, took in entries.items()
            ]  # fmt: skip
            del points, targets, out
    return rows


def measure_recogniser(devices: list[str], tiny: bool) -> list[Row]:
    """Forward and backward of AN4's conformer for a second of speech, with each loss."""
    from squall.asr.needs import measure_needs
    from squall.asr.settings import RecognitionConfig
    from squall.engine.tasks import load_config

    rows = []
    for name in LOSSES:
        config = load_config(CONFIG, {"loss.name": name})
        assert isinstance(config, RecognitionConfig)
        for device in devices:
            lengths_s = [1.0] * 2 if tiny else [4.0] * 64
            needs = measure_needs(
                config, lengths_s=lengths_s, device=device, threads=torch.get_num_threads()
            )
            rows.append(
                {"part": "recogniser", "name": name, "device": device,
                 "size": [needs.utterances, needs.parameters],
                 "seconds": needs.seconds_per_speech_s, "difference": None}
            )  # fmt: skip
    return rows


def print_rows(rows: list[Row], devices: list[str]) -> None:
    """One line per part, with both devices side by side and the peer's ratio on the last."""
    peers = {"loss": "F.cross_entropy", "kernel": "Cholesky", "recogniser": "ce"}
    by_key = {(r["part"], r["name"], r["device"], r["size"][0]): r["seconds"] for r in rows}
    print(f"| part | size | {' | '.join(f'{one}, s' for one in devices)} | of its peer | apart |")
    print("|---|---|" + "---|" * (len(devices) + 2))
    for row in rows:
        if row["device"] != devices[-1]:
            continue
        key = row["part"], row["name"], row["size"][0]
        taken = [by_key.get((key[0], key[1], device, key[2])) for device in devices]
        peer = by_key.get((row["part"], peers[row["part"]], devices[-1], row["size"][0]))
        cells = ["" if one is None else f"{one:.4g}" for one in taken]
        ratio = "" if not peer else f"{row['seconds'] / peer:.2f}"
        away = "" if row["difference"] is None else f"{row['difference']:.1e}"
        size = " x ".join(map(str, row["size"]))
        print(f"| {row['part']}: {row['name']} | {size} | {' | '.join(cells)} | {ratio} | {away} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="beside the CPU (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="sizes of a test")
    parser.add_argument("--no-recogniser", action="store_true", help="without ESPnet")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device; --device cpu --tiny tries the script", file=sys.stderr)
        return 1
    devices = list(dict.fromkeys(["cpu", args.device]))
    rows = measure_losses(devices, args.tiny, args.rounds)
    rows += measure_kernels(devices, args.tiny, args.rounds)
    if not args.no_recogniser:
        rows += measure_recogniser(devices, args.tiny)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "none"
    print(f"torch {torch.__version__}, GPU: {name}, {torch.get_num_threads()} CPU thread(s)\n")
    print_rows(rows, devices)
    if args.json:
        found = {"torch": torch.__version__, "gpu": name, "rows": rows}
        args.json.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
