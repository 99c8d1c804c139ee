#!/usr/bin/env bash
# pyrnnoise 0.4.5: a recording that was too loud comes back with samples of the wrong sign.
#
# Expected: what RNNoise gives beyond full scale is cut at full scale.
# Seen: its floats are turned into 16-bit integers without a limit: 33,000 becomes -32,536. The
# voice below, recorded twice too loud and so clipped, steps by at most 12,307 from a sample to the
# next; the output has 20 steps of more than 50,000, each of which is a click. Read speech that was
# brought to a peak of 0.99 of full scale and never clipped has some too.
# squall: takes the floats of the library itself (squall/enhance/peers/rnnoise.py).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyrnnoise==0.4.5
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from pyrnnoise import RNNoise

RATE_HZ = 48000
random = np.random.default_rng(0)


def syllable():
    """Harmonics of a gliding pitch under three formants."""
    time_s = np.arange(int(random.uniform(0.12, 0.3) * RATE_HZ)) / RATE_HZ
    share = time_s / time_s[-1]
    pitch_hz = random.uniform(90, 220) * (1 + random.uniform(-0.3, 0.3) * share)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    ranges = ((300, 900), (900, 2300), (2300, 3200))
    formants = [
        (height, random.uniform(*hz), width)
        for height, hz, width in zip((1, 0.6, 0.3), ranges, (70, 100, 150))
    ]
    sound = sum(
        sum(a / (1 + ((k * pitch_hz - f) / w) ** 2) for a, f, w in formants)
        * np.cos(k * phase + 0.3 * k)
        for k in range(1, 60)
    )
    return sound * np.sin(np.pi * share).clip(0) ** 0.5 / np.abs(sound).max()


parts = []
while sum(map(len, parts)) < 4 * RATE_HZ:
    parts += [syllable(), np.zeros(int(random.choice([0, 0.05, 0.15]) * RATE_HZ))]
voice = np.concatenate(parts)
recorded = (32767 * np.clip(2 * voice, -1, 1)).astype(np.int16)
frames = RNNoise(sample_rate=RATE_HZ).denoise_chunk(recorded[None], partial=True)
enhanced = np.concatenate([frame for _, frame in frames], axis=1)[0]
before, after = (np.abs(np.diff(x.astype(int))) for x in (recorded, enhanced))
wrapped = int((after > 50_000).sum())
print(f"largest step {before.max()} before and {after.max()} after; {wrapped} steps above 50,000")
if before.max() > 20_000 or not wrapped:
    print("pyrnnoise behaves otherwise now", file=sys.stderr)
    sys.exit(1)
PYTHON
