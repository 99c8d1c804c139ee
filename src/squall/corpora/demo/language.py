"""The demo corpus's language: a grammar of 61 words, and the sentences drawn from it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

__all__ = ["GRAMMAR", "draw_sentence", "draw_sentences", "vocabulary"]

GRAMMAR: dict[str, tuple[str, ...]] = {
    "<sentence>": (
        "TURN THE <colour> <device> <state> IN THE <room>",
        "TURN <state> THE <device> IN THE <room>",
        "<move> THE <opening> IN THE <room>",
        "<move> THE <colour> <opening> ON <day> <time>",
        "CALL <name> ON <day> <time>",
        "CALL NUMBER <digit> <digit> <digit> <digit> <digit>",
        "MEET <name> IN <city> ON <day>",
        "MEET <name> AND <name> AT <digit> IN <city>",
        "SET THE <room> HEATER TO <digit> <digit>",
        "TAKE THE <day> TRAIN FROM <city> TO <city>",
    ),
    "<colour>": ("RED", "GREEN", "BLUE", "YELLOW"),
    "<device>": ("LAMP", "FAN", "RADIO", "HEATER"),
    "<state>": ("ON", "OFF"),
    "<room>": ("KITCHEN", "BEDROOM", "GARDEN", "OFFICE"),
    "<move>": ("OPEN", "CLOSE"),
    "<opening>": ("DOOR", "WINDOW", "GATE"),
    "<day>": ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"),
    "<time>": ("MORNING", "EVENING"),
    "<name>": ("ALICE", "DAVID", "EMMA", "JAMES", "OLIVIA", "PETER"),
    "<city>": ("BOSTON", "DUBLIN", "LONDON", "PARIS"),
    "<digit>": (
        *("ZERO", "ONE", "TWO", "THREE", "FOUR"),
        *("FIVE", "SIX", "SEVEN", "EIGHT", "NINE"),
    ),
}
"""Each symbol's alternatives, all equally likely; sentences have 5 to 8 words."""


def vocabulary() -> list[str]:
    """List the words of the language in alphabetical order."""
    alternatives = (text for texts in GRAMMAR.values() for text in texts)
    return sorted({word for text in alternatives for word in text.split() if word[0] != "<"})


def draw_sentence(random: np.random.Generator, symbol: str = "<sentence>") -> str:
    """Draw a sentence, or what another symbol of the grammar stands for."""
    chosen = GRAMMAR[symbol][random.integers(len(GRAMMAR[symbol]))]
    return " ".join(draw_sentence(random, w) if w in GRAMMAR else w for w in chosen.split())


def draw_sentences(
    count: int, *, random: np.random.Generator, avoid: Collection[str] = ()
) -> list[str]:
    """Draw sentences one by one; a sentence may come twice.

    Args:
        count: how many.
        random: the source of randomness.
        avoid: sentences that must not occur.
    """
    sentences: list[str] = []
    while len(sentences) < count:
        sentence = draw_sentence(random)
        if sentence not in avoid:
            sentences.append(sentence)
    return sentences
