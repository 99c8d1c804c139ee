"""Manifests as ESPnet reads them: `wav.scp`, `utt2spk` and `text`, sorted by utterance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from squall.audio.containers import SAMPLE_BYTES, inspect, sphere_header
from squall.audio.reading import END_TOLERANCE_S, SAMPLE_RATE_HZ, audio_info
from squall.corpora.manifest import Utterance, raw_format, read_utterance
from squall.files import atomic_path, atomic_write
from squall.text.phones import PhoneSet, fold_phones
from squall.text.tokens import PHONE_UNITS, normalize_text, own_marks

__all__ = [
    "export_split",
    "export_texts",
    "folded_phones",
    "reference_texts",
    "target_texts",
]

_READ_BY_ESPNET = ("WAV", "WAVEX", "FLAC")


def export_split(
    utterances: Sequence[Utterance],
    directory: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write one split, converting only the audio that ESPnet cannot read as it lies.

    Training gets the very samples that `read_utterance` gives for decoding. A whole WAV or FLAC
    file of 16 kHz mono is referred to where it is. Everything else (a stretch of a file, another
    rate, several channels, SPHERE under whatever name, raw) goes to `audio/`: as 16-bit FLAC where
    its samples are 16-bit integers, as WAV of 32-bit floats where they are not.

    Args:
        utterances: the split.
        directory: where the two files and `audio/` go.
        progress: told (utterances done, utterances in all).

    Returns:
        How many utterances were converted.

    Raises:
        AudioError: a file cannot be read.
    """
    ordered = sorted(utterances, key=lambda utterance: utterance.id)
    converted = 0
    paths = []
    for done, utterance in enumerate(ordered, start=1):
        path = Path(utterance.audio_path)
        if not _as_it_lies(utterance):
            path = _convert(utterance, directory / "audio")
            converted += 1
        paths.append(path)
        progress(done, len(ordered))
    ids = [utterance.id for utterance in ordered]
    speakers = [utterance.speaker for utterance in ordered]
    _write_columns(directory / "wav.scp", dict(zip(ids, paths, strict=True)))
    _write_columns(directory / "utt2spk", dict(zip(ids, speakers, strict=True)))
    return converted


def reference_texts(
    utterances: Sequence[Utterance], *, units: str, normalization: str = "identity"
) -> dict[str, str]:
    """What a recogniser should write for each utterance, in the units that it writes.

    Args:
        utterances: the split.
        units, normalization: as in `TokensConfig`.

    Returns:
        By id, in sorted order: the words of the utterance, or for units that are phones its phones,
        folded, with spaces between them.

    Raises:
        ValueError: the units are phones, and an utterance has none or one that is not TIMIT's; or a
            text has what the units keep for a mark of their own.
    """
    if units not in PHONE_UNITS:
        ordered = sorted(utterances, key=lambda utterance: utterance.id)
        texts = {u.id: normalize_text(u.text, normalization) for u in ordered}
        for identifier, text in texts.items():
            if marks := own_marks(text, units=units):
                raise ValueError(
                    f"{identifier}: its text has {marks[0]!r}, which tokens.units={units} keeps "
                    "for itself: take it out of the transcript, or set tokens.units to char"
                )
        return texts
    phones = folded_phones(utterances, classes=PHONE_UNITS[units])
    return {identifier: " ".join(folded) for identifier, folded in phones.items()}


def target_texts(
    utterances: Sequence[Utterance], *, units: str, normalization: str = "identity"
) -> dict[str, str]:
    """`reference_texts` of what a recogniser is trained on.

    Raises:
        ValueError: also when an utterance has only glottal stops, which leaves it without a phone.
    """
    texts = reference_texts(utterances, units=units, normalization=normalization)
    empty = [identifier for identifier, text in texts.items() if not text and units in PHONE_UNITS]
    if empty:
        raise ValueError(
            f"folding leaves nothing of the phones of {', '.join(empty)}: there is nothing to "
            "learn from glottal stops alone, leave these utterances out of the corpus"
        )
    return texts


def folded_phones(utterances: Sequence[Utterance], *, classes: PhoneSet) -> dict[str, list[str]]:
    """The phones of each utterance, folded; by id, in sorted order.

    An utterance of glottal stops alone has none left.

    Raises:
        ValueError: an utterance has no phones at all, or one that is not TIMIT's.
    """
    without = sorted(utterance.id for utterance in utterances if not utterance.phones)
    if without:
        raise ValueError(
            f"{len(without)} of {len(utterances)} utterances have no phones, the first is "
            f"{without[0]}: set tokens.units to char, bpe or word, or give a corpus that has "
            "TIMIT's phones"
        )
    folded = {}
    for utterance in sorted(utterances, key=lambda utterance: utterance.id):
        labels = [phone.label for phone in utterance.phones]
        try:
            folded[utterance.id] = fold_phones(labels, classes=classes)
        except ValueError as error:
            raise ValueError(f"{utterance.id}: {error}") from error
    return folded


def export_texts(texts: Mapping[str, str], path: Path) -> None:
    """Write a `text` file: the id and the text of each utterance."""
    _write_columns(path, texts)


def _write_columns(path: Path, values: Mapping[str, object]) -> None:
    with atomic_write(path) as file:
        file.writelines(f"{key} {value}\n" for key, value in values.items())


def _as_it_lies(utterance: Utterance) -> bool:
    """ESPnet, which reads with libsndfile alone and from start to end, gets the same samples."""
    path = utterance.audio_path
    if utterance.sample_rate_hz != SAMPLE_RATE_HZ or raw_format(utterance) is not None:
        return False
    info = audio_info(path)
    behind_s = utterance.duration_s - info.duration_s
    is_whole = utterance.start_s == 0 and -0.5 / SAMPLE_RATE_HZ < behind_s <= END_TOLERANCE_S
    if not is_whole or info.channels != 1:
        return False
    if info.sample_rate_hz != SAMPLE_RATE_HZ or sphere_header(Path(path)) is not None:
        return False
    if inspect(Path(path)).conversions:
        return False
    plain = soundfile.info(path)
    is_read = plain.format in _READ_BY_ESPNET and plain.subtype in SAMPLE_BYTES
    return is_read and plain.frames == info.frames


def _convert(utterance: Utterance, folder: Path) -> Path:
    samples = read_utterance(utterance, sample_rate_hz=SAMPLE_RATE_HZ).samples
    integers = _as_integers(samples)
    target = folder / f"{utterance.id}{'.wav' if integers is None else '.flac'}"
    with atomic_path(target) as path:
        if integers is None:
            soundfile.write(path, samples, SAMPLE_RATE_HZ, format="WAV", subtype="FLOAT")
        else:
            soundfile.write(path, integers, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return target


def _as_integers(samples: NDArray[np.float32]) -> NDArray[np.int16] | None:
    """The 16-bit integers that these samples are; None where they are not."""
    scaled = samples * np.float32(32768)
    integers = np.clip(scaled, -32768, 32767).astype(np.int16)
    return integers if np.array_equal(integers, scaled) else None
