"""Archives of corpora: downloaded with resume and checksum, unpacked whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import logging
import lzma
import os
import re
import shutil
import ssl
import stat
import sys
import tarfile
import time
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from squall import __version__
from squall.files import disk_full

__all__ = [
    "ArchiveError",
    "ChecksumError",
    "DownloadError",
    "NoNetworkError",
    "Progress",
    "UnsafeArchiveError",
    "fetch",
    "safe_extract",
    "verify_checksum",
]

logger = logging.getLogger(__name__)

Progress = Callable[[int, "int | None"], None]
"""Told the bytes received so far and the bytes in all (None where the server does not say)."""

_ATTEMPTS = 4  # per address and without a new byte
_RETRY_WAIT_S = 1.0  # before the second attempt; doubles with each further one
_LOG_INTERVAL_S = 10.0
_CHUNK_BYTES = 1 << 18
_BUSY = (429, 500, 502, 503, 504)  # HTTP states that pass


class DownloadError(RuntimeError):
    """No address gave the file."""


class ChecksumError(DownloadError):
    """A file is not the one that its checksum names."""


class NoNetworkError(DownloadError):
    """No server could be reached."""


class ArchiveError(ValueError):
    """A file is not an archive, or a damaged one."""


class UnsafeArchiveError(ArchiveError):
    """An archive holds a member that could write or point outside its folder."""


class _BrokenConnectionError(Exception):
    """The connection broke; another attempt may go on from there."""


def fetch(
    urls: Sequence[str],
    target: Path,
    *,
    checksum: str | None,
    timeout_s: float = 60.0,
    progress: Progress | None = None,
) -> Path:
    """Download a file unless it is there, and check that it is the right one.

    The bytes go to `<target>.part`, which becomes `target` only when the checksum agrees. A
    download that was cut short, also by a kill, goes on from there with an HTTP Range request;
    from the start where the server does not know Range or the finished file turns out wrong. Of
    several processes that fetch the same target one downloads and the others wait.

    Args:
        urls: http, https or file addresses of the same file, tried in this order.
        target: where the file shall lie; its folder is made. A file that lies there and has
            another checksum is kept beside as `<target>.bad`.
        checksum: `sha256:` or `md5:` and the hexadecimal digest. None accepts any file: one that
            lies there is kept as it is, a download begun by an earlier run is not trusted and
            starts over, and a warning tells the sha256 of what came.
        timeout_s: seconds of silence after which a server is given up.
        progress: called after each piece. Without it: a bar on a terminal, else log lines.

    Returns:
        `target`.

    Raises:
        ValueError: no address, one with another scheme, or a checksum in another form.
        NoNetworkError: no server could be reached.
        ChecksumError: what came is another file; it was deleted. Has both digests.
        DownloadError: no address gave the file for other reasons; the message has each.
        OSError: the disk is full (what was received is kept for the next run) or not writable.
    """
    target = Path(target)
    if checksum is not None:
        _parse_checksum(checksum)
    _check_urls(urls)
    if _in_place(target, checksum):
        return target
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _open_alone(part) as file:
            if _in_place(target, checksum):  # by the process that was waited for
                return target
            if checksum is None:
                file.truncate(0)
            with _reporter(target.name, progress) as report:
                _receive_from_any(file, urls, target, checksum, timeout_s, report)
            os.fsync(file.fileno())
            os.replace(part, target)
    except OSError as error:
        if disk_full(error):
            raise _no_space(f"downloading {target}", error) from error
        raise
    return target


def verify_checksum(path: Path, checksum: str) -> None:
    """Check that a file is the one that a checksum names.

    Args:
        path: the file.
        checksum: `sha256:` or `md5:` and the hexadecimal digest.

    Raises:
        ChecksumError: it is not; the message has the file and both digests.
        ValueError: the checksum has another form.
    """
    algorithm, expected = _parse_checksum(checksum)
    found = _digest(Path(path), algorithm)
    if found != expected:
        raise ChecksumError(
            f"{path}: {algorithm} is {found}, expected {expected} "
            f"({Path(path).stat().st_size} bytes)"
        )


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _parse_checksum(checksum: str) -> tuple[str, str]:
    algorithm, _, digest = checksum.lower().partition(":")
    length = {"sha256": 64, "md5": 32}.get(algorithm)
    if length is None or not re.fullmatch(f"[0-9a-f]{{{length}}}", digest):
        raise ValueError(f"checksum {checksum!r} is not sha256: or md5: and a hexadecimal digest")
    return algorithm, digest


def _check_urls(urls: Sequence[str]) -> None:
    if isinstance(urls, str) or not urls:
        raise ValueError(f"urls must be a list of at least one address, not {urls!r}")
    for url in urls:
        parts = urllib.parse.urlsplit(url)
        known = parts.scheme == "file" or (parts.scheme in ("http", "https") and parts.hostname)
        if not known or re.search(r"[\x00-\x20\x7f]", url):
            raise ValueError(f"{url!r} is not an http, https or file address")


def _in_place(target: Path, checksum: str | None) -> bool:
    if checksum is None or not target.exists():
        return target.is_file()
    try:
        verify_checksum(target, checksum)
    except ChecksumError as error:
        bad = target.with_name(f"{target.name}.bad")
        os.replace(target, bad)
        logger.warning("%s. Kept as %s, downloading again", error, bad)
        return False
    return True


@contextmanager
def _open_alone(part: Path) -> Iterator[IO[bytes]]:
    while True:
        file = part.open("a+b")
        _lock(file, part)
        # The process that was waited for may have renamed or removed the file that is open here.
        if part.exists() and os.path.samestat(os.fstat(file.fileno()), part.stat()):
            break
        file.close()
    try:
        yield file
    finally:
        if os.fstat(file.fileno()).st_size == 0:
            part.unlink(missing_ok=True)
        file.close()


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("waiting for another process that works on %s", path)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        # Some network file systems have no locks; the checksum still finds two writers.
        logger.debug("no lock on %s: %s", path, error)


def _receive_from_any(
    file: IO[bytes],
    urls: Sequence[str],
    target: Path,
    checksum: str | None,
    timeout_s: float,
    report: Progress,
) -> None:
    failures: dict[str, Exception] = {}
    for url in urls:
        try:
            _receive(file, url, checksum, timeout_s, report)
            return
        except (DownloadError, _BrokenConnectionError, urllib.error.URLError) as error:
            logger.warning("%s: %s", url, error)
            failures[url] = error
    reasons = "; ".join(f"{url}: {error}" for url, error in failures.items())
    if all(_unreachable(url, error) for url, error in failures.items()):
        raise NoNetworkError(
            f"cannot download {target.name}: no server can be reached. Is there a network, and a "
            f"proxy set if one is needed? Without a network, put the file at {target}. {reasons}"
        )
    if any(isinstance(error, ChecksumError) for error in failures.values()):
        raise ChecksumError(f"{target.name} is another file than expected; deleted. {reasons}")
    raise DownloadError(f"cannot download {target.name}. {reasons}")


def _unreachable(url: str, error: Exception) -> bool:
    answered = isinstance(error, urllib.error.HTTPError) or isinstance(
        getattr(error, "reason", None), ssl.SSLError
    )
    return isinstance(error, urllib.error.URLError) and not (answered or url.startswith("file:"))


def _receive(
    file: IO[bytes], url: str, checksum: str | None, timeout_s: float, report: Progress
) -> None:
    """Bring the file to its end from one address, in several attempts, and check it."""
    begun_elsewhere = longest = file.seek(0, os.SEEK_END)
    failures = 0
    while True:
        try:
            _receive_rest(file, url, timeout_s, report)
            _judge(Path(file.name), checksum)
            return
        except ChecksumError:
            file.truncate(0)
            if not begun_elsewhere:
                raise
            logger.warning("%s: wrong checksum after resuming, starting over", file.name)
            begun_elsewhere = longest = 0
        except (_BrokenConnectionError, urllib.error.HTTPError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code not in _BUSY:
                raise
            size = file.seek(0, os.SEEK_END)
            failures = 1 if size > longest else failures + 1
            longest = max(longest, size)
            if failures >= _ATTEMPTS:
                raise
            logger.info("%s: %s; going on at byte %d", url, error, size)
            time.sleep(_RETRY_WAIT_S * 2 ** (failures - 1))


def _judge(part: Path, checksum: str | None) -> None:
    if checksum is None:
        found = _digest(part, "sha256")
        logger.warning("%s is accepted without a checksum; its own is sha256:%s", part.stem, found)
    else:
        verify_checksum(part, checksum)


def _receive_rest(file: IO[bytes], url: str, timeout_s: float, report: Progress) -> None:
    received = file.seek(0, os.SEEK_END)
    try:
        response = _request(url, received, timeout_s)
    except urllib.error.HTTPError as error:
        if error.code == 416 and received:
            return  # nothing follows: the file is whole, or the checksum will say that it is not
        raise
    with closing(response):
        if received and not _continues(response, received):
            logger.info("%s: the server cannot resume, starting over", url)
            file.truncate(0)
            if response.status == 206:
                raise _BrokenConnectionError("the server sent another range than was asked for")
            received = 0
        length = response.headers.get("Content-Length") or ""
        total = received + int(length) if length.isdigit() else None
        _require_space(Path(file.name).parent, (total or received) - received)
        report(received, total)
        while (total is None or received < total) and (chunk := _read(response)):
            file.write(chunk)
            received += len(chunk)
            report(received, total)
    file.flush()
    if total is not None and received < total:
        raise _BrokenConnectionError(f"the connection closed after {received} of {total} bytes")


def _request(url: str, offset: int, timeout_s: float) -> Any:
    headers = {"User-Agent": f"squall/{__version__}"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    opener = urllib.request.build_opener(_WebRedirects)
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        raise
    except urllib.error.URLError:
        raise
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenConnectionError(f"{type(error).__name__}: {error}") from error


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only; urllib's own go to ftp, too."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.HTTPError(newurl, code, "redirect to another scheme", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _continues(response: Any, offset: int) -> bool:
    given = response.headers.get("Content-Range", "")
    return response.status == 206 and str(given).startswith(f"bytes {offset}-")


def _read(response: Any) -> bytes:
    try:
        # read1 hands over what has come; read would lose it when the connection breaks.
        chunk: bytes = response.read1(_CHUNK_BYTES)
        return chunk
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenConnectionError(f"{type(error).__name__}: {error}") from error


@contextmanager
def _reporter(name: str, progress: Progress | None) -> Iterator[Progress]:
    if progress is not None:
        yield progress
    elif sys.stderr.isatty():
        import rich.console
        import rich.progress as bars

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.DownloadColumn(),
            bars.TransferSpeedColumn(),
            bars.TimeRemainingColumn(),
        )
        with bars.Progress(*columns, console=rich.console.Console(stderr=True)) as bar:
            task = bar.add_task(name, total=None)
            yield lambda received, total: bar.update(task, completed=received, total=total)
    else:
        yield _log_lines(name)


def _log_lines(name: str) -> Progress:
    last_s = -float("inf")

    def report(received: int, total: int | None) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= _LOG_INTERVAL_S or received == total:
            last_s = time.monotonic()
            of_total = "" if total is None else f" of {total / 1e6:.1f}"
            logger.info("%s: %.1f%s MB", name, received / 1e6, of_total)

    return report


def _require_space(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        reason = f"{needed_bytes} bytes are needed, {free_bytes} are free"
        raise OSError(errno.ENOSPC, reason)


def _no_space(doing: str, error: OSError) -> OSError:
    return OSError(
        errno.ENOSPC,
        f"no space left on the disk while {doing} ({error.strerror}). "
        "Free some space and run the same command again",
    )


def safe_extract(archive: Path, target_dir: Path) -> Path:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip archive into a new folder.

    All members are looked at before anything is written, and one bad member refuses the archive.
    The folder is filled beside its place and renamed at the end, so it is whole or absent; what a
    killed run left beside it is removed by the next one. Owners, modes and times are not carried
    over, hard links become copies, and of members with the same name the last one stays.

    Args:
        archive: the file.
        target_dir: the folder; absent or empty before.

    Returns:
        `target_dir`.

    Raises:
        UnsafeArchiveError: a member is absolute or has `..` in its name, is a link that leads
            outside, lies below a link or a file, is a device or pipe, or is encrypted. Nothing
            was written.
        ArchiveError: not an archive, or a damaged one.
        FileExistsError: the folder has something in it.
        OSError: the disk is full or not writable.
    """
    archive, target_dir = Path(archive), Path(target_dir)
    with archive.open("rb") as held:
        _lock(held, archive)
        if target_dir.exists() and (not target_dir.is_dir() or any(target_dir.iterdir())):
            raise FileExistsError(
                errno.EEXIST, f"cannot unpack {archive}: {target_dir} is there already; remove it"
            )
        target_dir.parent.mkdir(parents=True, exist_ok=True)
        staging = target_dir.with_name(f".{target_dir.name}.unpacking")
        shutil.rmtree(staging, ignore_errors=True)
        try:
            with _reading(archive), _opened(archive) as (members, read):
                plan = _checked(archive, members)
                _unpack(archive, plan, read, staging)
            os.replace(staging, target_dir)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return target_dir


