"""A tiny WSJ in the layout of its discs, whole or damaged in one of the ways that copies are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from squall.corpora.demo.corpus import prepare_demo
from squall.corpora.wsj import INDICES

RATE_HZ = 16000

# Where the transcripts of a set lie; WSJ0's training transcripts are on several discs.
TRANSCRIPTS = {
    "wsj0/si_tr_s": ("11-4.1/wsj0/transcrp/dots/si_tr_s", "11-10.1/wsj0/transcrp/dots/si_tr_s"),
    "wsj0/si_et_20": ("11-14.1/wsj0/si_et_20",),
    "wsj1/si_tr_s": ("13-34.1/wsj1/trans/wsj1/si_tr_s",),
    "wsj1/si_dt_20": ("13-34.1/wsj1/trans/wsj1/si_dt_20",),
}


@dataclass(frozen=True)
class Row:
    """An utterance: the split, its disc, its set, its id, a line of its `.dot` file, samples."""

    split: str
    disc: str
    folder: str
    id: str
    words: str
    samples: np.ndarray[Any, np.dtype[np.int16]]

    @property
    def place(self) -> str:
        """The recording below its disc, without suffix."""
        return f"{self.folder}/{self.id[:3]}/{self.id}"


def _noise(count: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    rng = np.random.default_rng(count)
    return np.cumsum(rng.integers(-90, 90, count)).astype(np.int16)


ROWS = (
    Row("train", "11-1.1", "wsj0/si_tr_s", "01ic0202", r"The \"DOUBLE\-QUOTE sale", _noise(1700)),
    Row("train", "11-1.1", "wsj0/si_tr_s", "01ic0201", "[loud_breath] Go . on", _noise(1600)),
    Row("train", "11-3.1", "wsj0/si_tr_s", "401c0202", r"I\. B\. M\. !rose", _noise(2400)),
    Row("train", "13-1.1", "wsj1/si_tr_s", "46cc0201", "He re:sisted <the> ~", _noise(1900)),
    Row("dev", "13-16.1", "wsj1/si_dt_20", "4k0c0301", "*Saatchi* officials said", _noise(1800)),
    Row("test", "11-14.1", "wsj0/si_et_20", "440c0401", r"Two \.POINT one", _noise(2000)),
)
"""Six utterances on five discs, with marks in their transcripts."""


def rows_of_demo(corpus: Path) -> list[Row]:
    """The demo corpus as rows: speech that a model can learn, for runs of the recipe."""
    homes = {
        "train": (("11-1.1", "wsj0/si_tr_s", "0"), ("13-1.1", "wsj1/si_tr_s", "5")),
        "dev": (("13-16.1", "wsj1/si_dt_20", "4k"),),
        "test": (("11-14.1", "wsj0/si_et_20", "44"),),
    }
    rows = []
    for split, utterances in prepare_demo(corpus).items():
        speakers = sorted({u.speaker for u in utterances})
        for number, utterance in enumerate(utterances):
            speaker = speakers.index(utterance.speaker)
            disc, folder, start = homes[split][speaker % len(homes[split])]
            label = start + f"{speaker:02d}"[len(start) - 1 :]
            samples, rate_hz = soundfile.read(utterance.audio_path, dtype="int16")
            assert rate_hz == RATE_HZ
            rows.append(
                Row(split, disc, folder, f"{label}c02{number:02d}", utterance.text, samples)
            )
    return rows


def write_wsj(corpus_dir: Path, rows: Sequence[Row] = ROWS) -> None:
    """Write the discs of WSJ0 and WSJ1 into folders of these names."""
    for row in rows:
        write_audio(disc_file(corpus_dir, f"{row.disc}/{row.place}.wv1"), row.samples)
    sessions = defaultdict(list)
    for row in rows:
        for home in TRANSCRIPTS[row.folder]:
            sessions[f"{home}/{row.id[:3]}/{row.id[:6]}00.dot"].append(f"{row.words} ({row.id})\n")
    for name, lines in sessions.items():
        _write(disc_file(corpus_dir, name), lines)
    for split, indices in INDICES.items():
        for disc, name in indices:
            listed = [row for row in rows if row.split == split and row.folder[:4] == name[:4]]
            # The test sets of WSJ0 are listed without suffix.
            suffix = "" if split == "test" else ".wv1"
            lines = [f"{row.disc.translate(_UNDERSCORES)}:{row.place}{suffix}\n" for row in listed]
            if name.startswith("wsj0/doc/indices/train"):
                lines += [f"11_2_1:{row.place}.wv1\n" for row in listed if row.id[:3] == "401"]
            _write(disc_file(corpus_dir, f"{disc}/{name}"), [";; An index\n", ";;\n", *lines])


_UNDERSCORES = str.maketrans("-.", "__")


def disc_file(corpus_dir: Path, name: str) -> Path:
    """The path of a file that is named by its disc and its place there."""
    return corpus_dir / ("WSJ0" if name.startswith("11-") else "WSJ1") / name


def write_audio(path: Path, samples: np.ndarray[Any, Any]) -> None:
    """Write samples as uncompressed SPHERE, or as what `.wav` and `.flac` say."""
    path.parent.mkdir(parents=True, exist_ok=True)
    form = "NIST" if path.suffix.lower() == ".wv1" else None
    soundfile.write(path, samples, RATE_HZ, format=form, subtype="PCM_16")


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))


def lose_disc(corpus_dir: Path, disc: str) -> None:
    """A disc that was never copied."""
    top = disc_file(corpus_dir, disc)
    top.rename(corpus_dir.parent / f"lost-{disc}")


def lose_line(corpus_dir: Path, row: Row) -> None:
    """A transcript that lacks one utterance."""
    for home in TRANSCRIPTS[row.folder]:
        path = disc_file(corpus_dir, f"{home}/{row.id[:3]}/{row.id[:6]}00.dot")
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if row.id not in line))


def cut_audio(corpus_dir: Path, row: Row) -> Path:
    """A recording whose copy stopped half way."""
    path = disc_file(corpus_dir, f"{row.disc}/{row.place}.wv1")
    path.write_bytes(path.read_bytes()[: 1024 + len(row.samples)])
    return path


def turn_upper_case(folder: Path) -> None:
    """A disc, or all below a folder, whose names are in upper case."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.upper()))


def merge_discs(corpus_dir: Path, target: Path) -> None:
    """All discs copied over each other into one folder."""
    for path in sorted(corpus_dir.glob("*/*/**/*")):
        if path.is_file():
            merged = target.joinpath(*path.relative_to(corpus_dir).parts[2:])
            merged.parent.mkdir(parents=True, exist_ok=True)
            merged.write_bytes(path.read_bytes())


def list_too(corpus_dir: Path, split: str, row: Row) -> None:
    """An index that lists one more utterance: one that it has, or one of another split."""
    (*_, (disc, name)) = INDICES[split]
    path = disc_file(corpus_dir, f"{disc}/{name}")
    suffix = "" if split == "test" else ".wv1"
    path.write_text(f"{path.read_text()}{row.disc.translate(_UNDERSCORES)}:{row.place}{suffix}\n")
