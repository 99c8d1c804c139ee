#!/usr/bin/env bash
# pystoi 0.4.1: a constant offset of the clean speech, which nobody hears, changes its STOI.
#
# Expected: an offset (0 Hz) has no effect: the measure compares third-octave bands, the lowest of
# which begins at 134 Hz, and correlates envelopes without their means.
# Seen: pauses are dropped first, frames more than 40 dB below the loudest one, and their energy is
# taken with the offset in it. With an offset of 1 % of full scale no frame is a pause, all of them
# are scored, and the STOI of the two signals below falls from 0.85 to 0.60. Recordings have such
# offsets: 20 of 250 utterances of LibriSpeech have one above 5 % of their standard deviation.
# Nothing is said.
# squall: `score_stoi` takes the mean of both signals away first (squall/scoring/speech_quality.py).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pystoi==0.4.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from pystoi import stoi

RATE_HZ = 16000
random = np.random.default_rng(0)
time_s = np.arange(8 * RATE_HZ) / RATE_HZ
# Noise as loud as speech under an envelope of syllables, in phrases of a second with pauses between.
speech = 0.1 * random.standard_normal(len(time_s)) * (1.2 + np.sin(2 * np.pi * 4 * time_s))
speech *= time_s % 2 < 1
speech -= speech.mean()
noisy = speech + 0.1 * random.standard_normal(len(time_s))
plain, shifted = (stoi(speech + offset, noisy, RATE_HZ) for offset in (0.0, 0.01))
print(f"STOI {plain:.3f}; with an offset of 0.01 in the clean speech {shifted:.3f}")
if plain - shifted < 0.1:
    print("pystoi behaves otherwise now", file=sys.stderr)
    sys.exit(1)
PYTHON
