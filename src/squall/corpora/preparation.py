"""From the name of a corpus to its manifests; the one place that knows every preparer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from squall.corpora.fingerprint import corpus_fingerprint
from squall.corpora.manifest import Utterance, read_manifest
from squall.corpora.settings import CorpusConfig
from squall.files import json_text, read_json, read_text, write_json
from squall.workers import OnProgress

__all__ = [
    "CORPORA",
    "check_folders",
    "corpus_state",
    "download_corpus",
    "is_downloadable",
    "prepare_corpus",
]

Splits = dict[str, list[Utterance]]


def _an4(corpus_dir: Path, config: CorpusConfig) -> Splits:
    from squall.corpora.an4 import prepare_an4

    _no_options(config)
    return prepare_an4(corpus_dir, dev_speakers=config.dev_speakers)


def _demo(corpus_dir: Path, config: CorpusConfig) -> Splits:
    from squall.corpora.demo.corpus import prepare_demo, write_demo_corpus

    spoken_with = corpus_dir / "options.json"
    if not corpus_dir.exists():
        write_demo_corpus(corpus_dir, jobs=os.cpu_count() or 1, **config.options)
        write_json(spoken_with, config.options)
    elif spoken_with.is_file() and read_json(spoken_with) != config.options:
        raise ValueError(
            f"{corpus_dir} was spoken with corpus.options {read_text(spoken_with)}, the settings "
            f"say {json_text(config.options)}: remove that folder, or give another --corpus-dir"
        )
    return prepare_demo(corpus_dir)


def _librispeech(corpus_dir: Path, config: CorpusConfig) -> Splits:
    from squall.corpora.librispeech import prepare_librispeech

    _known_options(config, *_LIBRISPEECH_OPTIONS)
    return prepare_librispeech(corpus_dir, **config.options)


def _timit(corpus_dir: Path, config: CorpusConfig) -> Splits:
    from squall.corpora.timit import prepare_timit

    _known_options(config, "test_speakers", "dev_speakers", "fold", "sa")
    return prepare_timit(corpus_dir, **config.options)


def _wsj(corpus_dirs: Sequence[Path], config: CorpusConfig) -> Splits:
    from squall.corpora.wsj import prepare_wsj

    _known_options(config, "noise", "marks")
    return prepare_wsj(corpus_dirs, **config.options)


def _manifest(corpus_dirs: Sequence[Path], config: CorpusConfig) -> Splits:
    _no_options(config)
    splits: Splits = {"train": [], "dev": [], "test": []}
    for folder in corpus_dirs:
        for name, utterances in _manifests(folder).items():
            splits[name] += utterances
    return {name: sorted(utterances, key=lambda u: u.id) for name, utterances in splits.items()}


def _manifests(folder: Path) -> Splits:
    from squall.corpora.table import TABLE, read_table

    if (folder / TABLE).is_file():
        return read_table(folder)
    splits = {name: folder / f"{name}.jsonl" for name in ("train", "dev", "test")}
    for path in splits.values():
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: a corpus of one's own is a folder with train.jsonl, "
                f"dev.jsonl and test.jsonl, or with {TABLE} (see the README, Your own corpus)"
            )
    return {name: read_manifest(path) for name, path in splits.items()}


def _no_options(config: CorpusConfig) -> None:
    if config.options:
        raise ValueError(
            f"corpus.options: the corpus {config.name!r} has no options, "
            f"found {', '.join(sorted(config.options))}"
        )


def _known_options(config: CorpusConfig, *known: str) -> None:
    unknown = sorted(config.options.keys() - set(known))
    if unknown:
        raise ValueError(
            f"corpus.options: the corpus {config.name!r} has the options {', '.join(known)}, "
            f"found {', '.join(unknown)}"
        )


CORPORA: dict[str, Callable[[Path, CorpusConfig], Splits]] = {
    "an4": _an4,
    "demo": _demo,
    "librispeech": _librispeech,
    "timit": _timit,
}
"""Corpus name to preparer; a new corpus is one file and one line here."""

_OF_SEVERAL_FOLDERS: dict[str, Callable[[Sequence[Path], CorpusConfig], Splits]] = {
    "manifest": _manifest,
    "wsj": _wsj,
}
"""Those that may be given as several folders: one's own, put together, and one on several discs."""

