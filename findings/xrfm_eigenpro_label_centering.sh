#!/usr/bin/env bash
# xRFM 0.4.5, `RFM.fit(..., method="eigenpro")`: raises for every input.
#
# Expected: what the method's documentation says, "'lstsq' or 'eigenpro'": the same kernel model by
# iteration, for more points than a direct solution holds.
# Seen: AttributeError, the object has no attribute `label_centering`. The attribute is read where
# iteration begins and set nowhere; `method="lstsq"` works on the same data.
# squall: benchmarks/kernels.py compares with the direct solution of xRFM, and has no row for its
# iteration.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.11.0 xrfm==0.4.5
cat > "$folder/fit.py" <<'PYTHON'
import torch
from xrfm.rfm_src import RFM

torch.manual_seed(0)
x, held = torch.rand(600, 3), torch.rand(200, 3)
y, held_y = torch.sin(3 * x[:, :1]), torch.sin(3 * held[:, :1])
for method in ("lstsq", "eigenpro"):
    model = RFM(kernel="l2", bandwidth=2.0, exponent=1.0, iters=0, device="cpu", verbose=False)
    try:
        model.fit((x, y), (held, held_y), reg=1e-3, iters=0, method=method, verbose=False)
    except AttributeError as error:
        print(method, "raises:", str(error).split()[-1])
    else:
        error = (torch.as_tensor(model.predict(held)) - held_y).square().mean()
        print(method, "fits" if error < 1e-3 else "does not fit")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/fit.py" 2> /dev/null | tr '\n' ' ')
echo "$seen"
if [ "$seen" = "lstsq fits eigenpro raises: 'label_centering' " ]; then
    exit 0
fi
echo "xRFM behaves otherwise now" >&2
exit 1
