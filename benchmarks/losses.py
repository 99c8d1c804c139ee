"""Time of the losses, forward and backward, beside `torch.nn.functional.cross_entropy`.

In every round each function runs once, in an order drawn anew, so that a busy machine slows all
of them alike. A ratio is taken within its round; the table has the quartiles over the rounds.

    python benchmarks/losses.py                            # N = 8,192, C = 1,000 on the CPU
    python benchmarks/losses.py --threads 1 --dtype bfloat16
    python benchmarks/losses.py --device cuda -N 65536 -C 5000 --max-ratio 1.3
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from squall.losses import (
    ccql_loss,
    cross_entropy,
    rescaled_square_loss,
    square_loss,
    squentropy_loss,
)

Loss = Callable[[Tensor, Tensor], Tensor]

REFERENCE = "F.cross_entropy"
LOSSES: dict[str, Loss] = {
    REFERENCE: F.cross_entropy,
    "ce": cross_entropy,
    "square": square_loss,
    "rescaled_square": lambda logits, target: rescaled_square_loss(logits, target, k=15, M=30),
    "ccql": ccql_loss,
    "squentropy": squentropy_loss,
}


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


def measure(logits: Tensor, target: Tensor, *, rounds: int, seed: int) -> dict[str, list[float]]:
    """Seconds of every loss in every round."""
    order = random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in LOSSES}
    for _ in range(rounds):
        for name in order.sample(list(LOSSES), len(LOSSES)):
            seconds[name].append(time_once(LOSSES[name], logits, target))
    return seconds


def main() -> int:
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    dtype = getattr(torch, args.dtype)
    logits = torch.randn(args.N, args.C, device=args.device).to(dtype).requires_grad_()
    target = torch.randint(args.C, (args.N,), device=args.device)

    measure(logits, target, rounds=args.warmup, seed=args.seed)
    seconds = measure(logits, target, rounds=args.repeats, seed=args.seed + 1)

    device = torch.cuda.get_device_name() if logits.is_cuda else args.device
    print(
        f"N = {args.N}, C = {args.C}, {args.dtype} on {device}, {torch.get_num_threads()} "
        f"thread(s), torch {torch.__version__}, {args.repeats} rounds, forward and backward\n"
    )
    print("| loss | median ms | quartiles ms | ratio | quartiles of the ratio |")
    print("|---|---|---|---|---|")
    medians = {}
    for name, times in seconds.items():
        ratios = [mine / other for mine, other in zip(times, seconds[REFERENCE], strict=True)]
        low, middle, high = statistics.quantiles([1e3 * t for t in times], n=4)
        ratio_low, medians[name], ratio_high = statistics.quantiles(ratios, n=4)
        print(
            f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} "
            f"| {medians[name]:.2f} | {ratio_low:.2f} to {ratio_high:.2f} |"
        )
    if args.max_ratio is not None and medians["squentropy"] > args.max_ratio:
        print(f"\nsquentropy: {medians['squentropy']:.2f} is above {args.max_ratio}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
