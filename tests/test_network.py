"""Nothing is fetched, by an import or a run, unless it is asked for: the tests have no network."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest

from children.no_network import NetworkUsedError
from squall.engine.tasks import TASKS

ELSEWHERE = ("192.0.2.1", 80)  # RFC 5737: no machine has this address


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_no_other_machine_is_reached(method: str) -> None:
    with socket.socket() as one, pytest.raises(NetworkUsedError, match=r"192\.0\.2\.1 is asked"):
        getattr(one, method)(ELSEWHERE)


def test_no_message_goes_out() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as one, pytest.raises(NetworkUsedError):
        one.sendto(b"x", ELSEWHERE)


@pytest.mark.parametrize("host", ["example.org", b"example.org"])
def test_no_name_is_looked_up(host: str) -> None:
    with pytest.raises(NetworkUsedError, match=r"example\.org is asked for"):
        socket.getaddrinfo(host, 80)


def test_an_address_is_not_opened() -> None:
    with pytest.raises(NetworkUsedError):
        urllib.request.urlopen("http://example.org/x", timeout=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_reached(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].close())
        thread.start()
        with socket.create_connection((host, server.getsockname()[1]), timeout=5) as one:
            assert one.recv(1) == b""
        thread.join()


def test_processes_have_no_network_either() -> None:
    program = f"import socket; socket.socket().connect({ELSEWHERE})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "NetworkUsedError: 192.0.2.1 is asked for" in done.stderr


@pytest.mark.slow
@pytest.mark.fault("Environment", "no network, at the import of every task", "nothing is asked for")
def test_imports_ask_for_nothing() -> None:
    modules = sorted({task.recipe[0] for task in TASKS.values()})
    program = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    subprocess.run(
        [sys.executable, "-c", program, "squall", "squall.cli", "squall.losses", *modules],
        env=os.environ | {"HF_HUB_OFFLINE": ""},
        check=True,
    )
