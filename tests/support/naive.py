"""Slow twins: each routine written as its definition reads, to compare the fast one with.

They share no code with the package. Those of the losses compute in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike


def cross_entropy(logits: ArrayLike, label: int, *, label_smoothing: float = 0.0) -> float:
    """-log softmax(f)_y of one token, with torch's label smoothing."""
    f = np.asarray(logits, dtype=np.float64)
    log_probs = f - f.max() - math.log(np.exp(f - f.max()).sum())
    return float(-(1 - label_smoothing) * log_probs[label] - label_smoothing * log_probs.mean())


def square_loss(logits: ArrayLike, label: int) -> float:
    """(1/C) sum_j (f_j - 1[j = y])^2 of one token."""
    f = np.asarray(logits, dtype=np.float64)
    return sum((x - (j == label)) ** 2 for j, x in enumerate(f)) / len(f)


def rescaled_square_loss(logits: ArrayLike, label: int, *, k: float = 1.0, M: float = 1.0) -> float:
    """(1/C) (k (f_y - M)^2 + sum_{j != y} f_j^2) of one token."""
    f = np.asarray(logits, dtype=np.float64)
    return sum(k * (x - M) ** 2 if j == label else x**2 for j, x in enumerate(f)) / len(f)


def ccql_loss(logits: ArrayLike, label: int, *, w: float | None = None) -> float:
    """1/2 sum_j (f_j - 1[j = y])^2 + (w/2) (1 - f_y)^2 of one token."""
    f = np.asarray(logits, dtype=np.float64)
    w = math.sqrt(len(f) - 1) - 1 if w is None else w
    squares = sum((x - (j == label)) ** 2 for j, x in enumerate(f))
    return 0.5 * squares + w / 2 * (1 - f[label]) ** 2


def squentropy_loss(
    logits: ArrayLike, label: int, *, alpha: float = 1.0, label_smoothing: float = 0.0
) -> float:
    """-log softmax(f)_y + alpha/(C-1) sum_{j != y} f_j^2 of one token."""
    f = np.asarray(logits, dtype=np.float64)
    squares = sum(x**2 for j, x in enumerate(f) if j != label)
    entropy = cross_entropy(f, label, label_smoothing=label_smoothing)
    return entropy + alpha / (len(f) - 1) * squares


def _softmax(logits: ArrayLike) -> np.ndarray:
    f = np.asarray(logits, dtype=np.float64)
    powers = np.exp(f - f.max())
    return powers / powers.sum()


def focal_loss(logits: ArrayLike, label: int, *, gamma: float = 3.0) -> float:
    """-(1 - p_y)^gamma log p_y of one token, of the sum of the other probabilities."""
    others = sum(p for j, p in enumerate(_softmax(logits)) if j != label)
    return others**gamma * cross_entropy(logits, label)


def dual_focal_loss(logits: ArrayLike, label: int, *, gamma: float = 5.0) -> float:
    """-(1 - p_y + p_j)^gamma log p_y of one token, j the next class below the true one."""
    f, probs = np.asarray(logits, dtype=np.float64), _softmax(logits)
    others = sum(p for j, p in enumerate(probs) if j != label)
    below = max((p for x, p in zip(f, probs, strict=True) if x < f[label]), default=0.0)
    return (others + below) ** gamma * cross_entropy(f, label)


def brier_loss(logits: ArrayLike, label: int) -> float:
    """sum_j (p_j - 1[j = y])^2 of one token."""
    return sum((p - (j == label)) ** 2 for j, p in enumerate(_softmax(logits)))


def logit_norm_loss(logits: ArrayLike, label: int, *, tau: float = 0.04) -> float:
    """Cross-entropy of f / (tau (||f|| + 1e-7)) of one token."""
    f = np.asarray(logits, dtype=np.float64)
    return cross_entropy(f / (np.linalg.norm(f) + 1e-7) / tau, label)


def confidence_penalty_loss(logits: ArrayLike, label: int, *, beta: float = 0.1) -> float:
    """-log p_y - beta H(p) of one token."""
    entropy = -sum(p * math.log(p) for p in _softmax(logits) if p > 0)
    return cross_entropy(logits, label) - beta * entropy


