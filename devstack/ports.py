"""Free ports on loopback."""

import os
import secrets
import socket
from collections import deque
from contextlib import suppress

FIRST, _COUNT = 16_384, 16_384
"""Ports below those that Linux gives to outgoing connections (`ip_local_port_range`)."""
_HELD = 100

_held: deque[int] = deque()
"""Descriptors that reserve the ports returned lately: those who asked may not listen yet."""


def free_port() -> int:
    """Return a TCP port that is free on 127.0.0.1, and not given to another process meanwhile."""
    while True:
        port = FIRST + secrets.randbelow(_COUNT)
        if _reserve(port) and _unused(port):
            return port


def is_free(port: int) -> bool:
    """Return whether a TCP port is free on 127.0.0.1 at the moment."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _reserve(port: int) -> bool:
    """Take a port for this process, until it ends or has taken a hundred others.

    A name of the abstract namespace belongs to one process, and to none once
    that has died (unix(7)).
    """
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0stanzalake/port/{port}")
    except OSError:
        mark.close()
        return False
    _held.append(mark.detach())
    if len(_held) > _HELD:
        os.close(_held.popleft())
    return True


def _unused(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
