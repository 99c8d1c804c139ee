"""LibriSpeech: about 1,000 hours of read audiobooks, 16 kHz FLAC.

Panayotov, Chen, Povey, Khudanpur, *LibriSpeech: an ASR corpus based on public domain audio books*,
ICASSP 2015.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from squall.corpora.manifest import Utterance, file_info

__all__ = ["prepare_librispeech"]

_SAMPLE_RATE_HZ = 16000
_SHOWN = 5


def prepare_librispeech(
    corpus_dir: Path,
    *,
    train: Sequence[str] = ("train-clean-100",),
    dev: Sequence[str] = ("dev-clean",),
    test: Sequence[str] = ("test-clean",),
) -> dict[str, list[Utterance]]:
    """Read LibriSpeech's layout: SET/SPEAKER/CHAPTER with `.flac` files and one `.trans.txt` each.

    Args:
        corpus_dir: the folder `LibriSpeech`, or the one that holds it.
        train: the sets to train on; several are put together. One name alone may be given as such.
        dev: the sets for development.
        test: the sets to test on.

    Returns:
        Utterances of the splits `train`, `dev` and `test`, each sorted by id. Ids, speakers and the
        upper-case text are LibriSpeech's own. An utterance whose audio is broken has a duration of
        0, so that `validate` lists it.

    Raises:
        FileNotFoundError: a set is not there (the message lists those that are), it has no
            transcript, a transcript has no audio or audio has no transcript.
        ValueError: a line of a transcript is not `ID WORDS` with an id of its chapter, an id occurs
            twice, or a set is named twice or a split has none.
    """
    wanted = {
        split: tuple(names) if isinstance(names, list | tuple) else (names,)
        for split, names in (("train", train), ("dev", dev), ("test", test))
    }
    uses = Counter(name for names in wanted.values() for name in names)
    twice = [name for name, count in uses.items() if count > 1]
    if twice or not all(wanted.values()) or not all(isinstance(name, str) for name in uses):
        reason = f"{twice[0]} is named twice" if twice else "each split needs the name of a set"
        raise ValueError(f"LibriSpeech sets {wanted}: {reason}")
    root = _root(Path(corpus_dir), list(uses))
    return {
        split: sorted((u for name in names for u in _read_set(root / name)), key=lambda u: u.id)
        for split, names in wanted.items()
    }


def _root(corpus_dir: Path, names: Sequence[str]) -> Path:
    root = corpus_dir / "LibriSpeech"
    root = root if root.is_dir() else corpus_dir
    if not root.is_dir():
        raise FileNotFoundError(f"{corpus_dir}: there is no such folder")
    missing = [name for name in names if not (root / name).is_dir()]
    if missing:
        there = sorted(path.name for path in root.iterdir() if path.is_dir()) or ["no folders"]
        raise FileNotFoundError(
            f"{root}: no folder {', '.join(missing)}; there are {', '.join(there)}. "
            "Give the folder LibriSpeech with --corpus-dir, or name the sets in corpus.options"
        )
    return root


def _read_set(folder: Path) -> list[Utterance]:
    transcripts = sorted(folder.glob("*/*/*.trans.txt"))
    if not transcripts:
        raise FileNotFoundError(f"{folder}: no SPEAKER/CHAPTER/*.trans.txt in it")
    texts: dict[Path, str] = {}
    for transcript in transcripts:
        for identifier, text in _read_transcript(transcript).items():
            texts[transcript.parent / f"{identifier}.flac"] = text
    recordings = set(folder.glob("*/*/*.flac"))
    _require_none(folder, "have no audio", sorted(texts.keys() - recordings))
    _require_none(folder, "have no transcript", sorted(recordings - texts.keys()))
    return [_utterance(path, text) for path, text in sorted(texts.items())]


def _read_transcript(path: Path) -> dict[str, str]:
    prefix = f"{path.parent.parent.name}-{path.parent.name}-"
    texts: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        identifier, *words = line.split()
        if not words or not identifier.startswith(prefix):
            raise ValueError(f"{path}:{number}: expected `{prefix}NUMBER WORDS`, found {line!r}")
        if identifier in texts:
            raise ValueError(f"{path}:{number}: {identifier} is in the transcript already")
        texts[identifier] = " ".join(words)
    return texts


def _utterance(path: Path, text: str) -> Utterance:
    info = file_info(path, sample_rate_hz=_SAMPLE_RATE_HZ)
    return Utterance(
        id=path.stem,
        audio_path=str(path.absolute()),
        start_s=0.0,
        duration_s=info.duration_s,
        sample_rate_hz=info.sample_rate_hz,
        speaker=path.parent.parent.name,
        text=text,
    )


def _require_none(folder: Path, what: str, paths: Sequence[Path]) -> None:
    if paths:
        shown = ", ".join(str(path.relative_to(folder)) for path in paths[:_SHOWN])
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        raise FileNotFoundError(
            f"{folder}: {len(paths)} utterance(s) {what}: {shown}{more}. "
            "Unpack the archive again, or remove what is left of them"
        )
