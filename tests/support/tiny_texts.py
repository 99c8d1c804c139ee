"""Texts whose label one word decides, and an encoder that is small enough to learn it at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS = ["a", "film", "is", "the", "plot", "good", "fine", "bad", "poor", "not", "[", "]", "sep"]
SIZES = {"train": 60, "dev": 20, "test": 20}


def write_tiny_encoder(folder: Path) -> Path:
    """A BERT of two layers of 16 dimensions, with a tokenizer of 18 tokens."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokens), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32, initializer_range=0.2,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def write_table(path: Path, rows: list[tuple[str, ...]], header: str) -> None:
    """A table of tab-separated fields."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def opinions(count: int, seed: int) -> list[tuple[str, str]]:
    """Labels and texts: one word decides whether a film is praised."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        praised = number % 2
        word = random.choice(["good", "fine"] if praised else ["bad", "poor"])
        subject = random.choice(["the film", "a film", "the plot", "the plot the film"])
        rows.append((str(praised), f"{subject} is {word}"))
    return rows


def write_opinions(folder: Path) -> Path:
    """A corpus of 60 texts to train on, 20 each for development and test."""
    for seed, (split, count) in enumerate(SIZES.items()):
        write_table(folder / f"{split}.tsv", opinions(count, seed), "label\ttext")
    return folder


def write_pairs(folder: Path) -> Path:
    """The same of pairs: do both think alike?"""
    for seed, (split, count) in enumerate(SIZES.items()):
        ours, others = opinions(count, seed), opinions(count, seed + 10)
        order = np.random.default_rng(seed).permutation(count)
        rows = [
            (str(int(one[0] == others[k][0])), one[1], others[k][1])
            for one, k in zip(ours, order, strict=True)
        ]
        write_table(folder / f"{split}.tsv", rows, "label\ttext_a\ttext_b")
    return folder
