"""Refuses every connection but the loopback's, in the tests' own process and in each Python that they start.

Python imports this at its start wherever the folder is on PYTHONPATH. An audit hook cannot be taken off again,
and sees the sockets of every library.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys


def _is_loopback(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if host in {None, "", "localhost", socket.gethostname()}:
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def _refuse_network(event: str, args: tuple[object, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        address = args[1]
        host = address[0] if isinstance(address, tuple) else None  # Otherwise a path: a socket of this machine.
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = args[0]
    else:
        return
    if not _is_loopback(host):
        raise OSError(errno.ENETUNREACH, f"tests reach the loopback only, not {host}")


sys.addaudithook(_refuse_network)
