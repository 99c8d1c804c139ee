"""Settings of a corpus."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from squall.settings import Settings

__all__ = ["CorpusConfig"]


class CorpusConfig(Settings):
    """Where the recordings come from.

    Args:
        name: the preparer in `squall.corpora` (`an4`, `demo`, `librispeech`, `manifest`, `timit`,
            `wsj`).
        dev_speakers: how many training speakers are held out as the development set, where the
            corpus itself has none.
        dir: where it lies when the command line does not tell, relative to `SQUALL_DATA`; a list
            for a corpus in several folders.
        urls: addresses of the archive for `--download`, tried in order. The parts of LibriSpeech
            are known without.
        checksum: `sha256:` or `md5:` and the digest of the archive; None accepts any, and the log
            then tells the digest so that it can be pinned.
        options: further arguments of the preparer.
        at_most_mb: where the command line names no experiment, this one is taken for a corpus of at
            most so many megabytes: a sample needs other settings than the whole.
    """

    name: str
    dev_speakers: int = Field(default=8, ge=1)
    dir: str | tuple[str, ...] | None = None
    urls: tuple[str, ...] = ()
    checksum: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    at_most_mb: float | None = Field(default=None, gt=0)
