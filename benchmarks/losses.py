"""Time of the losses, forward and backward, beside `torch.nn.functional.cross_entropy`.

In every round each function runs once, in an order drawn anew, so that a busy machine slows all
of them alike. A ratio is taken within its round; the table has the quartiles over the rounds.

    python benchmarks/losses.py                            # N = 8,192, C = 1,000 on the CPU
    python benchmarks/losses.py --threads 1 --dtype bfloat16
    python benchmarks/losses.py --device cuda -N 65536 -C 5000 --max-ratio 1.3
    python benchmarks/losses.py --before ../other/src      # what a change of the losses costs
"""

from __future__ import annotations

import argparse
import importlib
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

import squall.losses

Loss = Callable[[Tensor, Tensor], Tensor]

REFERENCE = "F.cross_entropy"


def losses_of(module: ModuleType) -> dict[str, Loss]:
    """The five losses of `squall.losses`, by their names in a config."""
    return {
        "ce": module.cross_entropy,
        "square": module.square_loss,
        "rescaled_square": lambda logits, target: module.rescaled_square_loss(
            logits, target, k=15, M=30
        ),
        "ccql": module.ccql_loss,
        "squentropy": module.squentropy_loss,
    }


def losses_before(source: Path) -> ModuleType:
    """`squall.losses` of another source folder, beside the one that is imported."""
    if not (source / "squall" / "losses").is_dir():
        raise SystemExit(f"--before {source}: there is no squall/losses; name a checkout's src")
    ours = {name: sys.modules.pop(name) for name in [*sys.modules] if name.startswith("squall")}
    sys.path.insert(0, str(source))
    try:
        return importlib.import_module("squall.losses")
    finally:
        sys.path.remove(str(source))
        for name in [name for name in sys.modules if name.startswith("squall")]:
            del sys.modules[name]
        sys.modules.update(ours)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-N", type=int, default=8192, help="tokens (default: %(default)s)")
    parser.add_argument("-C", type=int, default=1000, help="classes (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=41, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--warmup", type=int, default=5, help="rounds before (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    parser.add_argument(
        "--dtype", default="float32", choices=["float16", "bfloat16", "float32", "float64"]
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--max-ratio", type=float, help="exit with 1 if squentropy's median ratio is above this"
    )
    parser.add_argument(
        "--before", type=Path, metavar="SRC", help="src of another checkout, to compare with"
    )
    return parser.parse_args()


def time_once(loss: Loss, logits: Tensor, target: Tensor) -> float:
    """Seconds of one forward and backward pass, waiting for the device at both ends."""
    logits.grad = None
    if logits.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    loss(logits, target).backward()  # type: ignore[no-untyped-call]
    if logits.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(
    losses: dict[str, Loss], logits: Tensor, target: Tensor, *, rounds: int, seed: int
) -> dict[str, list[float]]:
    """Seconds of every loss in every round."""
    order = random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for _ in range(rounds):
        for name in order.sample(list(losses), len(losses)):
            seconds[name].append(time_once(losses[name], logits, target))
    return seconds


def ratios(seconds: list[float], others: list[float]) -> tuple[float, float, float]:
    """The quartiles of the ratios within the rounds."""
    quotients = [mine / other for mine, other in zip(seconds, others, strict=True)]
    low, middle, high = statistics.quantiles(quotients, n=4)
    return low, middle, high


def main() -> int:
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    dtype = getattr(torch, args.dtype)
    logits = torch.randn(args.N, args.C, device=args.device).to(dtype).requires_grad_()
    target = torch.randint(args.C, (args.N,), device=args.device)

    losses = {REFERENCE: F.cross_entropy, **losses_of(squall.losses)}
    if args.before:
        before = losses_of(losses_before(args.before))
        losses |= {f"{name}, before": loss for name, loss in before.items()}
    measure(losses, logits, target, rounds=args.warmup, seed=args.seed)
    seconds = measure(losses, logits, target, rounds=args.repeats, seed=args.seed + 1)

    device = torch.cuda.get_device_name() if logits.is_cuda else args.device
    print(
        f"N = {args.N}, C = {args.C}, {args.dtype} on {device}, {torch.get_num_threads()} "
        f"thread(s), torch {torch.__version__}, {args.repeats} rounds, forward and backward\n"
    )
    print("| loss | median ms | quartiles ms | ratio | quartiles of the ratio |")
    print("|---|---|---|---|---|")
    medians = {}
    for name, times in seconds.items():
        low, middle, high = statistics.quantiles([1e3 * t for t in times], n=4)
        ratio_low, medians[name], ratio_high = ratios(times, seconds[REFERENCE])
        print(
            f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} "
            f"| {medians[name]:.2f} | {ratio_low:.2f} to {ratio_high:.2f} |"
        )
    if args.before:
        print("\n| loss | ratio to before | quartiles |\n|---|---|---|")
        for name in before:
            low, middle, high = ratios(seconds[name], seconds[f"{name}, before"])
            print(f"| {name} | {middle:.3f} | {low:.3f} to {high:.3f} |")
    if args.max_ratio is not None and medians["squentropy"] > args.max_ratio:
        print(f"\nsquentropy: {medians['squentropy']:.2f} is above {args.max_ratio}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
