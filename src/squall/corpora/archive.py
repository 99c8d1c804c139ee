"""A corpus's archive, unpacked whole or not at all."""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from squall.files import disk_full, lack_of_space

__all__ = ["ArchiveError", "UnsafeArchiveError", "extract_into", "safe_extract"]

_Info = TypeVar("_Info", tarfile.TarInfo, zipfile.ZipInfo)
_MOST_MEMBERS = 1_000_000
_LONGEST_LINK = 4096


class ArchiveError(ValueError):
    """A file is not an archive, or a damaged or encrypted one."""


class UnsafeArchiveError(ArchiveError):
    """An archive holds a member that could write or point outside its folder."""


def safe_extract(archive: Path, target_dir: Path) -> Path:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip archive into a new folder.

    All members are looked at before anything is written, and one bad member refuses the archive.
    The folder is filled beside its place and renamed at the end, so it is whole or absent; what a
    killed run left beside it is removed by the next one. Of members with one name the last stays.

    Args:
        archive: the file.
        target_dir: the folder; absent or empty before.

    Returns:
        `target_dir`.

    Raises:
        UnsafeArchiveError: a member is absolute or has `..` in its name, is a link that leads
            outside, lies below a link or a file, or is a device or pipe; or there are more than a
            million. Nothing was written.
        ArchiveError: not an archive, or a damaged or encrypted one.
        FileExistsError: the folder has something in it.
        OSError: the disk is full, has less room than the members say they need, or is not
            writable.
    """
    if target_dir.exists() and (not target_dir.is_dir() or any(target_dir.iterdir())):
        raise FileExistsError(
            errno.EEXIST, f"cannot unpack {archive}: {target_dir} is there already; remove it"
        )
    staging = target_dir.with_name(f".{target_dir.name}.unpacking")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with _clear_errors(archive), _opened(archive) as (members, extract):
            plan = _checked(archive, members)
            staging.mkdir(parents=True)
            _check_room(archive, plan.values(), staging)
            _unpack(plan, extract, staging)
        os.replace(staging, target_dir)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target_dir


def extract_into(archive: Path, target_dir: Path, *, folder: str) -> None:
    """Unpack what lies in one folder of an archive beside what another folder holds already.

    What the target has under the same name stays as it is. Each file and folder comes by a rename,
    so it is whole or absent; folders come last, so where one is there, so is all that lies with it.

    Args:
        archive: the file.
        target_dir: the folder to add to; made if it is absent.
        folder: the folder of the archive.

    Raises:
        ArchiveError: as `safe_extract`, or there is no such folder in it.
        OSError: the disk is full or not writable.
    """
    target_dir.mkdir(parents=True, exist_ok=True)
    unpacked = target_dir / f".{archive.name}.unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        safe_extract(archive, unpacked)
        if not (unpacked / folder).is_dir():
            found = ", ".join(sorted(path.name for path in unpacked.iterdir())) or "nothing"
            raise ArchiveError(f"{archive}: has no folder {folder} at its top; there is {found}")
        for path in sorted((unpacked / folder).iterdir(), key=lambda p: (p.is_dir(), p.name)):
            if not os.path.lexists(target_dir / path.name):
                os.replace(path, target_dir / path.name)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


@dataclass(frozen=True)
class _Member:
    """What a tar and a zip archive have in common; `source` is the archive's own record."""

    name: str
    kind: str  # file, folder, symlink, hardlink, special
    link: str
    size_bytes: int
    source: Any


@contextmanager
def _clear_errors(archive: Path) -> Iterator[None]:
    """Turn the many errors that damaged archives and full disks give into clear ones."""
    damage = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
    try:
        yield
    except (*damage, RuntimeError) as error:  # zipfile's word for encrypted and unknown packing
        raise ArchiveError(f"{archive}: damaged, or of an unknown kind: {error}") from error
    except OSError as error:
        if disk_full(error):
            hint = "Make room and run the same command again"
            why = f": {error.strerror}" if error.strerror else ""
            message = f"{lack_of_space(error)} while unpacking {archive}{why}. {hint}"
            raise OSError(error.errno, message) from error
        if error.errno is None:  # bz2 and gzip say this of damaged data
            raise ArchiveError(f"{archive}: damaged: {error}") from error
        raise


