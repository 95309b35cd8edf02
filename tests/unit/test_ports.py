"""Ports for processes that are started later."""

import secrets
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.ports import free_port

OTHER = """\
import secrets
secrets.randbelow = lambda _: {offered}
from devstack.ports import free_port
print(free_port(), flush=True)
input()
"""


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> int:
    """Offer a number twice, then the next one, then any."""
    first = secrets.randbelow(16_000)
    numbers, draw = [first, first, first + 1], secrets.randbelow
    monkeypatch.setattr(secrets, "randbelow", lambda n: numbers.pop(0) if numbers else draw(n))
    return first


@pytest.mark.usefixtures("offered")
def test_a_port_is_given_once_though_nobody_listens_on_it_yet() -> None:
    assert free_port() != free_port()


def test_a_port_that_another_process_was_given_is_not_given(offered: int) -> None:
    with subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-c", OTHER.format(offered=offered)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    ) as other:
        assert other.stdout is not None
        assert int(other.stdout.readline()) != free_port()
        other.communicate("\n")


@pytest.mark.usefixtures("offered")
def test_a_port_on_which_somebody_listens_is_not_given() -> None:
    taken = free_port()
    secrets.randbelow(1)  # the second offer
    with socket.create_server(("127.0.0.1", taken + 1)):
        assert free_port() not in {taken, taken + 1}


def test_no_port_is_one_that_an_outgoing_connection_may_take() -> None:
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert free_port() < int(first)


def test_a_process_that_takes_many_ports_keeps_few_reservations() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(300):
        free_port()
    assert descriptors() <= before + 100
