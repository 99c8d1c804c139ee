#!/usr/bin/env bash
# torch 2.13.0 on a CPU: the chunks that linear_cross_entropy chooses cost several times its result.
#
# Expected: torch.nn.functional.linear_cross_entropy with LinearCrossEntropyOptions() as it is saves
# memory at about the time of linear and cross_entropy, in a size where its documentation says that
# chunks win (at least as many tokens as features, more classes than features).
# Seen: with 1,024 tokens, 256 features, 32,000 classes in float32, forward and backward take 3 to 6
# times as long as linear and cross_entropy, on one thread and on two; with batch_chunk_size=256 the
# same function takes about as long as they do.
# squall: benchmarks/linear_losses.py measures it with chunks chosen by hand beside its own choice;
# chunks of squall.losses.chunks have at least 128 tokens.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.3.5
cat > "$folder/chunks.py" <<'PYTHON'
import statistics
import time

import torch
import torch.nn.functional as F

generator = torch.Generator().manual_seed(0)
hidden = torch.randn(1024, 256, generator=generator).requires_grad_()
weight = (torch.randn(32000, 256, generator=generator) / 16).requires_grad_()
target = torch.randint(32000, (1024,), generator=generator)
chosen, by_hand = (torch.nn.LinearCrossEntropyOptions(batch_chunk_size=n) for n in (None, 256))
ways = {
    "one by one": lambda: F.cross_entropy(F.linear(hidden, weight), target),
    "its own chunks": lambda: F.linear_cross_entropy(hidden, weight, target, options=chosen),
    "chunks of 256": lambda: F.linear_cross_entropy(hidden, weight, target, options=by_hand),
}
seconds = {name: [] for name in ways}
losses = {}
for _ in range(6):
    for name, loss in ways.items():
        hidden.grad = weight.grad = None
        start = time.perf_counter()
        losses[name] = loss()
        losses[name].backward()
        seconds[name].append(time.perf_counter() - start)
for name in ways:
    torch.testing.assert_close(losses[name], losses["one by one"])
plain = seconds["one by one"][1:]
ratios = {
    name: statistics.median(mine / other for mine, other in zip(seconds[name][1:], plain))
    for name in ("its own chunks", "chunks of 256")
}
print(", ".join(f"{name}: {ratio:.2f} of the time" for name, ratio in ratios.items()))
raise SystemExit(not (ratios["its own chunks"] > 2 and ratios["chunks of 256"] < 1.5))
PYTHON
if "$folder/venv/bin/python" "$folder/chunks.py"; then
    exit 0
fi
echo "its own choice of chunks is no longer slow" >&2
exit 1
