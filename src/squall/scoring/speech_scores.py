"""All scores of speech by their names: of one signal, of many in several processes, and their mean.

A new score is a function here and an entry in `SPEECH_SCORES`, with its unit, direction and name
for people in `squall.scoring.metrics`. Recipes, the command line and tables read both.
"""

from __future__ import annotations

import math
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from itertools import islice
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.distortion import (
    score_composite,
    score_log_spectral_distance,
    score_sdr,
    score_segmental_snr,
)
from squall.scoring.dnsmos import DNSMOS_SCORES, score_dnsmos
from squall.scoring.speech_quality import score_pesq, score_si_sdr, score_stoi
from squall.scoring.speech_signals import Score, as_signals

__all__ = [
    "DEFAULT_SCORES",
    "SPEECH_SCORES",
    "MetricSummary",
    "SpeechPair",
    "SpeechScores",
    "check_scores",
    "missing_packages",
    "score_pairs",
    "score_speech",
    "summarise_metric",
]

DEFAULT_SCORES = ("stoi", "pesq_nb", "pesq_wb", "si_sdr")
"""What is computed where nothing is said."""


@dataclass(frozen=True, kw_only=True)
class SpeechPair:
    """A signal to score, and its original.

    Args:
        estimate: (N,) the noisy or enhanced speech.
        reference: (N,) the clean speech, aligned with it; None where there is none.
    """

    estimate: NDArray[np.floating[Any]]
    reference: NDArray[np.floating[Any]] | None = None


_Found = TypeVar("_Found")


@dataclass
class _Signals:
    """A pair, how it is to be scored, and what several scores share."""

    pair: SpeechPair
    sample_rate_hz: int
    remove_mean: bool
    without_pesq: str = ""
    found: dict[str, Any] = field(default_factory=dict)

    def both(self, function: Callable[..., _Found], **more: Any) -> _Found:
        """What a score of estimate and reference gives."""
        return function(
            reference=self.pair.reference,
            estimate=self.pair.estimate,
            sample_rate_hz=self.sample_rate_hz,
            **more,
        )

    def once(self, name: str, compute: Callable[[], _Found]) -> _Found:
        """What `compute` gave the first time."""
        if name not in self.found:
            self.found[name] = compute()
        known: _Found = self.found[name]
        return known


def _plain(function: Callable[..., Score], **more: Any) -> Callable[[_Signals], Score]:
    return lambda signals: signals.both(function, remove_mean=signals.remove_mean, **more)


def _pesq(signals: _Signals, mode: str) -> Score:
    if signals.without_pesq:
        return Score(math.nan, signals.without_pesq)
    if mode == "wb" and signals.sample_rate_hz == 8000:
        return Score(math.nan, "wide-band PESQ needs 16000 Hz")
    compute = partial(signals.both, score_pesq, mode=mode, remove_mean=signals.remove_mean)
    return signals.once(f"pesq_{mode}", compute)


def _composite(signals: _Signals, name: str) -> Score:
    pesq = _pesq(signals, "nb" if signals.sample_rate_hz == 8000 else "wb")
    compute = partial(signals.both, score_composite, remove_mean=signals.remove_mean, pesq=pesq)
    return signals.once("composite", compute)[name]


def _dnsmos(signals: _Signals, name: str) -> Score:
    compute = partial(
        score_dnsmos, estimate=signals.pair.estimate, sample_rate_hz=signals.sample_rate_hz
    )
    return signals.once("dnsmos", compute)[name]


@dataclass(frozen=True)
class SpeechScore:
    """What is known of a score beside its unit and direction.

    Args:
        compute: gives it.
        packages: modules that it needs.
        extra: of squall, which brings them.
        needs_reference: whether it compares with the clean speech.
    """

    compute: Callable[[_Signals], Score]
    packages: tuple[str, ...] = ()
    extra: str = "enhance"
    needs_reference: bool = True


_MOS = ("speechmos", "onnxruntime", "librosa")

SPEECH_SCORES: dict[str, SpeechScore] = {
    "stoi": SpeechScore(_plain(score_stoi), ("pystoi",)),
    "estoi": SpeechScore(_plain(score_stoi, extended=True), ("pystoi",)),
    "pesq_nb": SpeechScore(partial(_pesq, mode="nb"), ("pesq",)),
    "pesq_wb": SpeechScore(partial(_pesq, mode="wb"), ("pesq",)),
    "si_sdr": SpeechScore(lambda signals: signals.both(score_si_sdr)),
    "sdr": SpeechScore(_plain(score_sdr), ("fast_bss_eval",)),
    "seg_snr": SpeechScore(_plain(score_segmental_snr)),
    "lsd": SpeechScore(_plain(score_log_spectral_distance)),
    **{
        name: SpeechScore(partial(_composite, name=name), ("pesq",))
        for name in ("csig", "cbak", "covl")
    },
    **{
        name: SpeechScore(partial(_dnsmos, name=name), _MOS, "mos", needs_reference=False)
        for name in DNSMOS_SCORES
    },
}
"""The scores by name, in the order of the tables."""


