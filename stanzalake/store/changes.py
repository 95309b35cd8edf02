"""Announcements of changes that no tap stamped, for readers that keep parts of archives.

Whoever erases, imports or replays messages announces it once the change is readable.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from stanzalake.store.client import Store

SUFFIX = "_changes"
HEEDED_WITHIN = 1.0
"""Seconds within which every reader heeds an announced change, or reads without its copies."""

_SINCE = """
SELECT owner, toUnixTimestamp64Micro(at) FROM {changes:Identifier}
WHERE at >= fromUnixTimestamp64Micro({since:Int64})
UNION ALL SELECT '', toUnixTimestamp64Micro(now64(6))"""


class Change(NamedTuple):
    """An announced change.

    Attributes:
        owner: Bare JID of the archive's owner.
        at: Unix microseconds by the clock of the store.
    """

    owner: str
    at: int


class _Row(NamedTuple):
    owner: str


class Changes:
    """Reader and writer of announcements. All calls block.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def announce(self, owners: Collection[str]) -> None:
        """Announce that archives have changed, after the change is readable.

        Raises:
            StoreUnavailable: Outcome unknown; announce again.
        """
        self._store.insert([_Row(owner) for owner in sorted(owners)], SUFFIX)

    def since(self, at: int) -> tuple[Sequence[Change], int]:
        """Return the changes announced since a moment, and the moment of the statement.

        Args:
            at: Unix microseconds by the clock of the store.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        rows = self._store.select(_SINCE, {"since": at})
        changes = [Change(*row) for row in rows]
        [now] = [change.at for change in changes if not change.owner]
        return [change for change in changes if change.owner], now
