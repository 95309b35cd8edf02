"""Announcements of changes that no tap stamped, for readers that keep parts of archives.

A change (an erasure, an import, a replay, an expiry) is announced before it begins and once it is
done. In between, readers read the store; a writer that is killed leaves the change open.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from stanzalake.store.client import Store

SUFFIX = "_changes"
HEEDED_WITHIN = 0.45
"""Seconds within which every reader heeds an announcement, or reads without its copies."""
EVERYBODY = "*"
"""In place of an owner: all archives."""
OPEN_SECONDS = 3600
"""Seconds after which an open change of an owner has certainly ended: its writer is gone."""

_SINCE = """
SELECT owner, toUnixTimestamp64Micro(at), begins, horizon FROM {changes:Identifier}
WHERE at >= fromUnixTimestamp64Micro({since:Int64})
UNION ALL SELECT '', toUnixTimestamp64Micro(now64(6)), 0, 0"""


class Change(NamedTuple):
    """An announcement.

    Attributes:
        owner: Bare JID of the archive's owner, or EVERYBODY.
        at: Unix microseconds by the clock of the store.
        begins: Whether the change begins, instead of being done.
        horizon: Of an expiry, the position below which messages vanish; else 0.
    """

    owner: str
    at: int
    begins: bool = False
    horizon: int = 0


class _Row(NamedTuple):
    owner: str
    begins: bool = False
    horizon: int = 0


class Changes:
    """Reader and writer of announcements. All calls block.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextmanager
    def announce(self, owners: Collection[str]) -> Iterator[None]:
        """Announce a change of archives around the block that makes it readable.

        Raises:
            StoreUnavailable: Outcome unknown; announce and change again.
        """
        self._insert([_Row(owner, begins=True) for owner in sorted(owners)])
        yield
        self._insert([_Row(owner) for owner in sorted(owners)])

    def begin_expiry(self, horizon: int) -> None:
        """Announce that messages below a position vanish from now on; raises as `announce`."""
        self._insert([_Row(EVERYBODY, begins=True, horizon=horizon)])

    def end_expiry(self, horizon: int) -> None:
        """Announce that the messages below a position are gone; raises as `announce`."""
        self._insert([_Row(EVERYBODY, horizon=horizon)])

    def since(self, at: int) -> tuple[Sequence[Change], int]:
        """Return the changes announced since a moment, and the moment of the statement.

        Args:
            at: Unix microseconds by the clock of the store.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        rows = self._store.select(_SINCE, {"since": at})
        changes = [Change(owner, at, bool(begins), horizon) for owner, at, begins, horizon in rows]
        [now] = [change.at for change in changes if not change.owner]
        return [change for change in changes if change.owner], now

    def _insert(self, rows: Sequence[_Row]) -> None:
        self._store.insert(rows, SUFFIX)
