"""Sound, hostile and damaged archives."""

import errno
import gzip
import hashlib
import io
import os
import stat
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile

import pytest

from squall.corpora import archive as archive_module
from squall.corpora.archive import ArchiveError, UnsafeArchiveError, safe_extract


def make_tar(path, members, mode="w"):
    """Build a tar of (name, bytes), (name, None) for a folder, or TarInfo with its bytes."""
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content is None and not isinstance(name, tarfile.TarInfo):
                info.type = tarfile.DIRTYPE
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    return path


def member(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b""


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


SOUND = [("./", None), ("./a/x.wav", b"1"), ("a", None), ("a/b/y.wav", b"2" * 10000), ("e", None)]


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_tar(tmp_path, compression):
    archive = make_tar(tmp_path / "corpus", SOUND, f"w:{compression}")
    out = tmp_path / "new" / "out"
    assert safe_extract(archive, out) == out
    assert tree(out) == {"a/x.wav": b"1", "a/b/y.wav": b"2" * 10000}
    assert (out / "e").is_dir()
    assert os.listdir(out.parent) == ["out"]


def test_zip(tmp_path):
    archive = tmp_path / "corpus.zip"
    link = zipfile.ZipInfo("a/link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/x.wav", b"1" * 10000)
        packed.writestr("e/", b"")
        packed.writestr(link, "x.wav")
    out = safe_extract(archive, tmp_path / "out")
    assert tree(out) == {"a/x.wav": b"1" * 10000, "a/link": b"1" * 10000}
    assert os.readlink(out / "a/link") == "x.wav"
    assert (out / "e").is_dir()


def test_links_inside_and_repeated_members(tmp_path):
    members = [
        ("a/x", b"old"),
        member("a/b/up", tarfile.SYMTYPE, "../x"),
        member("folder", tarfile.SYMTYPE, "a/b"),
        member("a/copy", tarfile.LNKTYPE, "a/x"),
        ("a/x", b"new"),
    ]
    out = safe_extract(make_tar(tmp_path / "a.tar", members), tmp_path / "out")
    assert (out / "a/b/up").read_bytes() == b"new"
    assert (out / "folder/up").read_bytes() == b"new"
    assert (out / "a/copy").read_bytes() == b"new"


def test_modes_are_not_carried_over(tmp_path):
    info = tarfile.TarInfo("x")
    info.mode, info.uid = 0o6777, 12345
    out = safe_extract(make_tar(tmp_path / "a.tar", [(info, b"1")]), tmp_path / "out")
    status = (out / "x").stat()
    assert not status.st_mode & 0o6111
    assert status.st_uid == os.getuid()


def test_unreadable_folder(tmp_path):
    folder = tarfile.TarInfo("a")
    folder.type, folder.mode = tarfile.DIRTYPE, 0
    out = safe_extract(make_tar(tmp_path / "a.tar", [(folder, b""), ("a/x", b"1")]), tmp_path / "o")
    assert tree(out) == {"a/x": b"1"}


HOSTILE_TARS = {
    "parent": [("../evil", b"x")],
    "hidden parent": [("a/../../evil", b"x")],
    "parent folder": [("..", None)],
    "absolute": [("/tmp/evil", b"x")],
    "drive": [("C:evil", b"x")],
    "backslash": [("a\\..\\..\\evil", b"x")],
    "symlink out": [member("a", tarfile.SYMTYPE, "..")],
    "symlink far out": [member("a/b", tarfile.SYMTYPE, "../../x")],
    "symlink absolute": [member("a", tarfile.SYMTYPE, "/etc")],
    "symlink to nothing": [member("a", tarfile.SYMTYPE, "")],
    "symlink through a symlink": [
        member("d/l", tarfile.SYMTYPE, ".."),
        member("x", tarfile.SYMTYPE, "d/l/../evil"),
    ],
    "below a symlink": [member("a", tarfile.SYMTYPE, "b"), ("a/x", b"x")],
    "symlink below a symlink": [
        member("a", tarfile.SYMTYPE, "."),
        member("a/t", tarfile.SYMTYPE, "../b"),
    ],
    "below a symlink of another case": [member("A", tarfile.SYMTYPE, "b"), ("a/x", b"x")],
    "below a symlink in another Unicode form": [
        member("\u00e9", tarfile.SYMTYPE, "b"),
        ("e\u0301/x", b"x"),
    ],
    "below a file": [("a", b"x"), ("a/x", b"x")],
    "hard link out": [member("a", tarfile.LNKTYPE, "../evil")],
    "hard link absolute": [member("a", tarfile.LNKTYPE, "/etc/passwd")],
    "hard link to a symlink": [
        member("s", tarfile.SYMTYPE, "x"),
        member("a", tarfile.LNKTYPE, "s"),
    ],
    "hard link to nothing": [member("a", tarfile.LNKTYPE, "b")],
    "hard link to itself": [("a", b"x"), member("a", tarfile.LNKTYPE, "a")],
    "device": [member("a", tarfile.CHRTYPE)],
    "disk": [member("a", tarfile.BLKTYPE)],
    "pipe": [member("a", tarfile.FIFOTYPE)],
    "root as a link": [member(".", tarfile.SYMTYPE, "..")],
    "file without a name": [(".", b"x")],
}


KIND = "Hostile input"
REFUSED = "refused as a whole; nothing is written"


@pytest.mark.fault(KIND, "a tar whose names or links lead out, or that has devices", REFUSED)
@pytest.mark.parametrize("members", HOSTILE_TARS.values(), ids=HOSTILE_TARS.keys())
@pytest.mark.parametrize("last", [True, False])
def test_hostile_tar_is_refused_as_a_whole(tmp_path, members, last):
    folder = tmp_path / "deep" / "down"
    folder.mkdir(parents=True)
    sound = [("sound.wav", b"1")]
    archive = make_tar(folder / "a.tar", sound + members if last else members + sound)
    with pytest.raises(UnsafeArchiveError, match="Nothing was unpacked"):
        safe_extract(archive, folder / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "down", "a.tar"]


@pytest.mark.fault(KIND, "a zip whose names or links lead out, or that has devices", REFUSED)
@pytest.mark.parametrize(
    ("name", "mode", "content"),
    [
        ("../evil", stat.S_IFREG, b"x"),
        ("/evil", stat.S_IFREG, b"x"),
        ("link", stat.S_IFLNK, b"../../etc/passwd"),
        ("link", stat.S_IFLNK, b"/etc/passwd"),
        ("pipe", stat.S_IFIFO, b""),
        ("device", stat.S_IFCHR, b""),
    ],
)
def test_hostile_zip_is_refused(tmp_path, name, mode, content):
    archive = tmp_path / "a.zip"
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (mode | 0o644) << 16
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("sound.wav", b"1")
        packed.writestr(info, content)
    with pytest.raises(UnsafeArchiveError, match=name):
        safe_extract(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.zip"]


@pytest.mark.fault(KIND, "an archive of very many members", REFUSED)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_too_many_members_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archive_module, "_MOST_MEMBERS", 10)
    archive = tmp_path / "a"
    for count, refused in ((10, False), (11, True)):
        names = [f"{number}.wav" for number in range(count)]
        if kind == "tar":
            make_tar(archive, [(name, b"") for name in names])
        else:
            with zipfile.ZipFile(archive, "w") as packed:
                for name in names:
                    packed.writestr(name, b"")
        if refused:
            with pytest.raises(UnsafeArchiveError, match="a: more than 10 members"):
                safe_extract(archive, tmp_path / "out")
        else:
            safe_extract(archive, tmp_path / "sound")
    assert sorted(os.listdir(tmp_path)) == ["a", "sound"]


@pytest.mark.fault(KIND, "an archive that unpacks to more than the disk has", REFUSED)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_what_the_disk_has_no_room_for_is_refused(tmp_path, monkeypatch, kind):
    archive = tmp_path / "a"
    if kind == "tar":
        make_tar(archive, [("zeros", b"\0" * 5000), ("more", b"\0" * 5000)], "w:gz")
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("zeros", b"\0" * 10000)
    free = archive_module.shutil.disk_usage(tmp_path)._replace(free=9999)
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda path: free)
    with pytest.raises(OSError, match="it takes 10000 bytes, and 9999 are free at") as caught:
        safe_extract(archive, tmp_path / "out")
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.fault(
    KIND,
    "an archive whose members tell another size than they have",
    "refused, or no more is unpacked than is there",
)
@pytest.mark.parametrize(
    ("kind", "told", "refused"),
    [
        ("tar", 1, True),  # the next header would be where content is
        ("tar", 9999, False),  # as many blocks as there are
        ("tar", 20000, True),
        ("tar", 1 << 40, True),
        ("zip", 1, True),
        ("zip", 9999, True),
        ("zip", 20000, False),  # the checksum is that of what is there
        ("zip", (1 << 32) - 2, None),  # as there is room for 4 GB or not
    ],
)
def test_sizes_that_lie(tmp_path, kind, told, refused):
    archive = tmp_path / "a"
    content = bytes(range(1, 251)) * 40
    if kind == "tar":
        info = tarfile.TarInfo("x")
        info.size = told
        header = info.tobuf(tarfile.GNU_FORMAT)
        archive.write_bytes(header + content.ljust(10240, b"\0") + b"\0" * 1024)
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("x", content)
        data = bytearray(archive.read_bytes())
        place = data.index(b"PK\x01\x02") + 24  # in the list at the end, which is what is read
        data[place : place + 4] = told.to_bytes(4, "little")
        archive.write_bytes(data)
    try:
        out = safe_extract(archive, tmp_path / "out")
    except (ArchiveError, OSError) as error:
        assert refused is not False
        assert str(archive) in str(error)  # noqa: PT017
        assert os.listdir(tmp_path) == ["a"]
    else:
        assert not refused
        assert (out / "x").read_bytes() == content[:told]


