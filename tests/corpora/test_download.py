"""Downloads against a local server that breaks in every way."""

import errno
import hashlib
import http.server
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from squall.corpora import download
from squall.corpora.download import (
    Archive,
    ChecksumError,
    DownloadError,
    NoNetworkError,
    fetch,
    fetch_all,
    verify_checksum,
)

CONTENT = bytes(range(256)) * 4000
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """What the test server does, and what it was asked."""

    content: bytes = CONTENT
    others: dict[str, bytes] = field(default_factory=dict)  # by path; every other has `content`
    ranges: bool = True
    tells_length: bool = True
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
    monkeypatch.setattr(download, "_RETRY_WAITS_S", (0.001, 0.001, 0.001, 0.001))
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
            content = behaviour.others.get(self.path, behaviour.content)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if not behaviour.ranges:
                start = 0
            if start and start >= len(content):
                self.send_error(416)
                return
            first = 0 if behaviour.wrong_range else start
            body = content[first:]
            self.send_response(206 if start else 200)
            if start:
                last = len(content)
                self.send_header("Content-Range", f"bytes {first}-{last - 1}/{last}")
            if behaviour.tells_length:
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


def test_server_that_does_not_tell_the_length(server, target):
    server.tells_length = False
    seen = []
    fetch([server.url], target, checksum=SHA256, progress=lambda *step: seen.append(step))
    assert seen[0] == (0, None)
    assert seen[-1] == (len(CONTENT), None)


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
    assert server.asked == ["", "bytes=1000-"]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("begun", [CONTENT, CONTENT + b"too much", b"x" * 1000])
def test_whole_or_wrong_part(server, target, begun):
    begin(target, begun)
    fetch([server.url], target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == (1 if begun == CONTENT else 2)
    assert only(target)


def test_broken_connections_are_resumed(server, target):
    server.cut_after = [300_000, 0, 200_000]
    server.states = [503]
    fetch([server.url], target, checksum=SHA256)
    assert target.read_bytes() == CONTENT
    offsets = [int(asked[6:-1]) for asked in server.asked[2:]]
    assert offsets == [300_000, 300_000, 500_000]


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


@pytest.mark.fault(
    "Environment",
    "no network while a corpus is downloaded",
    "an error that says so and where to put the files by hand",
)
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


@pytest.mark.fault(
    "Environment",
    "a server that does not answer",
    "an error after a while",
)
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


@pytest.mark.fault("Hostile input", "a server that redirects to a file or to ftp", "refused")
def test_redirects(server, tmp_path, target):
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    for location, reason in (("ftp://127.0.0.1/x", "ftp:"), (secret.as_uri(), "302")):
        server.location = location
        with pytest.raises(DownloadError, match=reason):
            fetch([server.url], target, checksum=SHA256)
    server.location = "/moved"
    begin(target, CONTENT[:1000])
    fetch([server.url], target, checksum=SHA256)
    assert server.asked[-2:] == ["bytes=1000-", "bytes=1000-"]


@pytest.mark.fault(
    "Hostile input", "addresses that are none, or of another kind", "refused; nothing is asked"
)
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


@pytest.mark.fault(
    "Disk",
    "the disk is full while a corpus is downloaded",
    "an error that says so; what was received is kept and continued",
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_disk_while_writing(server, target):
    target.parent.mkdir()
    target.with_name("corpus.tar.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="no space left on the disk") as caught:
        fetch([server.url], target, checksum=SHA256)
    assert caught.value.errno == errno.ENOSPC


SECOND = CONTENT[::-1] + b"longer"


@pytest.fixture
def archives(server):
    """Two files of one server."""
    server.others = {"/second.tar": SECOND}
    second = f"{server.url.removesuffix('corpus.tar')}second.tar"
    return [
        Archive([server.url], SHA256, len(CONTENT)),
        Archive([second], "md5:" + hashlib.md5(SECOND).hexdigest(), len(SECOND)),
    ]


def test_archives_are_unpacked_one_by_one_and_progress_is_told_over_all(archives, tmp_path):
    unpacked, seen = [], []

    def unpack(archive, path):
        assert path == tmp_path / archive.name
        unpacked.append(
            (archive.name, path.read_bytes(), sorted(p.name for p in tmp_path.iterdir()))
        )

    fetch_all(archives, tmp_path, unpack=unpack, progress=lambda *told: seen.append(told))
    assert unpacked == [
        ("corpus.tar", CONTENT, ["corpus.tar"]),
        ("second.tar", SECOND, ["corpus.tar", "second.tar"]),
    ]
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert {total for _, total, _ in seen} == {len(CONTENT) + len(SECOND)}
    assert seen[-1][0] == len(CONTENT) + len(SECOND)
    assert list(dict.fromkeys(what for _, _, what in seen)) == [
        "downloading corpus.tar (1 of 2)",
        "unpacking corpus.tar (1 of 2)",
        "downloading second.tar (2 of 2)",
        "unpacking second.tar (2 of 2)",
    ]


def test_one_archive_of_unknown_length(server, tmp_path):
    server.tells_length = False
    seen = []
    fetch_all(
        [Archive([server.url])],
        tmp_path,
        unpack=lambda archive, path: None,
        progress=lambda *told: seen.append(told),
    )
    assert seen[0] == (0, 1, "downloading corpus.tar")
    assert seen[-1] == (len(CONTENT), len(CONTENT), "unpacking corpus.tar")
    assert all(done <= total for done, total, _ in seen)


def test_a_run_killed_in_the_second_archive_keeps_the_first(archives, server, tmp_path):
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from squall.corpora.download import Archive, fetch_all\n"
        "def progress(done, total, what):\n"
        "    if what.startswith('downloading second') and done > int(sys.argv[1]): os._exit(9)\n"
        "pairs = zip(sys.argv[3::2], sys.argv[4::2])\n"
        "archives = [Archive([url], checksum) for url, checksum in pairs]\n"
        "fetch_all(archives, Path(sys.argv[2]), unpack=print, progress=progress)\n"
    )
    pairs = [part for archive in archives for part in (archive.urls[0], archive.checksum)]
    limit = str(len(CONTENT) + 300_000)
    command = [sys.executable, "-c", script, limit, str(tmp_path), *pairs]
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 9
    begun = (tmp_path / "second.tar.part").stat().st_size
    assert 0 < begun < len(SECOND)
    server.asked = []
    fetch_all(archives, tmp_path, unpack=lambda archive, path: None)
    assert server.asked == [f"bytes={begun}-"]
    assert (tmp_path / "corpus.tar").read_bytes() == CONTENT
    assert (tmp_path / "second.tar").read_bytes() == SECOND


def test_a_wrong_checksum_names_its_archive_and_leaves_the_others(archives, server, tmp_path):
    server.others = {"/second.tar": b"another file"}
    unpacked = []
    with pytest.raises(ChecksumError, match=r"cannot download second\.tar") as caught:
        fetch_all(archives, tmp_path, unpack=lambda archive, path: unpacked.append(archive.name))
    assert archives[1].checksum.removeprefix("md5:") in str(caught.value)
    assert unpacked == ["corpus.tar"]
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.tar"]
