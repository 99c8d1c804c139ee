"""Speech and noise at a given SNR: the mixture, the table that lists mixtures, and its plan."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from squall.audio.frames import FRAME_S, HOP_S, frame_count, frame_signal
from squall.audio.offset import subtract_mean
from squall.audio.reading import SAMPLE_RATE_HZ
from squall.files import atomic_write

__all__ = [
    "MixedSignal",
    "Mixture",
    "NoisePart",
    "SnrOver",
    "active_samples",
    "make_mixture",
    "mix_at_snr",
    "noise_span",
    "plan_mixtures",
    "read_mixtures",
    "write_mixtures",
]

NoisePart = Literal["train", "dev", "test", "whole"]
SnrOver = Literal["whole", "active"]
Samples = NDArray[np.float32]

_ACTIVE_RANGE_DB = 40.0
_PEAK = 0.99
_SNR_TOLERANCE_DB = 0.01
# Sums over millions of samples differ in the last digits from one processor to another.
_GAIN_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class MixedSignal:
    """Speech in noise, and the two parts that it is the sum of.

    Args:
        speech: (N,) the speech as it is in the mixture.
        noise: (N,) the noise as it is in the mixture.
        noisy: (N,) exactly `speech + noise` in 32-bit floats.
        noise_gain: factor on the noise that gives the SNR.
        gain: factor on speech and noise together; 1 unless full scale would be exceeded. The noise
            in the mixture is the noise given (without its mean, if that was asked for) times
            `noise_gain * gain`.
    """

    speech: Samples
    noise: Samples
    noisy: Samples
    noise_gain: float
    gain: float


@dataclass(frozen=True)
class Mixture:
    """One line of a mixture table: all that is needed to make the mixture again.

    Args:
        id: unique in the table; can name a file.
        utterance: id of the speech.
        noise: name of the noise recording.
        noise_part: the part of that recording which the noise is from, as in `noise_span`.
        offset_samples: where the noise starts in the whole recording, at 16 kHz.
        samples: length of the mixture, which is that of the speech, at 16 kHz.
        snr_db: the SNR asked for.
        snr_over: what it is measured over, as in `mix_at_snr`.
        condition: name of the condition in results, e.g. `babble/-5dB`.
        noise_gain: as in `MixedSignal`; None in a plan.
        gain: as in `MixedSignal`; None in a plan.
        remove_mean: as in `mix_at_snr`; false in tables that were written before it was there.

    Raises:
        ValueError: the offset is negative or there are no samples.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False
    )

    id: str
    utterance: str
    noise: str
    noise_part: NoisePart
    offset_samples: int
    samples: int
    snr_db: float
    snr_over: SnrOver
    condition: str
    noise_gain: float | None = None
    gain: float | None = None
    remove_mean: bool = False

    def __post_init__(self) -> None:
        if self.offset_samples < 0 or self.samples < 1:
            raise ValueError(
                f"{self.samples} samples from sample {self.offset_samples} of the noise "
                "cannot be a mixture"
            )

    def with_gains(self, mixed: MixedSignal) -> Mixture:
        """The same line with the gains of the mixture that was made from it."""
        return replace(self, noise_gain=mixed.noise_gain, gain=mixed.gain)


_LINE = TypeAdapter(Mixture)


