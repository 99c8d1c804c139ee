"""A file of a corpus from the network: resumed where it broke off, checked against a digest."""

from __future__ import annotations

import http.client
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squall import __version__
from squall.files import disk_full, file_digest, lack_of_space
from squall.workers import OnProgress

__all__ = [
    "Archive",
    "ChecksumError",
    "DownloadError",
    "NoNetworkError",
    "fetch",
    "fetch_all",
    "verify_checksum",
]

_log = logging.getLogger(__name__)

Progress = Callable[[int, "int | None"], None]
"""Told the bytes received so far and the bytes in all (None where the server does not say)."""

_RETRY_WAITS_S = (1, 2, 4, 8)  # before each further attempt at one address
_BUSY = (429, 500, 502, 503, 504)  # HTTP states that pass
_BROKEN = (ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException)
_CHUNK_BYTES = 1 << 18


class DownloadError(RuntimeError):
    """No address gave the file."""


class ChecksumError(DownloadError):
    """A file is not the one that its checksum names."""


class NoNetworkError(DownloadError):
    """No server could be reached."""


@dataclass(frozen=True)
class Archive:
    """One file of those that a corpus is fetched as.

    Args:
        urls: its addresses, tried in this order.
        checksum: as for `fetch`.
        size_bytes: its length, so that progress over several can be told before they are asked for.
    """

    urls: Sequence[str]
    checksum: str | None = None
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        """The name of the file, which is the last part of its first address."""
        return self.urls[0].rsplit("/", 1)[-1]


def fetch_all(
    archives: Sequence[Archive],
    folder: Path,
    *,
    unpack: Callable[[Archive, Path], object],
    progress: OnProgress = lambda done, total, what: None,
) -> None:
    """Fetch archives one after the other, and unpack each before the next is asked for.

    A run that was broken goes on with the archive at which it broke, as `fetch` does; the files
    stay in the folder.

    Args:
        archives: what is wanted.
        folder: where the files go.
        unpack: called with each archive and its file, once that is whole.
        progress: told the bytes received, those of all archives as far as they are known, and a
            few words with the name of the file.

    Raises:
        ValueError, DownloadError, OSError: as `fetch`; the message names the file.
    """
    before = 0
    for number, archive in enumerate(archives, start=1):
        later = sum(other.size_bytes or 0 for other in archives[number:])
        which = archive.name + (f" ({number} of {len(archives)})" if len(archives) > 1 else "")
        path = fetch(
            archive.urls,
            folder / archive.name,
            checksum=archive.checksum,
            progress=_added(progress, archive, before, later, f"downloading {which}"),
        )
        size = path.stat().st_size
        _added(progress, archive, before, later, f"unpacking {which}")(size, size)
        unpack(archive, path)
        before += size


def _added(progress: OnProgress, archive: Archive, before: int, later: int, what: str) -> Progress:
    """The progress of one archive as that of all, of which `before` bytes are there already."""

    def tell(received: int, total: int | None) -> None:
        whole = total or archive.size_bytes or received
        progress(before + received, max(1, before + whole + later), what)

    return tell


def fetch(
    urls: Sequence[str],
    target: Path,
    *,
    checksum: str | None,
    timeout_s: float = 60.0,
    progress: Progress = lambda received, total: None,
) -> Path:
    """Download a file unless it is there; `<target>.part` holds what a broken run received.

    Args:
        urls: http, https or file addresses of the same file, tried in this order.
        target: a file that lies there with another checksum is moved to `<target>.bad`.
        checksum: `sha256:` or `md5:` and the hexadecimal digest. None accepts any file, tells the
            sha256 of what came in a warning, and does not go on with a `.part` of earlier.
        timeout_s: seconds of silence after which a server is given up.
        progress: called after each piece.

    Raises:
        ValueError: no address, one with another scheme, or a checksum in another form.
        NoNetworkError: no server could be reached.
        ChecksumError: what came is another file; it was deleted. Has both digests.
        DownloadError: no address gave the file for other reasons; the message has each.
        OSError: the disk is full (what was received is kept) or not writable.
    """
    if not urls or not all(re.fullmatch("(https?://[^/]|file:)[!-~]+", url) for url in urls):
        raise ValueError(f"urls must be a list of http, https or file addresses, not {urls!r}")
    form = "(?i)sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}"
    if checksum is not None and not re.fullmatch(form, checksum):
        raise ValueError(f"checksum {checksum!r} is not sha256: or md5: and a hexadecimal digest")
    if _in_place(target, checksum):
        return target
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _receive_from_any(urls, part, checksum, timeout_s, progress)
    except OSError as error:
        if not disk_full(error):
            raise
        hint = f"{lack_of_space(error)} for {target}: make room and run the same command again"
        raise OSError(error.errno, hint) from error
    if checksum is None:
        digest = file_digest(part, "sha256")
        _log.warning("%s is accepted without a checksum; its own is sha256:%s", target, digest)
    os.replace(part, target)
    return target


