"""Free ports on loopback."""

import socket


def free_port() -> int:
    """Give a TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a TCP port of 127.0.0.1 just now."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
