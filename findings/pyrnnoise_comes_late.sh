#!/usr/bin/env bash
# pyrnnoise 0.4.5: what comes out has the length of what went in, and is 20 ms late.
#
# Expected: of a whole signal, given with `partial=True` ("whether this is the last chunk of a
# file"), the same signal with less noise, sample for sample; the lengths agree.
# Seen: it begins with 20 ms of what the algorithm has not seen yet and ends 20 ms early: the delay
# of RNNoise is neither taken out nor told, and the end of the signal is never given. At 48 kHz it
# is 960 samples, at 16 kHz 320. `denoise_wav` writes its files so. SI-SDR, which compares sample
# with sample, is below -60 dB for a voice without any noise.
# squall: takes the delay out and feeds zeros until the end has come (squall/enhance/peers/rnnoise.py).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyrnnoise==0.4.5
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from pyrnnoise import RNNoise


def voice(rate_hz):
    """Six seconds of harmonics under three formants, in syllables."""
    time_s = np.arange(6 * rate_hz) / rate_hz
    pitch_hz = 120 * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * time_s))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    formants = ((1, 500, 80), (0.6, 1500, 120), (0.3, 2500, 160))
    sound = sum(
        sum(a / (1 + ((k * pitch_hz - f) / w) ** 2) for a, f, w in formants) * np.cos(k * phase)
        for k in range(1, 40)
    )
    sound *= np.minimum(1.2 * np.abs(np.sin(2 * np.pi * 2 * time_s)), 1)
    return (10_000 * sound / np.abs(sound).max()).astype(np.int16)


def si_sdr(s, x):
    s, x = s.astype(float), x.astype(float)
    target = (s @ x) / (s @ s) * s
    return 10 * np.log10((target @ target) / ((target - x) @ (target - x)))


found = []
for rate_hz in (48000, 16000):
    clean = voice(rate_hz)
    frames = RNNoise(sample_rate=rate_hz).denoise_chunk(clean[None], partial=True)
    enhanced = np.concatenate([frame for _, frame in frames], axis=1)[0]
    inner = slice(rate_hz, 5 * rate_hz)
    scores = [
        si_sdr(clean[inner], enhanced[rate_hz + lag : 5 * rate_hz + lag])
        for lag in range(rate_hz // 30)
    ]
    late = int(np.argmax(scores))
    found.append((len(enhanced) == len(clean), late))
    print(f"{rate_hz} Hz: {late} samples late; SI-SDR {scores[0]:.1f} dB, in step {max(scores):.1f}")
if found != [(True, 960), (True, 320)]:
    print("pyrnnoise behaves otherwise now", file=sys.stderr)
    sys.exit(1)
PYTHON