@dataclass(frozen=True)
class _Member:
    """What a tar and a zip archive have in common; `source` is the archive's own record."""

    name: str
    kind: str  # file, folder, symlink, hardlink, encrypted, special
    link: str
    size_bytes: int
    source: Any


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn the many errors that damaged archives and full disks give into clear ones."""
    damage = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
    try:
        yield
    except (*damage, EOFError, NotImplementedError) as error:
        raise ArchiveError(f"{archive}: damaged, or of an unknown kind: {error}") from error
    except OSError as error:
        if disk_full(error):
            raise _no_space(f"unpacking {archive}", error) from error
        if error.errno is None:  # bz2 and gzip say this of damaged data
            raise ArchiveError(f"{archive}: damaged: {error}") from error
        raise


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[list[_Member], Callable[[Any], Any]]]:
    # A tar that ends in a zip passes as a zip, too; hence tar first.
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            members = [_tar_member(info) for info in tar.getmembers()]
            # gzip checks its content only at the very end, which tarfile does not read.
            while tar.fileobj and tar.fileobj.read(_CHUNK_BYTES):
                pass
            yield members, tar.extractfile
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield [_zip_member(info, packed) for info in packed.infolist()], packed.open
    else:
        raise ArchiveError(f"{archive}: not a tar or zip archive, or damaged at its start or end")


def _tar_member(info: tarfile.TarInfo) -> _Member:
    kinds = {
        "file": info.isfile(),
        "folder": info.isdir(),
        "symlink": info.issym(),
        "hardlink": info.islnk(),
    }
    kind = next((name for name, holds in kinds.items() if holds), "special")
    return _Member(info.name, kind, info.linkname, info.size, info)


def _zip_member(info: zipfile.ZipInfo, packed: zipfile.ZipFile) -> _Member:
    mode = info.external_attr >> 16
    kind, link = "folder" if info.is_dir() else "file", ""
    if info.flag_bits & 1:
        kind = "encrypted"
    elif stat.S_ISLNK(mode):
        with packed.open(info) as file:
            kind, link = "symlink", os.fsdecode(file.read(4096))
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "special"
    return _Member(info.filename, kind, link, info.file_size, info)


def _checked(archive: Path, members: Sequence[_Member]) -> dict[PurePosixPath, _Member]:
    plan = {PurePosixPath(member.name): member for member in members}
    leaves = {_folded(path) for path, member in plan.items() if member.kind != "folder"}
    for member in members:
        path = PurePosixPath(member.name)
        reason = _name_objection(member.name) or _kind_objection(path, member, plan)
        if not reason and any(_folded(parent) in leaves for parent in path.parents):
            reason = "lies below a member that is not a folder"
        if reason:
            raise UnsafeArchiveError(
                f"{archive}: member {member.name!r} {reason}. Nothing was unpacked"
            )
    return plan


def _folded(path: PurePosixPath) -> str:
    """The name under which a file system that ignores case and Unicode form finds a path."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def _name_objection(name: str) -> str:
    # A Windows path takes both / and \ for separators and knows drives, so it refuses more.
    path = PureWindowsPath(name)
    if path.anchor:
        return "is absolute"
    if ".." in path.parts:
        return "has '..' in its name"
    return "has a NUL in its name" if "\0" in name else ""