@pytest.mark.fault("State", "a tar with a damaged header behind the first", "an error, not its end")
@pytest.mark.parametrize("compression", ["", "gz"])
def test_a_damaged_header_is_not_the_end(tmp_path, compression):
    whole = make_tar(tmp_path / "a", [("x", b"1"), ("y", b"2"), ("z", b"3")]).read_bytes()
    damaged = whole[:1024] + bytes([whole[1024] ^ 255]) + whole[1025:]
    (tmp_path / "a").write_bytes(gzip.compress(damaged) if compression else damaged)
    with pytest.raises(ArchiveError, match=r"a: damaged, .*byte 1024"):
        safe_extract(tmp_path / "a", tmp_path / "out")
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_of_a_zip_is_not_read_beyond_a_path(tmp_path):
    archive = tmp_path / "a.zip"
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(link, b"a" * 50_000_000)
    tracemalloc.start()
    with pytest.raises(OSError, match="too long"):
        safe_extract(archive, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
    assert os.listdir(tmp_path) == ["a.zip"]


def test_encrypted_zip_is_refused(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("x", b"1")
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match="encrypted"):
        safe_extract(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.zip"]


@pytest.mark.parametrize(
    ("compression", "damage"),
    # A plain tar has no checksum over its content: nothing can find a flipped byte there.
    [("", "cut"), ("", "beginning")]
    + [(c, damage) for c in ("gz", "bz2", "xz") for damage in ("cut", "flipped", "beginning")],
)
def test_damaged_tar(tmp_path, compression, damage):
    noise = hashlib.shake_256(b"noise").digest(50_000)
    archive = make_tar(tmp_path / "a", [("x", noise), ("y", noise)], f"w:{compression}")
    content = bytearray(archive.read_bytes())
    if damage == "cut":
        del content[len(content) // 3 :]
    else:
        place = 0 if damage == "beginning" else len(content) // 2
        content[place : place + 600] = b"\xa5" * 600
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match=str(archive)):
        safe_extract(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x05\x06" + b"\0" * 10])
def test_no_archive(tmp_path, content):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="not a tar or zip archive"):
        safe_extract(path, tmp_path / "out")


def test_damaged_zip(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("x", b"1" * 100)
    archive.write_bytes(archive.read_bytes().replace(b"1" * 100, b"2" * 100))
    with pytest.raises(ArchiveError, match="damaged"):
        safe_extract(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.zip"]


def test_folder_with_content_is_left_alone(tmp_path):
    archive = make_tar(tmp_path / "a.tar", SOUND)
    out = tmp_path / "out"
    out.mkdir()
    safe_extract(archive, out)
    (out / "mine").write_bytes(b"1")
    before = tree(out)
    with pytest.raises(FileExistsError, match="remove it"):
        safe_extract(archive, out)
    assert tree(out) == before


def test_killed_extraction_leaves_no_folder(tmp_path):
    archive = make_tar(tmp_path / "a.tar", SOUND)
    out = tmp_path / "out"
    script = (
        "import os, sys, tarfile\n"
        "from pathlib import Path\n"
        "from squall.corpora.archive import safe_extract\n"
        "make = tarfile.TarFile.makefile\n"
        "def once(*arguments):\n"
        "    make(*arguments)\n"
        "    os._exit(9)\n"
        "tarfile.TarFile.makefile = once\n"
        "safe_extract(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    arguments = [sys.executable, "-c", script, str(archive), str(out)]
    assert subprocess.run(arguments, check=False).returncode == 9
    assert not out.exists()
    assert len(os.listdir(tmp_path)) == 2
    safe_extract(archive, out)
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "out"]
    assert len(tree(out)) == 2


def test_own_check_does_without_the_filter_of_newer_pythons(tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    for name, members in HOSTILE_TARS.items():
        with pytest.raises(UnsafeArchiveError, match="Nothing was unpacked"):
            safe_extract(make_tar(tmp_path / f"{name}.tar", members), tmp_path / "out")
    test_links_inside_and_repeated_members(tmp_path)


@pytest.mark.fault(
    "Disk",
    "the disk is full while an archive is unpacked",
    "an error that says so; nothing half-unpacked is left",
)
def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
    archive = make_tar(tmp_path / "a.tar", SOUND)

    def full(*arguments, **keywords):
        (tmp_path / ".out.unpacking" / "begun").write_bytes(b"1")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive_module.tarfile.TarFile, "makefile", full)
    with pytest.raises(OSError, match="no space left on the disk while unpacking") as caught:
        safe_extract(archive, tmp_path / "out")
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["a.tar"]
