#!/usr/bin/env bash
# fast-bss-eval 0.1.4: with numpy, a perfect estimate of one source is an error, and so is most else.
#
# Expected: what the documentation shows for numpy arrays, torch being optional: infinity for the SDR
# of a perfect estimate, values from `si_sdr` and `sdr_loss`.
# Seen, with numpy 2.2.6 and without torch:
# - `sdr(reference, reference)` is [inf, inf] for two sources, and for one raises "ValueError:
#   zero-size array to reduction operation minimum which has no identity": the infinite ratio goes
#   into the search for the best order of the sources, which takes the least finite one. A perfect
#   estimate is what a test of a pipeline, or a copied file, gives.
# - `si_sdr` raises AttributeError: "type object 'torch' has no attribute 'si_sdr'".
# - `sdr_loss` raises ValueError from numpy.linalg.solve, which since numpy 2 takes a right-hand side
#   (..., n) for matrices.
# squall: `score_sdr` calls `sdr` alone, always with `clamp_db` (squall/scoring/distortion.py).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    fast-bss-eval==0.1.4 numpy==2.2.6 scipy==1.15.3
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import fast_bss_eval
import numpy as np

np.seterr(divide="ignore")
random = np.random.default_rng(0)
one, two = (random.standard_normal((sources, 16000)) for sources in (1, 2))
noisy = one + 0.1 * random.standard_normal((1, 16000))


def outcome(function, *signals):
    try:
        return str(function(*signals))
    except Exception as error:
        return type(error).__name__


found = {
    "sdr of one noisy source": outcome(fast_bss_eval.sdr, one, noisy),
    "sdr of two perfect sources": outcome(fast_bss_eval.sdr, two, two),
    "sdr of one perfect source": outcome(fast_bss_eval.sdr, one, one),
    "si_sdr of one noisy source": outcome(fast_bss_eval.si_sdr, one, noisy),
    "sdr_loss of one noisy source": outcome(fast_bss_eval.sdr_loss, noisy, one),
}
for name, value in found.items():
    print(f"{name}: {value}")
expected = ["[inf inf]", "ValueError", "AttributeError", "ValueError"]
if list(found.values())[1:] != expected or not found["sdr of one noisy source"].startswith("[2"):
    print("fast-bss-eval behaves otherwise now", file=sys.stderr)
    sys.exit(1)
PYTHON
