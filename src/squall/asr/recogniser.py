"""A trained recogniser: 16 kHz samples in, words with confidence out."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from squall.asr.bridge.espnet import (
    CTCPrefixScorer,
    LengthBonus,
    TooShortUttError,
    build_tokenizer,
)
from squall.asr.bridge.running import espnet_task, load_espnet_config
from squall.asr.bridge.trainer import load_weights
from squall.asr.decoder_steps import decodes_in_steps
from squall.asr.memory import MemoryNeed, forget_attention, measure_need
from squall.asr.posterior import (
    PosteriorScorer,
    log_posterior,
    normalise_output,
    posterior_of,
)
from squall.asr.search import EspnetSearch, Found, JointSearch
from squall.asr.settings import RecognitionConfig
from squall.audio.reading import SAMPLE_RATE_HZ
from squall.text.tokens import UNKNOWN

__all__ = ["Hypothesis", "Recogniser", "Word"]

_log = logging.getLogger(__name__)

MIN_SAMPLES = 1600
"""Shortest input, 0.1 s: less than one frame after subsampling is left of anything shorter."""


@dataclass(frozen=True)
class Word:
    """A recognised word and the probability that the decoder gives its tokens, in [0, 1]."""

    text: str
    confidence: float


@dataclass(frozen=True)
class Hypothesis:
    """What was recognised in one utterance.

    Args:
        text: the words.
        tokens: the tokens, without `<sos/eos>`.
        score: the beam search's score (weighted log probabilities), for ranking only.
        confidence: geometric mean of the token probabilities, in [0, 1]; 0 for an empty text.
        words: the words with their confidences, the product over each word's tokens.
        token_probs: probability that the decoder gives each token after those before it, in [0, 1].
        probability: of the whole sequence: the product over its tokens and one end mark, in [0, 1];
            0 where the search found nothing.
    """

    text: str
    tokens: tuple[str, ...]
    score: float
    confidence: float
    words: tuple[Word, ...]
    token_probs: tuple[float, ...] = ()
    probability: float = 0.0

    @classmethod
    def joined(cls, parts: Sequence[Hypothesis]) -> Hypothesis:
        """What was recognised in a recording, from that of its segments one after the other.

        The score is the sum and the probability the product over the segments in which something
        was found; the confidence is that of all tokens. One segment gives itself.
        """
        if len(parts) == 1:
            return parts[0]
        found = [part for part in parts if part.text]
        if not found:
            return cls("", (), -math.inf, 0.0, ())
        probs = tuple(p for part in found for p in part.token_probs)
        return cls(
            text=" ".join(part.text for part in found),
            tokens=tuple(token for part in found for token in part.tokens),
            score=sum(part.score for part in found),
            confidence=_geometric_mean(probs),
            words=tuple(word for part in found for word in part.words),
            token_probs=probs,
            probability=math.prod(part.probability for part in found),
        )


class Recogniser:
    """ESPnet's model and joint CTC/attention beam search, loaded from an experiment.

    Models with a plain transformer decoder are searched by `JointSearch`, many utterances at once;
    others by ESPnet's own search, one by one.

    Args:
        config: the experiment; `decode` sets the search.
        train_dir: folder with `config.yaml`, `model.pth` and `feats_stats.npz`.
        lm_dir: folder of the language model, needed when `decode.lm_weight` is positive.
        device: `cpu` or `cuda`.

    Raises:
        FileNotFoundError: the experiment has not been trained.
        ValueError: the weights do not fit the model, or the search needs a part it does not have.
    """

    def __init__(
        self,
        config: RecognitionConfig,
        train_dir: Path,
        *,
        lm_dir: Path | None = None,
        device: str = "cpu",
    ) -> None:
        for name in ("config.yaml", "model.pth", "feats_stats.npz"):
            if not (train_dir / name).is_file():
                raise FileNotFoundError(f"{train_dir / name} is missing: run stage 5 (train) first")
        self.config = config
        self.device = device
        args = load_espnet_config(train_dir / "config.yaml")
        args.normalize_conf = {
            **args.normalize_conf,
            "stats_file": str(train_dir / "feats_stats.npz"),
        }
        if config.tokens.units == "bpe":
            args.bpemodel = str(train_dir / "bpe.model")
        model = espnet_task().build_model(args)
        load_weights(model, train_dir / "model.pth")
        forget_attention(model)
        normalise_output(config, model.decoder)
        self.model: Any = model.to(device).eval()
        self.tokens: list[str] = list(model.token_list)
        self._tokenizer = build_tokenizer(
            token_type=config.tokens.espnet_type, bpemodel=getattr(args, "bpemodel", None)
        )
        self._form, self._target = posterior_of(config)
        self._search = self._build_search(lm_dir)

    @property
    def parameters(self) -> int:
        """Number of trained weights."""
        return sum(weight.numel() for weight in self.model.parameters())

    @cached_property
    def memory_need(self) -> MemoryNeed:
        """What the recognition of a recording takes of memory, beside the model."""
        return measure_need(
            self.model,
            beam_size=self._search.beam_size,
            candidates=self._search.candidates,
            sample_rate_hz=SAMPLE_RATE_HZ,
            device=self.device,
        )

    def __call__(self, samples: np.ndarray[Any, np.dtype[np.float32]]) -> Hypothesis:
        """Recognise one utterance; arguments and errors as of `encode`."""
        return self.search(self.encode(samples))

    @torch.no_grad()
    def encode(self, samples: np.ndarray[Any, np.dtype[np.float32]]) -> torch.Tensor:
        """What the encoder makes of one utterance, (1, T, D).

        Args:
            samples: 16 kHz mono in [-1, 1], (N,), at least 0.1 s.

        Raises:
            ValueError: the input is too short or not one-dimensional.
        """
        if samples.ndim != 1 or len(samples) < MIN_SAMPLES:
            raise ValueError(
                f"need at least {MIN_SAMPLES} samples (0.1 s) of mono audio, got {samples.shape}"
            )
        speech = torch.as_tensor(samples, dtype=torch.float32, device=self.device)[None]  # (1, N)
        lengths = torch.tensor([speech.size(1)], device=self.device)
        try:
            encoded, _ = self.model.encode(speech, lengths)
        except TooShortUttError as error:
            raise ValueError(f"{len(samples)} samples are too short: {error}") from error
        # With intermediate CTC the encoder gives a pair.
        first: torch.Tensor = encoded[0] if isinstance(encoded, tuple) else encoded
        return first

    def search(self, encoded: torch.Tensor) -> Hypothesis:
        """The best hypothesis of the beam search.

        Args:
            encoded: as `encode` gives it, (1, T, D).
        """
        return self.search_all([encoded])[0]

    @torch.no_grad()
    def search_all(self, encoded: Sequence[torch.Tensor]) -> list[Hypothesis]:
        """The best hypothesis of each of several utterances, which are searched together.

        Args:
            encoded: as `encode` gives it, (1, T, D) each; best of about equal lengths.
        """
        frames = [one[0] for one in encoded]
        padded = pad_sequence(frames, batch_first=True)  # (B, T, D)
        lengths = torch.tensor([len(one) for one in frames], device=padded.device)
        found = self._search(padded, lengths)
        return [self._hypothesis(*pair) for pair in zip(encoded, found, strict=True)]

    def _hypothesis(self, encoded: torch.Tensor, found: Found | None) -> Hypothesis:
        if found is None:
            return Hypothesis("", (), -math.inf, 0.0, ())
        # A search that reaches its longest length puts a second mark behind one that is there.
        ids = list(found.ids[: found.ids.index(self.model.eos) + 1])
        all_probs = self._token_probs(encoded, ids)
        # A search without CTC can choose the blank.
        marks = {self.model.blank_id, self.model.sos, self.model.eos}
        spoken = [(k, p) for k, p in zip(ids, all_probs, strict=True) if k not in marks]
        probs = [p for _, p in spoken]
        tokens = [self.tokens[k] for k, _ in spoken]
        return Hypothesis(
            text=self._text(tokens),
            tokens=tuple(tokens),
            score=found.score,
            confidence=_geometric_mean(probs),
            words=self._words(tokens, probs),
            token_probs=tuple(probs),
            probability=math.prod(all_probs),
        )

    @torch.no_grad()
    def forced_logits(self, encoded: torch.Tensor, text: str) -> tuple[torch.Tensor, list[int]]:
        """The decoder's output where each token is given the true ones before it, as in training.

        Args:
            encoded: as `encode` gives it, (1, T, D).
            text: the reference, in the form that the recogniser was trained on.

        Returns:
            Logits before any softmax, (L + 1, C), normalised after a training with `logit_norm`,
            and the ids of the true tokens, with the end mark last; a token that is not in the list
            is `<unk>`, as in training.
        """
        unknown = self.tokens.index(UNKNOWN)
        known = {token: k for k, token in enumerate(self.tokens)}
        ids = [known.get(token, unknown) for token in self._tokenizer.text2tokens(text)]
        ids.append(self.model.eos)
        return self._logits(encoded, ids), ids

    def _build_search(self, lm_dir: Path | None) -> JointSearch | EspnetSearch:
        decode = self.config.decode
        if self.model.ctc is None and decode.ctc_weight > 0:
            raise ValueError(
                f"decode.ctc_weight is {decode.ctc_weight:g}, but the model was trained without "
                "CTC (espnet.model_conf.ctc_weight 0): set it to 0"
            )
        beam_size = min(decode.beam_size, len(self.tokens))
        if beam_size < decode.beam_size:
            _log.warning("decode.beam_size %d: cut to %d tokens", decode.beam_size, beam_size)
        lm = self._load_language_model(lm_dir) if decode.lm_weight > 0 else None
        if decodes_in_steps(self.model.decoder):
            return JointSearch(
                self.model,
                log_posterior=self._log_posterior,
                beam_size=beam_size,
                ctc_weight=decode.ctc_weight,
                lm_weight=decode.lm_weight,
                penalty=decode.penalty,
                maxlenratio=decode.maxlenratio,
                minlenratio=decode.minlenratio,
                lm=lm,
            )
        decoder: Any = self.model.decoder
        if self._form == "clipped":
            decoder = PosteriorScorer(decoder, target=self._target, floor=decode.floor)
        return EspnetSearch(
            self.model,
            scorers={
                "decoder": decoder,
                "ctc": CTCPrefixScorer(ctc=self.model.ctc, eos=self.model.eos),
                "lm": lm,
                "length_bonus": LengthBonus(len(self.tokens)),
            },
            weights={
                "decoder": 1.0 - decode.ctc_weight,
                "ctc": decode.ctc_weight,
                "lm": decode.lm_weight,
                "length_bonus": decode.penalty,
            },
            beam_size=beam_size,
            maxlenratio=decode.maxlenratio,
            minlenratio=decode.minlenratio,
        )

    def _load_language_model(self, lm_dir: Path | None) -> Any:
        if lm_dir is None:
            raise ValueError(
                f"decode.lm_weight is {self.config.decode.lm_weight:g}, but the experiment has no "
                "language model: add an `lm` part to its settings"
            )
        from squall.asr.language_model import load_language_model

        units = self.config.lm.units if self.config.lm else "tokens"
        return load_language_model(lm_dir, self.device, tokens=self.tokens, units=units)

    def _log_posterior(self, logits: torch.Tensor) -> torch.Tensor:
        floor = self.config.decode.floor
        return log_posterior(logits, form=self._form, target=self._target, floor=floor)

    def _token_probs(self, encoded: torch.Tensor, ids: list[int]) -> list[float]:
        """Probability of each token given the ones before it, from one pass of the decoder."""
        log_probs = self._log_posterior(self._logits(encoded, ids))
        return [float(row[k].exp().clamp(0, 1)) for row, k in zip(log_probs, ids, strict=True)]

    def _logits(self, encoded: torch.Tensor, ids: list[int]) -> torch.Tensor:
        """The decoder's output for each of the tokens, given the ones before it, (L, C)."""
        history = torch.tensor([[self.model.sos, *ids[:-1]]], device=self.device)  # (1, L)
        logits, _ = self.model.decoder(
            encoded,
            torch.tensor([encoded.size(1)], device=self.device),
            history,
            torch.tensor([len(ids)], device=self.device),
        )  # (1, L, C)
        of_utterance: torch.Tensor = logits[0]
        return of_utterance

    def _text(self, tokens: Sequence[str]) -> str:
        return " ".join(str(self._tokenizer.tokens2text(list(tokens))).split())

    def words_of(self, tokens: Sequence[str]) -> list[tuple[int, int]]:
        """Which tokens are heard in each word of a hypothesis: the first, and the one after the
        last. What parts words, as `<space>` does, is in none.
        """
        return [self._heard(tokens, *group) for group in self._groups(tokens)]

    def _heard(self, tokens: Sequence[str], start: int, end: int) -> tuple[int, int]:
        heard = [k for k in range(start, end) if self._text(tokens[k : k + 1])]
        return (heard[0], heard[-1] + 1) if heard else (start, end)

    def _groups(self, tokens: Sequence[str]) -> list[tuple[int, int]]:
        """The tokens of each word: the text grows by a word where a token begins one."""
        groups = []
        start = 0
        for end in range(1, len(tokens) + 1):
            last = end == len(tokens)
            if last or len(self._text(tokens[start : end + 1]).split()) > 1:
                if self._text(tokens[start:end]):
                    groups.append((start, end))
                start = end
        return groups

    def _words(self, tokens: Sequence[str], probs: Sequence[float]) -> tuple[Word, ...]:
        return tuple(
            Word(self._text(tokens[start:end]), math.prod(probs[start:end]))
            for start, end in self._groups(tokens)
        )


def _geometric_mean(probs: Sequence[float]) -> float:
    if not probs or min(probs) <= 0:
        return 0.0
    return math.exp(sum(map(math.log, probs)) / len(probs))
