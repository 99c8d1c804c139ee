"""The joint search: against ESPnet's, and its parts against what they stand for."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("espnet2")

from espnet2.asr.ctc import CTC
from espnet2.asr.decoder.rnn_decoder import RNNDecoder
from espnet2.asr.decoder.transformer_decoder import (
    LightweightConvolutionTransformerDecoder,
    TransformerDecoder,
)
from espnet2.lm.seq_rnn_lm import SequentialRNNLM
from espnet2.lm.transformer_lm import TransformerLM

from squall.asr.bridge.espnet import CTCPrefixScorer, LengthBonus
from squall.asr.ctc_prefix import CTCPrefixes
from squall.asr.decoder_steps import DecoderSteps, decodes_in_steps
from squall.asr.look_ahead import WordLookAhead
from squall.asr.search import EspnetSearch, JointSearch

TOKENS, DIMENSIONS = 7, 8
EOS = TOKENS - 1
LENGTHS = torch.tensor([12, 4, 1, 7])


@pytest.fixture(autouse=True)
def _double_precision() -> Any:
    """So that rounding decides no tie."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _decoder(kind: Any = TransformerDecoder, **settings: Any) -> Any:
    torch.manual_seed(1)
    sizes = {"attention_heads": 2, "linear_units": 16, "num_blocks": 2}
    return kind(TOKENS, DIMENSIONS, **sizes, **settings).double().eval()


def _model(decoder: Any) -> Any:
    torch.manual_seed(2)
    ctc = CTC(TOKENS, DIMENSIONS).double().eval()
    ctc.ctc_lo.weight.data *= 8  # that it has opinions
    decoder.output_layer.weight.data *= 8
    marks = {"sos": EOS, "eos": EOS, "vocab_size": TOKENS}
    return SimpleNamespace(decoder=decoder, ctc=ctc, token_list=list("abcdefg"), **marks)


def _encoded() -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    return torch.randn(len(LENGTHS), int(LENGTHS.max()), DIMENSIONS, generator=random)


def _searches(
    *, beam_size: int, ctc_weight: float, lm_weight: float, penalty: float, lm: Any, **ratios: float
) -> tuple[JointSearch, EspnetSearch]:
    model = _model(_decoder())
    ours = JointSearch(
        model,
        log_posterior=lambda logits: logits.log_softmax(-1),
        beam_size=beam_size,
        ctc_weight=ctc_weight,
        lm_weight=lm_weight,
        penalty=penalty,
        lm=lm,
        **ratios,
    )
    scorers = {
        "decoder": model.decoder,
        "ctc": CTCPrefixScorer(ctc=model.ctc, eos=EOS),
        "lm": lm,
        "length_bonus": LengthBonus(TOKENS),
    }
    weights = {
        "decoder": 1 - ctc_weight,
        "ctc": ctc_weight,
        "lm": lm_weight,
        "length_bonus": penalty,
    }
    theirs = EspnetSearch(model, scorers=scorers, weights=weights, beam_size=beam_size, **ratios)
    return ours, theirs


def _language_model(kind: str) -> Any:
    torch.manual_seed(4)
    if kind == "rnn":
        return SequentialRNNLM(TOKENS, unit=8, nlayers=1).double().eval()
    if kind == "transformer":
        return (
            TransformerLM(TOKENS, embed_unit=8, att_unit=8, head=2, unit=8, layer=1).double().eval()
        )
    return None


