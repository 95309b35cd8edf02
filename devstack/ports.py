"""Free ports on loopback."""

import socket
from collections import deque

_given: deque[int] = deque(maxlen=1000)
"""Ports that were returned lately: those who asked may not listen yet."""


def free_port() -> int:
    """Return a TCP port that is free on 127.0.0.1 at the moment, another one each time."""
    while True:
        port = _unused_port()
        if port not in _given:
            _given.append(port)
            return port


def is_free(port: int) -> bool:
    """Return whether a TCP port is free on 127.0.0.1 at the moment."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
