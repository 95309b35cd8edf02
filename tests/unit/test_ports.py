"""Ports for processes that are started later."""

import pytest

from devstack import ports


def test_a_port_is_given_once_though_nobody_listens_on_it_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offered = iter([20_001, 20_001, 20_001, 20_002])
    monkeypatch.setattr(ports, "_unused_port", lambda: next(offered))
    assert [ports.free_port(), ports.free_port()] == [20_001, 20_002]
