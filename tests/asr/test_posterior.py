"""Scores of the beam search: the clipped posterior by hand, and the decoders that it wraps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tiny

pytest.importorskip("espnet2")

from espnet2.asr.decoder.rnn_decoder import RNNDecoder
from espnet2.asr.decoder.transformer_decoder import TransformerDecoder

from squall.asr.bridge.espnet import BatchBeamSearch, BatchScorerInterface, BeamSearch
from squall.asr.posterior import (
    PosteriorScorer,
    log_posterior,
    normalise_output,
    posterior_of,
)
from squall.losses import BASELINE_LOSSES, LOSSES, log_clipped_posterior

C, D, T = 6, 8, 5
SOS = EOS = C - 1


@pytest.mark.parametrize("form", ["softmax", "clipped"])
def test_posterior_sums_to_one(form: str) -> None:
    logits = 20 * torch.randn(3, 4, C, generator=torch.Generator().manual_seed(0))
    log_probs = log_posterior(logits, form=form, target=15.0, floor=1e-3)
    assert log_probs.shape == logits.shape
    torch.testing.assert_close(log_probs.exp().sum(dim=-1), torch.ones(3, 4))


def test_softmax_is_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 3.0])
    found = log_posterior(logits, form="softmax", target=15.0, floor=0.5)
    torch.testing.assert_close(found.exp(), torch.softmax(logits, dim=-1))


@pytest.mark.parametrize(
    ("loss", "parameters", "expected"),
    [
        ("ce", {}, ("softmax", 1.0)),
        ("squentropy", {}, ("softmax", 1.0)),
        ("square", {}, ("clipped", 1.0)),
        ("ccql", {}, ("clipped", 1.0)),
        ("rescaled_square", {}, ("clipped", 1.0)),
        *((name, {}, ("softmax", 1.0)) for name in BASELINE_LOSSES),
        ("rescaled_square", {"loss__M": 15, "loss__k": 1}, ("clipped", 15.0)),
    ],
)
def test_automatic_posterior_of_each_loss(
    loss: str, parameters: dict[str, float], expected: tuple[str, float]
) -> None:
    assert posterior_of(tiny.config(loss__name=loss, **parameters)) == expected


def test_a_posterior_that_is_asked_for_is_taken() -> None:
    square = tiny.config(loss__name="rescaled_square", loss__M=10, decode__posterior="softmax")
    assert posterior_of(square) == ("softmax", 10.0)
    for name in ("ce", "focal"):
        clipped = tiny.config(loss__name=name, decode__posterior="clipped")
        assert posterior_of(clipped) == ("clipped", 1.0)


def _transformer() -> TransformerDecoder:
    torch.manual_seed(0)
    return TransformerDecoder(C, D, attention_heads=2, linear_units=8, num_blocks=2).eval()


def _rnn() -> RNNDecoder:
    torch.manual_seed(0)
    attention = {"atype": "location", "adim": 8, "aconv_chans": 2, "aconv_filts": 2}
    return RNNDecoder(C, D, hidden_size=8, att_conf=attention).eval()


DECODERS = pytest.mark.parametrize("build", [_transformer, _rnn])


def _encoded() -> torch.Tensor:
    return torch.randn(T, D, generator=torch.Generator().manual_seed(3))


def _by_hand(decoder: Any, prefix: list[int], *, target: float, floor: float) -> torch.Tensor:
    """log p of every next token, from the decoder's whole pass over a prefix."""
    logits, _ = decoder(
        _encoded()[None], torch.tensor([T]), torch.tensor([prefix]), torch.tensor([len(prefix)])
    )
    clipped = torch.clamp(logits[0, -1] / target, min=floor)
    return torch.log(clipped / clipped.sum())


@DECODERS
@torch.no_grad()
def test_scores_of_one_hypothesis_by_hand(build: Any) -> None:
    decoder = build()
    scorer = PosteriorScorer(decoder, target=2.0, floor=0.01)
    state = scorer.init_state(_encoded())
    prefix = [SOS]
    for token in (1, 3, 2):
        scores, state = scorer.score(torch.tensor(prefix), state, _encoded())
        torch.testing.assert_close(scores, _by_hand(decoder, prefix, target=2.0, floor=0.01))
        prefix.append(token)


@DECODERS
@torch.no_grad()
def test_scores_of_a_batch_by_hand(build: Any) -> None:
    decoder = build()
    scorer = PosteriorScorer(decoder, target=0.5, floor=0.01)
    prefixes = [[SOS, 1], [SOS, 4]]
    encoded = _encoded().expand(2, T, D)
    states = [scorer.batch_init_state(_encoded()) for _ in prefixes]
    _, states = scorer.batch_score(torch.tensor([[SOS], [SOS]]), states, encoded)
    scores, _ = scorer.batch_score(torch.tensor(prefixes), states, encoded)
    expected = [_by_hand(decoder, prefix, target=0.5, floor=0.01) for prefix in prefixes]
    torch.testing.assert_close(scores, torch.stack(expected))


