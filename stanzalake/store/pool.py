"""A pool: as many of a thing as are used at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What can be in a pool."""

    def close(self) -> None:
        """Give back what it holds."""


T = TypeVar("T", bound=Closable)


class Pool(Generic[T]):
    """Makes one at once, and another whenever all are taken; none is thrown away before the end.

    Args:
        make: Makes one, from any thread.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._closed = False
        # Of a list, append and pop can be called from all threads.
        self._idle = [make()]

    @contextmanager
    def borrow(self) -> Iterator[T]:
        """Give one to nobody else meanwhile; raises what making one raises.

        Raises:
            RuntimeError: The pool is closed.
        """
        one = self._any()
        try:
            yield one
        finally:
            self._idle.append(one)
            if self._closed:
                self.close()

    def close(self) -> None:
        """Close all; those that are taken when they come back."""
        self._closed = True
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _any(self) -> T:
        try:
            return self._idle.pop()
        except IndexError:
            if self._closed:
                raise RuntimeError("closed") from None
            return self._make()