_LIBRISPEECH_OPTIONS = ("train", "dev", "test", "extra", "subset")


def check_folders(config: CorpusConfig, count: int) -> None:
    """Raise ValueError where more folders are given than the corpus lies in."""
    if count > 1 and config.name not in _OF_SEVERAL_FOLDERS:
        raise ValueError(
            f"--corpus-dir: {count} folders, but the corpus {config.name!r} lies in one; "
            f"several are taken by {', '.join(_OF_SEVERAL_FOLDERS)}"
        )


def prepare_corpus(config: CorpusConfig, corpus_dir: Path | Sequence[Path]) -> Splits:
    """Read the corpus that a config names.

    Args:
        config: name and options of the corpus.
        corpus_dir: where it lies, several folders for one that may lie in several; the demo corpus
            is spoken there if it does not.

    Returns:
        Utterances of the splits `train`, `dev` and `test`, in this order, and of further ones that
        the options ask for.

    Raises:
        ValueError: there is no such corpus, it lies in one folder and several are given, or its
            files do not have the expected form.
        FileNotFoundError: a file of the corpus is missing.
    """
    folders = _folders(corpus_dir)
    check_folders(config, len(folders))
    if config.name in _OF_SEVERAL_FOLDERS:
        return _OF_SEVERAL_FOLDERS[config.name](folders, config)
    preparer = CORPORA.get(config.name)
    if preparer is None:
        known = sorted([*CORPORA, *_OF_SEVERAL_FOLDERS])
        raise ValueError(f"corpus.name: no corpus {config.name!r}; there are {known}")
    return preparer(folders[0], config)


def is_downloadable(config: CorpusConfig) -> bool:
    """Whether `download_corpus` knows where the corpus can be had."""
    return bool(config.urls) or config.name == "librispeech"


def download_corpus(
    config: CorpusConfig,
    corpus_dir: Path,
    *,
    progress: OnProgress = lambda done, total, what: None,
) -> None:
    """Fetch and unpack what of a corpus is not there.

    The one archive of `config.urls` becomes the folder. LibriSpeech comes in parts, of which those
    are fetched that the options name and that are missing. Archives are kept beside the folder; an
    interrupted download goes on where it broke off.

    Args:
        config: name, options and addresses of the corpus.
        corpus_dir: where it lies or shall lie.
        progress: told the bytes received, the bytes of all archives and what is done.

    Raises:
        ValueError: nobody knows where this corpus can be had, or what lies there is not what would
            be fetched.
        DownloadError, ArchiveError, OSError: as `fetch` and `safe_extract` raise them.
    """
    from squall.corpora.archive import safe_extract
    from squall.corpora.download import Archive, fetch_all

    if not is_downloadable(config):
        raise ValueError(
            f"--download: the settings have no address of the corpus {config.name!r} in "
            "corpus.urls; give its folder with --corpus-dir"
        )
    if config.urls:
        missing = [] if corpus_dir.exists() else [Archive(config.urls, config.checksum)]
        fetch_all(
            missing,
            corpus_dir.parent,
            unpack=lambda archive, path: safe_extract(path, corpus_dir),
            progress=progress,
        )
        return
    from squall.corpora.librispeech import missing_parts, unpack_part

    _known_options(config, *_LIBRISPEECH_OPTIONS)
    parts = missing_parts(corpus_dir, **config.options)
    names = {archive.name: name for name, archive in parts.items()}
    fetch_all(
        list(parts.values()),
        corpus_dir.parent,
        unpack=lambda archive, path: unpack_part(path, corpus_dir, names[archive.name]),
        progress=progress,
    )


def corpus_state(config: CorpusConfig, corpus_dir: Path | Sequence[Path]) -> dict[str, int | str]:
    """`corpus_fingerprint` of all that `prepare_corpus` reads.

    To the folders it adds the audio that a user's own manifests name, wherever it lies.
    """
    folders = _folders(corpus_dir)
    audio: list[Path] = []
    if config.name == "manifest":
        try:
            splits = prepare_corpus(config, folders)
        except (OSError, ValueError):
            splits = {}  # the preparer reports it
        audio = [Path(u.audio_path) for utterances in splits.values() for u in utterances]
    return corpus_fingerprint(folders, further=audio)


def _folders(given: Path | Sequence[Path]) -> tuple[Path, ...]:
    return (given,) if isinstance(given, Path) else tuple(given)
