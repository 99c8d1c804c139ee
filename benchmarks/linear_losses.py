"""Time and memory of the losses with the linear layer in them, beside layer and loss one by one.

In every round each of a size's functions runs once, forward and backward, in an order drawn anew,
so that a busy machine slows all of them alike. A ratio is taken within its round; the table has the
quartiles over the rounds. Memory is measured in runs of their own: the most that the process (the
GPU) has at one time beyond what it had before and beyond the gradients that are left at the end.
A ratio cannot fall below that of the layer's three matrix products, which have a row of their own.

    python benchmarks/linear_losses.py                     # all sizes, on the CPU
    python benchmarks/linear_losses.py --threads 1 --sizes 1024,256,32000
    python benchmarks/linear_losses.py --device cuda --dtype bfloat16 --json linear.json

`torch.nn.functional.linear_cross_entropy` takes part where torch has it, from 2.13 on, with the
chunks that it chooses and with the best of those named by `--chunks`. squall's recognisers need an
older torch; an environment for the comparison is made by

    python -m venv peers && peers/bin/pip install 'torch>=2.13' typing_extensions
    PYTHONPATH=src peers/bin/python benchmarks/linear_losses.py

On a GPU Liger's and Apple's fused cross-entropies take part where they are installed
(`pip install liger-kernel cut-cross-entropy`). Neither runs on a CPU.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from squall import losses

Layer = tuple[Tensor, Tensor, Tensor]
"""hidden (N, D), weight (V, D) and target (N,)."""
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

SIZES = ((1024, 256, 32_000), (2048, 512, 8_000), (512, 1024, 128_000), (8192, 256, 128_000))
TINY = ((24, 8, 200), (60, 4, 300))
NAMES = ("ce", "square", "ccql", "squentropy")
PEER = "F.linear_cross_entropy"
PRODUCTS = "the three products alone"


def plain(name: str) -> Loss:
    loss = losses.build_loss(name, class_dim=-1)
    return lambda hidden, weight, target: loss(F.linear(hidden, weight), target)


class _Products(torch.autograd.Function):
    """The three matrix products that no loss with a softmax can do without."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        logits = hidden @ weight.T
        ctx.save_for_backward(hidden, weight, logits)
        return logits[0, 0].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        hidden, weight, logits = ctx.saved_tensors
        return logits @ weight, logits.T @ hidden, None


def gpu_peers() -> dict[str, Loss]:
    """Fused cross-entropies that are installed and written for GPUs alone."""
    found: dict[str, Loss] = {}
    if importlib.util.find_spec("liger_kernel"):
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        liger = LigerFusedLinearCrossEntropyLoss()
        found["Liger"] = lambda hidden, weight, target: liger(weight, hidden, target)
    if importlib.util.find_spec("cut_cross_entropy"):
        from cut_cross_entropy import linear_cross_entropy

        found["cut-cross-entropy"] = linear_cross_entropy
    return found


def functions(chunks: Sequence[int], device: str) -> dict[str, Loss]:
    """What is compared, by name; the plain ones first."""
    found: dict[str, Loss] = {f"linear, {name}": plain(name) for name in NAMES}
    found |= {f"linear_{name}": losses.LINEAR_LOSSES[name]() for name in NAMES}
    found[PRODUCTS] = _Products.apply
    if hasattr(F, "linear_cross_entropy"):
        options: Any = torch.nn.LinearCrossEntropyOptions  # type: ignore[attr-defined]
        found[PEER] = partial(F.linear_cross_entropy, options=options())  # type: ignore[attr-defined]
        for size in chunks:
            found[f"{PEER}, chunks of {size}"] = partial(
                F.linear_cross_entropy,  # type: ignore[attr-defined]
                options=options(batch_chunk_size=size),
            )
    if device.startswith("cuda"):
        found |= gpu_peers()
    return found


def reference_of(name: str) -> str:
    """The plain function that a function is compared with: of the same loss."""
    if name.startswith("linear, "):
        return name
    if name == PRODUCTS:
        return "linear, squentropy"
    return f"linear, {name.partition('_')[2] if name.startswith('linear_') else 'ce'}"


def run_once(loss: Loss, layer: Layer) -> float:
    """Seconds of one forward and backward pass, waiting for the device at both ends."""
    hidden, weight, target = layer
    hidden.grad = weight.grad = None
    if hidden.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    loss(hidden, weight, target).backward()  # type: ignore[no-untyped-call]
    if hidden.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_gb(loss: Loss, layer: Layer) -> float | None:
    """The most memory in 10^9 bytes beyond that before and the gradients; None if not known."""
    hidden, weight, _ = layer
    hidden.grad = weight.grad = None
    gradients = (hidden.nbytes + weight.nbytes) / 1e9
    if hidden.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run_once(loss, layer)
        return (torch.cuda.max_memory_allocated() - before) / 1e9 - gradients
    if not Path("/proc/self/clear_refs").exists():
        return None
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before_gb = _status_gb("VmRSS")
    run_once(loss, layer)
    return max(0.0, _status_gb("VmHWM") - before_gb - gradients)