def mix_at_snr(
    *,
    speech: Samples,
    noise: Samples,
    snr_db: float,
    over: SnrOver = "whole",
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    remove_mean: bool = True,
) -> MixedSignal:
    """Add noise to speech at a signal-to-noise ratio.

    SNR = 10 log10(sum speech^2 / sum noise^2), with the energies in 64-bit floats. Only the noise
    is scaled; if then the speech, the noise or their sum is beyond full scale, all three are scaled
    together so that the largest magnitude is 0.99.

    Args:
        speech: (N,) floats, full scale 1.
        noise: (N,) floats of the same length.
        snr_db: the SNR wanted, in dB.
        over: the sums are over the `whole` signals, or over the `active` part of the speech, as
            `active_samples` finds it.
        sample_rate_hz: the sampling rate of both; matters for `active` only.
        remove_mean: take the mean of each of the two away first. A constant offset is not heard,
            but counts as energy: LibriSpeech's 445-123857-0000 has one of -0.257 where the speech
            has a spread of 0.048, and at 5 dB with it the speech that is heard stands at -9 dB.

    Returns:
        The mixture and its parts, (N,) float32. The parts as they come back have the SNR asked for
        to within 0.01 dB.

    Raises:
        ValueError: the lengths differ, one of the two is silent or has samples that are not finite,
            the SNR is not finite or so large that 32-bit floats cannot hold it, or `over` is
            unknown.

    Convention: the usual measure is over the whole signal, pauses included. Over the active part
    the pauses count for nothing; others measure the speech there by ITU-T P.56.
    """
    speech, noise = _checked("speech", speech), _checked("noise", noise)
    if remove_mean:
        speech, noise = subtract_mean(speech), subtract_mean(noise)
    if len(speech) != len(noise):
        lengths = f"noise has {len(noise) / sample_rate_hz:.3f} s ({len(noise)} samples), speech "
        lengths += f"{len(speech) / sample_rate_hz:.3f} s ({len(speech)} samples)"
        raise ValueError(f"{lengths}: give a stretch of noise as long as the speech")
    if not math.isfinite(snr_db):
        raise ValueError(f"snr_db is {snr_db}: give a finite number of decibels")
    if over not in ("whole", "active"):
        raise ValueError(f"over is {over!r}: use 'whole' or 'active'")
    counted: NDArray[np.bool_] | slice = slice(None)
    if over == "active":
        counted = active_samples(speech, sample_rate_hz, remove_mean=False)
    energies = _energy("speech", speech[counted]), _energy("noise", noise[counted])
    # Levels beyond the range of the floats show in the measurement below.
    with np.errstate(all="ignore"):
        asked = np.power(10.0, np.float64(snr_db) / 10)
        noise_gain = float(np.sqrt(energies[0] / (energies[1] * asked)))
        mixed = _apply(speech, noise, noise_gain, _common_gain(speech, noise, noise_gain))
        powers = (
            np.sum(np.square(x[counted], dtype=np.float64)) for x in (mixed.speech, mixed.noise)
        )
        measured_db = 10 * np.log10(np.divide(*powers))
    if not abs(measured_db - snr_db) < _SNR_TOLERANCE_DB:
        raise ValueError(
            f"snr_db is {snr_db:g}: speech and noise of such different or such low levels do not "
            f"fit into 32-bit floats (it came out as {measured_db:g} dB)"
        )
    return mixed


def active_samples(
    speech: Samples, sample_rate_hz: int = SAMPLE_RATE_HZ, *, remove_mean: bool = True
) -> NDArray[np.bool_]:
    """Find where somebody speaks: frames whose energy is within 40 dB of the loudest frame.

    Args:
        speech: (N,) the clean speech.
        sample_rate_hz: its sampling rate.
        remove_mean: take its mean away first; with a constant offset no frame is a pause.

    Returns:
        (N,) true where a sample lies in at least one active frame of 20 ms (every 10 ms).

    The range of 40 dB is that of STOI (Taal, Hendriks, Heusdens, Jensen 2011, section II), whose
    frames are windowed and 25.6 ms long.
    """
    speech = subtract_mean(speech) if remove_mean else speech
    frame, hop = round(FRAME_S * sample_rate_hz), round(HOP_S * sample_rate_hz)
    frames = frame_count(len(speech), sample_rate_hz)
    signal = frame_signal(speech, frame_samples=frame, hop_samples=hop, frames=frames)
    energies = np.square(signal, dtype=np.float64).sum(axis=1)  # (T,)
    active = np.zeros(len(speech), np.bool_)
    for start in hop * np.flatnonzero(energies > energies.max() * 10 ** (-_ACTIVE_RANGE_DB / 10)):
        active[start : start + frame] = True
    return active


def noise_span(length_samples: int, part: NoisePart, *, dev_share: float = 0.25) -> tuple[int, int]:
    """Where a part of a noise recording starts and ends, so that no part shares a sample.

    Args:
        length_samples: length of the whole recording.
        part: `test` is the second half; `train` the first half without its last `dev_share`, which
            is `dev`; `whole` is everything.
        dev_share: from 0 up to but not including 1.

    Returns:
        First sample and the one after the last; they are equal where a part has none.

    Raises:
        ValueError: the part is unknown or a number is out of its range.

    Convention: training on random cuts of the first half of each noise and testing on cuts of the
    second is that of Wang, Narayanan, Wang 2014; the part for development is our addition.
    """
    if length_samples < 0:
        raise ValueError(f"length_samples is {length_samples}, it cannot be negative")
    if not 0 <= dev_share < 1:
        raise ValueError(f"dev_share is {dev_share}: give a share from 0 up to less than 1")
    half = length_samples // 2
    dev = half - round(dev_share * half)
    spans = {
        "train": (0, dev),
        "dev": (dev, half),
        "test": (half, length_samples),
        "whole": (0, length_samples),
    }
    if part not in spans:
        raise ValueError(f"noise part {part!r} is unknown; use one of {', '.join(spans)}")
    return spans[part]


