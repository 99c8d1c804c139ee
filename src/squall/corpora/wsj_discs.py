"""WSJ's layout on disk: the files of its discs, however they were copied, by their names there."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from squall.files import read_text

__all__ = ["DiscFiles", "IndexLine", "Spoken", "find_disc_files", "read_index", "read_transcript"]

# A copy comes first: it was made to be read, and decoding shorten is slow and needs ffmpeg.
_AUDIO = ("flac", "wav", "wv1.flac", "wv1.wav", "wv1")

_DISC = re.compile(r"(1[13])[-_](\d{1,2})[._](\d)")
_INDEX_LINE = re.compile(
    r"(?P<disc>1[13]_\d{1,2}_\d)\s*:\s*/?(?P<path>wsj[01]/\w+/\w+/\w{8})(\.wv1)?", re.IGNORECASE
)
_TRANSCRIPT_LINE = re.compile(r"(?P<words>.*)\((?P<id>\w{8})\)")


@dataclass(frozen=True)
class IndexLine:
    """An utterance as a `.ndx` file lists it.

    Args:
        disc: the disc that holds it, e.g. `11-1.1`.
        path: its place there, lower case, without suffix: `wsj0/si_tr_s/01i/01ic0201`.
    """

    disc: str
    path: str

    @property
    def id(self) -> str:
        """The utterance's id, e.g. `01ic0201`: speaker, kind, session and number."""
        return self.path.rsplit("/", 1)[1]

    @property
    def folder(self) -> str:
        """The corpus and the set, e.g. `wsj0/si_tr_s`."""
        return self.path.rsplit("/", 2)[0]


@dataclass(frozen=True)
class Spoken:
    """A line of a `.dot` file.

    Args:
        words: what was said, with the transcribers' marks, single spaces between.
        where: the file and the line number.
    """

    words: str
    where: str


@dataclass(frozen=True)
class DiscFiles:
    """The files found, by their lower-case names.

    Args:
        discs: the names of the discs whose folders were met, e.g. `11-13.1`.
        indices: `.ndx` files by their place on a disc, e.g. `wsj1/doc/indices/h1_p0.ndx`.
        audio: recordings by their place without suffix, with the disc, or "" where discs were
            merged into one folder.
        transcripts: `.dot` files by their name without suffix.
    """

    discs: set[str] = field(default_factory=set)
    indices: dict[str, list[tuple[str, Path]]] = field(default_factory=lambda: defaultdict(list))
    audio: dict[str, list[tuple[str, Path]]] = field(default_factory=lambda: defaultdict(list))
    transcripts: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

    def index(self, disc: str, name: str) -> Path | None:
        """The `.ndx` file of that name, from that disc if there are several."""
        found = self.indices.get(name, [])
        return min(found, key=lambda at: (at[0] != disc, at[1]))[1] if found else None

    def recording(self, line: IndexLine) -> Path | None:
        """The recording of an utterance, from the disc where it belongs if there are several."""
        found = self.audio.get(line.path, [])
        return min(found, key=lambda at: (at[0] != line.disc, _rank(at[1])))[1] if found else None

    def transcripts_of(self, line: IndexLine) -> list[Path]:
        """The `.dot` files that can hold an utterance: copies of one, of its set where named so."""
        found = sorted(self.transcripts.get(f"{line.id[:6]}00", []))
        name = line.folder.split("/")[1]
        return [path for path in found if path.parent.parent.name.lower() == name] or found


def find_disc_files(corpus_dirs: Sequence[Path]) -> DiscFiles:
    """Look through folders that hold discs, or what was on them, at any depth.

    Names may be in upper or lower case, discs each in a folder (`11-13.1`, `13_34.1`) or merged
    into one; folders behind symbolic links are looked through. What matters is the path from the
    last folder `wsj0` or `wsj1` on.

    Raises:
        FileNotFoundError: one of the folders is not there.
        OSError: a folder cannot be read.
    """
    files = DiscFiles()
    seen: set[str] = set()
    for top in corpus_dirs:
        if not Path(top).is_dir():
            raise FileNotFoundError(f"{top}: there is no such folder")
        tree = os.walk(Path(top).absolute(), onerror=_refuse, followlinks=True)
        for folder, below, names in tree:
            real = os.path.realpath(folder)
            if real in seen:  # given twice, or a link back up
                below.clear()
                continue
            seen.add(real)
            below[:] = sorted(name for name in below if not name.startswith("."))
            _sort_in(files, Path(folder), names)
    return files


def read_index(path: Path) -> list[IndexLine]:
    """Read a `.ndx` file: lines like `11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1`, comments after `;`.

    Raises:
        ValueError: a line has another form; the message has the file and the line number.
    """
    lines = []
    for number, line in enumerate(_lines(path), start=1):
        if not line or line.startswith(";"):
            continue
        match = _INDEX_LINE.fullmatch(line)
        if match is None:
            raise ValueError(
                f"{path}:{number}: expected a line like "
                f"`11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1`, found {line!r}"
            )
        lines.append(IndexLine(_disc(match["disc"]), match["path"].lower()))
    return lines


def read_transcript(path: Path) -> dict[str, Spoken]:
    """Read a `.dot` file, all utterances of a session: lines like `What was said (01ic0201)`.

    Returns:
        The lines by the utterance's id in lower case.

    Raises:
        ValueError: a line has another form, or two lines give one utterance other words; the
            message has the file and the line number.
    """
    spoken: dict[str, Spoken] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line:
            continue
        match = _TRANSCRIPT_LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{path}:{number}: expected `WORDS (id)`, found {line!r}")
        found = Spoken(" ".join(match["words"].split()), f"{path}:{number}")
        first = spoken.setdefault(match["id"].lower(), found)
        if first.words != found.words:
            raise ValueError(
                f"{path}:{number}: {match['id']} has other words than at {first.where}; "
                "copy the file again, or remove the wrong line"
            )
    return spoken


def _refuse(error: OSError) -> None:
    raise error


def _sort_in(files: DiscFiles, folder: Path, names: Sequence[str]) -> None:
    parts = [part.lower() for part in folder.parts]
    starts = [at for at, part in enumerate(parts) if part in ("wsj0", "wsj1")]
    if not starts:
        return
    disc = next(filter(None, map(_disc, reversed(parts[: starts[-1]]))), "")
    files.discs.update(filter(None, [disc]))
    place = "/".join(parts[starts[-1] :])
    for name in names:  # a hidden one has no stem and is none of these
        stem, _, suffix = name.lower().partition(".")
        if suffix in _AUDIO:
            files.audio[f"{place}/{stem}"].append((disc, folder / name))
        elif suffix == "ndx":
            files.indices[f"{place}/{stem}.ndx"].append((disc, folder / name))
        elif suffix == "dot":
            files.transcripts[stem].append(folder / name)


def _disc(name: str) -> str:
    match = _DISC.fullmatch(name)
    return "{}-{}.{}".format(*match.groups()) if match else ""


def _rank(path: Path) -> tuple[int, Path]:
    return _AUDIO.index(path.name.lower().partition(".")[2]), path


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path).splitlines()]
