"""The demo corpus's voices, and one utterance of them: speech, level, noise and labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from squall.corpora.demo.espeak import SILENCE, Speaker, Speech, speak
from squall.corpora.manifest import Interval
from squall.corpora.timit_layout import SampleInterval, write_intervals
from squall.files import atomic_path

__all__ = ["VOICES", "DemoVoice", "write_recording"]

# TIMIT's rate, and a peak that leaves no sample clipped.
_RATE_HZ = 16000
_PEAK = 0.95
_RATE_JITTER_WPM = 12
_PITCH_JITTER = 6
_RANGE_JITTER = 10
_LEVEL_DB = (-28.0, -22.0)
_SNR_DB = (20.0, 30.0)
_EDGE_S = (0.10, 0.25)


@dataclass(frozen=True)
class DemoVoice:
    """A speaker of the demo corpus.

    Args:
        label: sex (F or M), three letters and a digit, as TIMIT names speakers.
        split: train, dev or test.
        region: folder of the accent: DR1 American, DR2 British, DR3 Received Pronunciation, DR4
            Scottish.
        voice: the eSpeak NG voice.
        rate_wpm: usual speed in words per minute.
        pitch: usual pitch, 0 to 99.
    """

    label: str
    split: str
    region: str
    voice: str
    rate_wpm: int
    pitch: int


VOICES = (
    DemoVoice("MAAA0", "train", "DR1", "gmw/en-US", 160, 45),
    DemoVoice("MAAB0", "train", "DR1", "gmw/en-US+m1", 150, 52),
    DemoVoice("MAAC0", "train", "DR1", "gmw/en-US+m3", 170, 42),
    DemoVoice("MAAD0", "train", "DR1", "gmw/en-US+Mike", 155, 58),
    DemoVoice("FAAE0", "train", "DR1", "gmw/en-US+f1", 160, 48),
    DemoVoice("FAAF0", "train", "DR1", "gmw/en-US+f2", 170, 55),
    DemoVoice("FAAG0", "train", "DR1", "gmw/en-US+linda", 150, 40),
    DemoVoice("MBAA0", "train", "DR2", "gmw/en+m4", 165, 50),
    DemoVoice("MBAB0", "train", "DR2", "gmw/en+Michael", 150, 55),
    DemoVoice("FBAC0", "train", "DR2", "gmw/en+f3", 165, 42),
    DemoVoice("FBAD0", "train", "DR2", "gmw/en+belinda", 155, 45),
    DemoVoice("MRAA0", "train", "DR3", "gmw/en-GB-x-rp+m7", 160, 46),
    DemoVoice("FRAB0", "train", "DR3", "gmw/en-GB-x-rp+f1", 155, 56),
    DemoVoice("FSAA0", "train", "DR4", "gmw/en-GB-scotland+f2", 160, 45),
    DemoVoice("MADA0", "dev", "DR1", "gmw/en-US+Gene", 158, 50),
    DemoVoice("FBDB0", "dev", "DR2", "gmw/en+f5", 158, 45),
    DemoVoice("MATA0", "test", "DR1", "gmw/en-US+m8", 162, 55),
    DemoVoice("FATB0", "test", "DR1", "gmw/en-US+f4", 156, 48),
    DemoVoice("MBTC0", "test", "DR2", "gmw/en+m6", 156, 48),
    DemoVoice("FBTD0", "test", "DR2", "gmw/en+Annie", 162, 42),
)
"""Ten men and ten women; no variant of dev and test occurs in train."""


def write_recording(stem: Path, text: str, *, voice: DemoVoice, random: np.random.Generator) -> str:
    """Say a text and write it as `.WAV` (16 kHz, 16 bit, one channel), `.TXT`, `.WRD` and `.PHN`.

    So that a sentence said twice is not the same twice, each utterance has its own speed (the
    voice's, +-12 words per minute), pitch (+-6), pitch range (50 +-10), level (the speech's RMS is
    28 to 22 dB below full scale), silence at both ends (0.10 to 0.25 s) and pink noise (20 to 30 dB
    below the speech), all drawn evenly.

    Args:
        stem: the path of the four files without their suffix; its folder is made.
        text: words of upper-case letters, separated by single spaces.
        voice: who says it.
        random: where the variation comes from.

    Returns:
        The version of eSpeak NG.

    Raises:
        squall.corpora.demo.espeak.EspeakError: eSpeak NG is not installed or fails.
        RuntimeError: it reports other words than those of the text.
    """
    speaker = Speaker(
        voice=voice.voice,
        rate_wpm=voice.rate_wpm + _jitter(random, _RATE_JITTER_WPM),
        pitch=voice.pitch + _jitter(random, _PITCH_JITTER),
        pitch_range=50 + _jitter(random, _RANGE_JITTER),
    )
    speech = speak(text, speaker)
    if [word.label for word in speech.words] != text.split():
        raise RuntimeError(f"eSpeak NG says {speech.words} for {text!r}")
    samples, start = _record(speech, random)
    stem.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(stem.with_suffix(".WAV")) as path:
        soundfile.write(path, samples, _RATE_HZ, format="WAV", subtype="PCM_16")
    write_intervals(stem.with_suffix(".TXT"), [SampleInterval(0, len(samples), text)])
    write_intervals(stem.with_suffix(".WRD"), _place(speech.words, start))
    write_intervals(stem.with_suffix(".PHN"), _phones(speech.phones, start, len(samples)))
    return speech.engine_version


def _jitter(random: np.random.Generator, width: int) -> int:
    return int(random.integers(-width, width + 1))


def _record(speech: Speech, random: np.random.Generator) -> tuple[NDArray[np.int16], int]:
    """Set level, edges and noise; return 16-bit samples and the number of the first spoken one."""
    level_db, snr_db = random.uniform(*_LEVEL_DB), random.uniform(*_SNR_DB)
    before, after = (round(random.uniform(*_EDGE_S) * _RATE_HZ) for _ in range(2))
    clean = soxr.resample(speech.samples.astype(np.float64), speech.sample_rate_hz, _RATE_HZ, "HQ")
    rms = 10 ** (level_db / 20)
    clean = np.pad(clean * (rms / np.sqrt(np.mean(clean**2))), (before, after))
    noise = _pink_noise(len(clean), random) * rms * 10 ** (-snr_db / 20)
    mixed = clean + noise
    mixed *= min(1.0, _PEAK / np.abs(mixed).max())
    return np.round(mixed * 32767).astype(np.int16), before


def _pink_noise(length: int, random: np.random.Generator) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(random.standard_normal(length))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, length)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _place(intervals: tuple[Interval, ...], start: int) -> list[SampleInterval]:
    def sample(time_s: float) -> int:
        return start + round(time_s * _RATE_HZ)

    return [SampleInterval(sample(i.start_s), sample(i.end_s), i.label) for i in intervals]


def _phones(phones: tuple[Interval, ...], start: int, length: int) -> list[SampleInterval]:
    spoken = [p for p in _place(phones, start) if p.label != SILENCE]
    placed: list[SampleInterval] = []
    end = 0
    for phone in spoken:
        if phone.start > end:
            placed.append(SampleInterval(end, phone.start, "pau" if placed else "h#"))
        placed.append(phone)
        end = phone.end
    return [*placed, SampleInterval(end, length, "h#")]
