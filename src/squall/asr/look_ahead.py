"""A language model over words in a search over characters: what it says of the next character."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from squall.asr.bridge.espnet import BatchScorerInterface
from squall.asr.ctc_prefix import LOG_ZERO
from squall.text.tokens import BLANK, SENTENCE_END, SPACE, UNKNOWN

__all__ = ["WordLookAhead"]

_UNKNOWN_WORD, _FIRST_WORD = 1, 2  # ids in a word list; the blank is 0, the end mark last
_OUT, _ROOT = 0, 1  # nodes of a tree


class WordLookAhead(BatchScorerInterface):  # type: ignore[misc]
    """Hori, Cho, Watanabe 2018: the probability of each further character of a text.

    With h the words that are finished, g what is written of the next one, and P(. | h) the language
    model, m(g) is the probability that the next word begins with g,

        m(g) = sum over words w that begin with g of P(w | h) + oov_penalty P(<unk> | h) s(g),
        s(g) = 1 / (A (A + 1)^(n - 1))    for g of n characters,

    and m of nothing is 1 - P(end | h); 1 where h is empty. A word outside the vocabulary has a
    uniform distribution over its A characters and, after the first, its end. Then

        p(c | h, g)       = m(g c) / m(g),
        p(word ends | g)  = (P(g | h) + oov_penalty P(<unk> | h) s(g) / (A + 1)) / m(g),
        p(space | h, g)   = p(word ends | g) (1 - P(end | h g)),
        p(<sos/eos> | h, g) = p(word ends | g) P(end | h g),

    where the first term of the second line is 0, and g is <unk> to the language model, unless g is
    in the vocabulary. A text without words ends with P(end). The sum over all tokens is 1 where
    oov_penalty is 1. The words are sorted, so that those that begin with g are a range, and a sum
    over them is the difference of two sums of P(. | h) up to a word, which are taken once for each
    h.

    The language model is asked for what follows a word where a hypothesis has written one, for all
    hypotheses at once, and once for <unk> after each h. Each h takes 8 bytes for each word.

    Args:
        lm: a language model of ESPnet with `batch_score`, over the words.
        words: its token list: the blank, `<unk>`, words in alphabetical order, the end mark.
        tokens: the recogniser's, which are characters.
        oov_penalty: share of the probability of `<unk>` that words outside the vocabulary get, in
            [0, 1].

    Raises:
        ValueError: the words are not such a list, or have characters that are no tokens.

    Convention:
        In ESPnet 1 (`LookAheadWordLM`, by the source's first author) a character that leads out of
        the tree has the probability P(<unk> | h) oov_penalty whatever g is, every token after it
        the probability 1 until the word ends, and oov_penalty is 0.0001; P(end | h) is not taken
        out of a space, and comes to what has ended. The sum over all tokens is above 1 there. Texts
        of words in the vocabulary have the same probability in both, but for the `<unk>` that is
        spelled as they are.
    """

    def __init__(
        self,
        lm: Any,
        words: Sequence[str],
        tokens: Sequence[str],
        *,
        oov_penalty: float = 1.0,
    ) -> None:
        if not 0 <= oov_penalty <= 1:
            raise ValueError(f"oov_penalty is {oov_penalty:g}; it must be in [0, 1]")
        self._lm, self._oov_penalty = lm, oov_penalty
        self._tree = _Tree(_vocabulary(words), tokens)
        self._end_word = len(words) - 1
        ids = {token: k for k, token in enumerate(tokens)}
        self._space, self._end = ids.get(SPACE), ids[SENTENCE_END]
        self._no_character = {ids[BLANK], self._end, self._space}
        self._characters = torch.tensor([k not in self._no_character for k in range(len(tokens))])
        self._alphabet = int(self._characters.sum())

    def score(self, y: Tensor, state: Any, x: Tensor) -> tuple[Tensor, Any]:
        """One hypothesis, (L,), as `batch_score`; (C,)."""
        scores, states = self.batch_score(y[None], [state], x[None])
        return scores[0], states[0]

    @torch.no_grad()
    def batch_score(self, ys: Tensor, states: list[Any], xs: Any) -> tuple[Tensor, list[Any]]:
        """The log probabilities of the tokens that may follow.

        Args:
            ys: hypotheses, (N, L), `<sos/eos>` first.
            states: what the last call gave for what stands before the last token of each; None at
                the first.
            xs: not used.

        Returns:
            (N, C), with -1e10 for the log of 0, and the states.
        """
        prefixes = self._advance(states, ys[:, -1].cpu())
        probs = self._probs(prefixes, ys.device)
        return probs.log().clamp(min=LOG_ZERO).to(torch.get_default_dtype()), prefixes

    def _advance(self, states: list[Any], last: Tensor) -> list[_Prefix]:
        """What is written of a word after one more token, (N,), of each hypothesis."""
        before = torch.tensor([_OUT if state is None else state.node for state in states])
        after = self._tree.children[before, last].tolist()
        start = None
        prefixes = []
        for state, token, node in zip(states, last.tolist(), after, strict=True):
            if state is None:
                if start is None:
                    (start,) = self._continue([(_History(), self._end_word)])
                prefixes.append(_Prefix(start, _ROOT))
            elif state.history is not None and token not in self._no_character:
                prefixes.append(_Prefix(state.history, node))
            else:
                ended = state.ended if token == self._space else None
                prefixes.append(_Prefix(ended, _ROOT if ended else _OUT))
        self._end_words(prefixes)
        return prefixes

    def _end_words(self, prefixes: list[_Prefix]) -> None:
        """Ask for what follows where the words end as they stand."""
        nodes = torch.tensor([prefix.node for prefix in prefixes])
        numbers = torch.where(
            self._tree.is_word[nodes], self._tree.first[nodes] + _FIRST_WORD, _UNKNOWN_WORD
        ).tolist()
        wanted: dict[tuple[int, int], tuple[_History, int]] = {}
        for prefix, word in zip(prefixes, numbers, strict=True):
            if prefix.history is None or prefix.node == _ROOT:
                continue
            if word != _UNKNOWN_WORD or prefix.history.unknown_next is None:
                wanted[id(prefix.history), word] = (prefix.history, word)
        found = dict(zip(wanted, self._continue(list(wanted.values())), strict=True))
        for prefix, word in zip(prefixes, numbers, strict=True):
            if prefix.history is None or prefix.node == _ROOT:
                continue
            prefix.ended = found.get((id(prefix.history), word)) or prefix.history.unknown_next
            if word == _UNKNOWN_WORD:
                prefix.history.unknown_next = prefix.ended

    def _continue(self, wanted: list[tuple[_History, int]]) -> list[_History]:
        """The histories with one more word each."""
        found: list[Any] = [None] * len(wanted)
        by_length = defaultdict(list)
        for k, (history, _) in enumerate(wanted):
            by_length[len(history.words)].append(k)
        for numbers in by_length.values():
            texts = [(*wanted[k][0].words, wanted[k][1]) for k in numbers]
            log_probs, states = self._lm.batch_score(
                torch.tensor(texts, device=self._device),
                [wanted[k][0].state for k in numbers],
                None,
            )
            probs = log_probs[:, _UNKNOWN_WORD:].double().softmax(-1)  # none of the blank
            sums = torch.zeros_like(probs[:, 1:])
            torch.cumsum(probs[:, 1:-1], dim=1, out=sums[:, 1:])
            of_unknown, of_end = probs[:, 0].tolist(), probs[:, -1].tolist()
            for row, k in enumerate(numbers):
                # A row of its own: a view would keep those of all hypotheses.
                found[k] = _History(
                    texts[row], states[row], sums[row].clone(), of_unknown[row], of_end[row]
                )
        return found

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self._lm.parameters()).device
        return device

    def _probs(self, prefixes: list[_Prefix], device: torch.device) -> Tensor:
        """The probabilities of the next token, (N, C), in double precision."""
        tree, letters = self._tree, self._alphabet
        nodes = torch.tensor([prefix.node for prefix in prefixes])
        children = tree.children[nodes].long()  # (N, C)
        starts = tree.first[nodes][:, None]  # (N, 1), also the word itself: the shortest is first
        first = torch.cat([tree.first[children], starts, starts], dim=1)
        word = starts + tree.is_word[nodes][:, None]
        behind = torch.cat([tree.behind[children], tree.behind[nodes][:, None], word], dim=1)
        known = _between(prefixes, torch.stack([first, behind], dim=1).to(device))  # (N, C + 2)

        facts = torch.tensor([self._facts(p) for p in prefixes], dtype=torch.double, device=device)
        unknown, of_root, root_ends, end_share = (fact[:, None] for fact in facts.unbind(1))
        at_root = (nodes == _ROOT).to(device)[:, None]
        depth = tree.depth[nodes].to(device)[:, None].double()
        spelled = unknown / letters * (letters + 1) ** (1 - depth)
        next_spelled = torch.where(at_root, unknown / letters, spelled / (letters + 1))
        here = torch.where(at_root, of_root, known[:, -2:-1] + spelled)
        ends = torch.where(at_root, root_ends, known[:, -1:] + spelled / (letters + 1))
        probs = (known[:, :-2] + next_spelled) * self._characters.to(device)
        if self._space is not None:
            probs[:, self._space] = (ends * (1 - end_share))[:, 0]
        probs[:, self._end] = (ends * end_share)[:, 0]
        return torch.where(here > 0, probs / here, 0.0)

    def _facts(self, prefix: _Prefix) -> tuple[float, float, float, float]:
        """P(<unk>), m of nothing, P(text ends here) of nothing, P(end) after the word."""
        history = prefix.history
        if history is None:
            return 0.0, 0.0, 0.0, 0.0
        unknown = 1.0 if prefix.node == _OUT else self._oov_penalty * history.of_unknown
        if prefix.ended is not None:
            return unknown, 0.0, 0.0, prefix.ended.of_end
        at_start = len(history.words) == 1
        return unknown, *((1.0, history.of_end) if at_start else (1.0 - history.of_end, 0.0)), 1.0


@dataclass(eq=False)
class _History:
    """Words, and what the language model says after them.

    Args:
        words: their ids, the end mark first.
        state: of the language model.
        sums: of the probabilities of the words before each and, last, of all, (V + 1,).
        of_unknown, of_end: the probabilities of the two marks.
        unknown_next: the same with `<unk>` after it, where that has been asked for.
    """

    words: tuple[int, ...] = ()
    state: Any = None
    sums: Any = None
    of_unknown: float = 0.0
    of_end: float = 0.0
    unknown_next: _History | None = None


@dataclass(eq=False)
class _Prefix:
    """What a hypothesis has written: whole words, and a node for what stands after them.

    Args:
        history: the whole words; None where there was no probability for what is written.
        node: `_OUT` for what no word begins with.
        ended: the history with the word that is written, None where there is none.
    """

    history: _History | None
    node: int
    ended: _History | None = None


class _Tree:
    """The prefixes of sorted words, as tables over the nodes.

    Attributes:
        children: the node after each token, (nodes, C); `_OUT` where no word goes on so.
        first, behind: the words with that prefix, from `first` to before `behind`.
        depth: number of characters; 1 for `_OUT`.
        is_word: whether it is a word itself.
    """

    def __init__(self, words: Sequence[str], tokens: Sequence[str]) -> None:
        ids = {token: k for k, token in enumerate(tokens)}
        links: list[tuple[int, int, int]] = []
        first, behind, depth, is_word = [0, 0], [0, len(words)], [1, 0], [False, False]
        path, before = [_ROOT], ""
        for place, word in enumerate(words):
            shared = 0
            while shared < min(len(before), len(word)) and before[shared] == word[shared]:
                shared += 1
            del path[shared + 1 :]
            for char in word[shared:]:
                if char not in ids:
                    raise ValueError(
                        f"its word {word!r} has {char!r}, which the recogniser's tokens lack"
                    )
                links.append((path[-1], ids[char], len(first)))
                path.append(len(first))
                first.append(place)
                behind.append(place)
                depth.append(len(path) - 1)
                is_word.append(False)
            is_word[path[-1]] = True
            for node in path[1:]:
                behind[node] = place + 1
            before = word
        self.children = torch.full((len(first), len(tokens)), _OUT, dtype=torch.int32)
        parents, chars, nodes = torch.tensor(links).T
        self.children[parents, chars] = nodes.int()
        self.first, self.behind = torch.tensor(first), torch.tensor(behind)
        self.depth, self.is_word = torch.tensor(depth), torch.tensor(is_word)


def _vocabulary(words: Sequence[str]) -> list[str]:
    """The words of a token list, without its marks."""
    marks, vocabulary = [*words[:_FIRST_WORD], *words[-1:]], list(words[_FIRST_WORD:-1])
    if marks != [BLANK, UNKNOWN, SENTENCE_END] or not vocabulary:
        raise ValueError(f"its words are not a list from {BLANK}, {UNKNOWN} to {SENTENCE_END}")
    for before, word in pairwise(vocabulary):
        if before >= word:
            raise ValueError(f"its words are not in alphabetical order: {word!r} after {before!r}")
    return vocabulary


def _between(prefixes: list[_Prefix], edges: Tensor) -> Tensor:
    """The probabilities of ranges of words, (N, K), from their edges, (N, 2, K)."""
    none = edges.new_zeros(edges.size(2), dtype=torch.double)
    rows = []
    for prefix, pair in zip(prefixes, edges, strict=True):
        if prefix.history is None:
            rows.append(none)
        else:
            first, behind = prefix.history.sums[pair]
            rows.append(behind - first)
    return torch.stack(rows)
