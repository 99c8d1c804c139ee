"""Cutting texts into tokens as ESPnet does, and the pieces of earlier versions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squall.asr.settings import TokensConfig


def espnet_tokenizer(tokens: TokensConfig, folder: Path) -> Any:
    """The tokenizer by which a recogniser is trained and writes; a `bpe.model` is in the folder."""
    from squall.asr.bridge.running import espnet_task

    espnet_task()  # without it ESPnet asks for a package that is not needed
    from espnet2.text.build_tokenizer import build_tokenizer

    model = str(folder / "bpe.model") if tokens.units == "bpe" else None
    return build_tokenizer(token_type=tokens.espnet_type, bpemodel=model)


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
