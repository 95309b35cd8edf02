"""Pool of clients that grows with concurrent use."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """A pooled resource."""

    def close(self) -> None:
        """Release the resource."""


T = TypeVar("T", bound=Closable)


class Pool(Generic[T]):
    """Thread-safe pool. Creates a client when all are borrowed; keeps each until `close`.

    Args:
        make: Creates a client; called once at once, later from any thread.
        is_reusable: Whether clients are kept after an error, else replaced by another.
    """

    def __init__(self, make: Callable[[], T], *, is_reusable: bool = True) -> None:
        self._make = make
        self._is_reusable = is_reusable
        self._closed = False
        # list.append and list.pop are thread-safe.
        self._idle = [make()]

    @contextmanager
    def borrow(self) -> Iterator[T]:
        """Borrow a client exclusively for the block; raises as `make` does.

        Raises:
            RuntimeError: The pool is closed.
        """
        client = self._take()
        try:
            yield client
        except BaseException:
            if not self._is_reusable:
                client = self._replace(client)
            raise
        finally:
            self._idle.append(client)
            if self._closed:
                self.close()

    def close(self) -> None:
        """Close idle clients now, and borrowed ones on their return."""
        self._closed = True
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _replace(self, client: T) -> T:
        """Return another client in place of one, which is closed only then."""
        # An engine ends with its last client.
        other = self._make()
        client.close()
        return other

    def _take(self) -> T:
        try:
            return self._idle.pop()
        except IndexError:
            if self._closed:
                raise RuntimeError("closed") from None
            return self._make()