def loss_per_token(
    loss: Callable[..., float],
    logits: ArrayLike,
    target: ArrayLike,
    *,
    ignore_index: int = -100,
    **params: float,
) -> np.ndarray:
    """One of the losses above for logits (..., C) and a target (...); 0 where ignored."""
    f, labels = np.asarray(logits, dtype=np.float64), np.asarray(target)
    values = np.zeros(labels.shape)
    for position in np.ndindex(labels.shape):
        if labels[position] != ignore_index:
            values[position] = loss(f[position], int(labels[position]), **params)
    return values


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Levenshtein distance of two token sequences, from the full table of prefixes."""
    rows, columns = len(reference) + 1, len(hypothesis) + 1
    table = [[i + j if 0 in (i, j) else 0 for j in range(columns)] for i in range(rows)]
    for i in range(1, rows):
        for j in range(1, columns):
            table[i][j] = min(
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
                table[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1]),
            )
    return table[-1][-1]


def _frames_of_30_ms(samples: ArrayLike, rate_hz: int) -> list[np.ndarray]:
    """Under a Hann window, a quarter apart, without the last whole one."""
    x = np.asarray(samples, dtype=np.float64)
    x = x - x.mean()
    length = round(0.03 * rate_hz)
    window = [0.5 * (1 - math.cos(2 * math.pi * (n + 1) / (length + 1))) for n in range(length)]
    starts = range(0, len(x) - length + 1, length // 4)
    return [x[start : start + length] * window for start in starts][:-1]


def segmental_snr(reference: ArrayLike, estimate: ArrayLike, rate_hz: int) -> float:
    """Mean of the frames' SNRs, held to -10 to 35 dB."""
    ratios = []
    for s, x in zip(*(_frames_of_30_ms(y, rate_hz) for y in (reference, estimate)), strict=True):
        ratio = 10 * math.log10(float(s @ s) / float((s - x) @ (s - x)))
        ratios.append(min(max(ratio, -10.0), 35.0))
    return float(np.mean(ratios))


