"""Signals that the feature tests share."""

import numpy as np


def speech_like(seconds, *, seed=0):
    """Harmonics of a wavering pitch and noise, both switched on and off some times a second."""
    rng = np.random.default_rng(seed)
    n = round(seconds * 16000)
    time_s = np.arange(n) / 16000
    pitch_hz = 120 + 20 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / 16000
    voiced = sum(np.sin(k * phase) / k for k in range(1, 30))
    syllables = np.repeat(rng.uniform(0.0, 1.0, n // 1600 + 1) ** 2, 1600)[:n]
    noise = 0.2 * rng.standard_normal(n) * (1 - syllables)
    return (0.1 * (syllables * voiced + noise)).astype(np.float32)
