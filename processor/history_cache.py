"""The processor's memory of what owners said: a bounded cache over the store's histories."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from typing import Protocol

from stanzalake.model.history import ArchiveState, History, merged

OWNERS = 100_000
"""Owners remembered; most said nothing, and cost some hundred bytes each."""


class Source(Protocol):
    """Where histories are kept."""

    def read(self, owners: Collection[str]) -> Mapping[str, History]:
        """Give the history of each owner. Blocks."""


class HistoryCache:
    """Histories of the owners seen last.

    Args:
        source: Where the others are looked up.
        most: Owners remembered, besides those of the last look: theirs may not be in the source
            yet when the next look comes.
    """

    def __init__(self, source: Source, most: int = OWNERS) -> None:
        self._source = source
        self._most = most
        self._known: OrderedDict[str, History] = OrderedDict()
        self._outdated = False

    def get(self, owners: Collection[str], news: Iterable[ArchiveState]) -> Mapping[str, History]:
        """Give the history of each owner, with the news in it. Blocks if one is not known.

        Args:
            owners: Whose histories are asked for.
            news: States that may not be in the source yet.

        Raises:
            StoreUnavailable: The source did not answer this time; nothing has changed.
        """
        if self._outdated:
            self._outdated = False
            self._known.clear()
        news = list(news)
        wanted = {*owners, *(state.owner for state in news)}
        missing = wanted - self._known.keys()
        if missing:
            self._known.update(self._source.read(missing))
        for owner, said in groupby(sorted(news, key=_owner), key=_owner):
            self._known[owner] = merged(self._known[owner], said)
        recalled = {owner: self._known[owner] for owner in wanted}
        self._drop(recalled)
        return recalled

    def invalidate(self) -> None:
        """Forget everything before the next look; from any thread, also while one looks."""
        self._outdated = True

    def _drop(self, used: Collection[str]) -> None:
        for owner in used:
            self._known.move_to_end(owner)
        while len(self._known) > self._most + len(used):
            self._known.popitem(last=False)


def _owner(state: ArchiveState) -> str:
    return state.owner
