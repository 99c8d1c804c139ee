"""Manifests as ESPnet reads them: `wav.scp`, `text` and `utt2spk`, sorted by utterance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import soundfile

from squall.audio.containers import sphere_header
from squall.audio.reading import audio_info
from squall.corpora.manifest import Utterance, raw_format, read_utterance
from squall.files import atomic_path, atomic_write

__all__ = ["SAMPLE_RATE_HZ", "export_split"]

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
        directory: where the three files and `audio/` go.
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
    columns: dict[str, Sequence[object]] = {
        "wav.scp": paths,
        "text": [utterance.text for utterance in ordered],
        "utt2spk": [utterance.speaker for utterance in ordered],
    }
    for name, values in columns.items():
        with atomic_write(directory / name) as file:
            file.writelines(f"{u.id} {v}\n" for u, v in zip(ordered, values, strict=True))
    return converted


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
