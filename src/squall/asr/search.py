"""Joint CTC/attention beam search: our own over several utterances, or ESPnet's over one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from squall.asr.bridge.espnet import BatchBeamSearch, BatchScorerInterface, BeamSearch
from squall.asr.ctc_prefix import LOG_ZERO, CTCPrefixes
from squall.asr.decoder_steps import DecoderSteps

__all__ = ["EspnetSearch", "Found", "JointSearch"]

_PRE_BEAM = 1.5  # times the beam: tokens of each hypothesis that CTC scores, those best without it
_ENDED_LENGTHS, _HOPELESS = 3, -10.0  # of Watanabe and others 2017, eq. 50
_LESS_MINIMUM = 0.1


@dataclass(frozen=True)
class Found:
    """The best hypothesis of one utterance: its token ids, the end mark last, and its score."""

    ids: tuple[int, ...]
    score: float


class JointSearch:
    """The search of Watanabe, Hori, Kim, Hershey, Hayashi 2017, as ESPnet has it.

    The score of a hypothesis is the sum over its tokens of

        (1 - ctc_weight) log p_decoder + ctc_weight log p_ctc + lm_weight log p_lm + penalty.

    ESPnet's `BatchBeamSearch` gives the same hypotheses, one utterance at a time.

    Args:
        model: an `ESPnetASRModel` whose decoder `decodes_in_steps`; CTC is needed for a positive
            weight alone.
        log_posterior: the decoder's log probabilities, (N, C), from its logits.
        beam_size: hypotheses of each utterance, at most as many as there are tokens.
        ctc_weight, lm_weight, penalty, maxlenratio, minlenratio: as in `DecodeConfig`.
        lm: a language model of ESPnet with `batch_score`, or a `WordLookAhead`, for a positive
            weight.
    """

    def __init__(
        self,
        model: Any,
        *,
        log_posterior: Callable[[Tensor], Tensor],
        beam_size: int,
        ctc_weight: float,
        lm_weight: float = 0.0,
        penalty: float = 0.0,
        maxlenratio: float = 0.0,
        minlenratio: float = 0.0,
        lm: Any = None,
    ) -> None:
        self.model, self._log_posterior, self._lm = model, log_posterior, lm
        self.beam_size = beam_size
        self._ctc_weight, self._lm_weight, self._penalty = ctc_weight, lm_weight, penalty
        self._maxlenratio, self._minlenratio = maxlenratio, minlenratio

    @property
    def candidates(self) -> int:
        """How many tokens of each hypothesis CTC scores; 0 without it."""
        tokens: int = self.model.vocab_size
        if not self._ctc_weight:
            return 0
        return tokens if self._ctc_weight == 1.0 else min(int(_PRE_BEAM * self.beam_size), tokens)

    @torch.no_grad()
    def __call__(self, encoded: Tensor, lengths: Tensor) -> list[Found | None]:
        """The best hypothesis of each utterance, None where nothing came to an end.

        Args:
            encoded: the encoder's output, (B, T, D), padded with anything.
            lengths: how many of the T frames each utterance has, (B,), at least one.
        """
        ratio = self._minlenratio
        found = self._run(encoded, lengths, ratio)
        while ratio >= _LESS_MINIMUM and None in found:  # as ESPnet: again, and let it be shorter
            ratio = max(0.0, ratio - _LESS_MINIMUM)
            missing = [number for number, one in enumerate(found) if one is None]
            again = self._run(encoded[missing], lengths[missing], ratio)
            for number, one in zip(missing, again, strict=True):
                found[number] = one
        return found

    def _run(self, encoded: Tensor, lengths: Tensor, minlenratio: float) -> list[Found | None]:
        batch, beam, device = len(encoded), self.beam_size, encoded.device
        utterances = [
            _Utterance(
                longest=max(1, int(self._maxlenratio * frames)) if self._maxlenratio else frames,
                shortest=int(minlenratio * frames),
                ends_by_itself=not self._maxlenratio,
            )
            for frames in lengths.tolist()
        ]
        scorers = _Scorers(self, encoded, lengths)
        tokens = torch.full((batch * beam, 1), self.model.sos, device=device)  # (N, L)
        scores = encoded.new_zeros(batch * beam)
        first = torch.arange(batch * beam, device=device) % beam == 0
        running = first  # all hypotheses are the same at first
        of_utterance = torch.arange(batch, device=device)[:, None] * beam  # (B, 1)
        for step in range(max(utterance.longest for utterance in utterances)):
            total = scorers.score(tokens) + scores[:, None]  # (N, C)
            total.masked_fill_(~running[:, None], LOG_ZERO)
            best, places = total.view(batch, -1).topk(beam)  # (B, K)
            scores, places = best.view(-1), places.view(batch, beam)
            before = (places // total.size(1) + of_utterance).view(-1)  # (N,)
            new = (places % total.size(1)).view(-1)
            tokens = torch.cat([tokens[before], new[:, None]], dim=1)
            scorers.advance(before, new)
            written, points = tokens.tolist(), scores.tolist()
            still = []
            for number, utterance in enumerate(utterances):
                rows = range(number * beam, (number + 1) * beam)
                still += utterance.step(
                    step,
                    [written[row][1:] for row in rows],
                    [points[row] for row in rows],
                    self.model.eos,
                )
            if not any(still):
                break
            running = torch.tensor(still, device=device)
        return [utterance.best for utterance in utterances]


class _Search(BeamSearch):  # type: ignore[misc]
    """ESPnet's search; what has ended keeps no states, each of which holds those of its step."""

    def post_process(
        self, i: int, maxlen: int, minlen: int, maxlenratio: float, running: Any, ended: list[Any]
    ) -> Any:
        running = super().post_process(i, maxlen, minlen, maxlenratio, running, ended)
        for of_utterance in ended if ended and isinstance(ended[0], list) else [ended]:
            of_utterance[:] = [hypothesis._replace(states={}) for hypothesis in of_utterance]
        return running


