"""Text: the units that a recogniser writes."""

from squall.text.tokens import build_tokens

__all__ = ["build_tokens"]
