"""TIMIT: 6,300 sentences read by 630 American speakers, with hand-checked phone times, 16 kHz.

Garofolo and others, *DARPA TIMIT acoustic-phonetic continuous speech corpus*, LDC93S1, 1993.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from squall.corpora.manifest import Utterance
from squall.corpora.timit_layout import find_recordings, read_recording
from squall.files import visible_files

__all__ = ["CORE_TEST_SPEAKERS", "DEV_SPEAKERS", "TRAIN_SPEAKERS", "prepare_timit"]

CORE_TEST_SPEAKERS: tuple[str, ...] = tuple(
    """
    MDAB0 MWBT0 FELC0  MTAS1 MWEW0 FPAS0  MJMP0 MLNT0 FPKT0  MLLL0 MTLS0 FJLM0
    MBPM0 MKLT0 FNLP0  MCMJ0 MJDH0 FMGD0  MGRT0 MNJM0 FDHC0  MJLN0 MPAM0 FMLD0
    """.split()  # noqa: SIM905, a table is easier to compare with the source
)
"""The core test set, two men and one woman of each of the eight regions (TIMIT's `testset.doc`)."""

DEV_SPEAKERS: tuple[str, ...] = tuple(
    """
    FADG0 FAKS0 FCAL1 FCMH0 FDAC1 FDMS0 FDRW0 FEDW0 FGJD0 FJEM0 FJMG0 FJSJ0 FKMS0
    FMAH0 FMML0 FNMR0 FREW0 FSEM0 MAJC0 MBDG0 MBNS0 MBWM0 MCSH0 MDLF0 MDLS0 MDVC0
    MERS0 MGJF0 MGLB0 MGWT0 MJAR0 MJFC0 MJSW0 MMDB1 MMDM2 MMJR0 MMWH0 MPDF0 MRCS0
    MREB0 MRJM4 MRJR0 MROA0 MRTK0 MRWS1 MTAA0 MTDT0 MTEB0 MTHC0 MWJG0
    """.split()  # noqa: SIM905, a table is easier to compare with the source
)
"""The usual development set: 50 speakers of the complete test set, none of them in the core test
set (Halberstadt, PhD thesis, MIT 1998; Kaldi and its followers use the same).
"""

TRAIN_SPEAKERS = 462
"""How many speakers the training set has."""

_SAMPLE_FOLDER = re.compile(r"dr[1-8]-([fm][a-z]{3}\d)", re.IGNORECASE)
_SPEAKER = re.compile(r"[FM][A-Z]{3}\d")
_SENTENCE = re.compile(r"(SA|SI|SX)\d+")
_SAMPLE_DEFAULTS = (4, 2, 0)

_log = logging.getLogger(__name__)


def prepare_timit(
    corpus_dir: Path,
    *,
    test_speakers: int = 4,
    dev_speakers: int = 2,
    fold: int = 0,
    sa: bool = False,
) -> dict[str, list[Utterance]]:
    """Read TIMIT, or NLTK's sample of it, into the splits `train`, `dev` and `test`.

    Two layouts are told apart, names in upper or lower case: LDC93S1 (TRAIN and TEST / region /
    speaker, given as this folder or as one up to two above it), and NLTK's sample of 16 speakers
    (folders like `dr1-fvmh0`). Copies named `SA1.WAV.wav`, as some distributions have them, are
    read where `SA1.WAV` itself is not there.

    Args:
        corpus_dir: the corpus.
        test_speakers: for the sample only: speakers in the test set.
        dev_speakers: for the sample only: speakers in the development set.
        fold: for the sample only: which speakers are tested, from 0; over all folds each speaker is
            tested once.
        sa: whether to keep the two SA sentences, which every speaker reads.

    Returns:
        Utterances of each split, sorted by id, e.g. `FCJF0_SI1027`. Text is the prompt in upper
        case without punctuation (a hyphen parts words, an apostrophe stays); phones and words are
        those of the corpus, as they are. An utterance whose audio is broken has a duration of 0, so
        that `validate` lists it.

    Raises:
        FileNotFoundError: it is neither layout, a speaker of the development or core test set is
            missing, or a recording lacks one of its three text files.
        ValueError: the settings do not fit the corpus, a name is not one of TIMIT's, a speaker is
            in two regions, or a file is not readable.

    Convention: for LDC93S1, 462 training speakers, 50 for development (the usual ones, part of the
    complete test set) and the core test set of 24, without the SA sentences: 3,696, 400 and 192
    utterances. Some leave the SA sentences in, which makes the training text overlap with the test
    text; some hold the development set out of the training speakers.

    For the sample, speakers are sorted by region. In each region the woman comes before the man, so
    a fold of consecutive speakers has as many women as men where the number is even. The speakers
    that follow are the development set, beginning again at the first after the last.
    """
    corpus_dir = Path(corpus_dir)
    if not isinstance(sa, bool):
        raise ValueError(f"sa is {sa!r}: use true or false")
    if not corpus_dir.is_dir():
        raise FileNotFoundError(f"{corpus_dir}: there is no such folder")
    if (top := _top(corpus_dir)) is not None:
        if (test_speakers, dev_speakers, fold) != _SAMPLE_DEFAULTS:
            raise ValueError(
                "test_speakers, dev_speakers and fold are for NLTK's sample of TIMIT; "
                f"{top} is the whole corpus, which has fixed sets: leave them out"
            )
        return _read_whole(top, sa=sa)
    folders = {path for path in corpus_dir.iterdir() if _SAMPLE_FOLDER.fullmatch(path.name)}
    if not folders:
        raise FileNotFoundError(
            f"{corpus_dir}: no TIMIT here: neither folders TRAIN and TEST (LDC93S1) nor folders "
            "like dr1-fvmh0 (NLTK's sample). Give the folder that holds them with --corpus-dir"
        )
    ordered = sorted(folders, key=lambda path: path.name.lower())
    splits = _folds(ordered, test_speakers, dev_speakers, fold)
    return {
        split: _sorted(u for path in paths for u in _read_speaker(path, path.name[4:], sa=sa))
        for split, paths in splits.items()
    }


def _top(corpus_dir: Path) -> Path | None:
    candidates = [corpus_dir, *visible_files(corpus_dir, "*"), *visible_files(corpus_dir, "*/*")]
    for folder in filter(Path.is_dir, candidates):
        if {"train", "test"} <= _folders(folder).keys():
            return folder
    return None


def _folders(folder: Path) -> dict[str, Path]:
    return {path.name.lower(): path for path in visible_files(folder, "*") if path.is_dir()}


def _read_whole(top: Path, *, sa: bool) -> dict[str, list[Utterance]]:
    halves: dict[str, dict[str, Path]] = {}
    for half in ("train", "test"):
        speakers: dict[str, Path] = {}
        for region in _folders(_folders(top)[half]).values():
            for path in _folders(region).values():
                other = speakers.setdefault(path.name.upper(), path)
                if other != path:
                    raise ValueError(
                        f"{path}: speaker {path.name.upper()} is in {other} too: each speaker of "
                        "TIMIT is in one region, remove the wrong folder"
                    )
        halves[half] = speakers
    fixed = {"dev": DEV_SPEAKERS, "test": CORE_TEST_SPEAKERS}
    for split, names in fixed.items():
        missing = sorted(set(names) - halves["test"].keys())
        if missing:
            raise FileNotFoundError(
                f"{_folders(top)['test']}: {len(missing)} of the {len(names)} speakers of the "
                f"{split} set are missing: {', '.join(missing)}. Unpack the whole corpus"
            )
    if len(halves["train"]) != TRAIN_SPEAKERS:
        _log.warning(
            "%s has %d training speakers, TIMIT has %d: results do not compare with published ones",
            top,
            len(halves["train"]),
            TRAIN_SPEAKERS,
        )
    members = {
        "train": halves["train"],
        **{split: {name: halves["test"][name] for name in names} for split, names in fixed.items()},
    }
    return {
        split: _sorted(u for name, path in paths.items() for u in _read_speaker(path, name, sa=sa))
        for split, paths in members.items()
    }


def _folds(
    ordered: Sequence[Path], test_speakers: int, dev_speakers: int, fold: int
) -> dict[str, list[Path]]:
    count = len(ordered)
    for name, value in (
        ("test_speakers", test_speakers),
        ("dev_speakers", dev_speakers),
        ("fold", fold),
    ):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}: a whole number is expected")
    if min(test_speakers, dev_speakers) < 1 or test_speakers + dev_speakers >= count:
        raise ValueError(
            f"cannot take {test_speakers} test and {dev_speakers} development speakers of {count}: "
            "set test_speakers and dev_speakers to 1 or more, with some left to train on"
        )
    folds = -(-count // test_speakers)
    if not 0 <= fold < folds:
        raise ValueError(
            f"fold is {fold}: {count} speakers, {test_speakers} at a time, give the folds 0 to "
            f"{folds - 1}"
        )
    first = fold * test_speakers
    rest = [*ordered[first + test_speakers :], *ordered[:first]]
    return {
        "train": rest[dev_speakers:],
        "dev": rest[:dev_speakers],
        "test": list(ordered[first : first + test_speakers]),
    }


def _read_speaker(folder: Path, name: str, *, sa: bool) -> list[Utterance]:
    speaker = name.upper()
    if not _SPEAKER.fullmatch(speaker):
        raise ValueError(f"{folder}: {name!r} is not a speaker of TIMIT, e.g. FCJF0")
    copies: dict[str, list[Path]] = defaultdict(list)
    for path in find_recordings(folder):
        copies[path.name.upper().split(".")[0]].append(path)
    utterances = []
    for sentence, paths in sorted(copies.items()):
        if not _SENTENCE.fullmatch(sentence):
            raise ValueError(f"{paths[0]}: not a sentence of TIMIT, e.g. SA1.WAV or SX3.WAV")
        if sa or not sentence.startswith("SA"):
            # The original is the one with the shorter name.
            path = min(paths, key=lambda p: len(p.name))
            utterances.append(_read_sentence(path, f"{speaker}_{sentence}", speaker))
    return utterances


def _read_sentence(path: Path, identifier: str, speaker: str) -> Utterance:
    read = read_recording(path, utterance_id=identifier, speaker=speaker)
    return replace(read, audio_path=str(path.absolute()), text=_plain(read.text))


def _plain(prompt: str) -> str:
    words = re.sub(r"[^A-Z0-9']+", " ", prompt.upper()).split()
    return " ".join(word for word in words if word.strip("'"))


def _sorted(utterances: Iterable[Utterance]) -> list[Utterance]:
    return sorted(utterances, key=lambda u: u.id)