def log_spectral_distance(reference: ArrayLike, estimate: ArrayLike, rate_hz: int) -> float:
    """Log spectra with 50 dB of range; root mean square over frequency, mean over frames."""
    length = round(0.032 * rate_hz)
    window = [0.5 * (1 - math.cos(2 * math.pi * n / length)) for n in range(length)]
    spectra = []
    for samples in (reference, estimate):
        x = np.asarray(samples, dtype=np.float64)
        x = x - x.mean()
        starts = range(0, len(x) - length + 1, length // 4)
        levels = [20 * np.log10(np.abs(np.fft.rfft(x[s : s + length] * window))) for s in starts]
        top = max(level.max() for level in levels)
        spectra.append([np.maximum(level, top - 50) for level in levels])
    return float(np.mean([math.sqrt(np.mean((a - b) ** 2)) for a, b in zip(*spectra, strict=True)]))


def sdr(reference: ArrayLike, estimate: ArrayLike, taps: int = 512) -> float:
    """What the best filter of the reference explains of the estimate, by least squares."""
    s, x = (np.asarray(y, dtype=np.float64) for y in (reference, estimate))
    s, x = s - s.mean(), np.append(x - x.mean(), np.zeros(taps - 1))
    delayed = np.zeros((len(x), taps))
    for delay in range(taps):
        delayed[delay : delay + len(s), delay] = s
    target = delayed @ np.linalg.lstsq(delayed, x, rcond=None)[0]
    return 10 * math.log10(float(target @ target) / float((x - target) @ (x - target)))


def _best_95_percent(distances: Sequence[float]) -> float:
    return float(np.mean(sorted(distances)[: round(0.95 * len(distances))]))


def llr(reference: ArrayLike, estimate: ArrayLike, rate_hz: int) -> float:
    """Log ratio of the energies that two predictors leave of a clean frame."""
    from scipy.linalg import solve_toeplitz, toeplitz

    order = 10 if rate_hz < 10000 else 16
    ratios = []
    for s, x in zip(*(_frames_of_30_ms(y, rate_hz) for y in (reference, estimate)), strict=True):
        lags = [[float(y[k:] @ y[: len(y) - k]) for k in range(order + 1)] for y in (s, x)]
        left = []
        for r in lags:
            predictor = np.append(1.0, -solve_toeplitz(r[:-1], r[1:]))
            left.append(predictor @ toeplitz(lags[0]) @ predictor)
        ratios.append(math.log(left[1] / left[0]))
    return _best_95_percent(ratios)


def wss(reference: ArrayLike, estimate: ArrayLike, rate_hz: int) -> float:
    """Distance of the slopes between critical bands, with Klatt's weights."""
    centres = [50 + 70 * k for k in range(8)]
    centres += [617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30, 1288.72, 1442.54, 1610.70]
    centres += [1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63]
    widths = [70.0] * 7 + [77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823]
    widths += [168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465]
    widths += [346.136]
    distances = []
    for pair in zip(*(_frames_of_30_ms(y, rate_hz) for y in (reference, estimate)), strict=True):
        weights, slopes = [], []
        for frame in pair:
            size = 2 ** math.ceil(math.log2(2 * len(frame)))
            power = np.abs(np.fft.fft(frame, size)[: size // 2]) ** 2
            levels = []
            for centre, width in zip(centres, widths, strict=True):
                energy = 0.0
                for place, value in enumerate(power):
                    distance = place - math.floor(centre / (rate_hz / size))
                    gain = math.exp(-11 * (distance / (width / (rate_hz / size))) ** 2) * 70 / width
                    energy += value * gain if gain > math.exp(-30 / 4.606) else 0.0
                levels.append(10 * math.log10(max(energy, 1e-10)))
            slope = [b - a for a, b in itertools.pairwise(levels)]
            near = []
            for band, rise in enumerate(slope):
                if rise > 0:
                    n = next((k for k in range(band, 24) if slope[k] <= 0), 24)
                    near.append(levels[n - 1])
                else:
                    n = next((k for k in reversed(range(band + 1)) if slope[k] > 0), -1)
                    near.append(levels[n + 1])
            slopes.append(np.array(slope))
            weights.append(
                [
                    20 / (20 + max(levels) - level) * 1 / (1 + peak - level)
                    for level, peak in zip(levels[:-1], near, strict=True)
                ]
            )
        mean = np.mean(weights, axis=0)
        distances.append(float(mean @ (slopes[0] - slopes[1]) ** 2 / mean.sum()))
    return _best_95_percent(distances)


def next_character_probs(
    text: str,
    next_word: Callable[[tuple[str, ...]], dict[str, float]],
    *,
    alphabet: Sequence[str],
    oov_penalty: float,
) -> dict[str, float]:
    """P(next token | text) under a distribution of texts over words; "" is the end of the text.

    `next_word` gives the probabilities of the words after others, of "<unk>" and of "" for the end.
    """
    *history, written = text.split(" ")
    vocabulary = set(next_word(())) - {"<unk>", ""}

    def known(words: Sequence[str]) -> tuple[str, ...]:
        return tuple(word if word in vocabulary else "<unk>" for word in words)

    probs = next_word(known(history))

    def spelled(word: str, *, whole: bool) -> float:
        p = oov_penalty * probs["<unk>"]
        for k in range(len(word) + whole):
            p /= len(alphabet) + (k > 0)
        return p

    def begins_with(start: str) -> float:
        if not start:
            return 1 - probs[""] if history else 1.0
        in_list = sum(probs[word] for word in vocabulary if word.startswith(start))
        return in_list + spelled(start, whole=False)

    here = begins_with(written)
    found = {char: begins_with(written + char) / here for char in alphabet}
    found[" "], found[""] = 0.0, 0.0
    if written:
        is_it = probs[written] if written in vocabulary else 0.0
        ends = (is_it + spelled(written, whole=True)) / here
        found[""] = ends * next_word(known([*history, written]))[""]
        found[" "] = ends - found[""]
    elif not history:
        found[""] = probs[""]
    return found
