"""How far a recogniser's confidence can be trusted: tokens, words and whole utterances."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from squall.asr.forced_logits import ForcedLogits, read_forced
from squall.asr.settings import RecognitionConfig
from squall.corpora.manifest import Utterance
from squall.files import read_json, write_json
from squall.scoring.alignment import align
from squall.scoring.calibration import (
    Calibration,
    TokenScores,
    score_confidences,
    score_logits,
    score_probs,
)
from squall.scoring.reliability import ReliabilityBins, bin_confidences
from squall.scoring.temperature import (
    fit_confidence_temperature,
    fit_temperature,
    scale_confidences,
)
from squall.text.tokens import PHONE_UNITS, UNKNOWN

__all__ = [
    "LEVELS",
    "Judged",
    "SplitCalibration",
    "calibrate_splits",
    "judge_sequences",
    "judge_tokens",
    "judge_words",
    "read_bins",
    "read_hypotheses",
    "read_token_gaps",
    "write_calibration",
]

LEVELS = {
    "token": "true tokens given the true ones before them (teacher-forced), softmax of the logits",
    "token-clipped": "the same with the clipped posterior, which the square losses decode with",
    "token-scaled": "the same with softmax at a temperature fitted on dev",
    "hypothesis": "recognised tokens, right where the alignment pairs them with the same token",
    "word": "recognised words, right where the alignment pairs them with the same word",
    "word-scaled": "the same with confidences at a temperature fitted on dev",
    "sequence": "whole utterances, right where every token is",
}
"""The levels at which confidence is scored, and what each means."""

Made = TypeVar("Made")

_FITTED_ON = "dev"


@dataclass(frozen=True, eq=False)
class Judged:
    """What was recognised, how sure the recogniser was, and whether it was right.

    Args:
        confidences: (N,) in [0, 1].
        correct: (N,) booleans.
    """

    confidences: np.ndarray[Any, np.dtype[np.float64]]
    correct: np.ndarray[Any, np.dtype[np.bool_]]

    def score(self) -> Calibration:
        """The calibration of these confidences."""
        return score_confidences(confidences=self.confidences, correct=self.correct)


@dataclass(frozen=True)
class SplitCalibration:
    """The calibration of one split.

    Args:
        levels: by the names of `LEVELS`.
        temperatures: those of the scaled levels, as they were fitted on dev.
        token_gaps: (U, B + 1), for each utterance in the order of the decoded ones, and of its true
            tokens (level `token`): right ones minus the sum of confidences in each of B bins, and
            the number of tokens. ECE is the sum of the absolute gaps over the number of tokens.
    """

    levels: dict[str, Calibration]
    temperatures: dict[str, float]
    token_gaps: np.ndarray[Any, np.dtype[np.float64]]


def calibrate_splits(
    config: RecognitionConfig, splits: Mapping[str, Sequence[Utterance]], decode_dir: Path
) -> dict[str, SplitCalibration]:
    """Score the confidence of a decoded experiment at every level.

    Args:
        config: the experiment.
        splits: the utterances of each split. Temperatures are fitted on the one named `dev`, and
            the others are scaled with them; without it, or with nothing recognised there, no level
            is scaled.
        decode_dir: the decoded splits.

    Raises:
        FileNotFoundError: a split has not been decoded.
        ValueError: a file of it is damaged, or was decoded by an earlier version.

    Convention: the sources report the level `token`, softmax of the logits for every loss. The
    confidence of a recognised token is the decoder's probability for it (`decode.posterior`), that
    of a word the product over its tokens, that of an utterance the product over its tokens and the
    end mark; CTC and language model, which take part in the search, have none in it. A word that
    was left out has no confidence and is not among those scored.
    """
    decoded = {
        name: _Decoded.read(config, utterances, decode_dir / name)
        for name, utterances in splits.items()
    }
    fitted = _temperatures(decoded.get(_FITTED_ON))
    return {
        name: _calibrate(config, split, {} if name == _FITTED_ON else fitted)
        for name, split in decoded.items()
    }


@dataclass(frozen=True)
class _Decoded:
    """One decoded split: what the decoder says of the truth, and what was recognised."""

    forced: ForcedLogits
    tokens: Judged
    words: Judged | None
    sequences: Judged

    @classmethod
    def read(
        cls, config: RecognitionConfig, utterances: Sequence[Utterance], folder: Path
    ) -> _Decoded:
        forced, names = read_forced(folder / "forced.npz")
        hypotheses = read_hypotheses(folder / "hypotheses.jsonl")
        ends = np.cumsum(forced.lengths)
        references = [
            [names[k] for k in forced.targets[end - length : end - 1]]
            for end, length in zip(ends, forced.lengths, strict=True)
        ]
        try:
            words = None
            if config.tokens.units not in PHONE_UNITS:
                texts = {utterance.id: utterance.text for utterance in utterances}
                words = judge_words([texts[h["id"]] for h in hypotheses], hypotheses)
            return cls(
                forced,
                judge_tokens(references, hypotheses),
                words,
                judge_sequences(references, hypotheses),
            )
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{folder / 'hypotheses.jsonl'} does not fit its references "
                f"({type(error).__name__}: {error}); decode again with --stage 6 --force"
            ) from error


def read_hypotheses(path: Path) -> list[dict[str, Any]]:
    """The lines of a `hypotheses.jsonl`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    return _read(
        path,
        lambda: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()],
        stage=6,
    )


