"""Snapshots of archives: small archives whole, of large ones the newest messages."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from sys import getsizeof

from query.read_ahead import ReadAhead, count_fitting
from stanzalake.model.inbox import Inbox
from stanzalake.model.page import Selection, StoredMessage

SNAPSHOT_MESSAGES = 5_000
"""Messages of a snapshot at most, once requests needed more than the first had."""
SNAPSHOT_BYTES = 2 * 1024 * 1024
"""Bytes of stanzas of a snapshot at most."""
MAX_COUNTS = 32
"""Selections of which a snapshot remembers how many older messages they have."""

_OVERHEAD = 450
"""Bytes that a message takes besides its stanza, about; its sealed id is 100 of them."""
_MAX_NAME = 200
"""Characters of a peer's JID in such a selection at most."""
_COUNTS_BYTES = 20 * 1024
"""Bytes of these counts, about."""


@dataclass(frozen=True)
class Older:
    """Number of a selection's messages that are older than a snapshot.

    Attributes:
        number: The number.
        first: Position of the first of them; 0 without any.
        horizon: The retention horizon when they were counted.
        border: A position where a page began, at most the snapshot's floor.
        before: Number of those below it.
    """

    number: int
    first: int
    horizon: int
    border: int = 0
    before: int = 0

    def holds(self, horizon: int) -> bool:
        """Tell whether none of them has expired, or come back, by another horizon."""
        return self.horizon <= horizon and (not self.number or horizon <= self.first)

    def add(self, positions: Sequence[int]) -> "Older":
        """Return the count with further messages, which follow."""
        if not positions:
            return self
        return replace(self, number=self.number + len(positions), first=self.first or positions[0])


@dataclass(frozen=True)
class Snapshot:
    """Consecutive newest messages of an archive.

    Attributes:
        messages: The messages, oldest first.
        floor: Lowest position from which on the snapshot is complete; 0 if it is whole.
        newest: The tap's upper bound of the owner's positions before it was taken.
        change: Number of the owner's last announced change when it was taken.
        limit: Messages at most.
        own: The owner's own retention in seconds, a change of which is announced; 0 for none.
        older: Counts of the messages below the floor, by selections.
        ids: Sealed ids of the positions that were read, each of which would take two HMACs again.
        inbox: The conversations as of a position at or below `newest`.
        read_ahead: Messages below the floor.
    """

    messages: Sequence[StoredMessage]
    floor: int
    newest: int
    change: int
    limit: int = SNAPSHOT_MESSAGES
    own: int = 0
    older: dict[Selection, Older] = field(default_factory=dict, compare=False)
    ids: dict[int, str] = field(default_factory=dict, compare=False)
    inbox: Inbox = field(default_factory=Inbox, compare=False)
    read_ahead: ReadAhead = field(default_factory=ReadAhead, compare=False)

    @cached_property
    def positions(self) -> Sequence[int]:
        """Positions of the messages."""
        return [message.position for message in self.messages]

    @property
    def size(self) -> int:
        """Bytes in memory, about; grows as segments are read."""
        return self._size + self.inbox.size + self.read_ahead.size

    @cached_property
    def _size(self) -> int:
        stanzas = sum(getsizeof(message.stanza) + _OVERHEAD for message in self.messages)
        return stanzas + (_COUNTS_BYTES if self.floor else 0)

    @property
    def mean_size(self) -> int:
        """Bytes of a message in memory, about."""
        return max(1, self._size // max(1, len(self.messages)))

    @property
    def is_settled(self) -> bool:
        """Whether no older message may still come."""
        return self.floor <= self.newest + 1

    @property
    def has_newer(self) -> bool:
        """Whether messages were stored above the tap's bound: imported, or not stamped yet."""
        return bool(self.messages) and self.messages[-1].position > self.newest

    def count_older(self, selection: Selection, horizon: int) -> Older | None:
        """Return the number of a selection's older messages, if it is known."""
        older = self.older.get(selection)
        return older if older and older.holds(horizon) else None

    def remember(self, selection: Selection, older: Older) -> None:
        """Remember the number of a selection's older messages, in place of one used long ago."""
        if len(selection.peer + selection.resource) <= _MAX_NAME:
            self.older.pop(selection, None)
            self.older[selection] = older
            if len(self.older) > MAX_COUNTS:
                del self.older[next(iter(self.older))]

    def extend(self, messages: Sequence[StoredMessage], newest: int) -> "Snapshot":
        """Return the snapshot with all messages above its `newest`, cut to its bounds."""
        known = self.messages[: bisect_right(self.positions, self.newest)]
        # Messages that were dropped above the bound come again.
        older = self.older if self.is_settled else {}
        return replace(self, messages=[*known, *messages], newest=newest, older=older).cut()

    def cut(self) -> "Snapshot":
        """Return the snapshot without the oldest messages that pass its bounds."""
        newest = islice(reversed(self.messages), self.limit)
        kept = count_fitting((getsizeof(message.stanza) for message in newest), SNAPSHOT_BYTES)
        if kept == len(self.messages):
            return self
        border = len(self.messages) - kept
        dropped, messages = self.messages[:border], self.messages[border:]
        floor = messages[0].position if messages else dropped[-1].position + 1
        older, ids = self._count_older(dropped), self._keep_ids(floor)
        return replace(self, messages=messages, floor=floor, older=older, ids=ids)

    def _count_older(self, dropped: Sequence[StoredMessage]) -> dict[Selection, Older]:
        """Return the counts with messages that the snapshot drops."""
        return {
            selection: older.add([m.position for m in dropped if selection.includes(m)])
            for selection, older in self.older.items()
        }

    def _keep_ids(self, low: int) -> dict[int, str]:
        """Return the ids of the positions from a position on."""
        return {position: id_ for position, id_ in self.ids.items() if position >= low}


def empty(change: int, limit: int) -> Snapshot:
    """Return a snapshot before the first load, under the number of the last change."""
    return Snapshot((), 0, -1, change, limit)
