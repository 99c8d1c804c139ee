"""What tells that a corpus has changed since it was read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from squall.audio.reading import AUDIO_SUFFIXES
from squall.corpora.images import PICTURE_SUFFIXES
from squall.corpora.manifest import Utterance
from squall.files import atomic_write, file_digest

__all__ = ["corpus_bytes", "corpus_fingerprint", "write_audio_digests"]

_BY_TIME = (*AUDIO_SUFFIXES, ".raw", ".pcm", *PICTURE_SUFFIXES)
_LARGEST_READ_BYTES = 64 * 1024**2
_DIGITS = 16


def corpus_fingerprint(
    corpus_dir: Path | Sequence[Path], *, further: Iterable[Path] = ()
) -> dict[str, int | str]:
    """Number and size of the files below folders, and digests of what they hold.

    Args:
        corpus_dir: the folder, or several. Folders behind links belong to it, hidden files do not.
        further: files that lie elsewhere.

    Returns:
        `files`, `bytes`, and of the names and contents `text` and `audio`, in hexadecimal.

    Convention:
        Text, lists and whatever else is neither audio nor a picture count by their content. Audio,
        pictures and every file above 64 MB count by size and time of change, as `audio`, since
        reading a large corpus would take longer than many a stage. A copy with other times is
        therefore read anew; what depends on the samples asks for `write_audio_digests`, which tells
        whether they are other ones.
    """
    digests = {"text": hashlib.sha256(), "audio": hashlib.sha256()}
    files = size = 0
    for name, path, found in _files(corpus_dir, further):
        by_time = path.lower().endswith(_BY_TIME) or found.st_size > _LARGEST_READ_BYTES
        content = f"{found.st_size}:{found.st_mtime_ns}" if by_time else file_digest(Path(path))
        digests["audio" if by_time else "text"].update(os.fsencode(f"{name}\0{content}\0"))
        files, size = files + 1, size + found.st_size
    return {
        "files": files,
        "bytes": size,
        **{kind: digest.hexdigest()[:_DIGITS] for kind, digest in digests.items()},
    }


def corpus_bytes(corpus_dir: Path | Sequence[Path]) -> int:
    """Size of the files below folders."""
    return sum(found.st_size for _, _, found in _files(corpus_dir))


def write_audio_digests(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write the SHA-256 of each audio file of some utterances, in the form of `sha256sum`."""
    with atomic_write(path) as file:
        for audio in sorted({utterance.audio_path for utterance in utterances}):
            file.write(f"{file_digest(Path(audio))}  {audio}\n")


def _files(
    corpus_dir: Path | Sequence[Path], further: Iterable[Path] = ()
) -> Iterator[tuple[str, str, os.stat_result]]:
    """Name, path and state of each file, in an order that the file system does not decide.

    Paths are plain text here: a corpus has some hundred thousand of them.
    """
    paths: list[tuple[str, str]] = []
    for top in (corpus_dir,) if isinstance(corpus_dir, Path) else corpus_dir:
        folders = list(_below(str(top)))
        # A corpus and the folder that holds it alone are the same.
        shared = len(os.path.commonpath([folder for folder, names in folders if names] or [""]))
        for folder, names in folders:
            paths += [(f"{folder[shared:]}/{name}", f"{folder}/{name}") for name in names]
    inside = {path for _, path in paths}
    paths += [(path, path) for path in sorted(set(map(str, further)) - inside)]
    for name, path in paths:
        try:
            yield name, path, os.stat(path)
        except OSError:
            continue  # a dangling link: the preparer reports it if it is needed


def _below(top: str) -> Iterator[tuple[str, list[str]]]:
    """The folders below one, itself among them, and the names of the files in each."""
    seen: set[str] = set()
    for folder, below, names in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield folder, sorted(name for name in names if not name.startswith("."))