def judge_tokens(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Mapping[str, Any]]
) -> Judged:
    """Judge each recognised token by the alignment with the reference.

    Args:
        references: the true tokens of each utterance.
        hypotheses: with `tokens` and `token_probs`, of the same utterances in the same order.

    Returns:
        The tokens in order. One that was inserted is wrong, and so is `<unk>`.
    """
    found = [
        (probability, right)
        for reference, hypothesis in zip(references, hypotheses, strict=True)
        for probability, right in zip(
            hypothesis["token_probs"], _rights(reference, hypothesis["tokens"]), strict=True
        )
    ]
    return _judged(found)


def judge_words(references: Sequence[str], hypotheses: Sequence[Mapping[str, Any]]) -> Judged:
    """Judge each recognised word by the alignment with the reference.

    Args:
        references: the true text of each utterance.
        hypotheses: with `words`, of the same utterances in the same order.
    """
    found = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        words = [word["text"] for word in hypothesis["words"]]
        rights = _rights(reference.split(), words)
        confidences = [word["confidence"] for word in hypothesis["words"]]
        found += list(zip(confidences, rights, strict=True))
    return _judged(found)


def judge_sequences(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Mapping[str, Any]]
) -> Judged:
    """Judge each utterance: it is right where its tokens are those of the reference.

    Args:
        references: the true tokens of each utterance.
        hypotheses: with `tokens` and `probability`, of the same utterances in the same order.
    """
    return _judged(
        [
            (h["probability"], list(reference) == h["tokens"] and UNKNOWN not in reference)
            for reference, h in zip(references, hypotheses, strict=True)
        ]
    )


def _rights(reference: Sequence[str], hypothesis: Sequence[str]) -> list[bool]:
    """For each token of the hypothesis, whether the alignment finds it in the reference."""
    steps = align(reference=reference, hypothesis=hypothesis).steps
    return [
        step.operation == "equal" and step.hypothesis != UNKNOWN
        for step in steps
        if step.hypothesis is not None
    ]


def _judged(found: Sequence[tuple[float, bool]]) -> Judged:
    return Judged(
        np.array([confidence for confidence, _ in found], dtype=np.float64),
        np.array([right for _, right in found], dtype=np.bool_),
    )


def _temperatures(dev: _Decoded | None) -> dict[str, float]:
    if dev is None:
        return {}
    forced = dev.forced
    fits = {"token": fit_temperature(logits=forced.logits, targets=forced.targets)}
    if dev.words is not None and len(dev.words.correct):
        words = dev.words
        fits["word"] = fit_confidence_temperature(
            confidences=words.confidences, correct=words.correct
        )
    return {f"{level}-scaled": fit.temperature for level, fit in fits.items()}


