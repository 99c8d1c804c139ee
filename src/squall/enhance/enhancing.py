"""Enhancing the test mixtures of an experiment with its models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from squall.audio.frontend import build_front_end
from squall.audio.mixing import Mixture
from squall.audio.reading import SAMPLE_RATE_HZ, read_audio
from squall.enhance.enhancer import put_mask
from squall.enhance.frames import FrameSet
from squall.enhance.model import MaskModel
from squall.enhance.peers.peer import PeerError
from squall.enhance.peers.registry import open_peer
from squall.enhance.settings import ALL, EnhancementConfig, model_conditions
from squall.files import atomic_path, write_json

__all__ = ["FAILED", "enhance_condition", "write_flac"]

FAILED = "failed.json"
"""Why an off-the-shelf enhancer gives nothing, by utterance."""


def enhance_condition(
    config: EnhancementConfig,
    mixtures: Sequence[Mixture],
    *,
    train_dir: Path,
    frames_dir: Path,
    audio_dir: Path,
    output_dir: Path,
) -> int:
    """Enhance the test mixtures of one condition.

    Writes `<utterance>.flac` for each, the estimated masks of a trained estimator as `masks.npy`
    (in the order of the frame set), and `times.json`, last. Where an off-the-shelf enhancer gives
    nothing for an utterance, its reason stands in `failed.json` instead.

    Convention: the features are those of stage 3, which made them in several processes, where
    `Enhancer` makes them again; from there on both do the same. A mixture of less than 20 s gets
    from `Enhancer` what is written here, up to the rounding of its level (a test compares them).
    The time of `times.json` is that of mask and resynthesis; of an off-the-shelf enhancer it is
    that of all that it does with the samples, loading left out.

    Args:
        config: the experiment's settings.
        mixtures: of the condition, in the order of the frame set.
        train_dir: folder of the models.
        frames_dir: the condition's frame set.
        audio_dir: folder of the noisy signals, `<utterance>.wav`.
        output_dir: where the files go.

    Returns:
        For how many mixtures an off-the-shelf enhancer gives nothing.
    """
    if config.estimator.entry.peer:
        return _run_peer(config.estimator.name, mixtures, audio_dir, output_dir)
    frames = FrameSet.read(frames_dir)
    front_end = build_front_end(config.frontend.name, **config.frontend.parameters)
    estimator, model = config.estimator.entry, None
    if estimator.trained:
        own = mixtures[0].condition in model_conditions(config)
        model = MaskModel.load(train_dir / (mixtures[0].condition if own else ALL))
    estimates, seconds = [], 0.0
    for mixture, (_, rows) in zip(mixtures, frames.spans(), strict=True):
        noisy = _read(audio_dir, mixture)
        started = time.perf_counter()
        if model:
            mask = model.estimate(np.asarray(frames.features[rows]))
            enhanced = put_mask(noisy, mask, config=config, front_end=front_end)
            estimates.append(mask)
        elif estimator.reference == "ideal":
            ideal = np.asarray(frames.masks[rows])
            enhanced = put_mask(noisy, ideal, config=config, front_end=front_end)
        else:
            enhanced = noisy
        seconds += time.perf_counter() - started
        write_flac(output_dir / f"{mixture.utterance}.flac", enhanced)
    if model:
        with atomic_path(output_dir / "masks.npy") as path, path.open("wb") as file:
            np.save(file, np.concatenate(estimates), allow_pickle=False)
    _write_times(output_dir, seconds, mixtures)
    return 0


def _run_peer(name: str, mixtures: Sequence[Mixture], audio_dir: Path, output_dir: Path) -> int:
    """Enhance mixtures with an off-the-shelf enhancer; for how many it gives nothing."""
    failed: dict[str, str] = {}
    seconds = 0.0
    for mixture in mixtures:
        noisy, path = _read(audio_dir, mixture), output_dir / f"{mixture.utterance}.flac"
        try:
            enhance = open_peer(name)
            started = time.perf_counter()
            enhanced = enhance(noisy)
        except PeerError as error:
            failed[mixture.utterance] = str(error)
            path.unlink(missing_ok=True)
        else:
            seconds += time.perf_counter() - started
            write_flac(path, enhanced)
    write_json(output_dir / FAILED, failed, indent=1)
    done = [mixture for mixture in mixtures if mixture.utterance not in failed]
    _write_times(output_dir, seconds, done)
    return len(failed)


def _read(audio_dir: Path, mixture: Mixture) -> NDArray[np.float32]:
    path = audio_dir / f"{mixture.utterance}.wav"
    return read_audio(path, sample_rate_hz=SAMPLE_RATE_HZ).samples


def _write_times(output_dir: Path, seconds: float, mixtures: Sequence[Mixture]) -> None:
    audio_s = sum(mixture.samples for mixture in mixtures) / SAMPLE_RATE_HZ
    write_json(output_dir / "times.json", {"seconds": seconds, "audio_s": audio_s})


def write_flac(path: Path, samples: NDArray[np.float32]) -> None:
    """Write one channel as 16-bit FLAC at 16 kHz, scaled down if it would clip."""
    peak = float(np.abs(samples).max(initial=0.0))
    scaled = samples * (0.99 / peak) if peak > 0.99 else samples
    with atomic_path(path) as temporary:
        soundfile.write(temporary, scaled, SAMPLE_RATE_HZ, subtype="PCM_16", format="FLAC")
