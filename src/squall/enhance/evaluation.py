"""Enhancing the test mixtures of an experiment, and scoring what came out."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.audio.mixing import Mixture
from squall.audio.reading import SAMPLE_RATE_HZ, read_audio
from squall.engine.scored import blank_record
from squall.enhance.dataset import MixtureSource
from squall.enhance.enhancing import FAILED
from squall.enhance.frames import FrameSet
from squall.enhance.model import MaskModel
from squall.enhance.settings import ALL, EnhancementConfig
from squall.files import atomic_write, read_array, read_json
from squall.report.records import Record
from squall.scoring.cells import text_cell
from squall.scoring.masks import MaskCounts, MaskError, ibm_scores, mask_mse
from squall.scoring.speech_scores import SpeechPair, SpeechScores, score_pairs
from squall.scoring.speech_signals import Score
from squall.workers import OnProgress

__all__ = ["read_sizes", "read_training", "score_conditions", "write_scores"]

Samples = NDArray[np.float32]

Value = tuple[str, float, int, str]
"""A metric, its value, what was counted, and why there is no value where it is NaN."""


@dataclass(frozen=True)
class _Scored:
    """The scores of one condition.

    Args:
        mixtures: what was scored.
        quality: of each mixture.
        errors, counts: of each mixture's mask; empty without a trained estimator, and counts
            without binary masks.
        failed: why an off-the-shelf enhancer gave nothing, by utterance.
    """

    mixtures: Sequence[Mixture]
    quality: Sequence[SpeechScores]
    errors: Sequence[MaskError]
    counts: Sequence[MaskCounts]
    failed: Mapping[str, str]

    @property
    def why_none(self) -> str:
        """Why the enhancer gave nothing for all of them; empty where it gave something."""
        whole = len(self.failed) == len(self.mixtures)
        return next(iter(self.failed.values()), "") if whole else ""


def score_conditions(
    config: EnhancementConfig,
    conditions: Mapping[str, Sequence[Mixture]],
    *,
    source: MixtureSource,
    features_dir: Path,
    enhanced_dir: Path,
    workers: int,
    on_progress: OnProgress,
) -> dict[str, _Scored]:
    """Score the enhanced signals and the estimated masks of all test conditions.

    Args:
        config: the experiment's settings.
        conditions: the mixtures of each.
        source: what the mixtures are made of; gives the clean speech as it stands in the mixture.
        features_dir: folder of the frame sets.
        enhanced_dir: what `enhance_condition` wrote, `<condition>/`.
        workers: processes.
        on_progress: told (scored, all, condition).
    """
    total, done = sum(map(len, conditions.values())), 0
    flat = [mixture for group in conditions.values() for mixture in group]
    failed = {condition: _failed(enhanced_dir / condition) for condition in conditions}
    quality = score_pairs(
        _pairs(flat, source, enhanced_dir, failed),
        scores=config.scores,
        jobs=workers,
        remove_mean=config.remove_mean,
    )
    scored = {}
    for condition, group in conditions.items():
        scores = []
        for mixture in group:
            reason = failed[condition].get(mixture.utterance, "")
            scores.append(_without_value(next(quality), reason) if reason else next(quality))
            done += 1
            on_progress(done, total, condition)
        errors, counts = _mask_scores(
            config, features_dir / condition, enhanced_dir / condition / "masks.npy"
        )
        scored[condition] = _Scored(group, scores, errors, counts, failed[condition])
    return scored


def _failed(directory: Path) -> dict[str, str]:
    path = directory / FAILED
    return dict(read_json(path)) if path.is_file() else {}


def _without_value(scores: SpeechScores, reason: str) -> SpeechScores:
    return SpeechScores(dict.fromkeys(scores.scores, Score(math.nan, reason)))


def _pairs(
    mixtures: Sequence[Mixture],
    source: MixtureSource,
    enhanced_dir: Path,
    failed: Mapping[str, Mapping[str, str]],
) -> Iterator[SpeechPair]:
    for mixture in mixtures:
        path = enhanced_dir / mixture.condition / f"{mixture.utterance}.flac"
        speech = source.make(mixture).speech
        if mixture.utterance in failed[mixture.condition]:
            estimate = np.full_like(speech, np.nan)
        else:
            estimate = read_audio(path, sample_rate_hz=SAMPLE_RATE_HZ).samples
        yield SpeechPair(reference=speech, estimate=estimate)


def _mask_scores(
    config: EnhancementConfig, frames_dir: Path, masks_path: Path
) -> tuple[list[MaskError], list[MaskCounts]]:
    if not config.estimator.trained:
        return [], []
    frames = FrameSet.read(frames_dir)
    estimates = read_array(masks_path, mapped=True, remedy="enhance again with --stage 6 --force")
    errors, counts = [], []
    for _, rows in frames.spans():
        masks: dict[str, Any] = {
            "reference": np.asarray(frames.masks[rows]),
            "estimate": estimates[rows],
        }
        errors.append(mask_mse(**masks))
        if config.mask.name == "ibm":
            counts.append(ibm_scores(**masks))
    return errors, counts


def read_training(train_dir: Path) -> dict[str, dict[str, Any]]:
    """What `train_models` recorded of each model; empty where nothing is trained.

    An error that is not finite is null in the file, and NaN here.
    """
    return {
        str(path.parent.relative_to(train_dir)): read_json(path, null_as_nan=True, sealed=True)
        for path in sorted(train_dir.rglob("training.json"))
    }


def read_sizes(train_dir: Path) -> dict[str, dict[str, int]]:
    """Weights or centres of each trained model; empty where nothing is trained."""
    return {
        name: MaskModel.load(train_dir / name).estimator.size() for name in read_training(train_dir)
    }


def write_scores(
    config: EnhancementConfig,
    scored: Mapping[str, _Scored],
    *,
    directory: Path,
    enhanced_dir: Path,
    training: Mapping[str, Mapping[str, Any]],
    sizes: Mapping[str, Mapping[str, int]],
    speakers: Mapping[str, str],
    provenance: Mapping[str, Any],
) -> list[Record]:
    """Write a row for each mixture and the errors of each channel, and sum them up.

    Args:
        config: the experiment's settings.
        scored: what `score_conditions` found.
        directory: where `mixtures.csv` and `channels.csv` go.
        enhanced_dir: has the times of the enhancement.
        training: what `read_training` found.
        sizes: what `read_sizes` found.
        speakers: of the test utterances.
        provenance: commit, command and hardware.

    Returns:
        The records of the experiment. A mean is over the mixtures that have the score; those
        without one are counted, with their reason, in mixtures.csv.
    """
    with atomic_write(directory / "mixtures.csv") as file:
        csv.writer(file).writerows(_mixture_rows(scored, config.scores, speakers))
    with atomic_write(directory / "channels.csv") as file:
        csv.writer(file).writerows(_channel_rows(scored))
    values: list[tuple[str, Value]] = []
    for condition, scores in scored.items():
        times = read_json(enhanced_dir / condition / "times.json")
        values += [(condition, value) for value in _quality(scores, config.scores)]
        values += [(condition, value) for value in _mask(scores)]
        if config.estimator.entry.timed:
            values.append((condition, _rtf(scores, times)))
        unseen = float(condition.partition("/")[0] in config.noise.unseen)
        values.append((condition, ("unseen", unseen, len(scores.mixtures), "")))
    for name, record in training.items():
        values += [(name, value) for value in _training(record)]
        values += [(name, (metric, size, size, "")) for metric, size in sizes[name].items()]
    seconds = {name: record["seconds"] for name, record in training.items()}
    template = blank_record(config, provenance)
    return [
        template.measured(
            metric,
            value,
            otherwise=reason,
            condition=condition,
            n=n,
            seconds=seconds.get(condition, seconds.get(ALL, 0.0)),
        )
        for condition, (metric, value, n, reason) in values
    ]


def _quality(scores: _Scored, names: Sequence[str]) -> Iterator[Value]:
    for metric in names:
        found = [one[metric] for one in scores.quality]
        good = [score.value for score in found if score.defined]
        reason = scores.why_none or next(f"no mixture has it: {score.reason}" for score in found)
        yield metric, statistics.fmean(good) if good else math.nan, len(good), reason


def _rtf(scores: _Scored, times: Mapping[str, float]) -> Value:
    enhanced = len(scores.mixtures) - len(scores.failed)
    rtf = times["seconds"] / times["audio_s"] if enhanced else math.nan
    return "rtf", rtf, enhanced, scores.why_none


def _mask(scores: _Scored) -> Iterator[Value]:
    if scores.errors:
        error = sum(scores.errors[1:], scores.errors[0])
        yield "mse", error.total, error.frames, "there is no frame"
    if scores.counts:
        counts = sum(scores.counts, MaskCounts())
        wanted, unwanted = counts.hits + counts.misses, counts.false_alarms
        unwanted += counts.correct_rejections
        yield "accuracy", 100 * counts.accuracy, counts.units, "there is no unit"
        yield "hit", 100 * counts.hit, wanted, "the ideal masks let no unit through"
        yield "fa", 100 * counts.fa, unwanted, "the ideal masks let every unit through"


def _training(record: Mapping[str, Any]) -> Iterator[Value]:
    history = record["history"]
    best = min(history, key=lambda epoch: epoch["dev_mse"])
    yield "train_seconds", record["seconds"], record["frames"], ""
    yield "train_frames", record["frames"], record["frames"], ""
    epochs = int(history[-1]["epoch"])  # where there is an epoch 0, one less than entries
    yield "epochs", epochs, epochs, ""
    yield "dev_mse", best["dev_mse"], record["dev_frames"], ""


def _mixture_rows(
    scored: Mapping[str, _Scored], names: Sequence[str], speakers: Mapping[str, str]
) -> Iterator[list[str]]:
    mask = ["mse", "accuracy", "hit", "fa"]
    yield ["condition", "utterance", "speaker", "samples", *names, *mask, "reason"]
    for condition, scores in scored.items():
        for number, (mixture, quality) in enumerate(
            zip(scores.mixtures, scores.quality, strict=True)
        ):
            values = [f"{quality[metric].value:.6g}" for metric in names]
            error = f"{scores.errors[number].total:.6g}" if scores.errors else ""
            shares = ["", "", ""]
            if scores.counts:
                counts = scores.counts[number]
                shares = [f"{share:.6g}" for share in (counts.accuracy, counts.hit, counts.fa)]
            place = [condition, mixture.utterance, speakers[mixture.utterance]]
            place = [text_cell(name) for name in place]
            yield [*place, str(mixture.samples), *values, error, *shares, quality.reason]


def _channel_rows(scored: Mapping[str, _Scored]) -> Iterator[list[str]]:
    yield ["condition", "channel", "mse", "stoi_correlation"]
    for condition, scores in scored.items():
        if scores.errors:
            error = sum(scores.errors[1:], scores.errors[0])
            related = _correlations(scores)
            for channel, mse in enumerate(error.per_channel):
                found = "" if math.isnan(related[channel]) else f"{related[channel]:.4f}"
                yield [text_cell(condition), str(channel), f"{mse:.6g}", found]


def _correlations(scores: _Scored) -> NDArray[np.float64]:
    """Over mixtures, of the error of each channel with STOI (F,); NaN where there is none."""
    errors = np.stack([error.per_channel for error in scores.errors])
    stoi = np.array(
        [one["stoi"].value if "stoi" in one.scores else math.nan for one in scores.quality]
    )
    kept = np.isfinite(stoi) & np.isfinite(errors).all(axis=1)
    if np.count_nonzero(kept) < 3:
        return np.full(errors.shape[1], math.nan)
    errors, stoi = errors[kept] - errors[kept].mean(axis=0), stoi[kept] - stoi[kept].mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt(np.square(errors).sum(axis=0) * np.square(stoi).sum())
        found: NDArray[np.float64] = stoi @ errors / scale
    return found
