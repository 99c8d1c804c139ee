"""A tiny encoder in Hugging Face's form, and a tiny corpus that can be learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opinions import opinions, write_table

WORDS = ["a", "film", "is", "the", "plot", "good", "fine", "bad", "poor", "not", "[", "]", "sep"]


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT of one layer of 16 dimensions, and its tokenizer of 18 tokens."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("encoder")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokens), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32, initializer_range=0.2,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def opinion_corpus(tmp_path: Path) -> Path:
    """60 texts to train on, 20 each for development and test."""
    folder = tmp_path / "opinions"
    for seed, (split, count) in enumerate({"train": 60, "dev": 20, "test": 20}.items()):
        write_table(folder / f"{split}.tsv", opinions(count, seed), "label\ttext")
    return folder


@pytest.fixture
def pair_corpus(tmp_path: Path) -> Path:
    """Pairs of texts, alike in their opinion or not."""
    folder = tmp_path / "pairs"
    for seed, (split, count) in enumerate({"train": 60, "dev": 20, "test": 20}.items()):
        ours, others = opinions(count, seed), opinions(count, seed + 10)
        random = np.random.default_rng(seed)
        order = random.permutation(count)
        rows = [
            (str(int(ours[a][0] == others[b][0])), ours[a][1], others[b][1])
            for a, b in enumerate(order)
        ]
        write_table(folder / f"{split}.tsv", rows, "label\ttext_a\ttext_b")
    return folder
