"""Bounded cache over the store's histories."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from typing import Protocol

from stanzalake.model.history import ArchiveState, History, merge

OWNERS = 100_000
"""Cached owners; most have an empty history, of some hundred bytes."""


class Source(Protocol):
    """Reader of stored histories."""

    def read(self, owners: Collection[str]) -> Mapping[str, History]:
        """Return the history of each owner. Blocks."""


class HistoryCache:
    """LRU cache of histories.

    Args:
        source: Reader of histories that are not cached.
        limit: Cached owners, besides those of the last `get`: their states may not be in the
            source yet when the next `get` comes.
    """

    def __init__(self, source: Source, limit: int = OWNERS) -> None:
        self._source = source
        self._limit = limit
        self._histories: OrderedDict[str, History] = OrderedDict()
        self._invalid = False

    def get(self, owners: Collection[str], states: Iterable[ArchiveState]) -> Mapping[str, History]:
        """Return the history of each owner, including new states. Blocks on a cache miss.

        Args:
            owners: Bare JIDs.
            states: New states, which may not be in the source yet.

        Raises:
            StoreUnavailable: The source does not answer; the cache is unchanged.
        """
        if self._invalid:
            self._invalid = False
            self._histories.clear()
        states = list(states)
        used = {*owners, *(state.owner for state in states)}
        missing = used - self._histories.keys()
        if missing:
            self._histories.update(self._source.read(missing))
        for owner, new in groupby(sorted(states, key=_owner), key=_owner):
            self._histories[owner] = merge(self._histories[owner], new)
        found = {owner: self._histories[owner] for owner in used}
        self._evict(found)
        return found

    def invalidate(self) -> None:
        """Drop all histories before the next `get`. Thread-safe, also during a `get`."""
        self._invalid = True

    def _evict(self, used: Collection[str]) -> None:
        for owner in used:
            self._histories.move_to_end(owner)
        while len(self._histories) > self._limit + len(used):
            self._histories.popitem(last=False)


def _owner(state: ArchiveState) -> str:
    return state.owner