class _BatchSearch(_Search, BatchBeamSearch):  # type: ignore[misc]
    """The same, with the hypotheses in a batch."""


class EspnetSearch:
    """ESPnet's own search, for decoders of any kind, one utterance at a time.

    Args:
        model: an `ESPnetASRModel`.
        scorers: ESPnet's, by name.
        weights: of each.
        beam_size: hypotheses, at most as many as there are tokens.
        maxlenratio, minlenratio: as in `DecodeConfig`.
    """

    def __init__(
        self,
        model: Any,
        *,
        scorers: dict[str, Any],
        weights: dict[str, float],
        beam_size: int,
        maxlenratio: float = 0.0,
        minlenratio: float = 0.0,
    ) -> None:
        self._ratios = {"maxlenratio": maxlenratio, "minlenratio": minlenratio}
        search = _Search(
            beam_size=beam_size,
            weights=weights,
            scorers=scorers,
            sos=model.sos,
            eos=model.eos,
            vocab_size=model.vocab_size,
            token_list=list(model.token_list),
            pre_beam_score_key=None if weights["ctc"] == 1.0 else "full",
        )
        if all(isinstance(scorer, BatchScorerInterface) for scorer in search.full_scorers.values()):
            search.__class__ = _BatchSearch  # ESPnet's own way of choosing the batched search
        self._search = search.eval()
        self.beam_size = beam_size

    @property
    def candidates(self) -> int:
        """How many tokens of each hypothesis CTC scores; 0 without it."""
        search = self._search
        if "ctc" not in search.scorers:
            return 0
        return int(search.pre_beam_size if search.do_pre_beam else search.n_vocab)

    @torch.no_grad()
    def __call__(self, encoded: Tensor, lengths: Tensor) -> list[Found | None]:
        """As `JointSearch.__call__`."""
        return [
            self._best(frames[:length])
            for frames, length in zip(encoded, lengths.tolist(), strict=True)
        ]

    def _best(self, frames: Tensor) -> Found | None:
        hypotheses = self._search(x=frames, **self._ratios)
        if not hypotheses:
            return None
        return Found(tuple(map(int, hypotheses[0].yseq[1:])), float(hypotheses[0].score))


