"""Cache over the store's histories, bounded in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from stanzalake.model.history import ArchiveState, History, cut, merge, size

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of cached histories; most are empty, and 100,000 of these fit."""

_OWNER_BYTES = 512
"""Approximate memory of an entry, besides its states."""


class Source(Protocol):
    """Reader of stored histories."""

    def read(self, owners: Collection[str]) -> Mapping[str, History]:
        """Return the history of each owner. Blocks."""


class HistoryCache:
    """LRU cache of histories, including states that are not written yet.

    Args:
        source: Reader of histories that are not cached.
        limit: Bytes of cached histories.
    """

    def __init__(self, source: Source, limit: int = MAX_BYTES) -> None:
        self._source = source
        self._limit = limit
        self._histories: OrderedDict[str, History] = OrderedDict()
        self._bytes = 0
        self._invalid = False
        self._pending: dict[str, set[ArchiveState]] = {}
        self._changing_pending = threading.Lock()

    def get(self, owners: Collection[str], states: Iterable[ArchiveState]) -> Mapping[str, History]:
        """Return the history of each owner, including new states. Blocks on a cache miss.

        Args:
            owners: Bare JIDs, those of the states among them.
            states: New states. They are part of the histories, whatever the source has, until
                they are settled.

        Raises:
            StoreUnavailable: The source does not answer.
            ResultTooLarge: The histories are too large for a single read.
        """
        if self._invalid:
            self._clear()
        # Before the read: its result may lack a state that is settled meanwhile.
        pending = self._add_pending(states)
        missing = set(owners) - self._histories.keys()
        for owner, history in self._source.read(missing).items() if missing else ():
            self._put(owner, history)
        found = {owner: self._histories[owner] for owner in owners}
        for owner in pending.keys() & found.keys():
            # Not cut: each message of a batch is judged by the states right before it.
            found[owner] = merge(found[owner], pending[owner])
            self._put(owner, cut(found[owner]))
            self.settle(pending[owner].difference(found[owner]))
        self._evict(owners)
        return found

    def settle(self, states: Iterable[ArchiveState]) -> None:
        """Forget states as pending: they are in the source now, or will never be. Thread-safe."""
        with self._changing_pending:
            for state in states:
                pending = self._pending.get(state.owner, set())
                pending.discard(state)
                if not pending:
                    self._pending.pop(state.owner, None)

    def invalidate(self) -> None:
        """Drop all histories before the next `get`. Thread-safe, also during a `get`."""
        self._invalid = True

    def _add_pending(self, states: Iterable[ArchiveState]) -> Mapping[str, frozenset[ArchiveState]]:
        with self._changing_pending:
            for state in states:
                self._pending.setdefault(state.owner, set()).add(state)
            return {owner: frozenset(pending) for owner, pending in self._pending.items()}

    def _put(self, owner: str, history: History) -> None:
        self._bytes += _size(history) - _size(self._histories.get(owner, ()))
        self._histories[owner] = history

    def _evict(self, used: Iterable[str]) -> None:
        for owner in used:
            self._histories.move_to_end(owner)
        while self._bytes + _OWNER_BYTES * len(self._histories) > self._limit:
            self._bytes -= _size(self._histories.popitem(last=False)[1])

    def _clear(self) -> None:
        self._invalid = False
        self._histories.clear()
        self._bytes = 0


def _size(history: History) -> int:
    return sum(map(size, history))
