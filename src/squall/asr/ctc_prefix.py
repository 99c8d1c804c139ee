"""CTC as a scorer of prefixes: the probability that a transcript begins with some tokens."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LOG_ZERO", "CTCPrefixes"]

LOG_ZERO = -1e10
"""The logarithm of 0 in scores, ESPnet's: finite, so that a difference of two is a number."""


class CTCPrefixes:
    """Log probabilities that CTC gives to prefixes of several utterances' transcripts.

    For a prefix g, r_n[t] and r_b[t] are the log probabilities of all paths over frames 0 to t that
    write g and end in its last token, or in a blank. Of g with a further token c,

        phi[t] = r_b[t] if c is the last token of g, else log(exp r_n[t] + exp r_b[t]),
        r_n'[t] = x_c[t] + log(exp r_n'[t-1] + exp phi[t-1]),
        r_b'[t] = x_blank[t] + log(exp r_n'[t-1] + exp r_b'[t-1]),

    and the prefix has log sum_t exp(phi[t-1] + x_c[t]); that of g as a whole transcript is phi at
    the last frame. (Algorithm 2 of Watanabe, Hori, Kim, Hershey, Hayashi 2017, "Hybrid
    CTC/attention architecture for end-to-end speech recognition".) ESPnet's `CTCPrefixScoreTH` is
    the same.

    Each of the B utterances has K hypotheses, which lie utterance after utterance, N = B K.

    Args:
        log_probs: CTC's log softmax, (B, T, C), with the blank as class 0.
        lengths: how many of the T frames each utterance has, (B,), at least one.
        eos: the token that ends a transcript.
        hypotheses: K.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, *, eos: int, hypotheses: int) -> None:
        batch, frames, classes = log_probs.shape
        padded = torch.arange(frames, device=log_probs.device) >= lengths[:, None]  # (B, T)
        log_probs = log_probs.masked_fill(padded[..., None], LOG_ZERO)
        log_probs[..., 0].masked_fill_(padded, 0.0)  # a padded frame is a blank for certain
        self._frames = log_probs.transpose(0, 1).contiguous()  # (T, B, C)
        self._last = (lengths - 1).repeat_interleave(hypotheses)  # (N,)
        self._utterance = torch.arange(batch, device=log_probs.device).repeat_interleave(hypotheses)
        self._rows = torch.arange(len(self._utterance), device=log_probs.device)
        self._blank = self._frames[:, self._utterance, 0]  # (T, N)
        self._eos, self._classes = eos, classes
        # Of the prefixes so far: r_n and r_b, (T, N), and the log probability, (N,).
        self._in_token = torch.full_like(self._blank, LOG_ZERO)
        self._in_blank = self._blank.cumsum(0)
        self._prefix = torch.zeros_like(self._blank[0])
        self._length = 0

    def score(self, last: Tensor, candidates: Tensor) -> Tensor:
        """Log probability of each further token, given the prefix of each hypothesis.

        Args:
            last: the last token of each prefix, (N,); that of the empty prefix is of no account.
            candidates: the tokens to score, (N, S), all different in a row.

        Returns:
            (N, C); about -1e10 for the blank and for what is no candidate. The end mark has a score
            whether it is a candidate or not.
        """
        start = min(max(self._length, 1), len(self._frames))
        either = torch.logaddexp(self._in_token, self._in_blank)  # (T, N)
        phi = either[..., None].repeat(1, 1, candidates.size(1))  # (T, N, S)
        if self._length:
            phi = torch.where(candidates == last[:, None], self._in_blank[..., None], phi)
        of_candidates = self._frames[:, self._utterance[:, None], candidates]  # (T, N, S)
        in_token = torch.full_like(phi, LOG_ZERO)
        in_blank = torch.full_like(phi, LOG_ZERO)
        if not self._length:
            in_token[0] = of_candidates[0]
        for t in range(start, len(phi)):
            torch.logaddexp(in_token[t - 1], phi[t - 1], out=in_token[t]).add_(of_candidates[t])
            torch.logaddexp(in_token[t - 1], in_blank[t - 1], out=in_blank[t])
            in_blank[t] += self._blank[t, :, None]
        begun = torch.cat(
            [in_token[start - 1 : start], phi[start - 1 : -1] + of_candidates[start:]]
        )
        prefix = torch.full_like(self._prefix, LOG_ZERO)[:, None].repeat(1, self._classes)  # (N, C)
        prefix.scatter_(1, candidates, begun.logsumexp(0))
        prefix[:, self._eos] = either[self._last, self._rows]
        prefix[:, 0] = LOG_ZERO
        self._scored = (in_token, in_blank, prefix, candidates)
        return prefix - self._prefix[:, None]

    def advance(self, hypotheses: Tensor, tokens: Tensor) -> None:
        """Go on with other prefixes, each one of those scored with one of its candidates.

        Args:
            hypotheses: which of the N it continues, (N,).
            tokens: by which token, (N,); what is no candidate, as the end mark may be, makes a
                prefix that nothing can follow.
        """
        in_token, in_blank, prefix, candidates = self._scored
        found = candidates[hypotheses] == tokens[:, None]  # (N, S)
        known, place = found.any(1), found.int().argmax(1)
        self._in_token = in_token[:, hypotheses, place].masked_fill(~known, LOG_ZERO)
        self._in_blank = in_blank[:, hypotheses, place].masked_fill(~known, LOG_ZERO)
        self._prefix = prefix[hypotheses, tokens]
        self._length += 1
