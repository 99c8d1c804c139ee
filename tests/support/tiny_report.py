"""Scored recognition experiments for the report, with speech but without any training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import tiny_enhancement
from squall.asr.evaluation import evaluate
from squall.asr.forced_logits import ForcedLogits, write_forced
from squall.asr.settings import RecognitionConfig
from squall.corpora.manifest import Utterance, write_manifest
from squall.engine.experiment import Experiment, RunOptions
from squall.text.tokens import BLANK, SENTENCE_END, UNKNOWN

SAID = {
    "anna_01": "GO ON TO THE NEXT LINE",
    "anna_02": "STOP",
    "anna_03": "PLEASE REPEAT THE NUMBER SEVEN",
    "ben_01": "THE TRAIN LEAVES AT TEN",
    "ben_02": "TURN THE LIGHT OFF",
    "ben_03": "YES",
    "cleo_01": "MY NAME IS SPELLED WITH TWO LETTERS N",
    "cleo_02": "NO THANK YOU",
}
"""What was said, by utterance; the speaker stands before the underscore."""

HISTORY = [
    {
        "epoch": epoch,
        "train": {"loss": 9.0 / epoch, "time": 2.0},
        "valid": {"acc": 0.3 * epoch**0.3, "time": 1.0},
    }
    for epoch in range(1, 11)
]
COMMAND = "squall run toy --set 'corpus.options.note=<b>&bold'"
SAMPLE_RATE_HZ = 16000


def write_experiment(
    folder: Path,
    *,
    hypotheses: Mapping[str, str] | None = None,
    errors: float = 0.2,
    history: Sequence[Mapping[str, Any]] = HISTORY,
    said: Mapping[str, str] = SAID,
    splits: Sequence[str] = ("test",),
    **settings: Any,
) -> Experiment[RecognitionConfig]:
    """Write an experiment below `<folder>/exp`, all of it but the model.

    Args:
        folder: where the experiment goes.
        hypotheses: what was recognised; of an utterance that is not in it the true text with errors
            drawn at random.
        errors: share of words with an error.
        history: its epochs.
        said: the utterances of each split.
        splits: those that were decoded.
        settings: further ones, e.g. `loss={"name": "square"}`.
    """
    config = RecognitionConfig.model_validate(
        {
            "recipe": "toy",
            "experiment": "small",
            "corpus": {"name": "demo"},
            "tokens": {"units": "word"},
            "espnet": {},
        }
        | settings
    )
    experiment = Experiment(config, RunOptions(exp_dir=str(folder / "exp"), command=COMMAND))
    experiment.write_settings()
    (experiment.directory / "train").mkdir(exist_ok=True)
    (experiment.directory / "train" / "history.json").write_text(json.dumps(history))
    experiment.log_dir.mkdir(parents=True, exist_ok=True)
    utterances = _write_speech(experiment, said)
    random = np.random.default_rng([config.seed, len(config.system)])
    texts = {id: _misheard(text, errors, random) for id, text in said.items()}
    for split in splits:
        folder = experiment.variant_dir("decode") / split
        _decode(folder, utterances, texts | dict(hypotheses or {}), random)
    provenance = {"commit": "c" * 40, "command": COMMAND, "hardware": "a machine"}
    scored = dict.fromkeys(splits, utterances)
    evaluate(experiment, scored, dataset="demo", provenance=provenance)
    return experiment


def manifest_of(experiment: Experiment[RecognitionConfig]) -> Path:
    """The manifest of its test utterances."""
    (path,) = (experiment.recipe_dir / "shared").glob("data-*/test.jsonl")
    return path


def _write_speech(
    experiment: Experiment[RecognitionConfig], said: Mapping[str, str]
) -> list[Utterance]:
    folder = experiment.shared("data", {"corpus": experiment.config.hashed()["corpus"]})
    folder.mkdir(parents=True, exist_ok=True)
    utterances = []
    for seed, (id, text) in enumerate(said.items()):
        seconds = 0.5 + 0.1 * len(text.split())
        path = folder / f"{id}.wav"
        if not path.is_file():
            soundfile.write(path, tiny_enhancement.speech(seconds, seed=seed), SAMPLE_RATE_HZ)
        speaker = id.partition("_")[0]
        utterances.append(Utterance(id, str(path), 0.0, seconds, SAMPLE_RATE_HZ, speaker, text))
    write_manifest(folder / "test.jsonl", utterances)
    return utterances


def _misheard(text: str, errors: float, random: np.random.Generator) -> str:
    """The words of a text, some left out, changed or with another one behind them."""
    words = []
    for word in text.split():
        kind = random.choice(["right", "left out", "changed", "and another"],
                             p=[1 - errors, errors / 3, errors / 3, errors / 3])  # fmt: skip
        words += {"right": [word], "left out": [], "changed": [word[::-1] + "S"]}.get(
            str(kind), [word, "UH"]
        )
    return " ".join(words)


def _decode(
    folder: Path,
    utterances: Sequence[Utterance],
    texts: Mapping[str, str],
    random: np.random.Generator,
) -> None:
    """Write the files of the decode stage."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = sorted({word for utterance in utterances for word in utterance.text.split()})
    tokens = [BLANK, UNKNOWN, *vocabulary, SENTENCE_END]
    parts, lines = [], []
    for utterance in utterances:
        targets = [tokens.index(word) for word in (*utterance.text.split(), SENTENCE_END)]
        logits = random.normal(size=(len(targets), len(tokens)))
        logits[range(len(targets)), targets] += 4.0
        parts.append(
            ForcedLogits(logits.astype(np.float32), np.array(targets), np.array([len(targets)]))
        )
        words = texts[utterance.id].split()
        probs = random.uniform(0.5, 1.0, len(words)).round(4).tolist()
        lines.append(
            {
                "id": utterance.id,
                "text": texts[utterance.id],
                "tokens": words,
                "token_probs": probs,
                "words": [
                    {"text": word, "confidence": prob}
                    for word, prob in zip(words, probs, strict=True)
                ],
                "probability": float(np.prod(probs)),
            }
        )
    write_forced(folder / "forced.npz", parts, tokens=tokens)
    (folder / "hypotheses.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "decoding.json").write_text(json.dumps({"rtf": 0.1, "parameters": 1000}))
