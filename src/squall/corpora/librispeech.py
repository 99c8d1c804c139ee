"""LibriSpeech: about 1,000 hours of read audiobooks, 16 kHz FLAC.

Panayotov, Chen, Povey, Khudanpur, *LibriSpeech: an ASR corpus based on public domain audio books*,
ICASSP 2015.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squall.corpora.archive import ArchiveError, extract_into
from squall.corpora.download import Archive
from squall.corpora.manifest import Utterance, file_info
from squall.files import read_text, visible_files

__all__ = ["PARTS", "SUBSETS", "Part", "missing_parts", "prepare_librispeech", "unpack_part"]

_log = logging.getLogger(__name__)

_SAMPLE_RATE_HZ = 16000
_SHOWN = 5
_FOLDER = "LibriSpeech"  # of the whole corpus, in each archive
_TRAIN, _DEV, _TEST = ("train-clean-100",), ("dev-clean",), ("test-clean",)  # where none are named

MIRRORS = (
    "https://www.openslr.org/resources",
    "https://openslr.trmal.net/resources",
    "https://openslr.elda.org/resources",
    "https://openslr.magicdatatech.com/resources",
)
"""OpenSLR and its mirrors in the US, in Europe and in China."""


@dataclass(frozen=True)
class Part:
    """One set of the corpus as OpenSLR has it.

    Args:
        resource: number of the OpenSLR resource.
        size_bytes: length of the archive.
        md5: digest of the archive.
        utterances: how many it has; None where that is not published.
    """

    resource: int
    size_bytes: int
    md5: str
    utterances: int | None


PARTS = {
    "train-clean-100": Part(12, 6387309499, "2a93770f6d5c6c964bc36631d331a522", 28539),
    "train-clean-360": Part(12, 23049477885, "c0e676e450a7ff2f54aeade5171606fa", 104014),
    "train-other-500": Part(12, 30593501606, "d1a0fd59409feb2c614ce4d30c387708", 148688),
    "dev-clean": Part(12, 337926286, "42e2234ba48799c1f50f24a7926300a1", 2703),
    "dev-other": Part(12, 314305928, "c8d0bcc9cca99d4f8b62fcc847357931", 2864),
    "test-clean": Part(12, 346663984, "32fa31d27d2e1cad72775fee3f4849a9", 2620),
    "test-other": Part(12, 328757843, "fb5a50374b501bb3bac4815ee91d3135", 2939),
    "train-clean-5": Part(31, 332954390, "5df7d4e78065366204ca6845bb08f490", None),
    "dev-clean-2": Part(31, 126046265, "6d7ab67ac6a1d2c993d050e16d61080d", 1089),
}
"""The sets that can be fetched. Digests are those of `md5sum.txt` of OpenSLR 12 and 31, compared
with what PaddleSpeech and pytorch-database-prep quote; sizes are those of Kaldi's
`download_and_untar.sh`; numbers of utterances those of S3PRL's tests (dev-clean-2: users' reports).
"""

SUBSETS = {
    "mini": {"train": ("train-clean-5",), "dev": ("dev-clean-2",), "test": ("test-clean",)},
}
"""Choices of sets by one name. `mini` is OpenSLR 31, which has no test set of its own."""


def prepare_librispeech(
    corpus_dir: Path,
    *,
    train: Sequence[str] = _TRAIN,
    dev: Sequence[str] = _DEV,
    test: Sequence[str] = _TEST,
    extra: Sequence[str] = (),
    subset: str | None = None,
) -> dict[str, list[Utterance]]:
    """Read LibriSpeech's layout: SET/SPEAKER/CHAPTER with `.flac` files and one `.trans.txt` each.

    Args:
        corpus_dir: the folder `LibriSpeech`, or the one that holds it.
        train: the sets to train on; several are put together. One name alone may be given as such.
        dev: the sets for development.
        test: the sets to test on.
        extra: further sets, each of which becomes a split of its own name, to be decoded when
            `decode.sets` names it.
        subset: one of `SUBSETS`, which takes the place of `train`, `dev` and `test`.

    Returns:
        Utterances of the splits `train`, `dev`, `test` and those of `extra`, each sorted by id.
        Ids, speakers and the upper-case text are LibriSpeech's own. An utterance whose audio is
        broken has a duration of 0, so that `validate` lists it.

    Raises:
        FileNotFoundError: a set is not there (the message lists those that are), it has no
            transcript, a transcript has no audio or audio has no transcript.
        ValueError: a transcript is not UTF-8, a line of it is not `ID WORDS` with an id of its
            chapter, an id occurs twice, a set is named twice, a split has none, or there is no
            such subset.

    Convention:
        A set that has fewer or more utterances than the published one is taken as it is, and the
        log says so: numbers on it compare with no others.
    """
    wanted = _splits(train=train, dev=dev, test=test, extra=extra, subset=subset)
    root = _root(Path(corpus_dir), [name for names in wanted.values() for name in names])
    return {
        split: sorted((u for name in names for u in _read_set(root / name)), key=lambda u: u.id)
        for split, names in wanted.items()
    }


def missing_parts(corpus_dir: Path, **options: Any) -> dict[str, Archive]:
    """The archives of the sets that are wanted and not there, by the name of the set.

    Args:
        corpus_dir: the folder `LibriSpeech`, or the one that holds it or will hold it.
        options: train, dev, test, extra and subset, as for `prepare_librispeech`.

    Raises:
        ValueError: as `prepare_librispeech`; a set that is not there is none of OpenSLR's; or a set
            is there, but with another number of recordings than it has: what is the user's own is
            neither replaced nor taken for the published set.
    """
    home = _home(corpus_dir)
    missing = {}
    for name in [name for names in _splits(**options).values() for name in names]:
        part = PARTS.get(name)
        if (home / name).is_dir():
            count = len(visible_files(home / name, "*/*/*.flac"))
            if part and part.utterances not in (None, count):
                raise ValueError(
                    f"{home / name} has {count} recordings, OpenSLR's {name} has "
                    f"{part.utterances}: remove that folder to have it fetched again, or leave out "
                    "--download to take it as it is"
                )
        elif part is None:
            raise ValueError(f"{name} cannot be fetched; OpenSLR has {', '.join(PARTS)}")
        else:
            urls = [f"{mirror}/{part.resource}/{name}.tar.gz" for mirror in MIRRORS]
            missing[name] = Archive(urls, f"md5:{part.md5}", part.size_bytes)
    return missing


def unpack_part(archive: Path, corpus_dir: Path, name: str) -> None:
    """Add a set to the others, from its archive.

    Args:
        archive: the file that OpenSLR has under the set's name.
        corpus_dir: as for `missing_parts`.
        name: the set.

    Raises:
        ArchiveError: the archive is damaged, or holds another set.
    """
    home = _home(corpus_dir)
    extract_into(archive, home, folder=_FOLDER)
    if not (home / name).is_dir():
        raise ArchiveError(f"{archive}: has no folder {_FOLDER}/{name}: it is not OpenSLR's {name}")


def _splits(
    *,
    train: Any = _TRAIN,
    dev: Any = _DEV,
    test: Any = _TEST,
    extra: Any = (),
    subset: str | None = None,
) -> dict[str, tuple[str, ...]]:
    """The sets of each split, from what the settings say."""
    chosen: Mapping[str, Any] = {"train": train, "dev": dev, "test": test}
    if subset is not None:
        if str(subset) not in SUBSETS:
            raise ValueError(
                f"LibriSpeech has no subset {subset!r}; there are {', '.join(SUBSETS)}"
            )
        chosen = SUBSETS[subset]
    splits = {split: _names(names) for split, names in chosen.items()}
    further = _names(extra)
    uses = Counter(name for names in (*splits.values(), further) for name in names)
    twice = [name for name, count in uses.items() if count > 1]
    if twice or not all(splits.values()) or not all(isinstance(name, str) for name in uses):
        reason = f"{twice[0]} is named twice" if twice else "each split needs the name of a set"
        raise ValueError(f"LibriSpeech sets {splits | {'extra': further}}: {reason}")
    return splits | {name: (name,) for name in further}


def _names(given: Any) -> tuple[str, ...]:
    return tuple(given) if isinstance(given, list | tuple) else (given,)


def _home(corpus_dir: Path) -> Path:
    """The folder that holds the sets, or will hold them."""
    below = corpus_dir / _FOLDER
    itself = corpus_dir.name == _FOLDER or any((corpus_dir / name).is_dir() for name in PARTS)
    return corpus_dir if itself and not below.is_dir() else below


def _root(corpus_dir: Path, names: Sequence[str]) -> Path:
    root = corpus_dir / _FOLDER
    root = root if root.is_dir() else corpus_dir
    if not root.is_dir():
        raise FileNotFoundError(f"{corpus_dir}: there is no such folder")
    missing = [name for name in names if not (root / name).is_dir()]
    if missing:
        there = sorted(path.name for path in root.iterdir() if path.is_dir()) or ["no folders"]
        raise FileNotFoundError(
            f"{root}: no folder {', '.join(missing)}; there are {', '.join(there)}. "
            "Give the folder LibriSpeech with --corpus-dir, name the sets in corpus.options, or "
            "fetch them with --download"
        )
    return root


def _read_set(folder: Path) -> list[Utterance]:
    transcripts = visible_files(folder, "*/*/*.trans.txt")
    if not transcripts:
        raise FileNotFoundError(f"{folder}: no SPEAKER/CHAPTER/*.trans.txt in it")
    texts: dict[Path, str] = {}
    for transcript in transcripts:
        for identifier, text in _read_transcript(transcript).items():
            texts[transcript.parent / f"{identifier}.flac"] = text
    recordings = set(visible_files(folder, "*/*/*.flac"))
    _require_none(folder, "have no audio", sorted(texts.keys() - recordings))
    _require_none(folder, "have no transcript", sorted(recordings - texts.keys()))
    part = PARTS.get(folder.name)
    if part and part.utterances not in (None, len(texts)):
        _log.warning(
            "%s has %d utterances, the published set has %d: numbers on it compare with no others",
            folder, len(texts), part.utterances,
        )  # fmt: skip
    return [_utterance(path, text) for path, text in sorted(texts.items())]


def _read_transcript(path: Path) -> dict[str, str]:
    prefix = f"{path.parent.parent.name}-{path.parent.name}-"
    texts: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
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
