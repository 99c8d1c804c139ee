"""A word language model over characters: against its definition, and in the search."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("espnet2")

from espnet2.lm.seq_rnn_lm import SequentialRNNLM
from espnet2.lm.transformer_lm import TransformerLM

import naive
from squall.asr.look_ahead import WordLookAhead

TOKENS = ["<blank>", "<unk>", "<space>", "A", "B", "C", "<sos/eos>"]
ALPHABET = "?ABC"  # the first stands for <unk>
WORDS = ["<blank>", "<unk>", "A", "AB", "ABC", "ABCA", "BA", "C", "<sos/eos>"]
VOCABULARY = WORDS[2:-1]
END = len(WORDS) - 1


class TableModel:
    """A language model that has any distribution after any words, in ESPnet's form."""

    def __init__(self, *, unknown: float = 0.2, longest: int = 99) -> None:
        self.unknown, self.longest = unknown, longest
        self.asked: list[list[tuple[int, ...]]] = []

    def after(self, ids: tuple[int, ...]) -> torch.Tensor:
        random = np.random.default_rng(ids)
        probs = torch.from_numpy(random.dirichlet(np.ones(len(WORDS))))
        probs[0] = 0.0
        probs[1] *= self.unknown
        if len(ids) > self.longest:
            probs[1:END] = 0.0
        return probs / probs.sum()

    def next_word(self, words: tuple[str, ...]) -> dict[str, float]:
        ids = (END, *(WORDS.index(word) for word in words))
        return dict(zip(["<blank>", *WORDS[1:-1], ""], self.after(ids).tolist(), strict=True))

    def batch_score(self, ys: torch.Tensor, states: list[Any], xs: Any) -> Any:
        texts = [tuple(row) for row in ys.tolist()]
        self.asked.append(texts)
        assert states == [row[:-1] or None for row in texts]
        return torch.stack([self.after(row) for row in texts]).log(), texts

    def parameters(self) -> Any:
        return iter([torch.zeros(1)])


def _ids(text: str) -> list[int]:
    return [TOKENS.index("<space>" if char == " " else char) for char in text]


def _tokens_after(scorer: WordLookAhead, texts: list[str]) -> list[dict[str, float]]:
    """The distribution after each of several texts of the same length; blank left out."""
    rows = torch.tensor([[len(TOKENS) - 1, *_ids(text)] for text in texts])
    states: list[Any] = [None] * len(texts)
    for length in range(1, rows.size(1) + 1):
        scores, states = scorer.batch_score(rows[:, :length], states, None)
    assert (scores[:, 0] == -1e10).all()
    names = {"<unk>": "?", "<space>": " ", "<sos/eos>": ""}
    keys = [names.get(token, token) for token in TOKENS]
    return [
        {key: p for key, p in zip(keys, row.double().exp().tolist(), strict=True) if key != keys[0]}
        for row in scores
    ]


@pytest.fixture(autouse=True)
def _double_precision() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_character_has_the_share_of_the_texts_that_go_on_with_it() -> None:
    lm = TableModel(unknown=0.0, longest=3)
    beginning: dict[str, float] = defaultdict(float)  # of texts, "$" for their end
    for number in range(4):
        for words in itertools.product(VOCABULARY, repeat=number):
            p = math.prod(lm.next_word(words[:k])[word] for k, word in enumerate(words))
            text = " ".join(words) + "$"
            for length in range(len(text) + 1):
                beginning[text[:length]] += p * lm.next_word(words)[""]
    assert beginning[""] == pytest.approx(1.0)
    scorer = WordLookAhead(lm, WORDS, TOKENS)
    for length in range(7):
        texts = [text for text in beginning if len(text) == length and "$" not in text]
        for text, found in zip(texts, _tokens_after(scorer, texts), strict=True):
            for key, p in found.items():
                expected = beginning.get(text + (key or "$"), 0.0) / beginning[text]
                assert p == pytest.approx(expected, rel=1e-9, abs=1e-12), (text, key)


