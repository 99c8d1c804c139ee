"""From the name of a corpus to its manifests; the one place that knows every preparer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from squall.config import CorpusConfig
from squall.corpora.manifest import Utterance, read_manifest
from squall.files import atomic_write

__all__ = ["CORPORA", "corpus_fingerprint", "prepare_corpus"]

Splits = dict[str, list[Utterance]]


def _an4(corpus_dir: Path, config: CorpusConfig) -> Splits:
    from squall.corpora.an4 import prepare_an4

    _no_options(config)
    return prepare_an4(corpus_dir, dev_speakers=config.dev_speakers)


def _demo(corpus_dir: Path, config: CorpusConfig) -> Splits:
    from squall.corpora.demo import prepare_demo, write_demo_corpus

    spoken_with = corpus_dir / "options.json"
    if not corpus_dir.exists():
        write_demo_corpus(corpus_dir, jobs=os.cpu_count() or 1, **config.options)
        with atomic_write(spoken_with) as file:
            json.dump(config.options, file)
    elif spoken_with.is_file() and json.loads(spoken_with.read_text()) != config.options:
        raise ValueError(
            f"{corpus_dir} was spoken with corpus.options {spoken_with.read_text()}, the settings "
            f"say {json.dumps(config.options)}: remove that folder, or give another --corpus-dir"
        )
    return prepare_demo(corpus_dir)


def _librispeech(corpus_dir: Path, config: CorpusConfig) -> Splits:
    from squall.corpora.librispeech import prepare_librispeech

    _known_options(config, "train", "dev", "test")
    return prepare_librispeech(corpus_dir, **config.options)


def _timit(corpus_dir: Path, config: CorpusConfig) -> Splits:
    from squall.corpora.timit import prepare_timit

    _known_options(config, "test_speakers", "dev_speakers", "fold", "sa")
    return prepare_timit(corpus_dir, **config.options)


def _manifest(corpus_dir: Path, config: CorpusConfig) -> Splits:
    _no_options(config)
    splits = {name: corpus_dir / f"{name}.jsonl" for name in ("train", "dev", "test")}
    for path in splits.values():
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: a corpus given as manifests is a folder with train.jsonl, "
                "dev.jsonl and test.jsonl (see the README, Your own corpus)"
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
    "manifest": _manifest,
    "timit": _timit,
}
"""Corpus name to preparer; a new corpus is one file and one line here."""


def prepare_corpus(config: CorpusConfig, corpus_dir: Path) -> Splits:
    """Read the corpus that a config names.

    Args:
        config: name and options of the corpus.
        corpus_dir: where it lies; the demo corpus is spoken there if it does not.

    Returns:
        Utterances of the splits `train`, `dev` and `test`, in this order.

    Raises:
        ValueError: there is no such corpus, or its files do not have the expected form.
        FileNotFoundError: a file of the corpus is missing.
    """
    preparer = CORPORA.get(config.name)
    if preparer is None:
        raise ValueError(f"corpus.name: no corpus {config.name!r}; there are {sorted(CORPORA)}")
    return preparer(corpus_dir, config)


def corpus_fingerprint(corpus_dir: Path) -> dict[str, int]:
    """Number of files and of bytes below a folder: what tells that a corpus has changed."""
    files = size = 0
    for folder, _, names in os.walk(corpus_dir):
        for name in names:
            try:
                size += os.stat(os.path.join(folder, name)).st_size
            except OSError:
                continue  # a dangling link: the preparer reports it if it is needed
            files += 1
    return {"files": files, "bytes": size}
