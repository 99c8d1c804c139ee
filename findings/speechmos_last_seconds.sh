#!/usr/bin/env bash
# speechmos 0.0.1.1: DNSMOS does not hear the last seconds of a recording.
#
# Expected: a score of the whole file. Its networks hear 9.01 s at a time, a second apart.
# Seen: of a signal longer than that, up to 1.99 s at its end are in no stretch: the number of
# stretches is that of the whole seconds, less 9.01, cut to an integer, and one more. The scores of
# 18.99 s of quiet noise are the same to the last bit when the last 1.9 s are noise at full scale.
# Nothing is said. (A signal of 18.02 s is heard to its end but for 1.01 s.)
# Also seen: the package declares no dependency; after `pip install speechmos` alone its import fails,
# for librosa, onnxruntime, requests and numpy.
# squall: `score_dnsmos` says so, and its extra `mos` names those packages.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check speechmos==0.0.1.1
if "$folder/venv/bin/python" -c "import speechmos.dnsmos" 2>/dev/null; then
    echo "speechmos brings what it imports now" >&2
    exit 1
fi
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    librosa==0.11.0 onnxruntime==1.23.2 requests==2.32.5
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from speechmos import dnsmos

RATE_HZ = 16000
random = np.random.default_rng(0)
signal = 0.01 * random.standard_normal(round(18.99 * RATE_HZ))
spoilt = signal.copy()
spoilt[-round(1.9 * RATE_HZ) :] = random.uniform(-1, 1, round(1.9 * RATE_HZ))
plain, other = dnsmos.run(signal, RATE_HZ), dnsmos.run(spoilt, RATE_HZ)
print("plain", plain)
print("with noise at full scale in the last 1.9 s", other)
if plain != other:
    print("speechmos behaves otherwise now", file=sys.stderr)
    sys.exit(1)
PYTHON
