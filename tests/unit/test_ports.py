"""Ports for processes that are started later."""

import secrets
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devstack.ports import FIRST, free_port

OTHER = "from devstack.ports import free_port; print(free_port(), flush=True); input()"

Offer = Callable[[int], None]


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Give a function that has a port drawn next, and again; others are drawn behind it."""
    draw = secrets.randbelow

    def offer(port: int) -> None:
        numbers = [port - FIRST] * 2
        monkeypatch.setattr(secrets, "randbelow", lambda n: numbers.pop() if numbers else draw(n))

    return offer


def test_a_port_is_given_once_though_nobody_listens_on_it_yet(offer: Offer) -> None:
    port = free_port()
    offer(port)
    assert free_port() != port


def test_a_port_that_another_process_was_given_is_not_given(offer: Offer) -> None:
    with subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-c", OTHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        offer(port)
        assert free_port() != port
        other.communicate("\n")


def test_a_port_on_which_somebody_listens_is_not_given(offer: Offer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        offer(port)
        assert free_port() != port


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
