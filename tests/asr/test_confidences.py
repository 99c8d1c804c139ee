"""Confidences of recognised words say something about whether they are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiny
from squall.asr.decoding import load_recogniser
from squall.corpora.demo.corpus import write_demo_corpus
from squall.corpora.manifest import read_manifest, read_utterance
from squall.scoring.alignment import align

pytest.importorskip("espnet2")
pytest.importorskip("espeakng_loader")

# Learns so much of its few utterances in half a minute that some words are right and some are not.
SETTINGS = {
    "espnet.max_epoch": 12,
    "espnet.batch_bins": 80000,
    "espnet.encoder_conf.num_blocks": 2,
    "espnet.encoder_conf.output_size": 64,
    "espnet.encoder_conf.attention_heads": 4,
    "espnet.encoder_conf.linear_units": 128,
    "espnet.decoder_conf.attention_heads": 4,
    "espnet.decoder_conf.linear_units": 128,
    "espnet.scheduler_conf.warmup_steps": 60,
    "espnet.specaug": None,
}


@pytest.mark.slow
def test_right_words_have_higher_confidences(tmp_path: Path) -> None:
    write_demo_corpus(tmp_path / "corpus", train_per_voice=6, dev_per_voice=2, test_per_voice=3)
    settings = tiny.config(**{key.replace(".", "__"): value for key, value in SETTINGS.items()})
    experiment, _ = tiny.run(settings, corpus=tmp_path / "corpus", exp_dir=tmp_path / "exp", last=5)
    recogniser = load_recogniser(experiment, device="cpu", threads=1)
    confidences, right = [], []
    for split in ("train", "test"):
        (manifest,) = (experiment.recipe_dir / "shared").glob(f"data-*/{split}.jsonl")
        for utterance in read_manifest(manifest)[:12]:
            found = recogniser(read_utterance(utterance, sample_rate_hz=16000).samples)
            words = [word.text for word in found.words]
            steps = align(reference=utterance.text.split(), hypothesis=words).steps
            recognised = [step for step in steps if step.hypothesis is not None]
            right += [step.reference == step.hypothesis for step in recognised]
            confidences += [word.confidence for word in found.words]
    values, correct = np.array(confidences), np.array(right)
    assert ((values >= 0) & (values <= 1)).all()
    assert 0.1 < correct.mean() < 0.9
    assert np.corrcoef(values, correct)[0, 1] > 0.2
    assert (values[correct, None] > values[~correct]).mean() > 0.65