class _Header(tarfile.TarInfo):
    """A header that is damaged is an error; tarfile takes a later one for the archive's end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Any:
        try:
            return super().fromtarfile(tar)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"byte {tar.offset}: {error}") from error


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[list[_Member], Callable[..., None]]]:
    # A tar that ends in a zip passes as a zip, too; hence tar first.
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive, tarinfo=_Header) as tar:
            members = [_tar_member(info) for info in _not_too_many(archive, tar)]
            # gzip checks its content only at the very end, which tarfile does not read.
            while tar.fileobj and tar.fileobj.read(1 << 20):
                pass
            if hasattr(tarfile, "data_filter"):  # from 3.10.12 and 3.11.4 on; a second guard
                tar.extraction_filter = tarfile.data_filter
            yield members, tar.extractall
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            infos = _not_too_many(archive, packed.infolist())
            yield [_zip_member(info, packed) for info in infos], packed.extractall
    else:
        raise ArchiveError(f"{archive}: not a tar or zip archive, or damaged at its start or end")


def _tar_member(info: tarfile.TarInfo) -> _Member:
    info.mode = 0o755 if info.isdir() else 0o644  # nothing set-uid, nothing unreadable
    info.uid, info.gid, info.uname, info.gname = os.getuid(), os.getgid(), "", ""
    kinds = {"folder": info.isdir(), "symlink": info.issym(), "hardlink": info.islnk()}
    kind = next((name for name, holds in kinds.items() if holds), "special")
    return _Member(info.name, "file" if info.isfile() else kind, info.linkname, info.size, info)


def _not_too_many(archive: Path, infos: Iterable[_Info]) -> Iterator[_Info]:
    """The records of an archive, read one by one; too many of them would fill the memory."""
    for number, info in enumerate(infos):
        if number == _MOST_MEMBERS:
            raise UnsafeArchiveError(
                f"{archive}: more than {_MOST_MEMBERS} members. Nothing was unpacked"
            )
        yield info


def _zip_member(info: zipfile.ZipInfo, packed: zipfile.ZipFile) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.is_dir():
        return _Member(info.filename, "folder", "", 0, info)
    if kind == stat.S_IFLNK:
        with packed.open(info) as content:  # what is longer is cut, and leads nowhere
            link = os.fsdecode(content.read(_LONGEST_LINK))
        return _Member(info.filename, "symlink", link, 0, info)
    plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
    return _Member(info.filename, "file" if plain else "special", "", info.file_size, info)


def _checked(archive: Path, members: list[_Member]) -> dict[PurePosixPath, _Member]:
    plan = {PurePosixPath(member.name): member for member in members}
    leaves = {_folded(path) for path, member in plan.items() if member.kind != "folder"}
    for member in members:
        path = PurePosixPath(member.name)
        reason = _name_objection(member) or _kind_objection(path, member, plan)
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


def _name_objection(member: _Member) -> str:
    # A Windows path takes both / and \ for separators and knows drives, so it refuses more.
    path = PureWindowsPath(member.name)
    if path.anchor:
        return "is absolute"
    if ".." in path.parts:
        return "has '..' in its name"
    return "has a NUL in its name" if "\0" in member.name + member.link else ""


def _kind_objection(
    path: PurePosixPath, member: _Member, plan: dict[PurePosixPath, _Member]
) -> str:
    if member.kind == "special":
        return "is a device or pipe"
    if member.kind == "symlink" and _leads_outside(path, member.link):
        return f"is a link to {member.link!r}, outside the archive"
    if member.kind == "hardlink":
        origin = plan.get(PurePosixPath(member.link))
        if origin is None or origin.kind != "file":
            return f"is a hard link to {member.link!r}, which is no file of the archive"
    return "" if path.parts or member.kind == "folder" else "has no name"


def _leads_outside(path: PurePosixPath, link: str) -> bool:
    # No parent of a member is a link, so leading '..' go up real folders and can be counted.
    # Behind another name '..' could go up from wherever that name leads.
    target = PureWindowsPath(link)
    up = target.parts.count("..")
    return not link or bool(target.anchor) or ".." in target.parts[up:] or up >= len(path.parts)


def _check_room(archive: Path, members: Iterable[_Member], folder: Path) -> None:
    needed, free = sum(member.size_bytes for member in members), shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"it takes {needed} bytes, and {free} are free at {folder.parent}",
        )


def _unpack(
    plan: dict[PurePosixPath, _Member], extract: Callable[..., None], staging: Path
) -> None:
    links = {path: member.link for path, member in plan.items() if member.kind == "symlink"}
    rest = [member for path, member in plan.items() if path not in links]
    rest.sort(key=lambda member: member.kind == "hardlink")  # what they name comes first
    extract(staging, [member.source for member in rest])
    # Last, so that nothing is ever written through a link.
    for path, link in links.items():
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        (staging / path).symlink_to(link)