def check_scores(names: Sequence[str], *, reference: bool = True) -> tuple[str, ...]:
    """Names of scores in the order of the tables, each once.

    Args:
        names: of `SPEECH_SCORES`, or a single one; `all` stands for all that can be computed.
        reference: whether there is clean speech to compare with.

    Raises:
        ValueError: there is no such score, none is named, or one needs the clean speech.
    """
    names = [names] if isinstance(names, str) else names
    possible = [n for n, score in SPEECH_SCORES.items() if reference or not score.needs_reference]
    wanted = {*possible, *names} - {"all"} if "all" in names else set(names)
    if unknown := [name for name in names if name not in SPEECH_SCORES and name != "all"]:
        raise ValueError(
            f"there is no score {unknown[0]!r}; there are {', '.join(SPEECH_SCORES)}, or all"
        )
    if not wanted:
        raise ValueError(f"no score is named; there are {', '.join(SPEECH_SCORES)}, or all")
    if impossible := [name for name in SPEECH_SCORES if name in wanted and name not in possible]:
        raise ValueError(
            f"{', '.join(impossible)}: needs clean speech to compare with, give a reference; "
            f"without one there are {', '.join(possible)}"
        )
    return tuple(name for name in SPEECH_SCORES if name in wanted)


def missing_packages(names: Iterable[str]) -> list[str]:
    """What the scores with these names need and have not, a sentence for each, with the remedy."""
    missing: dict[tuple[str, str], list[str]] = {}
    for name in names:
        score = SPEECH_SCORES[name]
        for package in score.packages:
            if find_spec(package) is None:
                missing.setdefault((package, score.extra), []).append(name)
    return [
        f"{', '.join(scores)}: needs {package}: pip install 'squall[{extra}]'"
        for (package, extra), scores in missing.items()
    ]


@dataclass(frozen=True)
class SpeechScores:
    """The scores of one signal.

    Args:
        scores: by name, in the order of the tables.
    """

    scores: Mapping[str, Score]

    def __getitem__(self, name: str) -> Score:
        """The score with a name."""
        return self.scores[name]

    def metrics(self) -> dict[str, Score]:
        """The scores by name."""
        return dict(self.scores)

    @property
    def reason(self) -> str:
        """Why scores are NaN, each reason once with its metrics; empty where none is.

        >>> short = Score(float("nan"), "too short")
        >>> SpeechScores({"stoi": short, "pesq_nb": short, "si_sdr": Score(1.0)}).reason
        'stoi, pesq_nb: too short'
        """
        metrics_of: dict[str, list[str]] = {}
        for name, score in self.scores.items():
            if score.reason:
                metrics_of.setdefault(score.reason, []).append(name)
        return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in metrics_of.items())


def score_speech(
    *,
    estimate: ArrayLike,
    reference: ArrayLike | None = None,
    scores: Sequence[str] = DEFAULT_SCORES,
    sample_rate_hz: int = 16000,
    remove_mean: bool = True,
) -> SpeechScores:
    """Score a signal.

    Args:
        estimate: (N,) the noisy or enhanced speech.
        reference: (N,) the clean speech, aligned with it; None where no score needs it.
        scores: names as `check_scores` takes them.
        sample_rate_hz: 16000 or 8000; at 8000 wide-band PESQ and DNSMOS are NaN, and the composite
            measures are those of narrow-band PESQ.
        remove_mean: as in `score_stoi` and `score_pesq`; SI-SDR is always without means, DNSMOS
            hears the signal as it is.

    Raises:
        ValueError: as the scores do; an unknown name; another rate.
        ImportError: a package that a score needs is not installed.
    """
    clean = None if reference is None else np.asarray(reference)
    pair = SpeechPair(reference=clean, estimate=np.asarray(estimate))
    return _score_pair(pair, scores, sample_rate_hz, remove_mean)