TEXTS = ["", *("".join(chars) for n in range(1, 5) for chars in itertools.product("AB ", repeat=n))]
WRITTEN = [text for text in TEXTS if not text.startswith(" ") and "  " not in text]


@pytest.mark.parametrize("oov_penalty", [1.0, 0.1, 0.0])
def test_words_outside_the_vocabulary_are_spelled(oov_penalty: float) -> None:
    lm = TableModel()
    scorer = WordLookAhead(lm, WORDS, TOKENS, oov_penalty=oov_penalty)
    for length in range(5):
        texts = [text for text in WRITTEN if len(text) == length]
        if not oov_penalty:
            texts = [text for text in texts if _begins_in_vocabulary(text)]
        for text, found in zip(texts, _tokens_after(scorer, texts), strict=True):
            expected = naive.next_character_probs(
                text, lm.next_word, alphabet=ALPHABET, oov_penalty=oov_penalty
            )
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-12), text
            if oov_penalty == 1.0:
                assert sum(found.values()) == pytest.approx(1.0, abs=1e-12)
            assert sum(found.values()) < 1.0 + 1e-12


def _begins_in_vocabulary(text: str) -> bool:
    *whole, last = text.split(" ")
    return set(whole) <= set(VOCABULARY) and any(word.startswith(last) for word in VOCABULARY)


def test_a_share_of_unknown_words_is_cut_at_the_first_character() -> None:
    lm = TableModel()
    (found,) = _tokens_after(WordLookAhead(lm, WORDS, TOKENS, oov_penalty=0.25), [""])
    cut = 0.75 * lm.next_word(())["<unk>"]
    assert sum(found.values()) == pytest.approx(1 - cut)
    assert cut > 0.01


def test_what_cannot_be_written_has_no_probability() -> None:
    scorer = WordLookAhead(TableModel(), WORDS, TOKENS)
    for text in (" A", "A  ", "A  BA"):
        assert set(_tokens_after(scorer, [text])[0].values()) == {0.0}
    (found,) = _tokens_after(scorer, ["A "])
    assert (found[" "], found[""]) == (0.0, 0.0)


def test_a_recogniser_of_single_words_needs_no_space() -> None:
    lm = TableModel()
    with_space = WordLookAhead(lm, WORDS, TOKENS, oov_penalty=0.0)
    without = WordLookAhead(lm, WORDS, [t for t in TOKENS if t != "<space>"], oov_penalty=0.0)
    end = len(TOKENS) - 2
    (found,) = _tokens_after(with_space, ["A"])
    rows = torch.tensor([[end, TOKENS.index("A") - 1]])
    _, states = without.batch_score(rows[:, :1], [None], None)
    scores, _ = without.batch_score(rows, states, None)
    assert scores.size(1) == len(TOKENS) - 1
    assert float(scores[0, end].exp()) == pytest.approx(found[""])


def test_the_model_is_asked_once_for_each_word_that_may_end() -> None:
    lm = TableModel()
    scorer = WordLookAhead(lm, WORDS, TOKENS)
    ids = {word: k for k, word in enumerate(WORDS)}
    (found,) = _tokens_after(scorer, ["ABBB A"])
    assert 0 < found[" "] < 1
    once = [(END,), (END, ids["A"]), (END, ids["AB"]), (END, 1), (END, 1, ids["A"])]
    assert lm.asked == [[text] for text in once]
    lm.asked.clear()
    _tokens_after(scorer, ["A BA", "C AB", "AB C"])
    assert lm.asked == [
        [(END,)],
        [(END, ids["A"]), (END, ids["C"])],  # "AB" is "A" at that point
        [(END, ids["AB"])],
        [(END, ids["A"], 1), (END, ids["C"], ids["A"])],
        [(END, ids["A"], ids["BA"]), (END, ids["C"], ids["AB"]), (END, ids["AB"], ids["C"])],
    ]


