"""The pieces of earlier versions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def write_earlier_pieces(texts: Sequence[str], folder: Path, size: int) -> list[str]:
    """Pieces as they were trained before sentencepiece was told to leave texts as they are."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(folder / "bpe"),
        vocab_size=size,
        character_coverage=1.0,
        minloglevel=2,
    )
    lines = (folder / "bpe.vocab").read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines[3:]]