def _search(scorer: Any) -> Any:
    search = BeamSearch(
        scorers={"decoder": scorer},
        weights={"decoder": 1.0},
        beam_size=2,
        vocab_size=C,
        sos=SOS,
        eos=EOS,
        token_list=[*"-ABCD", "<eos>"],
    )
    if isinstance(scorer, BatchScorerInterface):
        search.__class__ = BatchBeamSearch
    return search


@DECODERS
@torch.no_grad()
def test_the_beam_search_adds_the_scores_up(build: Any) -> None:
    decoder = build()
    found = _search(PosteriorScorer(decoder, target=2.0, floor=0.01))(_encoded(), maxlenratio=0.8)
    best = found[0].yseq.tolist()
    assert best[0] == SOS
    assert best[-1] == EOS
    # A hypothesis of the longest length gets its last mark without a score.
    searched = best[: 1 + int(0.8 * T)]
    expected = sum(
        float(_by_hand(decoder, searched[:n], target=2.0, floor=0.01)[searched[n]])
        for n in range(1, len(searched))
    )
    assert float(found[0].score) == pytest.approx(expected, rel=1e-4)


def test_a_decoder_without_output_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Linear has no output layer.*decode\.posterior=softmax"):
        PosteriorScorer(torch.nn.Linear(2, 2), target=1.0, floor=0.1)


def _normalised_by_hand(decoder: Any, prefix: list[int], *, tau: float) -> torch.Tensor:
    """log p of every next token of a model trained with logit_norm."""
    layer = getattr(decoder, "output_layer", None) or decoder.output
    made: list[torch.Tensor] = []
    kept = layer.register_forward_pre_hook(lambda module, inputs: made.append(inputs[0]))
    decoder(
        _encoded()[None], torch.tensor([T]), torch.tensor([prefix]), torch.tensor([len(prefix)])
    )
    kept.remove()
    hidden = made[-1].reshape(-1, layer.in_features)[-1].double()
    logits = layer.weight.double() @ hidden + layer.bias.double()
    probs = torch.exp(logits / logits.square().sum().sqrt() / tau)
    return torch.log(probs / probs.sum()).float()


@DECODERS
@pytest.mark.parametrize("tau", [0.04, 0.5])
@torch.no_grad()
def test_a_model_of_logit_norm_is_searched_by_its_normalised_logits(build: Any, tau: float) -> None:
    decoder = build()
    with torch.no_grad():  # far from the norm that they are brought to
        decoder.get_parameter("output_layer.bias" if build is _transformer else "output.bias").mul_(
            40
        )
    normalise_output(tiny.config(loss__name="logit_norm", loss__tau=tau), decoder)
    state, prefix = decoder.init_state(_encoded()), [SOS]
    for token in (1, 3, 2):
        scores, state = decoder.score(torch.tensor(prefix), state, _encoded())
        expected = _normalised_by_hand(decoder, prefix, tau=tau)
        torch.testing.assert_close(scores.reshape(-1), expected, rtol=1e-4, atol=1e-4)
        prefix.append(token)
    best = _search(decoder)(_encoded(), maxlenratio=0.8)[0]
    searched = best.yseq.tolist()[: 1 + int(0.8 * T)]
    total = sum(
        float(_normalised_by_hand(decoder, searched[:n], tau=tau)[searched[n]])
        for n in range(1, len(searched))
    )
    assert float(best.score) == pytest.approx(total, rel=1e-3)


@torch.no_grad()
def test_the_clipped_posterior_sees_normalised_logits_too() -> None:
    decoder = _transformer()
    normalise_output(tiny.config(loss__name="logit_norm"), decoder)
    scorer = PosteriorScorer(decoder, target=1.0, floor=1e-3)
    scores, _ = scorer.score(torch.tensor([SOS]), scorer.init_state(_encoded()), _encoded())
    logits, _ = decoder(
        _encoded()[None], torch.tensor([T]), torch.tensor([[SOS]]), torch.tensor([1])
    )
    assert float(logits.norm()) == pytest.approx(25, rel=1e-4)
    torch.testing.assert_close(scores, log_clipped_posterior(logits[0, 0], target=1.0, floor=1e-3))


@pytest.mark.parametrize("name", sorted({*LOSSES, *BASELINE_LOSSES} - {"logit_norm"}))
@torch.no_grad()
def test_no_other_loss_changes_the_logits(name: str) -> None:
    prefix = (torch.tensor([T]), torch.tensor([[SOS, 1]]), torch.tensor([2]))
    decoder = _transformer()
    before, _ = decoder(_encoded()[None], *prefix)
    normalise_output(tiny.config(loss__name=name), decoder)
    assert torch.equal(decoder(_encoded()[None], *prefix)[0], before)


def test_a_decoder_without_output_layer_cannot_be_normalised() -> None:
    with pytest.raises(ValueError, match=r"Linear has no output layer.*logit_norm"):
        normalise_output(tiny.config(loss__name="logit_norm"), torch.nn.Linear(2, 2))
