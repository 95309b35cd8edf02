"""Free ports on loopback."""

import socket


def free_port() -> int:
    """Return a TCP port that is free on 127.0.0.1 at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Return whether a TCP port is free on 127.0.0.1 at the moment."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