def plan_mixtures(
    utterances: Sequence[tuple[str, int]],
    noises: Mapping[str, int],
    *,
    part: NoisePart,
    snrs_db: Sequence[float],
    seed: int,
    snr_over: SnrOver = "whole",
    dev_share: float = 0.25,
    remove_mean: bool = True,
    per_utterance: int | None = None,
) -> list[Mixture]:
    """Plan one mixture for each utterance, noise and SNR, each from a random place of the noise.

    Args:
        utterances: id and length in samples at 16 kHz of each.
        noises: length in samples at 16 kHz of each recording, by name.
        part: the part of the recordings to take noise from.
        snrs_db: the SNRs, in dB.
        seed: the same seed gives the same plan. An offset depends on it, the utterance, the noise
            and the SNR, and on nothing else that is listed.
        snr_over: what the SNR is measured over, as in `mix_at_snr`.
        dev_share: as in `noise_span`.
        remove_mean: as in `mix_at_snr`.
        per_utterance: so many mixtures of each utterance at most, their noises and SNRs drawn; None
            makes all.

    Returns:
        The mixtures, sorted by id, with gains still to be found.

    Raises:
        ValueError: one of the three lists is empty or has an entry twice, a name cannot be part of
            an id, or a noise part is shorter than an utterance.
    """
    snrs = [float(snr) + 0.0 for snr in snrs_db]  # + 0.0 turns -0.0 into 0.0
    ids = [id for id, _ in utterances]
    for what, entries in (("utterance", ids), ("noise", list(noises)), ("SNR", snrs)):
        _once_each(what, entries)
    for name in [*ids, *noises]:
        if name.split() != [name] or "/" in name:
            raise ValueError(f"{name!r} cannot be part of a mixture's id: no spaces, no '/'")
    if not all(math.isfinite(snr) for snr in snrs):
        raise ValueError(f"snrs_db is {snrs}: give finite numbers of decibels")

    def drawn(utterance: str) -> set[tuple[str, float]]:
        pairs = [(noise, snr) for noise in noises for snr in snrs]
        pairs.sort(key=lambda pair: _draw(seed, utterance, f"drawn: {pair[0]}", pair[1]))
        return set(pairs[:per_utterance])

    wanted = {id: drawn(id) for id in ids}
    planned = []
    for noise, length in noises.items():
        first, last = noise_span(length, part, dev_share=dev_share)
        for utterance, samples in utterances:
            _require_room(noise, part, last - first, utterance, samples)
            for snr in snrs:
                if (noise, snr) not in wanted[utterance]:
                    continue
                draw = _draw(seed, utterance, noise, snr)
                planned.append(
                    Mixture(
                        id=f"{utterance}_{noise}_{snr:g}dB",
                        utterance=utterance,
                        noise=noise,
                        noise_part=part,
                        offset_samples=first + draw % (last - first - samples + 1),
                        samples=samples,
                        snr_db=snr,
                        snr_over=snr_over,
                        condition=f"{noise}/{snr:g}dB",
                        remove_mean=remove_mean,
                    )
                )
    _once_each("mixture id", [mixture.id for mixture in planned])
    return sorted(planned, key=lambda mixture: mixture.id)


def make_mixture(mixture: Mixture, *, speech: Samples, noise: Samples) -> MixedSignal:
    """Make a planned mixture.

    Args:
        mixture: the line of the table.
        speech: (N,) the whole utterance at 16 kHz.
        noise: the whole noise recording at 16 kHz.

    Returns:
        The mixture; `mixture.with_gains` keeps its gains. Where the line has gains already these
        are used, so that the samples are the same to the bit wherever they are made.

    Raises:
        ValueError: speech or noise is not what the plan was made for, by its length or by the gains
            that it needs, or they cannot be mixed; the message names the mixture.
    """
    last = mixture.offset_samples + mixture.samples
    changed = "the recordings have changed since the mixtures were planned, plan them again"
    if len(speech) != mixture.samples or len(noise) < last:
        raise ValueError(
            f"mixture {mixture.id}: it needs {mixture.samples} samples of {mixture.utterance} and "
            f"{last} of {mixture.noise}, they have {len(speech)} and {len(noise)}: {changed}"
        )
    stretch = noise[mixture.offset_samples : last]
    try:
        mixed = mix_at_snr(
            speech=speech,
            noise=stretch,
            snr_db=mixture.snr_db,
            over=mixture.snr_over,
            remove_mean=mixture.remove_mean,
        )
    except ValueError as error:
        raise ValueError(
            f"mixture {mixture.id} ({mixture.noise} from sample {mixture.offset_samples}): {error}"
        ) from error
    recorded, found = (mixture.noise_gain, mixture.gain), (mixed.noise_gain, mixed.gain)
    for name, old, new in zip(("noise_gain", "gain"), recorded, found, strict=True):
        if old is not None and not math.isclose(old, new, rel_tol=_GAIN_TOLERANCE):
            raise ValueError(
                f"mixture {mixture.id}: its {name} was {old!r} and is now {new!r}: {changed}"
            )
    noise_gain, gain = (
        new if old is None else old for old, new in zip(recorded, found, strict=True)
    )
    speech, noise = _checked("speech", speech), _checked("noise", stretch)
    if mixture.remove_mean:
        speech, noise = subtract_mean(speech), subtract_mean(noise)
    return _apply(speech, noise, noise_gain, gain)


