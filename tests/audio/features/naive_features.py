"""Slow twins of the features: loops in float64 that follow the formulas of the sources."""

import cmath
import math

import numpy as np

STEP_POWER = 320 * 2.0**-30


def frame(samples, t, *, length=320, hop=160, before=0):
    out = [0.0] * length
    for n in range(length):
        at = t * hop - before + n
        if 0 <= at < len(samples):
            out[n] = float(samples[at])
    return out


def windowed_dft(values, size):
    """Bins 0 to size / 2 of the Hann-windowed, zero-padded values."""
    length = len(values)
    tapered = [v * 0.5 * (1 - math.cos(2 * math.pi * n / length)) for n, v in enumerate(values)]
    turns = [cmath.exp(-2j * math.pi * n / size) for n in range(size)]
    return [
        sum(v * turns[k * n % size] for n, v in enumerate(tapered)) for k in range(size // 2 + 1)
    ]


def power(samples, t):
    return [abs(x) ** 2 + STEP_POWER for x in windowed_dft(frame(samples, t), 512)]


def ams(samples, frames, taps):
    """`taps` is the (odd) low-pass filter of the decimation from 16 to 4 kHz."""
    half = len(taps) // 2
    envelope = []
    for m in range(math.ceil(len(samples) / 4)):
        total = 0.0
        for i, tap in enumerate(taps):
            at = 4 * m + half - i
            if 0 <= at < len(samples):
                total += tap * abs(float(samples[at]))
        envelope.append(total)
    width = (400 - 15.6) / 14
    rows = []
    for t in range(frames):
        # The segment of 32 ms is centred at 10 t + 10 ms, sample 40 t + 40 of the envelope.
        spectrum = windowed_dft(frame(envelope, t, length=128, hop=40, before=24), 256)
        row = []
        for band in range(15):
            centre = 15.6 + band * width
            row.append(
                sum(
                    abs(spectrum[k]) * max(0.0, 1 - abs(k * 15.625 - centre) / width)
                    for k in range(1, 129)
                )
            )
        rows.append(row)
    return np.array(rows)


def rasta(tracks):
    """`tracks` (T, F): the difference equation, as if the first frame had always been there."""
    frames, bands = tracks.shape
    out = np.zeros((frames, bands))
    for b in range(bands):
        earlier = 0.0
        for t in range(frames):
            x = [tracks[max(0, t - k), b] for k in range(5)]
            earlier = 0.94 * earlier + 0.1 * (2 * x[0] + x[1] - x[3] - 2 * x[4])
            out[t, b] = earlier
    return out


def masking(z):
    """Hermansky's masking curve (1990) of the distance in Bark."""
    if z < -1.3 or z > 2.5:
        return 0.0
    if z < -0.5:
        return 10 ** (z + 0.5)
    return 1.0 if z < 0.5 else 10 ** (-2.5 * (z - 0.5))


def rasta_plp(samples, frames):
    top = 6 * math.asinh(8000 / 600)
    centres = [top * i / 20 for i in range(21)]
    log_bands = np.zeros((frames, 21))
    for t in range(frames):
        spectrum = power(samples, t)
        for b, centre in enumerate(centres):
            weights = [masking(6 * math.asinh(k * 31.25 / 600) - centre) for k in range(257)]
            log_bands[t, b] = math.log(sum(w * p for w, p in zip(weights, spectrum, strict=True)))
    filtered = rasta(log_bands)
    rows = []
    for t in range(frames):
        loudness = []
        for b, centre in enumerate(centres):
            w = 2 * math.pi * 600 * math.sinh(centre / 6)
            equal = (w**2 + 56.8e6) * w**4 / ((w**2 + 6.3e6) ** 2 * (w**2 + 0.38e9))
            loudness.append((equal * math.exp(filtered[t, b])) ** (1 / 3))
        loudness[0], loudness[20] = loudness[1], loudness[19]
        symmetric = loudness + loudness[19:0:-1]
        lags = [
            sum(v * math.cos(2 * math.pi * k * n / 40) for k, v in enumerate(symmetric)) / 40
            for n in range(13)
        ]
        matrix = [[lags[abs(i - j)] for j in range(12)] for i in range(12)]
        a = np.linalg.solve(matrix, [-lag for lag in lags[1:]])
        error = lags[0] + sum(x * lag for x, lag in zip(a, lags[1:], strict=True))
        # The cepstrum by definition: the inverse transform of the log spectrum of the model.
        polynomial = np.fft.fft(np.concatenate([[1.0], a]), 8192)
        cepstrum = np.fft.ifft(np.log(error / np.abs(polynomial) ** 2)).real
        rows.append(cepstrum[:13])
    return np.array(rows)


def deltas(features, window):
    frames, dimensions = features.shape
    out = np.zeros((frames, dimensions))
    for t in range(frames):
        for d in range(dimensions):
            top = 0.0
            for k in range(1, window + 1):
                later = features[min(frames - 1, t + k), d]
                top += k * (float(later) - float(features[max(0, t - k), d]))
            out[t, d] = top / (2 * sum(k * k for k in range(1, window + 1)))
    return out


def arma(features, order):
    frames, dimensions = features.shape
    out = features.astype(np.float64)
    for t in range(order, frames - order):
        for d in range(dimensions):
            past = sum(out[t - k, d] for k in range(1, order + 1))
            ahead = sum(float(features[t + k, d]) for k in range(order + 1))
            out[t, d] = (past + ahead) / (2 * order + 1)
    return out


def context(features, before, after):
    frames = len(features)
    rows = []
    for t in range(frames):
        row = []
        for k in range(-before, after + 1):
            row.extend(features[min(frames - 1, max(0, t + k))].tolist())
        rows.append(row)
    return np.array(rows)