def _score_pair(
    pair: SpeechPair,
    scores: Sequence[str],
    sample_rate_hz: int,
    remove_mean: bool,
    without_pesq: str = "",
) -> SpeechScores:
    names = check_scores(scores, reference=pair.reference is not None)
    if sample_rate_hz not in (8000, 16000):
        raise ValueError(f"scores take 8000 or 16000 Hz, not {sample_rate_hz}: resample first")
    if pair.reference is not None:
        as_signals(pair.reference, pair.estimate)
    signals = _Signals(pair, sample_rate_hz, remove_mean, without_pesq)
    return SpeechScores({name: SPEECH_SCORES[name].compute(signals) for name in names})


def score_pairs(
    pairs: Iterable[SpeechPair],
    *,
    scores: Sequence[str] = DEFAULT_SCORES,
    sample_rate_hz: int = 16000,
    remove_mean: bool = True,
    jobs: int = 1,
) -> Iterator[SpeechScores]:
    """Score many signals, in several processes, and give their scores in the same order.

    Args:
        pairs: the signals; taken as they are needed, a few ahead of the scores.
        scores, sample_rate_hz, remove_mean: as in `score_speech`.
        jobs: number of processes; 1 computes in this one. More are started afresh (`spawn`), so
            that a script that asks for them needs `if __name__ == "__main__":`.

    Yields:
        The scores of each pair. Where PESQ's code brings its process down, what needs PESQ is NaN
        for that pair and the others go on; with one job it would bring this process down.

    Raises:
        ValueError: as `score_speech` does, at the pair concerned; jobs below 1.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; it must be at least 1")
    how = (scores if isinstance(scores, str) else tuple(scores), sample_rate_hz, remove_mean)
    if jobs == 1:
        for pair in pairs:
            yield _score_pair(pair, *how)
        return
    pools: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
    for _ in range(jobs):
        pools.put(_pool())

    def score(pair: SpeechPair) -> SpeechScores:
        pool = pools.get()
        try:
            return pool.submit(_score_pair, pair, *how).result()
        except BrokenProcessPool:
            pool.shutdown(wait=False)
            pool = _pool()
            return _score_pair(pair, *how, "PESQ brought its process down")
        finally:
            pools.put(pool)

    source = iter(pairs)
    waiting: deque[Future[SpeechScores]] = deque()
    threads = ThreadPoolExecutor(jobs)
    try:
        while True:
            for pair in islice(source, 4 * jobs - len(waiting)):
                waiting.append(threads.submit(score, pair))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)
        for _ in range(jobs):
            pools.get().shutdown()


def _pool() -> ProcessPoolExecutor:
    """A process that has one pair at a time.

    One pool of all processes would have further pairs on their way when a process dies, and with
    Python 3.11 what writes them may then wait for ever.
    """
    # Not fork: it copies the locks of other threads, torch's among them, as they happen to be.
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


@dataclass(frozen=True)
class MetricSummary:
    """A metric over a set of signals.

    Args:
        mean: over the signals that have a score; NaN where none has.
        low, high: 95 % bootstrap interval of that mean; NaN below two scores.
        scored: how many have a score.
        undefined: how many are NaN.
    """

    mean: float
    low: float
    high: float
    scored: int
    undefined: int


def summarise_metric(
    scores: Sequence[Score], *, resamples: int = 2000, seed: int = 0
) -> MetricSummary:
    """Mean of a metric with its 95 % interval.

    Args:
        scores: one per signal; NaN are counted and left out.
        resamples: how many times the signals are drawn again, with replacement.
        seed: of those draws; same seed, same interval.

    Convention: the interval is the percentile bootstrap over signals (2.5 % and 97.5 % of the means
    of the resamples). It takes signals for independent; those of one speaker or one noise are not
    quite, and their interval is then too narrow.

    Source: Efron, Tibshirani 1993, chapter 13.
    """
    values = np.array([score.value for score in scores if score.defined], dtype=np.float64)
    undefined = len(scores) - len(values)
    mean = float(values.mean()) if len(values) else math.nan
    if len(values) < 2:
        return MetricSummary(mean, math.nan, math.nan, len(values), undefined)
    random = np.random.default_rng(seed)
    block = max(1, 2**20 // len(values))  # keeps the drawn indices to some megabytes
    means = np.concatenate(
        [
            values[random.integers(len(values), size=(size, len(values)))].mean(axis=1)
            for size in _block_sizes(resamples, block)
        ]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return MetricSummary(mean, float(low), float(high), len(values), undefined)


def _block_sizes(total: int, block: int) -> list[int]:
    return [min(block, total - start) for start in range(0, total, block)]