def _calibrate(
    config: RecognitionConfig, split: _Decoded, temperatures: Mapping[str, float]
) -> SplitCalibration:
    logits, targets = split.forced.logits, split.forced.targets
    tokens = score_logits(logits=logits, targets=targets)
    levels = {"token": tokens.calibration()}
    clipped = _clipped(config, split.forced)
    if clipped is not None:
        levels["token-clipped"] = clipped.calibration()
    if "token-scaled" in temperatures:
        scaled = score_logits(
            logits=logits, targets=targets, temperature=temperatures["token-scaled"]
        )
        levels["token-scaled"] = scaled.calibration()
    levels["hypothesis"] = split.tokens.score()
    if split.words is not None:
        levels["word"] = split.words.score()
        if "word-scaled" in temperatures:
            confidences = scale_confidences(
                confidences=split.words.confidences, temperature=temperatures["word-scaled"]
            )
            levels["word-scaled"] = Judged(confidences, split.words.correct).score()
    levels["sequence"] = split.sequences.score()
    return SplitCalibration(levels, dict(temperatures), _gaps(tokens, split.forced.lengths))


def _gaps(
    tokens: TokenScores, lengths: np.ndarray[Any, np.dtype[np.int64]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    ends = np.cumsum(lengths)
    rows = []
    for end, length in zip(ends, lengths, strict=True):
        of_utterance = slice(end - length, end)
        bins = bin_confidences(
            confidences=tokens.confidences[of_utterance], correct=tokens.correct[of_utterance]
        )
        rows.append([*(bins.correct_counts - bins.confidence_sums), bins.samples])
    return np.array(rows)


def _clipped(config: RecognitionConfig, forced: ForcedLogits) -> TokenScores | None:
    """The scores of the clipped posterior, None where the experiment does not decode with it."""
    from squall.asr.posterior import log_posterior, posterior_of

    form, target = posterior_of(config)
    if form != "clipped":
        return None
    import torch

    parts = []
    for start in range(0, len(forced.targets), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        log_probs = log_posterior(
            torch.from_numpy(forced.logits[rows]).double(),
            form=form,
            target=target,
            floor=config.decode.floor,
        )
        parts.append(score_probs(probs=log_probs.exp().numpy(), targets=forced.targets[rows]))
    return TokenScores.concatenate(parts)


_BLOCK_ROWS = 4096


def write_calibration(path: Path, found: SplitCalibration) -> None:
    """Write the metrics and bins of every level as JSON, for figures and for other programs.

    A metric of a level without a sample is null.
    """
    levels = {
        name: {
            "samples": level.samples,
            **level.metrics(),
            "bins": {
                "edges": level.bins.edges.tolist(),
                "counts": level.bins.counts.tolist(),
                "confidence_sums": level.bins.confidence_sums.tolist(),
                "correct_counts": level.bins.correct_counts.tolist(),
            },
        }
        for name, level in found.levels.items()
    }
    content = {"levels": levels, "temperatures": found.temperatures}
    gaps = {"token_gaps": found.token_gaps.round(9).tolist()}
    write_json(path, content | gaps, nan_as_null=True)


def read_bins(path: Path) -> dict[str, ReliabilityBins]:
    """The bins of each level of a file of `write_calibration`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    return _read(
        path,
        lambda: {
            name: ReliabilityBins(
                **{key: np.array(values) for key, values in level["bins"].items()}
            )
            for name, level in read_json(path)["levels"].items()
        },
    )


def read_token_gaps(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """`SplitCalibration.token_gaps` of a file of `write_calibration`; errors as of `read_bins`."""
    return _read(path, lambda: np.array(read_json(path)["token_gaps"], dtype=np.float64))


def _read(path: Path, make: Callable[[], Made], *, stage: int = 7) -> Made:
    try:
        return make()
    except (ValueError, KeyError, TypeError) as error:
        what = {6: "decode", 7: "score"}[stage]
        raise ValueError(
            f"{path} is damaged: {error}; {what} again with --stage {stage} --force"
        ) from error