def verify_checksum(path: Path, checksum: str) -> None:
    """Raise ChecksumError, with both digests, unless a file has the checksum (as in `fetch`)."""
    algorithm, _, expected = checksum.lower().partition(":")
    found = file_digest(path, algorithm)
    if found != expected:
        raise ChecksumError(f"{path}: {algorithm} is {found}, expected {expected}")


def _in_place(target: Path, checksum: str | None) -> bool:
    if checksum is not None and target.exists():
        try:
            verify_checksum(target, checksum)
        except ChecksumError as error:
            bad = target.with_name(f"{target.name}.bad")
            os.replace(target, bad)
            _log.warning("%s. Kept as %s, downloading again", error, bad)
    return target.is_file()


def _receive_from_any(
    urls: Sequence[str], part: Path, checksum: str | None, timeout_s: float, progress: Progress
) -> None:
    failures: dict[str, Exception] = {}
    for url in urls:
        try:
            return _receive_right(url, part, checksum, timeout_s, progress)
        except (DownloadError, *_BROKEN) as error:
            _log.warning("%s: %s", url, error)
            failures[url] = error
    reasons = "; ".join(f"{url}: {error}" for url, error in failures.items())
    kinds = {type(error) for error in failures.values()}
    if kinds == {NoNetworkError}:
        raise NoNetworkError(
            "no server can be reached. Is there a network, and a proxy set if one is needed? "
            f"Without a network, put the file at {part.with_suffix('')}. {reasons}"
        )
    kind = ChecksumError if ChecksumError in kinds else DownloadError
    raise kind(f"cannot download {part.stem}. {reasons}")


def _receive_right(
    url: str, part: Path, checksum: str | None, timeout_s: float, progress: Progress
) -> None:
    if checksum is None:
        part.unlink(missing_ok=True)  # nothing would tell that two files were joined
    begun = part.exists()
    _receive(url, part, timeout_s, progress)
    try:
        if checksum is not None:
            verify_checksum(part, checksum)
    except ChecksumError:
        part.unlink()
        if not begun:
            raise
        _receive_right(url, part, checksum, timeout_s, progress)


def _receive(url: str, part: Path, timeout_s: float, progress: Progress) -> None:
    for wait_s in _RETRY_WAITS_S:
        try:
            return _receive_rest(url, part, timeout_s, progress)
        except _BROKEN:
            time.sleep(wait_s)
    _receive_rest(url, part, timeout_s, progress)


def _receive_rest(url: str, part: Path, timeout_s: float, progress: Progress) -> None:
    begun = part.stat().st_size if part.exists() else 0
    with _request(url, begun, timeout_s) as response:
        if response.status == 416:
            return  # nothing follows: the file is whole, or the checksum will say that it is not
        continues = response.headers.get("Content-Range", "").startswith(f"bytes {begun}-")
        received = begun if continues else 0
        length = response.headers.get("Content-Length")
        total = received + int(length) if length else None
        with part.open("ab" if continues else "wb") as file:
            progress(received, total)
            # read would lose what has come when the connection breaks, read1 does not.
            while chunk := response.read1(_CHUNK_BYTES):
                file.write(chunk)
                received += len(chunk)
                progress(received, total)
    if total is not None and received < total:
        raise ConnectionError(f"the connection closed after {received} of {total} bytes")


def _request(url: str, begun: int, timeout_s: float) -> Any:
    range_ = {"Range": f"bytes={begun}-"} if begun else {}
    request = urllib.request.Request(url, headers={"User-Agent": f"squall/{__version__}"} | range_)
    try:
        return urllib.request.build_opener(_WebRedirects).open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code == 416 and begun:
            return error
        raise (ConnectionError if error.code in _BUSY else DownloadError)(error) from error
    except urllib.error.URLError as error:
        answered = url.startswith("file:") or isinstance(error.reason, ssl.SSLError)
        raise (DownloadError if answered else NoNetworkError)(error.reason) from error


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses the redirects to ftp that urllib would follow."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> urllib.request.Request | None:
        request = super().redirect_request(*args, **kwargs)
        if request is not None and request.type == "ftp":
            raise DownloadError(f"redirected to {request.full_url}, neither http nor https")
        return request
