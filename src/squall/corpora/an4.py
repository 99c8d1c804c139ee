"""CMU AN4, the "census" corpus: spelled words, names, addresses, numbers and control words.

948 training and 130 test utterances, 0.81 h, 84 speakers, 16 kHz close-talking microphone, recorded
at Carnegie Mellon University around 1991 (Acero, *Acoustical and environmental robustness in
automatic speech recognition*, 1993).

lhotse has no reader for AN4, so this one is our own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from squall.audio.reading import RawFormat
from squall.corpora.manifest import Utterance, file_info
from squall.files import read_text

__all__ = ["AN4_SAMPLE_RATE_HZ", "hold_out_speakers", "prepare_an4"]

AN4_SAMPLE_RATE_HZ = 16000
"""Sampling rate of the headerless `.raw` distribution."""

_SUFFIXES = (".sph", ".flac", ".wav", ".raw")
_LINE = re.compile(r"^(?P<text>.*)\((?P<id>[^()\s]+)\)\s*$")
_MARK = re.compile(r"<[^>]*>")


def prepare_an4(corpus_dir: Path, *, dev_speakers: int = 8) -> dict[str, list[Utterance]]:
    """Read the original tree into the splits `train`, `dev` and `test`.

    Args:
        corpus_dir: the folder that holds `etc/` (lists and transcripts) and `wav/` (audio as
            `.sph`, `.flac`, `.wav` or headerless `.raw`); its parent folder is accepted too.
        dev_speakers: number of training speakers that become the development set.

    Returns:
        Utterances of each split, sorted by id. Ids are the file names, which AN4 keeps unique. An
        utterance whose audio is missing or broken has a duration of 0, so that `validate` lists it
        with the others.

    Raises:
        FileNotFoundError: a list or the folder `wav/` is missing.
        ValueError: a line of a list does not have AN4's form, a list is not UTF-8, or list and
            transcript disagree.

    Convention:
        AN4 has no development set. ESPnet and Kaldi take the first 100 training utterances, whose
        speakers stay in the training set; here whole speakers are held out, spread evenly over the
        sorted speaker labels, so that the development set measures new voices as the test set does.
        Sentence marks (`<s>`, `</s>`, `<sil>`) are not words and are left out of the text.
    """
    root = _root(Path(corpus_dir))
    if not (root / "wav").is_dir():
        raise FileNotFoundError(f"{root / 'wav'} is missing; AN4 has its recordings there")
    train = _read_split(root, "train")
    test = _read_split(root, "test")
    train, dev = hold_out_speakers(train, dev_speakers)
    return {"train": train, "dev": dev, "test": test}


def hold_out_speakers(
    utterances: Sequence[Utterance], count: int
) -> tuple[list[Utterance], list[Utterance]]:
    """Split off the utterances of `count` speakers, spread evenly over the sorted labels.

    Raises:
        ValueError: `count` is not from 1 to the number of speakers less one.
    """
    speakers = sorted({utterance.speaker for utterance in utterances})
    if not 0 < count < len(speakers):
        raise ValueError(
            f"cannot hold out {count} of {len(speakers)} training speakers: "
            "set corpus.dev_speakers to a number from 1 up that leaves some to train on"
        )
    step = len(speakers) / count
    held = {speakers[int(step * (k + 0.5))] for k in range(count)}
    kept = [u for u in utterances if u.speaker not in held]
    return kept, [u for u in utterances if u.speaker in held]


def _root(corpus_dir: Path) -> Path:
    for folder in (corpus_dir, corpus_dir / "an4"):
        if (folder / "etc" / "an4_train.fileids").is_file():
            return folder
    raise FileNotFoundError(
        f"{corpus_dir}: no AN4 here (etc/an4_train.fileids is missing). Give the folder that holds "
        "etc/ and wav/ with --corpus-dir, or fetch the corpus with --download"
    )


def _read_split(root: Path, split: str) -> list[Utterance]:
    ids = _lines(root / "etc" / f"an4_{split}.fileids")
    transcript = _lines(root / "etc" / f"an4_{split}.transcription")
    if len(ids) != len(transcript):
        raise ValueError(
            f"{root / 'etc'}: an4_{split}.fileids has {len(ids)} lines and "
            f"an4_{split}.transcription has {len(transcript)}; they must list the same utterances"
        )
    utterances = [
        _utterance(root, split, number, file_id, line)
        for number, (file_id, line) in enumerate(zip(ids, transcript, strict=True), start=1)
    ]
    return sorted(utterances, key=lambda u: u.id)


def _utterance(root: Path, split: str, number: int, file_id: str, line: str) -> Utterance:
    where = f"{root / 'etc'}/an4_{split}.transcription:{number}"
    match = _LINE.match(line)
    if match is None:
        raise ValueError(f"{where}: expected `WORDS (id)`, found {line!r}")
    parts = Path(file_id).parts
    if len(parts) < 2 or parts[-1] != match["id"]:
        raise ValueError(
            f"{where}: transcript of {match['id']!r} stands where the list has {file_id!r}"
        )
    path = _audio_path(root / "wav" / file_id)
    raw = RawFormat(AN4_SAMPLE_RATE_HZ) if path.suffix == ".raw" else None
    info = file_info(path, sample_rate_hz=AN4_SAMPLE_RATE_HZ, raw=raw)
    return Utterance(
        id=parts[-1],
        audio_path=str(path.absolute()),
        start_s=0.0,
        duration_s=info.duration_s,
        sample_rate_hz=info.sample_rate_hz,
        speaker=parts[-2],
        text=" ".join(_MARK.sub(" ", match["text"]).upper().split()),
    )


def _audio_path(stem: Path) -> Path:
    for suffix in _SUFFIXES:
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    return stem.with_name(stem.name + _SUFFIXES[0])


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; AN4 has its lists under etc/")
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]
