#!/usr/bin/env bash
# torch 2.11.0 on a CPU: four elementwise functions round a number by where it stands.
#
# Expected: f(x)[i] has the bits of f(x[i]), as the functions are of one element each, and as exp,
# log, tanh, erf and most others have it, whose rest of a row goes through the vector code too.
# Seen: exp2, sigmoid, sinh and cosh give other last bits for a number that stands alone, in the
# rest of a row that fills no vector, or in a column of a matrix (a view with strides) than for the
# same number in the middle of a contiguous row; for 6 to 20 in 100 numbers. The same input in
# batches of another size, or not contiguous, so gives other bits.
# squall: kernel values are powers of two (src/squall/kernels/functions.py), which are exact to the
# last bit but for this; predictions of single rows are compared with those of many by a tolerance.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.11.0 numpy==2.3.5
cat > "$folder/bits.py" <<'PYTHON'
import torch

torch.set_num_threads(1)
x = -20 * torch.rand(4096, generator=torch.Generator().manual_seed(0))
names = "exp exp2 expm1 log log2 sigmoid tanh sin cos sinh cosh erf sqrt rsqrt".split()
for name in names:
    function = getattr(torch, name)
    numbers = 0.01 - x if name in ("log", "log2", "sqrt", "rsqrt") else x
    row = function(numbers)
    alone = torch.cat([function(one) for one in numbers.split(1)])
    strided = function(torch.stack([numbers, numbers], dim=1)[:, 0])
    if not torch.equal(row, alone):
        assert torch.equal(alone, strided), name
        assert 0.05 < (row != alone).double().mean() < 0.25, name
        torch.testing.assert_close(row, alone, rtol=3e-7, atol=0)
        print(name)
PYTHON
# The narrower of the two vector widths, which more machines have.
seen=$(ATEN_CPU_CAPABILITY=avx2 "$folder/venv/bin/python" "$folder/bits.py" | tr '\n' ' ')
echo "$seen"
if [ "$seen" = "exp2 sigmoid sinh cosh " ]; then
    exit 0
fi
echo "torch rounds otherwise now" >&2
exit 1