@pytest.mark.parametrize("beam_size", [1, 3, TOKENS])
@pytest.mark.parametrize("ctc_weight", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize(
    ("penalty", "ratios"),
    [
        (0.0, {}),
        (1.0, {"maxlenratio": 0.6}),
        (-3.0, {"minlenratio": 0.5}),
        (0.5, {"maxlenratio": 1.0, "minlenratio": 0.9}),
        (0.0, {"maxlenratio": 0.3, "minlenratio": 0.7}),  # found with a smaller one alone
    ],
)
def test_the_search_finds_what_espnets_does(
    beam_size: int, ctc_weight: float, penalty: float, ratios: dict[str, float]
) -> None:
    settings = {"beam_size": beam_size, "ctc_weight": ctc_weight, "penalty": penalty}
    _assert_alike(*_searches(**settings, lm_weight=0.0, lm=None, **ratios))  # type: ignore[arg-type]


@pytest.mark.parametrize("ctc_weight", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["rnn", "transformer"])
def test_a_language_model_takes_part_as_in_espnets(kind: str, ctc_weight: float) -> None:
    lm = _language_model(kind)
    common = {"beam_size": 3, "ctc_weight": ctc_weight, "penalty": 0.5}
    searches = _searches(**common, lm_weight=2.0, lm=lm)  # type: ignore[arg-type]
    _assert_alike(*searches)
    without, _ = _searches(**common, lm_weight=0.0, lm=None)  # type: ignore[arg-type]
    assert without(_encoded(), LENGTHS) != searches[0](_encoded(), LENGTHS)


CHARACTERS = ["<blank>", "<unk>", "<space>", "A", "B", "C", "<sos/eos>"]
WORDS = ["<blank>", "<unk>", "A", "AB", "ABC", "BA", "C", "<sos/eos>"]


@pytest.mark.parametrize("beam_size", [1, 3, TOKENS])
@pytest.mark.parametrize("ctc_weight", [0.0, 0.3])
def test_words_are_looked_ahead_to_in_both_searches(beam_size: int, ctc_weight: float) -> None:
    torch.manual_seed(4)
    words = SequentialRNNLM(len(WORDS), unit=8, nlayers=1).double().eval()
    words.decoder.weight.data *= 8
    lm = WordLookAhead(words, WORDS, CHARACTERS)
    common = {"beam_size": beam_size, "ctc_weight": ctc_weight, "penalty": 0.5}
    searches = _searches(**common, lm_weight=1.0, lm=lm)  # type: ignore[arg-type]
    _assert_alike(*searches)


class _OneText(SequentialRNNLM):  # type: ignore[misc]
    """A language model that is sure of a text of two words."""

    text = (len(WORDS) - 1, WORDS.index("BA"), WORDS.index("ABC"), len(WORDS) - 1)

    def batch_score(self, ys: torch.Tensor, states: Any, xs: Any) -> Any:
        scores = torch.full((len(ys), len(WORDS)), -20.0)
        for row, words in zip(scores, ys.tolist(), strict=True):
            begun = tuple(words) == self.text[: len(words)]
            row[self.text[len(words)] if begun else WORDS.index("C")] = 0.0
        return scores.log_softmax(-1), [None] * len(ys)


def test_a_sure_language_model_has_its_text_found() -> None:
    lm = WordLookAhead(_OneText(len(WORDS), unit=8), WORDS, CHARACTERS)
    spelled = [CHARACTERS.index("<space>" if char == " " else char) for char in "BA ABC"]
    common = {"beam_size": 3, "ctc_weight": 0.0, "penalty": 0.0, "lm": lm}
    long_enough = len(spelled) < LENGTHS
    for search in _searches(**common, lm_weight=5.0):  # type: ignore[arg-type]
        found = search(_encoded()[long_enough], LENGTHS[long_enough])
        # At the longest length there is one end mark more.
        assert [one and list(one.ids[: len(spelled) + 1]) for one in found] == [[*spelled, EOS]] * 2
    without, _ = _searches(**common, lm_weight=0.0)  # type: ignore[arg-type]
    for one in without(_encoded()[long_enough], LENGTHS[long_enough]):
        assert one is not None
        assert list(one.ids[:-1]) != spelled


def _assert_alike(ours: JointSearch, theirs: EspnetSearch) -> None:
    assert ours.candidates == theirs.candidates
    expected = theirs(_encoded(), LENGTHS)
    found = ours(_encoded(), LENGTHS)
    assert [one and one.ids for one in found] == [one and one.ids for one in expected]
    for one, other in zip(found, expected, strict=True):
        if one is not None and other is not None:
            assert one.score == pytest.approx(other.score, abs=1e-6)
    # Which utterances are searched together makes no difference.
    alone = [ours(_encoded()[k : k + 1, :n], LENGTHS[k : k + 1])[0] for k, n in enumerate(LENGTHS)]
    assert [one and one.ids for one in alone] == [one and one.ids for one in found]


def test_utterances_end_at_different_steps() -> None:
    ours, _ = _searches(beam_size=3, ctc_weight=0.3, lm_weight=0.0, penalty=0.0, lm=None)
    found = [one for one in ours(_encoded(), LENGTHS) if one is not None]
    assert len({len(one.ids) for one in found}) > 1
    assert all(one.ids[-1] == EOS for one in found)


def test_more_tokens_than_frames_can_be_asked_for() -> None:
    """ESPnet 202511 fails there."""
    ours, _ = _searches(
        beam_size=3, ctc_weight=0.3, lm_weight=0.0, penalty=5.0, lm=None, maxlenratio=2.0
    )
    found = ours(_encoded(), LENGTHS)
    assert all(one is not None and one.ids[-1] == EOS for one in found)


def test_what_never_ends_is_none() -> None:
    searches = _searches(
        beam_size=2,
        ctc_weight=0.3,
        lm_weight=0.0,
        penalty=0.0,
        lm=None,
        maxlenratio=0.05,  # of 12 frames, at most one token
        minlenratio=0.09,  # and at least one before the end mark
    )
    for search in searches:
        assert [one is None for one in search(_encoded(), LENGTHS)] == [True, False, False, False]


def _paths(log_probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    """The probability of each transcript: the sum over all paths that write it."""
    frames, classes = log_probs.shape
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(classes), repeat=frames):
        written = tuple(k for k, _ in itertools.groupby(path) if k)
        total = math.exp(sum(float(log_probs[t, k]) for t, k in enumerate(path)))
        found[written] = found.get(written, 0.0) + total
    return found


def _begun(paths: dict[tuple[int, ...], float], prefix: tuple[int, ...]) -> float:
    return sum(p for text, p in paths.items() if text[: len(prefix)] == prefix)


def test_prefixes_have_the_probability_of_all_that_begins_with_them() -> None:
    random = torch.Generator().manual_seed(5)
    log_probs = torch.randn(2, 5, 4, generator=random).log_softmax(-1)  # blank, 1, 2 and the end, 3
    lengths = torch.tensor([5, 3])
    log_probs[..., 3] = -60.0  # CTC never writes the end mark
    log_probs = log_probs.log_softmax(-1)
    prefixes = [[(), ()], [(1,), (2,)], [(1, 1), (2, 1)], [(1, 1, 2), (2, 1, 1)]]
    scorer = CTCPrefixes(log_probs.clone(), lengths, eos=3, hypotheses=2)
    of_utterance = [_paths(log_probs[k, :n]) for k, n in enumerate(lengths.tolist())]
    candidates = torch.tensor([[1, 2]] * 4)
    for step, pair in enumerate(prefixes):
        both = [*pair, *pair]  # the same two hypotheses of both utterances
        last = torch.tensor([one[-1] if one else 3 for one in both])
        scores = scorer.score(last, candidates)
        for row, prefix in enumerate(both):
            paths = of_utterance[row // 2]
            if not (all_of_it := _begun(paths, prefix)):
                continue  # too long for the frames
            for token in (1, 2):
                expected = _begun(paths, (*prefix, token)) / all_of_it
                assert math.exp(scores[row, token]) == pytest.approx(expected, rel=1e-6, abs=1e-12)
            whole = paths.get(prefix, 0.0) / all_of_it
            assert math.exp(scores[row, 3]) == pytest.approx(whole, rel=1e-6, abs=1e-12)
            assert scores[row, 0] < -1e9
        if step + 1 < len(prefixes):
            new = torch.tensor([one[-1] for one in prefixes[step + 1]] * 2)
            scorer.advance(torch.arange(4), new)


@pytest.mark.parametrize("normalize_before", [True, False])
def test_steps_are_those_of_the_whole_decoder(normalize_before: bool) -> None:
    decoder = _decoder(normalize_before=normalize_before)
    encoded, lengths, beam = _encoded(), LENGTHS, 2
    random = torch.Generator().manual_seed(6)
    steps = DecoderSteps(decoder, encoded, lengths)
    tokens = torch.full((len(encoded) * beam, 1), EOS)
    for _ in range(4):
        found = steps.logits(tokens)
        expected, _ = decoder(
            encoded.repeat_interleave(beam, dim=0),
            lengths.repeat_interleave(beam),
            tokens,
            torch.full((len(tokens),), tokens.size(1)),
        )
        torch.testing.assert_close(found, expected[:, -1])
        chosen = torch.randint(beam, (len(tokens),), generator=random)
        before = torch.arange(len(tokens)) // beam * beam + chosen
        steps.select(before)
        new = torch.randint(1, EOS, (len(tokens), 1), generator=random)
        tokens = torch.cat([tokens[before], new], dim=1)


def test_only_plain_transformers_decode_in_steps() -> None:
    assert decodes_in_steps(_decoder())
    assert not decodes_in_steps(_decoder(concat_after=True))
    lightweight = {"conv_kernel_length": [3, 3], "conv_wshare": 2}
    assert not decodes_in_steps(_decoder(LightweightConvolutionTransformerDecoder, **lightweight))
    assert not decodes_in_steps(RNNDecoder(TOKENS, DIMENSIONS, hidden_size=8))
