"""A recipe that runs in seconds: settings of a tiny model, and corpora of a few utterances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from squall.asr.settings import RecognitionConfig
from squall.corpora.demo.corpus import prepare_demo
from squall.corpora.manifest import Utterance, read_manifest, read_utterance
from squall.engine.experiment import Experiment, RunOptions, repository_root
from squall.engine.runner import Cell, run_cell
from squall.engine.tasks import load_config

SETTINGS: dict[str, Any] = {
    "espnet.max_epoch": 2,
    "espnet.keep_nbest_models": 2,
    "espnet.use_tensorboard": False,
    "espnet.encoder_conf.num_blocks": 1,
    "espnet.encoder_conf.output_size": 16,
    "espnet.encoder_conf.attention_heads": 2,
    "espnet.encoder_conf.linear_units": 16,
    "espnet.encoder_conf.cnn_module_kernel": 3,
    "espnet.decoder_conf.num_blocks": 1,
    "espnet.decoder_conf.attention_heads": 2,
    "espnet.decoder_conf.linear_units": 16,
    "espnet.scheduler_conf.warmup_steps": 10,
}

LANGUAGE_MODEL: dict[str, Any] = {
    "max_epoch": 1,
    "lm": "transformer",
    "lm_conf": {"embed_unit": 8, "att_unit": 8, "head": 2, "unit": 8, "layer": 1},
    "batch_type": "sorted",
    "batch_size": 8,
    "use_tensorboard": False,
}
"""The setting `lm.espnet`."""

RNN: dict[str, Any] = {
    "espnet.decoder": "rnn",
    "espnet.decoder_conf": {"hidden_size": 16, "att_conf": {"adim": 16, "aconv_chans": 2}},
}


def config(recipe: str = "demo", **settings: Any) -> RecognitionConfig:
    """Settings of a recipe with the tiny model; `a__b=1` stands for `a.b=1`."""
    (path,) = (repository_root() / "conf" / recipe).glob("conformer.yaml")
    further = {key.replace("__", "."): value for key, value in settings.items()}
    return load_config(path, {**SETTINGS, **further})


def cell(
    settings: RecognitionConfig, *, corpus: Path, exp_dir: Path, last: int = 7, **options: Any
) -> Cell:
    """Stages 0 to `last` of an experiment below `exp_dir`."""
    return Cell(settings, RunOptions(str(exp_dir), str(corpus), **options), last=last)


def run(
    settings: RecognitionConfig, *, corpus: Path, exp_dir: Path, last: int = 7, **options: Any
) -> tuple[Experiment, list[str]]:
    """Run stages 0 to `last` in this process; the experiment, and the stages that did work."""
    told: list[str] = []
    chosen = cell(settings, corpus=corpus, exp_dir=exp_dir, last=last, **options)
    run_cell(chosen, lambda stage, done, total, text: told.append(f"{stage.title}: {text}"))
    return chosen.experiment, [line.split(":")[0] for line in told if ": done in " in line]


def first_test_samples(experiment: Experiment) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The samples of the first test utterance."""
    (path,) = (experiment.recipe_dir / "shared").glob("data-*/test.jsonl")
    return read_utterance(read_manifest(path)[0], sample_rate_hz=16000).samples


def write_an4(folder: Path, demo_corpus: Path) -> None:
    """The demo corpus again, in AN4's layout: SPHERE files, their lists and transcripts."""
    splits = prepare_demo(demo_corpus)
    (folder / "etc").mkdir(parents=True)
    for split, part in (("train", "an4_clstk"), ("test", "an4test_clstk")):
        utterances = splits[split]
        paths = [f"{part}/{u.speaker.lower()}/{u.id.lower()}" for u in utterances]
        lines = [_transcript(u) for u in utterances]
        (folder / "etc" / f"an4_{split}.fileids").write_text("".join(f"{p}\n" for p in paths))
        (folder / "etc" / f"an4_{split}.transcription").write_text("".join(lines))
        for utterance, path in zip(utterances, paths, strict=True):
            target = folder / "wav" / f"{path}.sph"
            target.parent.mkdir(parents=True, exist_ok=True)
            samples, rate_hz = soundfile.read(utterance.audio_path, dtype="int16")
            soundfile.write(target, samples, rate_hz, format="NIST", subtype="PCM_16")


def _transcript(utterance: Utterance) -> str:
    return f"<s> {utterance.text} </s> ({utterance.id.lower()})\n"
