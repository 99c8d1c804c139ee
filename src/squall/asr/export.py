"""Manifests as ESPnet reads them: `wav.scp`, `utt2spk` and `text`, sorted by utterance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import soundfile

from squall.audio.containers import sphere_header
from squall.audio.reading import audio_info
from squall.corpora.manifest import Utterance, raw_format, read_utterance
from squall.files import atomic_path, atomic_write
from squall.text.phones import PhoneSet, fold_phones
from squall.text.tokens import PHONE_UNITS, normalize_text, own_marks

__all__ = [
    "SAMPLE_RATE_HZ",
    "export_split",
    "export_texts",
    "folded_phones",
    "reference_texts",
    "target_texts",
]

SAMPLE_RATE_HZ = 16000
"""Every recogniser works on 16 kHz mono."""

_READ_BY_ESPNET = ("WAV", "WAVEX", "FLAC")


def export_split(
    utterances: Sequence[Utterance],
    directory: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write one split, converting only the audio that ESPnet cannot read as it lies.

    A whole WAV or FLAC file of 16 kHz mono is referred to where it is. Everything else (a stretch
    of a file, another rate, several channels, SPHERE under whatever name, raw) becomes 16-bit FLAC
    under `audio/`.

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
            path = directory / "audio" / f"{utterance.id}.flac"
            _convert(utterance, path)
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
    path = utterance.audio_path
    if utterance.sample_rate_hz != SAMPLE_RATE_HZ or raw_format(utterance) is not None:
        return False
    info = audio_info(path)
    whole = utterance.start_s == 0 and abs(info.duration_s - utterance.duration_s) < 1e-3
    if info.channels != 1 or not whole or sphere_header(Path(path)) is not None:
        return False
    return soundfile.info(path).format in _READ_BY_ESPNET


def _convert(utterance: Utterance, target: Path) -> None:
    audio = read_utterance(utterance, sample_rate_hz=SAMPLE_RATE_HZ)
    with atomic_path(target) as path:
        soundfile.write(path, audio.samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
