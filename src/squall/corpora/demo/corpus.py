"""The demo corpus: twenty synthetic voices that say commands, on disk in TIMIT's layout."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from squall.corpora.demo.language import draw_sentences, vocabulary
from squall.corpora.demo.recording import VOICES, DemoVoice, write_recording
from squall.corpora.manifest import Utterance
from squall.corpora.timit_layout import find_recordings, read_recording

__all__ = ["SPLITS", "prepare_demo", "write_demo_corpus"]

SPLITS = ("train", "dev", "test")


def write_demo_corpus(
    folder: Path,
    *,
    seed: int = 0,
    train_per_voice: int = 36,
    dev_per_voice: int = 20,
    test_per_voice: int = 20,
    jobs: int = 1,
) -> None:
    """Speak the corpus and write it, whole or not at all.

    The layout is TIMIT's, TRAIN or TEST / region / speaker / sentence, with the voices of dev under
    TEST; each sentence is a RIFF `.WAV` (16 kHz, 16 bit, one channel), `.TXT`, `.WRD` and `.PHN`.
    Speed, pitch, level and noise vary from utterance to utterance, as `write_recording` says. No
    sentence of dev or test occurs in train.

    Args:
        folder: where to write; it must not exist.
        seed: the same seed gives the same bits, with any number of jobs.
        train_per_voice: utterances of each of the 14 training voices.
        dev_per_voice: utterances of each of the 2 development voices.
        test_per_voice: utterances of each of the 4 test voices.
        jobs: how many utterances to speak at a time.

    Raises:
        FileExistsError: the folder is there already.
        squall.corpora.demo.espeak.EspeakError: eSpeak NG is not installed or fails.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder}: is there already; use it, or remove it to write it anew")
    counts = {"train": train_per_voice, "dev": dev_per_voice, "test": test_per_voice}
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        lines = list(enumerate(_script(seed, counts)))
        with ThreadPoolExecutor(jobs) as pool:
            versions = set(pool.map(lambda line: _write_line(part, line, seed), lines))
        readme = _readme(seed, len(lines), " ".join(sorted(versions)))
        (part / "README.TXT").write_text(readme, encoding="utf-8")
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def prepare_demo(folder: Path) -> dict[str, list[Utterance]]:
    """Read the corpus back from disk.

    Args:
        folder: what `write_demo_corpus` wrote.

    Returns:
        The utterances of each split, with text, words and phones, sorted by id.

    Raises:
        FileNotFoundError: the folder is not there, or a split has no recording.
        ValueError: a file is broken or the folder of a speaker is not one of the corpus; the
            message has the file.
    """
    splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    split_of = {voice.label: voice.split for voice in VOICES}
    for recording in find_recordings(folder):
        speaker = recording.parent.name
        if speaker not in split_of:
            raise ValueError(f"{recording}: {speaker!r} is not a speaker of the demo corpus")
        name = f"{speaker}_{recording.stem}"
        utterance = read_recording(recording, utterance_id=name, speaker=speaker)
        splits[split_of[speaker]].append(utterance)
    for split, utterances in splits.items():
        if not utterances:
            raise FileNotFoundError(f"{folder}: no recording of the {split} speakers in it")
        utterances.sort(key=lambda u: u.id)
    return splits


@dataclass(frozen=True)
class _Line:
    voice: DemoVoice
    number: int
    text: str


def _script(seed: int, counts: dict[str, int]) -> list[_Line]:
    random = np.random.default_rng([seed, 0])
    lines: list[_Line] = []
    # Held-out sentences come first, so that train can avoid them.
    for split in reversed(SPLITS):
        avoid = {line.text for line in lines} if split == "train" else set()
        for voice in (v for v in VOICES if v.split == split):
            texts = draw_sentences(counts[split], random=random, avoid=avoid)
            lines += [_Line(voice, number, text) for number, text in enumerate(texts, start=1)]
    return lines


def _write_line(corpus: Path, numbered: tuple[int, _Line], seed: int) -> str:
    index, line = numbered
    top = "TRAIN" if line.voice.split == "train" else "TEST"
    stem = corpus / top / line.voice.region / line.voice.label / f"S{line.number:03d}"
    # A stream of its own per utterance: the order in which they are spoken does not matter.
    random = np.random.default_rng([seed, 1, index])
    return write_recording(stem, line.text, voice=line.voice, random=random)


def _readme(seed: int, count: int, version: str) -> str:
    voices = "\n".join(
        f"{v.label}  {v.split:5}  {v.region}  {v.voice:24} {v.rate_wpm} wpm  pitch {v.pitch}"
        for v in VOICES
    )
    return (
        "squall's demo corpus\n\n"
        "This is synthetic speech by eSpeak NG; no person speaks here. It shows that the recipes\n"
        "run; error rates on it say nothing about recognition of people.\n\n"
        f"engine      eSpeak NG {version}\nseed        {seed}\nutterances  {count}\n"
        "layout      TIMIT's: TRAIN|TEST/region/speaker/sentence.WAV .TXT .WRD .PHN\n"
        "audio       RIFF, 16 kHz, 16 bit, one channel; pink noise at 20 to 30 dB SNR\n"
        "phones      eSpeak NG mnemonics without stress; h# at both ends, pau inside\n"
        f"words       {' '.join(vocabulary())}\n\n"
        f"speaker  split  region  voice\n{voices}\n"
    )
