"""Settings of an enhancement experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from squall.audio.reading import SAMPLE_RATE_HZ
from squall.engine.config import ExperimentConfig, parameter_label
from squall.enhance.estimators.registry import ESTIMATORS, EstimatorEntry
from squall.scoring.speech_scores import DEFAULT_SCORES, check_scores
from squall.settings import Settings

__all__ = [
    "ALL",
    "ApplyConfig",
    "EnhancementConfig",
    "EstimatorConfig",
    "FeatureConfig",
    "FrontEndConfig",
    "MaskConfig",
    "MixtureConfig",
    "NoiseConfig",
    "TrainingConfig",
    "UtteranceConfig",
    "model_conditions",
]

MADE_NOISES = ("babble", "ssn")


def _once_each(key: str, values: Sequence[object]) -> None:
    twice = [value for value in values if values.count(value) > 1]
    if twice:
        raise ValueError(f"{key} has {twice[0]!r} twice")


class UtteranceConfig(Settings):
    """Which utterances of each split are used, taken from all speakers in turn.

    Args:
        train, dev, test: the largest number; None takes all.
        max_s: longer utterances are cut to their first so many seconds; None leaves them whole.
    """

    train: int | None = Field(default=None, ge=1)
    dev: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=1)
    max_s: float | None = Field(default=None, gt=0.5)


class NoiseConfig(Settings):
    """The noises.

    Args:
        dir: folder of the recordings, or a list of folders, when the command line has no
            `--noise-dir`; relative to `SQUALL_DATA`.
        seen: noises that are trained on and tested with: `babble` and `ssn`, which are made from
            the training speech, and names of recordings. Of each, the first half is used in
            training and the second in testing.
        unseen: recordings that are used in testing only.
        made_s: length in seconds of the noises that are made.
        talkers: how many speak in the babble. They are training speakers whose utterances are not
            mixed with noise themselves: a model that has to keep a voice in one place and remove it
            in another learns neither.
        dev_share: share of a noise's first half that is kept for validation.
    """

    dir: str | tuple[str, ...] | None = None
    seen: tuple[str, ...] = Field(default=MADE_NOISES, min_length=1)
    unseen: tuple[str, ...] = ()
    made_s: float = Field(default=120.0, gt=1)
    talkers: int = Field(default=6, ge=2)
    dev_share: float = Field(default=0.25, gt=0, lt=1)

    @model_validator(mode="after")
    def _unseen_are_recordings(self) -> NoiseConfig:
        _once_each("noise.seen", self.seen)
        _once_each("noise.unseen", self.unseen)
        both = sorted(set(self.seen) & set(self.unseen))
        if both:
            raise ValueError(f"{both[0]!r} is among the seen and the unseen noises")
        made = sorted(set(self.unseen) & set(MADE_NOISES))
        if made:
            raise ValueError(f"{made[0]!r} is made from the training speech: it cannot be unseen")
        return self

    @property
    def recorded(self) -> tuple[str, ...]:
        """The names of the recordings that are needed."""
        return tuple(n for n in (*self.seen, *self.unseen) if n not in MADE_NOISES)


class MixtureConfig(Settings):
    """How speech and noise are mixed.

    Args:
        snrs_db: signal-to-noise ratios in dB.
        over: what the ratio is measured over, the `whole` utterance or its `active` part.
        per_utterance: each training utterance is mixed at so many pairs of a noise and a ratio,
            drawn for it; null mixes it with all.
    """

    snrs_db: tuple[float, ...] = Field(default=(-5.0, 0.0, 5.0), min_length=1)
    over: Literal["whole", "active"] = "whole"
    per_utterance: int | None = Field(default=None, ge=1)

    @field_validator("snrs_db")
    @classmethod
    def _different_numbers(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(math.isfinite(snr_db) for snr_db in value):
            raise ValueError("an SNR must be a finite number of decibels")
        plain = tuple(snr_db + 0.0 for snr_db in value)  # turns -0.0 into 0.0
        _once_each("mixture.snrs_db", plain)
        return plain


class FrontEndConfig(BaseModel):
    """The time-frequency units that masks are made of.

    Args:
        name: `gammatone` or `stft`. Every further key goes to the front end, which checks it.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "gammatone"

    @property
    def parameters(self) -> dict[str, Any]:
        """The front end's own parameters."""
        return dict(self.model_extra or {})


