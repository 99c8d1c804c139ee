"""What of a corpus cannot be learnt: tokens that training does not have, too short utterances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise

from squall.text.tokens import SPACE

__all__ = ["Shortfall", "find_shortfall"]

_PIECE_SPACE = "\u2581"
_SHOWN = 5


@dataclass
class Shortfall:
    """What of a split cannot be learnt, or not be recognised.

    Args:
        split: its name.
        utterances: how many it has.
        tokens: how many there are in its texts, spaces not counted.
        unknown: how often each of those that are not in the token list occurs.
        with_unknown: ids of the utterances that have some.
        too_short: of each utterance with fewer frames than its text needs, the two numbers by id.
    """

    split: str
    utterances: int = 0
    tokens: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    with_unknown: list[str] = field(default_factory=list)
    too_short: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The larger of the shares of unknown tokens and of too short utterances, in [0, 1]."""
        unknown = self.unknown.total() / self.tokens if self.tokens else 0.0
        short = len(self.too_short) / self.utterances if self.utterances else 0.0
        return max(unknown, short)

    def __str__(self) -> str:
        parts = []
        if self.unknown:
            common = ", ".join(f"{token!r} {n}" for token, n in self.unknown.most_common(_SHOWN))
            parts.append(
                f"{self.unknown.total()} of {self.tokens} tokens are not in the training "
                f"transcripts ({common}{_more(self.unknown)}), in {_some(self.with_unknown)}"
            )
        if self.too_short:
            named = [
                f"{identifier} ({frames} frames, {needed} needed)"
                for identifier, (frames, needed) in self.too_short.items()
            ]
            parts.append(
                f"{len(named)} of {self.utterances} utterances are too short for their text, so "
                f"that CTC finds no alignment: {_some(named)}"
            )
        return f"{self.split}: {'; '.join(parts)}" if parts else ""


def find_shortfall(
    split: str,
    texts: Mapping[str, str],
    *,
    cut: Callable[[str], Sequence[str]],
    known: Set[str],
    frames: Mapping[str, int] | None = None,
) -> Shortfall:
    """Count what of a split cannot be learnt.

    Args:
        split: its name.
        texts: what is to be written, by utterance.
        cut: gives the tokens of a text.
        known: the token list.
        frames: of the encoder's output, by utterance; None where there is no CTC.

    Convention:
        CTC needs a frame for each token and one between two equal ones (Graves and others 2006).
        Where there are fewer its loss is infinite; ESPnet makes that 0, so nothing is learnt.
    """
    found = Shortfall(split, utterances=len(texts))
    for identifier, text in texts.items():
        tokens = cut(text)
        counted = [token for token in tokens if token not in (SPACE, _PIECE_SPACE)]
        unknown = [token for token in counted if token not in known]
        found.tokens += len(counted)
        if unknown:
            found.unknown.update(unknown)
            found.with_unknown.append(identifier)
        needed = len(tokens) + sum(one == next_one for one, next_one in pairwise(tokens))
        if frames is not None and frames[identifier] < needed:
            found.too_short[identifier] = (frames[identifier], needed)
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + _more(names)


def _more(names: Sequence[str] | Counter[str]) -> str:
    return f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
