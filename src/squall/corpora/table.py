"""A corpus given as one table: `manifest.tsv` with a row for each recording."""

from __future__ import annotations

import io
import logging
from collections import Counter
from pathlib import Path

from squall.audio.reading import AUDIO_SUFFIXES
from squall.corpora.manifest import Utterance, file_info
from squall.files import read_text, visible_files

__all__ = ["TABLE", "read_table"]

_log = logging.getLogger(__name__)

TABLE = "manifest.tsv"
"""Name of the table in the corpus's folder."""

_COLUMNS = ("id", "speaker", "split", "text")
_SPLITS = ("train", "dev", "test")
_SAMPLE_RATE_HZ = 16000  # told for a file that cannot be read, which `validate` then lists


def read_table(folder: Path) -> dict[str, list[Utterance]]:
    """Read `manifest.tsv`: tab-separated, with a header.

    Columns `id`, `speaker`, `split` (`train`, `dev` or `test`) and `text` are needed; further ones
    are not read, save `path`, the recording relative to the folder. Without that column the
    recording is the one file called by the id, with any ending, in the folder or in `audio/`.

    Args:
        folder: the folder of the table.

    Returns:
        Utterances of the splits `train`, `dev` and `test`, each a whole recording, sorted by id; a
        split may have none. A recording that is missing or broken has a duration of 0, so that
        `validate` lists it.

    Raises:
        FileNotFoundError: the table is missing.
        ValueError: it is not UTF-8, it lacks a column, a row has more or fewer fields than the
            header, or two files are called by the same id. The message has file and line.

    Convention:
        Rows of other splits are left out, and the log says how many of each. Quotation marks are
        characters like any other.
    """
    path = folder / TABLE
    lines = io.StringIO(read_text(path), newline=None).read().split("\n")
    rows = [line.split("\t") if line else [] for line in lines]
    header = rows[0] if rows else []
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise ValueError(
            f"{path}:1: no column {', '.join(missing)}; the header needs {', '.join(_COLUMNS)}, "
            f"separated by tabs, found {', '.join(header) or 'nothing'}"
        )
    recordings = {} if "path" in header else _recordings(folder)
    splits: dict[str, list[Utterance]] = {name: [] for name in _SPLITS}
    others: Counter[str] = Counter()
    for number, fields in enumerate(rows[1:], start=2):
        if not fields:
            continue
        if len(fields) != len(header):
            raise ValueError(
                f"{path}:{number}: {len(fields)} fields, the header has {len(header)}; "
                "a tab separates fields, and no field has one in it"
            )
        row = dict(zip(header, fields, strict=True))
        if row["split"] in splits:
            audio = folder / row["path"] if "path" in row else recordings.get(row["id"])
            splits[row["split"]].append(_utterance(row, audio or folder / "audio" / row["id"]))
        else:
            others[row["split"]] += 1
    for split, count in others.items():
        _log.info("%s: %d rows of the split %r are not used", path, count, split)
    return {name: sorted(rows, key=lambda u: u.id) for name, rows in splits.items()}


def _recordings(folder: Path) -> dict[str, Path]:
    """The files that a row may mean, by their name without its ending."""
    found: dict[str, Path] = {}
    for path in [*visible_files(folder, "*.*"), *visible_files(folder / "audio", "*.*")]:
        if path.suffix.lower() not in AUDIO_SUFFIXES:
            continue
        if path.stem in found:
            raise ValueError(
                f"{folder}: {found[path.stem].relative_to(folder)} and {path.relative_to(folder)} "
                f"are both called {path.stem}: name the one that is meant in a column `path`"
            )
        found[path.stem] = path
    return found


def _utterance(row: dict[str, str], audio: Path) -> Utterance:
    info = file_info(audio, sample_rate_hz=_SAMPLE_RATE_HZ)
    return Utterance(
        id=row["id"],
        audio_path=str(audio.absolute()),
        start_s=0.0,
        duration_s=info.duration_s,
        sample_rate_hz=info.sample_rate_hz,
        speaker=row["speaker"],
        text=row["text"],
    )
