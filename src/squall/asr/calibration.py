"""How far a recogniser's confidence can be trusted: tokens, words and whole utterances."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.asr.forced_logits import ForcedLogits, read_forced
from squall.asr.settings import RecognitionConfig
from squall.corpora.manifest import Utterance
from squall.files import read_json
from squall.report.levels import read_scored, write_levels
from squall.scoring.alignment import align
from squall.scoring.calibration import (
    Calibration,
    TokenScores,
    score_confidences,
    score_logits,
    score_nce,
    score_probs,
)
from squall.scoring.levels import LevelDetails, sum_gaps, sum_nlls
from squall.scoring.refinement import (
    Recalibration,
    refine_confidences,
    refine_logits,
)
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
    "read_hypotheses",
    "read_token_gaps",
    "read_token_nlls",
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

_FITTED_ON = "dev"
_RECALIBRATIONS: tuple[Recalibration, ...] = ("temperature", "isotonic")


@dataclass(frozen=True, eq=False)
class Judged:
    """What was recognised, how sure the recogniser was, and whether it was right.

    Args:
        confidences: (N,) in [0, 1].
        correct: (N,) booleans.
        utterances: (N,) int64, the number of the utterance that each is of.
    """

    confidences: NDArray[np.float64]
    correct: NDArray[np.bool_]
    utterances: NDArray[np.int64]

    def score(self) -> Calibration:
        """The calibration of these confidences."""
        return score_confidences(confidences=self.confidences, correct=self.correct)

    def details(self) -> LevelDetails:
        """The rest of what is measured of them, recalibrated on the other utterances."""
        by_temperature, isotonic = (
            refine_confidences(
                confidences=self.confidences,
                correct=self.correct,
                groups=self.utterances,
                by=by,
            ).metrics()
            for by in _RECALIBRATIONS
        )
        proper = by_temperature | {f"{name}_isotonic": value for name, value in isotonic.items()}
        proper["nce"] = score_nce(confidences=self.confidences, correct=self.correct)
        return LevelDetails.of(self.confidences, self.correct, proper)


@dataclass(frozen=True)
class SplitCalibration:
    """The calibration of one split.

    Args:
        levels: by the names of `LEVELS`.
        temperatures: those of the scaled levels, as they were fitted on dev.
        token_gaps: (U, B + 1), for each utterance in the order of the decoded ones, and of its true
            tokens (level `token`): right ones minus the sum of confidences in each of B bins, and
            the number of tokens. ECE is the sum of the absolute gaps over the number of tokens.
        details: of the levels `token`, `hypothesis`, `word` and `sequence`, by their names.
        token_nlls: (U, 3), for each utterance the sum of the negative log-likelihoods of its true
            tokens in nats, the same after the temperature of the other folds (NaN where there is
            only one utterance), and the number of tokens. Intervals made of these sums take the
            temperatures as given.
    """

    levels: dict[str, Calibration]
    temperatures: dict[str, float]
    token_gaps: NDArray[np.float64]
    details: dict[str, LevelDetails] = field(default_factory=dict)
    token_nlls: NDArray[np.float64] | None = None

    def metrics(self, level: str) -> dict[str, float]:
        """All metrics of a level: shares as fractions of 1, likelihoods in nats."""
        details = self.details.get(level)
        return self.levels[level].metrics() | (details.metrics() if details else {})


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
    was left out has no confidence and is not among those scored. The refinement of a split is
    fitted on the split itself, over folds of its utterances; the scaled levels tell what a
    temperature from dev comes to.
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
    return read_scored(
        path,
        lambda: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()],
        again="decode again with --stage 6",
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
    return _judged(
        list(zip(hypothesis["token_probs"], _rights(reference, hypothesis["tokens"]), strict=True))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    )


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
        found.append(list(zip(confidences, rights, strict=True)))
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
            [(h["probability"], list(reference) == h["tokens"] and UNKNOWN not in reference)]
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


def _judged(utterances: Iterable[Sequence[tuple[float, bool]]]) -> Judged:
    found = [(*pair, k) for k, pairs in enumerate(utterances) for pair in pairs]
    return Judged(
        np.array([confidence for confidence, _, _ in found], dtype=np.float64),
        np.array([right for _, right, _ in found], dtype=np.bool_),
        np.array([utterance for _, _, utterance in found], dtype=np.int64),
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
    recognised = {
        level: judged
        for level, judged in (
            ("hypothesis", split.tokens),
            ("word", split.words),
            ("sequence", split.sequences),
        )
        if judged is not None
    }
    for level, judged in recognised.items():
        levels[level] = judged.score()
        if f"{level}-scaled" in temperatures:
            confidences = scale_confidences(
                confidences=judged.confidences, temperature=temperatures[f"{level}-scaled"]
            )
            levels[f"{level}-scaled"] = replace(judged, confidences=confidences).score()
    lengths = split.forced.lengths
    refined = refine_logits(
        logits=logits, targets=targets, groups=np.repeat(np.arange(len(lengths)), lengths)
    )
    details = {"token": LevelDetails.of(tokens.confidences, tokens.correct, refined.metrics())}
    details |= {level: judged.details() for level, judged in recognised.items()}
    return SplitCalibration(
        levels, dict(temperatures), sum_gaps(tokens, lengths), details, sum_nlls(refined, lengths)
    )


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
    further: dict[str, Any] = {
        "temperatures": found.temperatures,
        "token_gaps": found.token_gaps.round(9).tolist(),
    }
    if found.token_nlls is not None:
        further["token_nlls"] = found.token_nlls.round(9).tolist()
    write_levels(path, found.levels, found.details, further)


def read_token_gaps(path: Path) -> NDArray[np.float64]:
    """`SplitCalibration.token_gaps` of a file of `write_calibration`; errors as of
    `squall.report.levels.read_bins`."""
    return read_scored(path, lambda: np.array(read_json(path)["token_gaps"], dtype=np.float64))


def read_token_nlls(path: Path) -> NDArray[np.float64] | None:
    """`SplitCalibration.token_nlls` of a file of `write_calibration`; errors as of
    `squall.report.levels.read_bins`.

    None where an earlier version wrote the file.
    """

    def make() -> NDArray[np.float64] | None:
        nlls = read_json(path).get("token_nlls")
        return None if nlls is None else np.array(nlls, dtype=np.float64)

    return read_scored(path, make)
