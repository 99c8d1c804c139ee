"""Slow twins of the gammatone filterbank: convolutions in time, in float64, as defined.

They share no code with the package.
"""

from __future__ import annotations

import numpy as np


def centre_frequencies(channels: int, low_hz: float, high_hz: float) -> list[float]:
    """Equal steps of 21.4 log10(1 + 0.00437 f)."""
    low, high = (21.4 * np.log10(1 + 0.00437 * f) for f in (low_hz, high_hz))
    steps = [low + (high - low) * c / (channels - 1) for c in range(channels)]
    return [(10 ** (step / 21.4) - 1) / 0.00437 for step in steps]


def impulse_response(centre_hz: float, rate_hz: int) -> np.ndarray:
    """t^3 exp(-2 pi b t) cos(2 pi f t) until nothing is left, with gain 1 at f."""
    b = 1.019 * 24.7 * (0.00437 * centre_hz + 1)
    n = np.arange(int(40 / (2 * np.pi * b) * rate_hz))
    response = n**3.0 * np.exp(-2 * np.pi * b * n / rate_hz)
    response *= np.cos(2 * np.pi * centre_hz * n / rate_hz)
    return response / abs(np.sum(response * np.exp(-2j * np.pi * centre_hz * n / rate_hz)))


def filter_signal(samples: np.ndarray, centre_hz: float, rate_hz: int) -> np.ndarray:
    """(N,) output, earlier by the rounded time of the envelope's peak."""
    delay = round(3 / (2 * np.pi * 1.019 * 24.7 * (0.00437 * centre_hz + 1)) * rate_hz)
    padded = np.concatenate([samples.astype(np.float64), np.zeros(delay)])
    return np.convolve(padded, impulse_response(centre_hz, rate_hz))[delay:][: len(samples)]


def energies(outputs: np.ndarray, *, raised_cosine: bool = True) -> np.ndarray:
    """(T, F) of outputs (F, N) at 16 kHz, one window after the other."""
    channels, samples = outputs.shape
    frames = 1
    while (frames + 1) * 160 < samples:
        frames += 1
    result = np.zeros((frames, channels))
    for t in range(frames):
        for n in range(t * 160, min(samples, t * 160 + 320)):
            weight = (1 - np.cos(2 * np.pi * (n - t * 160 + 0.5) / 320)) / 2
            result[t] += (weight if raised_cosine else 1.0) * outputs[:, n] ** 2
    return result


def filter_forwards_and_backwards(
    samples: np.ndarray, centre_hz: float, rate_hz: int
) -> np.ndarray:
    """(N,) filtered, turned round, filtered, turned round again."""
    response = impulse_response(centre_hz, rate_hz)
    once = np.convolve(samples.astype(np.float64), response)
    twice = np.convolve(once[::-1], response)[::-1]
    return twice[len(response) - 1 :][: len(samples)]


def mask_weights(mask: np.ndarray, samples: int) -> np.ndarray:
    """(F, N) at 16 kHz: raised cosines of 320 samples, held before and after the middle frames."""
    weights = np.zeros((mask.shape[1], samples))
    for n in range(samples):
        for t in range(-1, len(mask) + 1):
            if t * 160 <= n < t * 160 + 320:
                window = (1 - np.cos(2 * np.pi * (n - t * 160 + 0.5) / 320)) / 2
                weights[:, n] += window * mask[min(max(t, 0), len(mask) - 1)]
    return weights