def _status_gb(key: str) -> float:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1)) * 1024 / 1e9


def measure(
    compared: dict[str, Loss], layer: Layer, *, rounds: int, seed: int
) -> dict[str, list[float]]:
    """Seconds of every function in every round."""
    order = random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(rounds):
        for name in order.sample(list(compared), len(compared)):
            seconds[name].append(run_once(compared[name], layer))
    return seconds


def best_chunks(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    """Without the peer's chunks that are not the quickest in the median."""
    by_hand = [name for name in seconds if name.startswith(f"{PEER}, ")]
    best = min(by_hand, key=lambda name: statistics.median(seconds[name]), default=None)
    return {name: times for name, times in seconds.items() if name not in by_hand or name == best}


def quartiles(numbers: Sequence[float]) -> tuple[float, float, float]:
    if len(numbers) == 1:
        return numbers[0], numbers[0], numbers[0]
    low, middle, high = statistics.quantiles(numbers, n=4)
    return low, middle, high


def compare(args: argparse.Namespace, size: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Measure a size, print its table, and return its rows."""
    tokens, width, classes = size
    generator = torch.Generator().manual_seed(args.seed)
    dtype = getattr(torch, args.dtype)
    hidden = torch.randn(tokens, width, generator=generator).to(args.device, dtype)
    weight = torch.randn(classes, width, generator=generator).to(args.device, dtype) / width**0.5
    target = torch.randint(classes, (tokens,), generator=generator).to(args.device)
    layer = (hidden.requires_grad_(), weight.detach().requires_grad_(), target)
    compared = functions(args.chunks, args.device)
    measure(compared, layer, rounds=args.warmup, seed=args.seed)
    memory = {name: peak_gb(loss, layer) for name, loss in compared.items()}
    seconds = measure(compared, layer, rounds=args.rounds, seed=args.seed + 1)

    print(f"\nN = {tokens}, D = {width}, V = {classes}\n")
    print("| loss | median ms | ratio | quartiles of the ratio | peak GB | ratio |")
    print("|---|---|---|---|---|---|")
    rows = []
    for name, times in best_chunks(seconds).items():
        reference = reference_of(name)
        low, ratio, high = quartiles(
            [mine / other for mine, other in zip(times, seconds[reference], strict=True)]
        )
        gb, other_gb = memory[name], memory[reference]
        of_memory = gb / other_gb if gb is not None and other_gb else None
        row = {"size": size, "name": name, "reference": reference, "seconds": times}
        rows.append(row | {"ratio": ratio, "peak_gb": gb, "memory_ratio": of_memory})
        memory_columns = " | " if of_memory is None else f"{gb:.4f} | {of_memory:.3f}"
        print(
            f"| {name} | {1e3 * statistics.median(times):.2f} | {ratio:.3f} "
            f"| {low:.3f} to {high:.3f} | {memory_columns} |"
        )
    for peer in [row for row in rows if row["name"].startswith(PEER)]:
        times = zip(seconds["linear_squentropy"], peer["seconds"], strict=True)
        low, ratio, high = quartiles([mine / other for mine, other in times])
        print(f"\nlinear_squentropy to {peer['name']}: {ratio:.3f} ({low:.3f} to {high:.3f})")
        rows.append({"size": size, "name": f"linear_squentropy to {peer['name']}", "ratio": ratio})
    return rows


def parse_size(text: str) -> tuple[int, int, int]:
    tokens, width, classes = (int(number) for number in text.split(","))
    return tokens, width, classes


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--sizes", nargs="+", type=parse_size, default=SIZES, metavar="N,D,V", help="to compare"
    )
    parser.add_argument("--tiny", action="store_true", help="sizes that say nothing, quickly")
    parser.add_argument("--rounds", type=int, default=15, help="(default: %(default)s)")
    parser.add_argument(
        "--warmup", type=int, default=2, help="rounds before (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    parser.add_argument("--dtype", default="float32", choices=["bfloat16", "float32", "float64"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--chunks",
        nargs="+",
        type=int,
        default=[32, 64, 128, 256, 512],
        help=f"tokens in a chunk of {PEER}, of which the best counts (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, help="where to keep the numbers")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    about = (
        f"{args.dtype} on {device}, {torch.get_num_threads()} thread(s), torch "
        f"{torch.__version__}, {args.rounds} rounds, forward and backward"
    )
    print(about)
    rows = [row for size in (TINY if args.tiny else args.sizes) for row in compare(args, size)]
    if args.json:
        args.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