def write_mixtures(path: Path, mixtures: Iterable[Mixture]) -> None:
    """Write a mixture table as JSON lines, sorted by id; the file is replaced as a whole."""
    with atomic_write(path) as file:
        for mixture in sorted(mixtures, key=lambda m: m.id):
            # As it was written before there was that field, so that the table has the same digest.
            unsaid = None if mixture.remove_mean else {"remove_mean"}
            file.write(_LINE.dump_json(mixture, exclude=unsaid).decode() + "\n")


def read_mixtures(path: Path) -> list[Mixture]:
    """Read a mixture table.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not a complete record or repeats an id; the message has the file and
            the line number.
    """
    mixtures: dict[str, Mixture] = {}
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                mixture = _LINE.validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                raise ValueError(
                    f"{path}:{number}: not a mixture ({where}{': ' if where else ''}{first['msg']})"
                ) from error
            if mixture.id in mixtures:
                raise ValueError(f"{path}:{number}: the id {mixture.id} is in the table already")
            mixtures[mixture.id] = mixture
    return list(mixtures.values())


def _checked(what: str, samples: Samples) -> Samples:
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.dtype.kind != "f" or not len(samples):
        raise ValueError(
            f"{what} is {samples.dtype} of shape {samples.shape}: one channel of floats expected"
        )
    if not np.isfinite(samples).all():
        first = int(np.argmin(np.isfinite(samples)))
        raise ValueError(f"{what}: sample {first} is {samples[first]}, not a finite number")
    return samples.astype(np.float32, copy=False)


def _energy(what: str, samples: Samples) -> float:
    energy = float(np.sum(np.square(samples, dtype=np.float64)))
    if not energy > 0:
        raise ValueError(f"{what} is silent: zeros or a constant where the SNR is measured")
    return energy


def _common_gain(speech: Samples, noise: Samples, noise_gain: float) -> float:
    unscaled = _apply(speech, noise, noise_gain, 1.0)
    parts = (unscaled.speech, unscaled.noise, unscaled.noisy)
    peak = max(float(np.abs(x).max()) for x in parts)
    return _PEAK / peak if peak > 1 else 1.0


def _apply(speech: Samples, noise: Samples, noise_gain: float, gain: float) -> MixedSignal:
    speech = (speech.astype(np.float64) * gain).astype(np.float32)
    noise = (noise.astype(np.float64) * (noise_gain * gain)).astype(np.float32)
    return MixedSignal(speech, noise, speech + noise, noise_gain, gain)


def _draw(seed: int, utterance: str, noise: str, snr_db: float) -> int:
    key = json.dumps([seed, utterance, noise, snr_db])
    return int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")


def _once_each(what: str, entries: Sequence[object]) -> None:
    if not entries:
        raise ValueError(f"nothing to mix: there is no {what}")
    twice = [entry for entry, count in Counter(entries).items() if count > 1]
    if twice:
        raise ValueError(f"the {what} {twice[0]} is listed twice")


def _require_room(noise: str, part: str, room: int, utterance: str, samples: int) -> None:
    if samples < 1:
        raise ValueError(f"utterance {utterance} has {samples} samples")
    if room < samples:
        raise ValueError(
            f"noise {noise}: its part {part!r} has {room / SAMPLE_RATE_HZ:.2f} s, utterance "
            f"{utterance} has {samples / SAMPLE_RATE_HZ:.2f} s. Leave out this noise or the "
            "longer utterances, take a longer recording, or change dev_share"
        )