class FeatureConfig(Settings):
    """What an estimator sees of a frame.

    Args:
        sets: names in `squall.audio.features`.
        level_over: what a signal is brought to one level by before its features are taken: the RMS
            of the `whole`, or of its `active` frames, which silence and clicks do not change
            (`squall.audio.level`). Models that were trained without this setting have `whole`.
        deltas: whether the differences in time are added.
        arma_order: order of the smoothing over frames; 0 for none.
        context: frames on each side that stand beside a frame.
    """

    sets: tuple[str, ...] = ("ams", "rasta_plp", "mfcc", "gammatone")
    level_over: Literal["whole", "active"] = "whole"
    deltas: bool = True
    arma_order: int = Field(default=2, ge=0)
    context: int = Field(default=2, ge=0)

    @field_validator("sets")
    @classmethod
    def _sets_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from squall.audio.features import feature_dimensions

        feature_dimensions(value)
        return value


class MaskConfig(Settings):
    """The training target.

    Args:
        name: `irm`, the ideal ratio mask, or `ibm`, the ideal binary mask.
        beta: exponent of the ratio mask.
        criterion_db: local criterion of the binary mask in dB, relative to the mixture's SNR.
        context: frames on each side whose masks are estimated too; the estimates that a frame gets
            from its neighbours are averaged with its own.
    """

    name: Literal["irm", "ibm"] = "irm"
    beta: float = Field(default=0.5, gt=0)
    criterion_db: float = -5.0
    context: int = Field(default=0, ge=0)


class TrainingConfig(Settings):
    """Which models are trained, and on how much.

    Args:
        models: `condition` trains one model for each noise and SNR, `all` one on all of them
            together. Unseen noises are given to the latter.
        max_frames: the most training frames of one model, drawn at random from its mixtures.
        max_dev_frames: the most validation frames of one model.
    """

    models: tuple[Literal["condition", "all"], ...] = Field(default=("condition",), min_length=1)
    max_frames: int = Field(default=20000, ge=10)
    max_dev_frames: int = Field(default=5000, ge=10)


class EstimatorConfig(BaseModel):
    """The mask estimator.

    Args:
        name: of `squall.enhance.estimators.registry.ESTIMATORS`: `kernel`, `dnn`, one of the
            references: `oracle` (the ideal mask) and `noisy` (the mixture as it is), or an
            off-the-shelf enhancer of `squall.enhance.peers.registry.PEERS`, as `rnnoise`.
        candidates: parameters that the tune stage chooses among by the validation error, as a list
            of groups of them; the first that is best is taken. A kernel machine tunes its own
            bandwidths besides.
        tune_epochs: the most epochs of one candidate in the tune stage.

    Every further key goes to the estimator, which checks it.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    candidates: tuple[dict[str, Any], ...] = ()
    tune_epochs: int = Field(default=10, ge=1)

    @field_validator("name")
    @classmethod
    def _exists(cls, value: str) -> str:
        if value not in ESTIMATORS:
            raise ValueError(f"there is no such estimator; there are {', '.join(ESTIMATORS)}")
        return value

    @model_validator(mode="after")
    def _parameters_can_be_right(self) -> EstimatorConfig:
        for candidate in self.candidates or ({},):
            self.entry.check({**self.parameters, **candidate})
        return self

    @property
    def entry(self) -> EstimatorEntry:
        """What is known of the estimator."""
        return ESTIMATORS[self.name]

    @property
    def parameters(self) -> dict[str, Any]:
        """The estimator's own parameters."""
        return dict(self.model_extra or {})

    @property
    def trained(self) -> bool:
        """Whether there is anything to train."""
        return self.entry.trained


