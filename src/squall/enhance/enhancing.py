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
from squall.enhance.settings import ALL, EnhancementConfig, model_conditions
from squall.files import atomic_path, write_json

__all__ = ["enhance_condition", "write_flac"]


def enhance_condition(
    config: EnhancementConfig,
    mixtures: Sequence[Mixture],
    *,
    train_dir: Path,
    frames_dir: Path,
    audio_dir: Path,
    output_dir: Path,
) -> None:
    """Enhance the test mixtures of one condition.

    Writes `<utterance>.flac` for each, the estimated masks of a trained estimator as `masks.npy`
    (in the order of the frame set), and `times.json`, last.

    Convention: the features are those of stage 3, which made them in several processes, where
    `Enhancer` makes them again; from there on both do the same. A mixture of less than 20 s gets
    from `Enhancer` what is written here, up to the rounding of its level (a test compares them).
    The time of `times.json` is that of mask and resynthesis.

    Args:
        config: the experiment's settings.
        mixtures: of the condition, in the order of the frame set.
        train_dir: folder of the models.
        frames_dir: the condition's frame set.
        audio_dir: folder of the noisy signals, `<utterance>.wav`.
        output_dir: where the files go.
    """
    frames = FrameSet.read(frames_dir)
    front_end = build_front_end(config.frontend.name, **config.frontend.parameters)
    estimator, model = config.estimator.entry, None
    if estimator.trained:
        own = mixtures[0].condition in model_conditions(config)
        model = MaskModel.load(train_dir / (mixtures[0].condition if own else ALL))
    estimates, seconds = [], 0.0
    for mixture, (_, rows) in zip(mixtures, frames.spans(), strict=True):
        noisy = read_audio(
            audio_dir / f"{mixture.utterance}.wav", sample_rate_hz=SAMPLE_RATE_HZ
        ).samples
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
    audio_s = sum(mixture.samples for mixture in mixtures) / SAMPLE_RATE_HZ
    write_json(output_dir / "times.json", {"seconds": seconds, "audio_s": audio_s})


def write_flac(path: Path, samples: NDArray[np.float32]) -> None:
    """Write one channel as 16-bit FLAC at 16 kHz, scaled down if it would clip."""
    peak = float(np.abs(samples).max(initial=0.0))
    scaled = samples * (0.99 / peak) if peak > 0.99 else samples
    with atomic_path(path) as temporary:
        soundfile.write(temporary, scaled, SAMPLE_RATE_HZ, subtype="PCM_16", format="FLAC")