@dataclass
class _Utterance:
    """What has ended in one utterance.

    Args:
        longest, shortest: numbers of tokens.
        ends_by_itself: whether it is over where longer hypotheses are hopeless.
        best: the best that has ended.
        best_by_length: the best score of each number of tokens, the first mark included.
    """

    longest: int
    shortest: int
    ends_by_itself: bool
    done: bool = False
    best: Found | None = None
    best_by_length: dict[int, float] = field(default_factory=dict)

    def step(
        self, step: int, written: list[list[int]], scores: list[float], eos: int
    ) -> list[bool]:
        """Take out what has ended; which of the K hypotheses go on.

        At the longest length all end, and get the end mark even where they have one already.
        """
        running = [not self.done] * len(written)
        if self.done:
            return running
        last = step == self.longest - 1
        for k, (ids, score) in enumerate(zip(written, scores, strict=True)):
            if not (last or ids[-1] == eos):
                continue
            running[k] = False
            if step >= self.shortest:
                self._keep([*ids, eos] if last else ids, score)
        self.done = last or not any(running) or (self.ends_by_itself and self._hopeless(step))
        return [False] * len(written) if self.done else running

    def _keep(self, ids: list[int], score: float) -> None:
        length = len(ids) + 1
        self.best_by_length[length] = max(score, self.best_by_length.get(length, -math.inf))
        if self.best is None or score > self.best.score:
            self.best = Found(tuple(ids), score)

    def _hopeless(self, step: int) -> bool:
        """Whether the last three lengths have ended, and all far below the best."""
        lengths = [step - back for back in range(_ENDED_LENGTHS)]
        return self.best is not None and all(
            length in self.best_by_length
            and self.best_by_length[length] - self.best.score < _HOPELESS
            for length in lengths
        )


class _Scorers:
    """What has an opinion on the next token of each hypothesis, with its state."""

    def __init__(self, search: JointSearch, encoded: Tensor, lengths: Tensor) -> None:
        self._search, model, beam = search, search.model, search.beam_size
        self._encoded = encoded.repeat_interleave(beam, dim=0) if search._lm_weight else encoded
        self._states: list[Any] = [None] * (len(encoded) * beam)
        self._decoder = None
        if search._ctc_weight < 1.0:
            self._decoder = DecoderSteps(model.decoder, encoded, lengths)
        self._ctc = None
        if search._ctc_weight:
            self._ctc = CTCPrefixes(
                model.ctc.log_softmax(encoded), lengths, eos=model.eos, hypotheses=beam
            )

    def score(self, tokens: Tensor) -> Tensor:
        """The weighted sum for each further token, (N, C), of hypotheses (N, L)."""
        search = self._search
        total = torch.full(
            (len(tokens), search.model.vocab_size), search._penalty, device=tokens.device
        )
        if self._decoder is not None:
            logits = self._decoder.logits(tokens)
            total += (1.0 - search._ctc_weight) * search._log_posterior(logits)
        if search._lm_weight:
            of_lm, self._states = search._lm.batch_score(tokens, self._states, self._encoded)
            total += search._lm_weight * of_lm
        if self._ctc is not None:
            candidates = total.topk(search.candidates).indices  # (N, S)
            total += search._ctc_weight * self._ctc.score(tokens[:, -1], candidates)
        return total

    def advance(self, before: Tensor, new: Tensor) -> None:
        """Go on with the hypotheses `before`, (N,), each with the token `new`, (N,)."""
        if self._decoder is not None:
            self._decoder.select(before)
        if self._search._lm_weight:
            self._states = [self._search._lm.select_state(self._states, k) for k in before.tolist()]
        if self._ctc is not None:
            self._ctc.advance(before, new)
