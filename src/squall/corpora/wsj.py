"""WSJ, the Wall Street Journal corpora WSJ0 and WSJ1: read newspaper text, 80 hours, 16 kHz.

Paul, Baker, *The design for the Wall Street Journal-based CSR corpus*, Workshop on Speech and
Natural Language 1992; LDC93S6A or LDC93S6B (WSJ0) and LDC94S13A or LDC94S13B (WSJ1).
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from squall.corpora.manifest import Utterance, file_info
from squall.corpora.wsj_discs import (
    DiscFiles,
    IndexLine,
    Spoken,
    find_disc_files,
    read_index,
    read_transcript,
)
from squall.text.wsj_text import NOISE_WORD, normalize_transcript

__all__ = ["INDICES", "UTTERANCES", "WORDS", "prepare_wsj"]

INDICES: dict[str, tuple[tuple[str, str], ...]] = {
    "train": (
        ("11-13.1", "wsj0/doc/indices/train/tr_s_wv1.ndx"),
        ("13-34.1", "wsj1/doc/indices/si_tr_s.ndx"),
    ),
    "dev": (("13-34.1", "wsj1/doc/indices/h1_p0.ndx"),),
    "test": (("11-13.1", "wsj0/doc/indices/test/nvp/si_et_20.ndx"),),
}
"""Disc and name of the index files that make train_si284, test_dev93 and test_eval92 (Kaldi)."""

UTTERANCES = {"train": 37416, "dev": 503, "test": 333}
"""How many utterances the splits have."""

WORDS = {"dev": 8234, "test": 5643}
"""How many words are scored in these splits, noises not counted (ESPnet's results)."""

# The index lists speaker 401 on two discs; the recordings are on the other one, 11-3.1.
_DISC_WITHOUT_401 = "11-2.1"
_FOLDER_OF_401 = "wsj0/si_tr_s/401/"

_TRANSCRIPTS = {
    "wsj0/si_tr_s": "in wsj0/transcrp/dots, on disc 11-10.1 and others",
    "wsj0/si_et_20": "beside the recordings, on disc 11-14.1",
}
_TRANSCRIPTS_WSJ1 = "in wsj1/trans/wsj1, on disc 13-34.1"

_SAMPLE_RATE_HZ = 16000
_SHOWN = 5

_log = logging.getLogger(__name__)


def prepare_wsj(
    corpus_dirs: Sequence[Path], *, noise: str = "drop", marks: str = "remove"
) -> dict[str, list[Utterance]]:
    """Read the discs of WSJ0 and WSJ1 into the splits `train`, `dev` and `test`.

    Args:
        corpus_dirs: the folders that hold the discs, each in its own folder (`11-13.1`) or merged;
            one folder may hold all. Names may be in upper or lower case.
        noise: what becomes of noises in the transcripts, `drop` or `keep`.
        marks: what becomes of the transcribers' other marks, `remove` or `keep`; see
            `normalize_transcript` for both.

    Returns:
        Utterances of the splits, which are train_si284, test_dev93 and test_eval92 (20,000-word
        vocabulary, no spoken punctuation), each sorted by id. Ids are the file names in lower case,
        speakers their first three letters. The recording is a copy `.flac` or `.wav` of the same
        name where there is one, or else the `.wv1` itself, which needs ffmpeg if it is compressed
        with shorten. An utterance whose audio is broken has a duration of 0, so that `validate`
        lists it. How often each mark was dropped or changed is logged.

    Raises:
        FileNotFoundError: a folder, an index, a recording or a transcript is missing. The message
            lists all that is, disc by disc.
        ValueError: a line of an index or transcript has another form, or copies of a transcript
            disagree.

    Convention:
        As in Kaldi and ESPnet, the close-talking microphone (`.wv1`) and 37,416 training
        utterances: WSJ0's index has speaker 401 on two discs, of which 11-2.1 does not hold the
        recordings, and those 98 lines are left out. Without the speaker there would be 37,318.
        Utterances that the transcribers called bad recordings stay in, as they do there.
    """
    normalize_transcript("", noise=noise, marks=marks)  # a wrong choice is told before the search
    files = find_disc_files(corpus_dirs)
    lines, missing = _read_indices(files)
    everything = [line for split in lines.values() for line in split]
    recordings = {line.path: path for line in everything if (path := files.recording(line))}
    missing += _missing_recordings(everything, recordings, files.discs)
    spoken = _find_transcripts(files, everything)
    missing += _missing_transcripts(line for line in everything if line.path not in spoken)
    if missing:
        raise FileNotFoundError(_complaint(corpus_dirs, files.discs, missing))
    changes: Counter[str] = Counter()
    splits = {}
    for split, members in lines.items():
        utterances = []
        for line in members:
            text, changed = normalize_transcript(spoken[line.path].words, noise=noise, marks=marks)
            utterances.append(_utterance(line, recordings[line.path], text))
            changes += changed
        splits[split] = sorted(utterances, key=lambda u: u.id)
    shown = ", ".join(f"{what}: {count}" for what, count in sorted(changes.items())) or "none"
    _log.info("marks in the transcripts: %s", shown)
    _warn_of_other_sizes(splits)
    return splits


def _read_indices(files: DiscFiles) -> tuple[dict[str, list[IndexLine]], list[str]]:
    lines: dict[str, list[IndexLine]] = {split: [] for split in INDICES}
    missing = []
    for split, indices in INDICES.items():
        for disc, name in indices:
            path = files.index(disc, name)
            if path is None:
                missing.append(f"disc {disc}: the index {name}, which lists the {split} utterances")
                continue
            listed = read_index(path)
            kept = [line for line in listed if not _is_first_401(line)]
            if len(kept) < len(listed):
                _log.info(
                    "%s: %d line(s) of %s on disc %s left out, which does not hold it",
                    path,
                    len(listed) - len(kept),
                    _FOLDER_OF_401,
                    _DISC_WITHOUT_401,
                )
            lines[split] += kept
    return lines, missing


def _is_first_401(line: IndexLine) -> bool:
    return line.disc == _DISC_WITHOUT_401 and line.path.startswith(_FOLDER_OF_401)


def _missing_recordings(
    lines: Iterable[IndexLine], recordings: Mapping[str, Path], discs: Collection[str]
) -> list[str]:
    by_disc: dict[str, list[IndexLine]] = defaultdict(list)
    for line in lines:
        by_disc[line.disc].append(line)
    missing = []
    for disc, wanted in sorted(by_disc.items(), key=lambda item: _disc_order(item[0])):
        lost = [f"{line.path}.wv1" for line in wanted if line.path not in recordings]
        if lost:
            nowhere = "" if disc in discs else " (there is no folder of it)"
            missing.append(
                f"disc {disc}{nowhere}: {len(lost)} of {len(wanted)} recordings: {_some(lost)}"
            )
    return missing


def _find_transcripts(files: DiscFiles, lines: Iterable[IndexLine]) -> dict[str, Spoken]:
    read: dict[Path, dict[str, Spoken]] = {}
    found: dict[str, Spoken] = {}
    for line in lines:
        for path in files.transcripts_of(line):
            if path not in read:
                read[path] = read_transcript(path)
            here = read[path].get(line.id)
            if here and here.words != found.setdefault(line.path, here).words:
                raise ValueError(
                    f"{here.where}: {line.id} has other words than at "
                    f"{found[line.path].where}; copy both files again, or remove the wrong one"
                )
    return found


def _missing_transcripts(lines: Iterable[IndexLine]) -> list[str]:
    by_folder: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        by_folder[line.folder].append(f"{line.id} (in {line.id[:6]}00.dot)")
    return [
        f"the transcripts of {len(ids)} utterance(s) of {folder}: {_some(ids)}; they lie "
        f"{_TRANSCRIPTS.get(folder, _TRANSCRIPTS_WSJ1)}"
        for folder, ids in sorted(by_folder.items())
    ]


def _complaint(corpus_dirs: Sequence[Path], discs: Collection[str], missing: Sequence[str]) -> str:
    found = ", ".join(sorted(discs, key=_disc_order)) or "no folders of discs"
    listed = "\n".join(f"  {what}" for what in missing)
    return (
        f"{', '.join(map(str, corpus_dirs))}: this is not all of WSJ; found {found}. Missing:\n"
        f"{listed}\nGive the folders that hold all discs of WSJ0 (11-...) and WSJ1 (13-...) with "
        "--corpus-dir, and copy what is not there from the discs"
    )


def _disc_order(disc: str) -> list[int]:
    return [int(number) for number in disc.replace("-", ".").split(".")]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _utterance(line: IndexLine, path: Path, text: str) -> Utterance:
    info = file_info(path, sample_rate_hz=_SAMPLE_RATE_HZ)
    return Utterance(
        id=line.id,
        audio_path=str(path),
        start_s=0.0,
        duration_s=info.duration_s,
        sample_rate_hz=info.sample_rate_hz,
        speaker=line.id[:3],
        text=text,
    )


def _warn_of_other_sizes(splits: Mapping[str, Sequence[Utterance]]) -> None:
    for split, usual in UTTERANCES.items():
        words = sum(
            word != NOISE_WORD for utterance in splits[split] for word in utterance.text.split()
        )
        if len(splits[split]) != usual:
            found, what = len(splits[split]), "utterances"
        elif words != WORDS.get(split, words):
            found, usual, what = words, WORDS[split], "words"
        else:
            continue
        _log.warning(
            "%s has %d %s, the whole corpus has %d: results do not compare with published ones",
            split,
            found,
            what,
            usual,
        )