class ApplyConfig(Settings):
    """How an estimated mask is used; a trained model does not depend on it.

    Args:
        binarise: cut the mask at one half, as the sources do with binary masks. Used as it was
            estimated, a mask gives better STOI and PESQ (recipes/enhance_hint).
        floor: the least gain of a time-frequency unit: what is left of the noise.
        sets: the splits to enhance.
    """

    binarise: bool = False
    floor: float = Field(default=0.0, ge=0, lt=1)
    sets: tuple[Literal["test"], ...] = ("test",)


class EnhancementConfig(ExperimentConfig):
    """Everything that decides the numbers of one enhancement experiment.

    Args:
        remove_mean: take the mean of every utterance and every stretch of noise away, so that a
            constant offset counts neither in the SNR nor in masks, features and STOI. The recipes
            set it. False is the meaning of experiments that were made without this setting.
        scores: what enhanced speech is scored by: names in `squall.scoring.SPEECH_SCORES`, or
            `all`. A trained model does not depend on it.
    """

    task: Literal["enhancement"] = "enhancement"
    remove_mean: bool = False
    utterances: UtteranceConfig = UtteranceConfig()
    noise: NoiseConfig = NoiseConfig()
    mixture: MixtureConfig = MixtureConfig()
    frontend: FrontEndConfig = FrontEndConfig()
    features: FeatureConfig = FeatureConfig()
    mask: MaskConfig = MaskConfig()
    training: TrainingConfig = TrainingConfig()
    estimator: EstimatorConfig
    apply: ApplyConfig = ApplyConfig()
    scores: tuple[str, ...] = DEFAULT_SCORES

    variant_group: ClassVar[str] = "apply"

    @field_validator("scores")
    @classmethod
    def _scores_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_scores(value)

    @field_validator("frontend")
    @classmethod
    def _front_end_exists(cls, value: FrontEndConfig) -> FrontEndConfig:
        from squall.audio.frontend import build_front_end

        try:
            front_end = build_front_end(value.name, **value.parameters)
        except TypeError as error:
            raise ValueError(f"{value.name}: a parameter is of the wrong type: {error}") from error
        if front_end.sample_rate_hz != SAMPLE_RATE_HZ:
            raise ValueError(
                f"sample_rate_hz is {front_end.sample_rate_hz}: mixtures have {SAMPLE_RATE_HZ} Hz"
            )
        return value

    @model_validator(mode="after")
    def _unseen_noise_has_a_model(self) -> EnhancementConfig:
        if self.noise.unseen and "all" not in self.training.models:
            raise ValueError(
                "noise.unseen needs a model of all conditions: add `all` to training.models"
            )
        return self

    def hashed(self) -> dict[str, Any]:
        """The settings that name the experiment directory, without epochs and memory."""
        settings = super().hashed()
        settings["noise"].pop("dir")
        settings.pop("scores")
        # What these mean by default is what was done before they were there: the same experiment.
        if not self.remove_mean:
            settings.pop("remove_mean")
        if self.features.level_over == "whole":
            settings["features"].pop("level_over")
        if self.mixture.per_utterance is None:
            settings["mixture"].pop("per_utterance")
        for key in self.estimator.entry.free:
            settings["estimator"].pop(key, None)
        return settings

    @property
    def system(self) -> str:
        """The estimator with the parameters that the settings give it: `kernel-4`, `dnn`."""
        entry = self.estimator.entry
        parameters = {
            key: value
            for key, value in self.estimator.parameters.items()
            if key not in (*entry.free, *entry.unnamed)
        }
        parts = [self.estimator.name]
        parts += [f"{parameters.pop(key, value)}" for key, value in entry.always_named.items()]
        return "-".join(parts) + parameter_label(parameters, entry.short_names)


ALL = "all"
"""Name of the model that is trained on all conditions together."""


def model_conditions(config: EnhancementConfig) -> dict[str, tuple[str, ...]]:
    """The models of an experiment, each with the conditions that it is trained on."""
    seen = tuple(f"{n}/{snr:g}dB" for n in config.noise.seen for snr in config.mixture.snrs_db)
    models: dict[str, tuple[str, ...]] = {}
    if "condition" in config.training.models:
        models |= {condition: (condition,) for condition in seen}
    if ALL in config.training.models:
        models[ALL] = seen
    return models