def _kind_objection(
    path: PurePosixPath, member: _Member, plan: dict[PurePosixPath, _Member]
) -> str:
    if member.kind in ("special", "encrypted"):
        return "is encrypted" if member.kind == "encrypted" else "is a device or pipe"
    if member.kind == "symlink":
        return _symlink_objection(path, member.link)
    if member.kind == "hardlink":
        origin = plan.get(PurePosixPath(member.link))
        if origin is None or origin.kind != "file":
            return f"is a hard link to {member.link!r}, which is no file of the archive"
    return "" if path.parts or member.kind == "folder" else "has no name"


def _symlink_objection(path: PurePosixPath, link: str) -> str:
    # No parent of a member is a link, so leading '..' go up real folders and can be counted.
    # Behind another name '..' could go up from wherever that name leads.
    target = PureWindowsPath(link)
    up = next((n for n, part in enumerate(target.parts) if part != ".."), len(target.parts))
    outside = target.anchor or ".." in target.parts[up:] or up >= len(path.parts)
    return f"is a link to {link!r}, outside the archive" if outside or not link else ""


def _unpack(
    archive: Path, plan: dict[PurePosixPath, _Member], read: Callable[[Any], Any], staging: Path
) -> None:
    files = {path: member for path, member in plan.items() if member.kind == "file"}
    copies = {p: PurePosixPath(m.link) for p, m in plan.items() if m.kind == "hardlink"}
    needed = sum(files[path].size_bytes for path in [*files, *copies.values()])
    _require_space(staging.parent, needed)
    logger.info("unpacking %d files, %.1f MB, from %s", len(files), needed / 1e6, archive)
    staging.mkdir()
    for path, member in plan.items():
        folder = path if member.kind == "folder" else path.parent
        (staging / folder).mkdir(parents=True, exist_ok=True)
    for path, member in files.items():
        with read(member.source) as packed, (staging / path).open("wb") as file:
            shutil.copyfileobj(packed, file, _CHUNK_BYTES)
    for path, origin in copies.items():
        shutil.copyfile(staging / origin, staging / path)
    # Last, so that nothing is ever written through a link.
    for path, member in plan.items():
        if member.kind == "symlink":
            (staging / path).symlink_to(member.link)
