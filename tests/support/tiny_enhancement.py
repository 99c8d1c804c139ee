"""An enhancement recipe that runs in seconds: a few made utterances, two noises, small models."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
import soundfile
from numpy.typing import NDArray

from squall.corpora.manifest import Utterance, read_manifest, write_manifest
from squall.engine.experiment import Experiment, RunOptions
from squall.engine.runner import Cell, run_cell
from squall.engine.tasks import load_config
from squall.enhance.settings import EnhancementConfig

NOISE_S = 14.0
SPEAKERS = {
    "train": ("s1", "s2", "s3", "s4", "s5", "s6"),
    "dev": ("d1", "d2"),
    "test": ("t1", "t2"),
}
SAMPLE_RATES_HZ = {"s2": 22050, "t2": 8000}
"""Of the speakers who were not recorded at 16 kHz."""

SETTINGS: dict[str, Any] = {
    "corpus.name": "manifest",
    "corpus.dir": None,
    "utterances": {"train": 4, "dev": 2, "test": 2, "max_s": 1.4},
    "noise": {
        "seen": ["babble", "rain"],
        "unseen": ["drill"],
        "made_s": NOISE_S,
        "talkers": 2,
    },
    "remove_mean": True,
    "mixture.snrs_db": [-5, 5],
    "features": {"sets": ["gammatone"], "context": 1, "level_over": "active"},
    "training": {"models": ["condition", "all"], "max_frames": 300, "max_dev_frames": 100},
    "estimator.max_epochs": 2,
}
SMALL: dict[str, dict[str, Any]] = {
    "dnn": {"hidden_layers": 1, "hidden_units": 16, "batch_size": 64},
    "kernel": {"subbands": 2, "gamma": 1.0, "bandwidth": 1.0, "subsample_size": 100},
}
"""Parameters of small estimators."""


def config(folder: Path, estimator: str = "dnn", **settings: Any) -> EnhancementConfig:
    """Settings of `<folder>/toy/tiny.yaml` with a small estimator; `a__b=1` stands for `a.b=1`."""
    path = folder / "toy" / "tiny.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():  # another worker may be reading it
        path.write_text("task: enhancement\n")
    small = {f"estimator.{key}": value for key, value in SMALL.get(estimator, {}).items()}
    chosen = deepcopy({**SETTINGS, "estimator.name": estimator, **small})
    chosen.update({key.replace("__", "."): value for key, value in settings.items()})
    found = load_config(path, chosen)
    assert isinstance(found, EnhancementConfig)
    return found


def options(folder: Path, *, exp_dir: Path, **further: Any) -> RunOptions:
    """Options of a run on the `corpus` and `noise` of a folder; `further` ones take precedence."""
    places = {"corpus_dir": str(folder / "corpus"), "noise_dir": str(folder / "noise")}
    return RunOptions(str(exp_dir), **{**places, "workers": 1, **further})


def run(
    settings: EnhancementConfig,
    folder: Path,
    *,
    exp_dir: Path,
    last: int = 7,
    lines: bool = False,
    **further: Any,
) -> tuple[Experiment[EnhancementConfig], list[str]]:
    """Run stages 0 to `last` in this process; the experiment, and the stages that did work.

    Args:
        settings: of the experiment.
        folder: has `corpus` and `noise`.
        exp_dir: where experiments go.
        last: stage to stop after.
        lines: give all that was told in place of those stages.
        further: options of `Cell`, and `noise_dir` or others of `RunOptions`.
    """
    told: list[str] = []
    given = {key: further.pop(key) for key in ("first", "force") if key in further}
    chosen = options(folder, exp_dir=exp_dir, **further)
    cell = Cell(settings, chosen, last=last, **given)
    run_cell(cell, lambda stage, done, total, text: told.append(f"{stage.title}: {text}"))
    done = told if lines else [line.split(":")[0] for line in told if ": done in " in line]
    return Experiment(settings, chosen), done


def speech(seconds: float, *, seed: int, sample_rate_hz: int = 16000) -> NDArray[np.float32]:
    """Something like speech: syllables of a voice with a pitch and formants that move."""
    random = np.random.default_rng(seed)
    rate_hz = 16000
    count = round(seconds * rate_hz)
    time_s = np.arange(count) / rate_hz
    pitch_hz = random.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * 1.5 * time_s))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    voice = scipy.signal.sawtooth(phase) + 0.1 * random.standard_normal(count)
    sounds = np.zeros(count)
    for number, start in enumerate(range(0, count, 3200)):
        stop = min(count, start + 3200)
        formants_hz = random.uniform((300, 900), (800, 2600))
        part = voice[start:stop]
        for formant_hz in formants_hz:
            numerator, denominator = scipy.signal.iirpeak(formant_hz, 5, fs=rate_hz)
            part = part + 4 * scipy.signal.lfilter(numerator, denominator, part)
        loud = 1.0 if number % 4 != 3 else 0.02
        sounds[start:stop] = loud * part * np.hanning(stop - start)
    sounds *= 0.3 / np.abs(sounds).max()
    if sample_rate_hz != rate_hz:
        sounds = scipy.signal.resample(sounds, round(seconds * sample_rate_hz))
    return sounds.astype(np.float32)


def write_corpus(folder: Path, *, per_speaker: int = 2) -> dict[str, list[Utterance]]:
    """Write utterances of 1.3 to 1.6 s as manifests with their audio; give them by split."""
    written: dict[str, list[Utterance]] = {}
    seed = 0
    for split, speakers in SPEAKERS.items():
        for speaker in speakers:
            for number in range(per_speaker):
                seed += 1
                rate_hz = SAMPLE_RATES_HZ.get(speaker, 16000)
                samples = speech(1.3 + 0.3 * (seed % 2), seed=seed, sample_rate_hz=rate_hz)
                path = folder / "audio" / f"{speaker}_{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples, rate_hz, subtype="FLOAT")
                written.setdefault(split, []).append(
                    Utterance(
                        id=path.stem,
                        audio_path=str(path),
                        start_s=0.0,
                        duration_s=len(samples) / rate_hz,
                        sample_rate_hz=rate_hz,
                        speaker=speaker,
                        text="GO ON",
                    )
                )
    write_splits(folder, written)
    return written


def write_splits(folder: Path, splits: dict[str, list[Utterance]]) -> None:
    """Write the manifests of a corpus, with paths relative to its folder."""
    for split, utterances in splits.items():
        relative = [
            replace(u, audio_path=str(Path(u.audio_path).relative_to(folder))) for u in utterances
        ]
        write_manifest(folder / f"{split}.jsonl", relative)


def read_splits(folder: Path) -> dict[str, list[Utterance]]:
    """The utterances of a corpus that `write_corpus` wrote, by split."""
    return {split: read_manifest(folder / f"{split}.jsonl") for split in SPEAKERS}


def write_noise(folder: Path) -> None:
    """Write `rain`, 16 kHz, and `drill`, 44.1 kHz in stereo, of 14 s each."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    rain = scipy.signal.lfilter([1, -0.9], [1], random.standard_normal(round(NOISE_S * 16000)))
    soundfile.write(folder / "rain.wav", (0.05 * rain).astype(np.float32), 16000, subtype="FLOAT")
    time_s = np.arange(round(NOISE_S * 44100)) / 44100
    hum = scipy.signal.square(2 * np.pi * 130 * time_s) * (1 + 0.3 * np.sin(9 * time_s))
    drill = 0.1 * hum + 0.02 * random.standard_normal(len(time_s))
    soundfile.write(folder / "drill.wav", np.stack([drill, 0.5 * drill], 1), 44100)


def write(folder: Path) -> Path:
    """Write `corpus` and `noise` into a folder, and give it back."""
    write_corpus(folder / "corpus")
    write_noise(folder / "noise")
    return folder