@pytest.mark.parametrize("kind", ["rnn", "gru", "transformer"])
def test_texts_have_the_probability_that_the_model_gives_their_words(kind: str) -> None:
    torch.manual_seed(0)
    lm = _espnet_model(kind)
    scorer = WordLookAhead(lm, WORDS, TOKENS, oov_penalty=0.0)
    for text in ("ABC BA A", "C", "A AB ABCA BA"):
        row = torch.tensor([[len(TOKENS) - 1, *_ids(text), len(TOKENS) - 1]])
        states: list[Any] = [None]
        total = 0.0
        for length in range(1, row.size(1)):
            scores, states = scorer.batch_score(row[:, :length], states, None)
            total += float(scores[0, row[0, length]])
        words = torch.tensor([[END, *(WORDS.index(word) for word in text.split())]])
        with torch.no_grad():
            logits, _ = lm(words, None)
        logits[..., 0] = -torch.inf
        targets = torch.tensor([*words[0, 1:].tolist(), END])
        expected = logits[0].log_softmax(-1)[torch.arange(len(targets)), targets].sum()
        assert total == pytest.approx(float(expected))


def _espnet_model(kind: str) -> Any:
    if kind == "transformer":
        sizes = {"embed_unit": 8, "att_unit": 8, "head": 2, "unit": 8, "layer": 1}
        return TransformerLM(len(WORDS), **sizes).eval()
    rnn_type = "gru" if kind == "gru" else "lstm"
    return SequentialRNNLM(len(WORDS), unit=8, nlayers=2, rnn_type=rnn_type).eval()


def test_texts_have_the_probability_that_espnet_1_gives_them() -> None:
    """ESPnet 202511 has its scorer still."""
    peer = pytest.importorskip("espnet.lm.pytorch_backend.extlm")
    lm = TableModel(unknown=0.0)

    class Words(torch.nn.Module):
        def forward(self, state: Any, word: torch.Tensor) -> Any:
            ids = (*(state or ()), int(word))
            return ids, lm.after(ids).log()[None]

    numbered = [
        {token.replace("<sos/eos>", "<eos>"): k for k, token in enumerate(tokens)}
        for tokens in (WORDS, TOKENS)
    ]
    theirs = peer.LookAheadWordLM(Words(), *numbered)
    ours = WordLookAhead(lm, WORDS, TOKENS)
    for text in ("ABC BA A", "C", "A AB ABCA BA", "AB"):
        row = [len(TOKENS) - 1, *_ids(text), len(TOKENS) - 1]
        state, states = None, [None]
        expected = found = 0.0
        for length, token in enumerate(row[1:], start=1):
            state, log_probs = theirs(state, torch.tensor([row[length - 1]]))
            expected += float(log_probs[0, token])
            scores, states = ours.batch_score(torch.tensor([row[:length]]), states, None)
            found += float(scores[0, token])
        assert found == pytest.approx(expected + theirs.final(state))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["<blank>", "A", "AB", "<sos/eos>"], "not a list from <blank>"),
        (["<blank>", "<unk>", "<sos/eos>"], "not a list from <blank>"),
        (["<blank>", "<unk>", "B", "A", "<sos/eos>"], "alphabetical order: 'A' after 'B'"),
        (["<blank>", "<unk>", "A", "A", "<sos/eos>"], "alphabetical order: 'A' after 'A'"),
        (["<blank>", "<unk>", "A", "ABD", "<sos/eos>"], "its word 'ABD' has 'D'"),
    ],
)
def test_a_list_of_words_that_does_not_fit_is_refused(words: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        WordLookAhead(TableModel(), words, TOKENS)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(ValueError, match="oov_penalty is"):
        WordLookAhead(TableModel(), WORDS, TOKENS, oov_penalty=share)
