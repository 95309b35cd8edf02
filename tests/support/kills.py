"""Kills of a process between two writes to the store."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stanzalake.store.client import Store


class Killed(BaseException):
    """A process is killed: no handler of errors sees it."""


@contextmanager
def killed_behind(writes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """End the block by Killed behind so many commands and inserts of any store.

    Yields:
        A list that is empty until the kill.
    """
    left, is_killed = writes, list[bool]()

    def count(write: Any) -> Any:
        def counted(*arguments: Any) -> None:
            nonlocal left
            write(*arguments)
            left -= 1
            if left == 0:
                is_killed.append(True)
                raise Killed

        return counted

    with monkeypatch.context() as patched:
        patched.setattr(Store, "command", count(Store.command))
        patched.setattr(Store, "insert", count(Store.insert))
        try:
            yield is_killed
        except Killed:
            return
