"""Nothing but this machine can be reached: neither by the tests nor by the processes they start."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Any

_look_up, _name = socket.getaddrinfo, socket.gethostname()


class NetworkUsedError(BaseException):
    """Something would have gone out. No handler of errors takes it for a network that is down."""


def block_network() -> None:
    """Let sockets of this process reach this machine alone, and look up its own names alone."""
    for method in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, method, _guarded(getattr(socket.socket, method)))
    socket.getaddrinfo = _look_up_own  # type: ignore[assignment]


def _guarded(plain: Any) -> Any:
    def guarded(self: socket.socket, *arguments: Any) -> Any:
        address = arguments[-1]  # that of sendto stands last
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse_others(address[0])
        return plain(self, *arguments)

    return guarded


def _look_up_own(host: Any, *arguments: Any, **options: Any) -> Any:
    _refuse_others(host.decode() if isinstance(host, bytes) else host)
    return _look_up(host, *arguments, **options)


def _refuse_others(host: str | None) -> None:
    if host in (None, "", "localhost", _name) or _is_own(str(host)):
        return
    raise NetworkUsedError(f"{host} is asked for; tests reach nothing but this machine")


def _is_own(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    own: set[str] = set()
    with contextlib.suppress(OSError):  # a machine whose name nobody knows
        own = {str(found[4][0]) for found in _look_up(_name, None)}
    return address.is_loopback or address.is_unspecified or str(address) in own
