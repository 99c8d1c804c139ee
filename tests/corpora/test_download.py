"""Downloads against a local server, and hostile, damaged and sound archives."""

import errno
import hashlib
import http.server
import io
import logging
import os
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from squall.corpora import download
from squall.corpora.download import (
    ArchiveError,
    ChecksumError,
    DownloadError,
    NoNetworkError,
    UnsafeArchiveError,
    fetch,
    safe_extract,
    verify_checksum,
)

CONTENT = bytes(range(256)) * 4000
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """What the test server does, and what it was asked."""

    content: bytes = CONTENT
    ranges: bool = True
    wrong_range: bool = False
    cut_after: list[int] = field(default_factory=list)  # bytes of the body, one per request
    states: list[int] = field(default_factory=list)  # failing states before the first success
    location: str = ""
    silent_s: float = 0.0
    asked: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "_RETRY_WAIT_S", 0.001)
    behaviour = Behaviour()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range", "")
            behaviour.asked.append(asked)
            time.sleep(behaviour.silent_s)
            if behaviour.states:
                self.send_error(behaviour.states.pop(0))
                return
            if behaviour.location and not self.path.endswith("moved"):
                self.send_response(302)
                self.send_header("Location", behaviour.location)
                self.end_headers()
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if not behaviour.ranges:
                start = 0
            if start and start >= len(behaviour.content):
                self.send_error(416)
                return
            body = behaviour.content[start:]
            self.send_response(206 if start else 200)
            if start:
                first = 0 if behaviour.wrong_range else start
                last = len(behaviour.content)
                self.send_header("Content-Range", f"bytes {first}-{last - 1}/{last}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: behaviour.cut_after.pop(0)] if behaviour.cut_after else body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.handle_error = lambda *_: None  # clients that were killed or gave up
        behaviour.url = f"http://127.0.0.1:{running.server_port}/corpus.tar"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield behaviour
        running.shutdown()
        thread.join()


@pytest.fixture
def closed_url(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/corpus.tar"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "downloads" / "corpus.tar"


def begin(target, content):
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name("corpus.tar.part")
    part.write_bytes(content)
    return part


def only(target):
    return sorted(path.name for path in target.parent.iterdir()) == ["corpus.tar"]


@pytest.mark.parametrize("checksum", [SHA256, MD5, SHA256.upper().replace("SHA", "sha")])
def test_download(server, target, checksum):
    assert fetch([server.url], target, checksum=checksum) == target
    assert target.read_bytes() == CONTENT
    assert only(target)
    fetch([server.url], target, checksum=checksum)
    assert server.asked == [""]


def test_resume_asks_for_the_rest_only(server, target):
    begin(target, CONTENT[:1000])
    seen = []
    fetch(
        [server.url],
        target,
        checksum=SHA256,
        progress=lambda received, total: seen.append((received, total)),
    )
    assert server.asked == ["bytes=1000-"]
    assert target.read_bytes() == CONTENT
    assert only(target)
    assert seen[0] == (1000, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_server_without_ranges_starts_over(server, target):
    server.ranges = False
    begin(target, CONTENT[:1000])
    fetch([server.url], target, checksum=SHA256)
    assert server.asked == ["bytes=1000-"]
    assert target.read_bytes() == CONTENT


def test_server_that_sends_another_range_starts_over(server, target):
    server.wrong_range = True
    server.cut_after = [1000]
    fetch([server.url], target, checksum=SHA256)
    assert server.asked == ["", "bytes=1000-", ""]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("begun", [CONTENT, CONTENT + b"too much", b"x" * 1000])
def test_whole_or_wrong_part(server, target, begun):
    begin(target, begun)
    fetch([server.url], target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == (1 if begun == CONTENT else 2)
    assert only(target)


def test_broken_connections_are_resumed(server, target):
    server.cut_after = [300_000, 0, 200_000, 0, 0, 100_000]
    server.states = [503]
    fetch([server.url], target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    offsets = [int(asked[6:-1]) for asked in server.asked[2:]]
    assert offsets == [300_000, 300_000, 500_000, 500_000, 500_000, 600_000]


def test_part_survives_a_connection_that_stays_broken(server, target):
    server.cut_after = [1000, 0, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match=f"closed after 1000 of {len(CONTENT)} bytes"):
        fetch([server.url], target, checksum=SHA256)
    assert not target.exists()
    assert target.with_name("corpus.tar.part").read_bytes() == CONTENT[:1000]
    server.cut_after, server.asked = [], []
    fetch([server.url], target, checksum=SHA256)
    assert server.asked == ["bytes=1000-"]


def test_killed_process_is_resumed(server, target):
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from squall.corpora.download import fetch\n"
        "def progress(received, total):\n"
        "    if received > 300_000: os._exit(9)\n"
        "fetch([sys.argv[1]], Path(sys.argv[2]), checksum=sys.argv[3],"
        " progress=progress)\n"
    )
    arguments = [sys.executable, "-c", script, server.url, str(target), SHA256]
    assert subprocess.run(arguments, check=False).returncode == 9
    size = target.with_name("corpus.tar.part").stat().st_size
    assert 0 < size < len(CONTENT)
    fetch([server.url], target, checksum=SHA256)
    assert server.asked == ["", f"bytes={size}-"]
    assert target.read_bytes() == CONTENT


def test_several_at_once_download_once(server, target):
    server.silent_s = 0.2
    threads = [
        threading.Thread(
            target=fetch, kwargs={"urls": [server.url], "target": target, "checksum": SHA256}
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked == [""]
    assert only(target)


def test_wrong_checksum_names_both_and_deletes(server, target):
    server.content = b"<html>please log in</html>"
    with pytest.raises(ChecksumError) as caught:
        fetch([server.url], target, checksum=SHA256)
    message = str(caught.value)
    assert "corpus.tar" in message
    assert SHA256.removeprefix("sha256:") in message
    assert hashlib.sha256(server.content).hexdigest() in message
    assert list(target.parent.iterdir()) == []


def test_wrong_file_behind_a_begun_part_is_fetched_once_more_only(server, target):
    server.content = CONTENT[::-1]
    begin(target, CONTENT[:1000])
    with pytest.raises(ChecksumError):
        fetch([server.url], target, checksum=SHA256)
    assert server.asked == ["bytes=1000-", ""]


def test_wrong_file_in_place_is_kept_beside(server, target):
    target.parent.mkdir()
    target.write_bytes(b"another release")
    fetch([server.url], target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    assert target.with_name("corpus.tar.bad").read_bytes() == b"another release"


def test_addresses_are_tried_in_order(server, closed_url, target):
    server.states = [404]
    fetch([closed_url, server.url, server.url], target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_no_network(closed_url, target):
    with pytest.raises(NoNetworkError, match="Is there a network") as caught:
        fetch([closed_url, closed_url], target, checksum=SHA256)
    assert closed_url in str(caught.value)
    assert str(target) in str(caught.value)


def test_server_that_answers_is_not_a_missing_network(server, closed_url, target):
    server.states = [404]
    with pytest.raises(DownloadError, match="404") as caught:
        fetch([closed_url, server.url], target, checksum=SHA256)
    assert not isinstance(caught.value, NoNetworkError)


def test_silent_server_times_out(server, target):
    server.silent_s = 0.4
    with pytest.raises(DownloadError, match=r"[Tt]ime"):
        fetch([server.url], target, checksum=SHA256, timeout_s=0.05)


def test_file_address(tmp_path, target):
    source = tmp_path / "with space.tar"
    source.write_bytes(CONTENT)
    begin(target, CONTENT[:10])
    fetch([source.as_uri()], target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="absent") as caught:
        fetch([(tmp_path / "absent").as_uri()], tmp_path / "x", checksum=SHA256)
    assert not isinstance(caught.value, NoNetworkError)


def test_redirects(server, tmp_path, target):
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    for location in ("ftp://127.0.0.1/corpus.tar", secret.as_uri()):
        server.location = location
        with pytest.raises(DownloadError, match="302"):
            fetch([server.url], target, checksum=SHA256)
    server.location = "/moved"
    begin(target, CONTENT[:1000])
    fetch([server.url], target, checksum=SHA256)
    assert server.asked[-2:] == ["bytes=1000-", "bytes=1000-"]


@pytest.mark.parametrize(
    "urls",
    [[], "http://127.0.0.1/x", ["ftp://host/x"], ["/etc/passwd"], ["http:///x"], ["http://a/b c"]],
)
def test_unusable_addresses(urls, target):
    with pytest.raises(ValueError, match="address"):
        fetch(urls, target, checksum=SHA256)
    assert not target.parent.exists()


@pytest.mark.parametrize("checksum", ["", SHA256[7:], "sha1:" + "0" * 40, SHA256[:-1]])
def test_checksum_must_say_what_it_is(checksum, target):
    with pytest.raises(ValueError, match="checksum"):
        fetch(["http://127.0.0.1/x"], target, checksum=checksum)


def test_without_a_checksum(server, target, caplog):
    begin(target, b"of an earlier run")
    server.cut_after = [1000]
    fetch([server.url], target, checksum=None)
    assert server.asked == ["", "bytes=1000-"]
    assert target.read_bytes() == CONTENT
    assert f"accepted without a checksum; its own is {SHA256}" in caplog.text
    assert only(target)
    target.write_bytes(b"by hand")
    fetch([server.url], target, checksum=None)
    assert target.read_bytes() == b"by hand"


def test_verify_checksum(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(CONTENT)
    verify_checksum(path, SHA256)
    verify_checksum(path, MD5)
    with pytest.raises(ChecksumError, match="expected 0000"):
        verify_checksum(path, "md5:" + "0" * 32)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_disk_while_writing(server, target):
    target.parent.mkdir()
    target.with_name("corpus.tar.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="no space left on the disk while downloading") as caught:
        fetch([server.url], target, checksum=SHA256)
    assert caught.value.errno == errno.ENOSPC


def test_full_disk_is_foreseen_and_the_part_is_kept(server, target, tmp_path, monkeypatch):
    part = begin(target, CONTENT[:1000])
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: SimpleNamespace(free=5))
    with pytest.raises(OSError, match=rf"{len(CONTENT) - 1000} bytes are needed, 5 are free"):
        fetch([server.url], target, checksum=SHA256)
    assert part.read_bytes() == CONTENT[:1000]
    archive = make_tar(tmp_path / "a.tar", [("x", b"123456")])
    with pytest.raises(OSError, match="6 bytes are needed, 5 are free"):
        safe_extract(archive, tmp_path / "out")


def test_log_lines_when_not_on_a_terminal(server, target, caplog):
    with caplog.at_level(logging.INFO, logger="squall.corpora.download"):
        fetch([server.url], target, checksum=SHA256)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "corpus.tar: 0.0 of 1.0 MB"
    assert lines[-1] == "corpus.tar: 1.0 of 1.0 MB"
    assert len(lines) == 2


def test_bar_on_a_terminal(server, target, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    fetch([server.url], target, checksum=SHA256)
    assert "corpus.tar" in terminal.getvalue()
    assert "1.0 MB" in terminal.getvalue()


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


def test_encrypted_zip_is_refused(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("x", b"1")
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(UnsafeArchiveError, match="encrypted"):
        safe_extract(archive, tmp_path / "out")


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
        "import os, sys\n"
        "from pathlib import Path\n"
        "from squall.corpora import download\n"
        "copy = download.shutil.copyfileobj\n"
        "def once(*arguments):\n"
        "    copy(*arguments)\n"
        "    os._exit(9)\n"
        "download.shutil.copyfileobj = once\n"
        "download.safe_extract(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    arguments = [sys.executable, "-c", script, str(archive), str(out)]
    assert subprocess.run(arguments, check=False).returncode == 9
    assert not out.exists()
    assert len(os.listdir(tmp_path)) == 2
    safe_extract(archive, out)
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "out"]
    assert len(tree(out)) == 2
