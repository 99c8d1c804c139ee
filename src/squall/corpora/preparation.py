"""From the name of a corpus to its manifests; the one place that knows every preparer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from squall.config import CorpusConfig
from squall.corpora.manifest import Utterance, read_manifest

__all__ = ["CORPORA", "corpus_fingerprint", "prepare_corpus"]

Splits = dict[str, list[Utterance]]


def _an4(corpus_dir: Path, config: CorpusConfig) -> Splits:
    from squall.corpora.an4 import prepare_an4

    return prepare_an4(corpus_dir, dev_speakers=config.dev_speakers, **config.options)


def _demo(corpus_dir: Path, config: CorpusConfig) -> Splits:
    from squall.corpora.demo import prepare_demo, write_demo_corpus

    if not corpus_dir.exists():
        write_demo_corpus(corpus_dir, **config.options)
    return prepare_demo(corpus_dir)


def _manifest(corpus_dir: Path, config: CorpusConfig) -> Splits:
    splits = {name: corpus_dir / f"{name}.jsonl" for name in ("train", "dev", "test")}
    for path in splits.values():
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: a corpus given as manifests is a folder with train.jsonl, "
                "dev.jsonl and test.jsonl (see the README, Your own corpus)"
            )
    return {name: read_manifest(path) for name, path in splits.items()}


CORPORA: dict[str, Callable[[Path, CorpusConfig], Splits]] = {
    "an4": _an4,
    "demo": _demo,
    "manifest": _manifest,
}
"""Corpus name to preparer; a new corpus is one file and one line here."""


def prepare_corpus(config: CorpusConfig, corpus_dir: Path) -> Splits:
    """Read the corpus that a config names.

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
