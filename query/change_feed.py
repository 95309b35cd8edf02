"""The feed of changes that no tap stamped: it tells whether a snapshot may be out of date."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from stanzalake.errors import StanzalakeError
from stanzalake.store.changes import EVERYBODY, HEEDED_WITHIN, OPEN_SECONDS, Change

_POLL_SECONDS = HEEDED_WITHIN / 3
_SECOND = 1_000_000
"""Microseconds."""
_OVERLAP = 120 * _SECOND
"""By which an insert may become readable later than its stamp: longer than a writer waits."""
_GAP = 600 * _SECOND
"""Between polls, after which announcements may have expired from the store."""
_MAX_OWNERS = 10_000
_IDLE_SECONDS = 60.0
"""Seconds without a reader after which the feed stops polling."""


class Source(Protocol):
    """The announcements in the store."""

    def since(self, at: int) -> tuple[Sequence[Change], int]:
        """Return the changes announced since a moment, and the moment of the statement. Blocks."""


class _OpenChanges:
    """Changes that have begun and are not done, whose writers may have been killed."""

    def __init__(self) -> None:
        self._owners: dict[str, tuple[int, int]] = {}
        self._horizons: set[int] = set()

    def note(self, change: Change) -> None:
        """Note the beginning or the end of a change."""
        if change.horizon:
            self._note_horizon(change)
            return
        number, at = self._owners.pop(change.owner, (0, 0))
        number += 1 if change.begins else -1
        if number > 0:
            self._owners[change.owner] = number, max(at, change.at)

    def is_open(self, owner: str, now: int) -> bool:
        """Return whether an archive may be changing at a moment of the store's clock."""
        return any(
            now - self._owners[each][1] < OPEN_SECONDS * _SECOND
            for each in (owner, EVERYBODY)
            if each in self._owners
        )

    @property
    def horizon(self) -> int:
        """The position below which messages may be vanishing."""
        return max(self._horizons, default=0)

    def _note_horizon(self, change: Change) -> None:
        if change.begins:
            self._horizons.add(change.horizon)
        else:
            # Nothing is left below it, whoever else removes it.
            self._horizons = {each for each in self._horizons if each > change.horizon}


class ChangeFeed:
    """Follows the announcements of a store, while somebody asks for them.

    Args:
        source: The announcements.
        clock: Monotonic time in seconds.

    Attributes:
        is_idle: Whether the store is not polled, as nobody reads.
    """

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self.is_idle = False
        self._number = 0
        self._floor = 0
        self._owners: dict[str, int] = {}
        self._open = _OpenChanges()
        self._seen: dict[Change, None] = {}
        self._since: int | None = None
        self._polled = -math.inf
        self._asked = -math.inf
        self._wake = asyncio.Event()
        self._polling = asyncio.Lock()
        self._polls = 0

    @property
    def horizon(self) -> int:
        """The position below which messages may be vanishing: an expiry is at work."""
        return self._open.horizon

    def read(self, owner: str) -> int | None:
        """Return the number of an owner's last change; None during one, or if it is unknown."""
        self._asked = self._clock()
        self._wake.set()
        return None if self._is_late() else self._number_of(owner)

    async def current(self, owner: str) -> int | None:
        """Return the number of an owner's last change, which is polled if the last poll is too old.

        Those who ask meanwhile share the poll. On a busy machine polls are late, and without a
        number every page would be read from the store, which keeps it busy.

        Returns:
            The number; None during a change, or if the store does not answer.
        """
        number, polls = self.read(owner), self._polls
        if number is None and self._is_late():
            async with self._polling:
                if self._polls == polls:
                    with suppress(StanzalakeError):
                        await self._poll()
            number = self.read(owner)
        return number

    async def refresh(self, owner: str) -> int | None:
        """Poll now, and return the number of an owner's last change; None during one.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        await self.poll()
        return self._number_of(owner)

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop` is set. While the store does not answer, every read returns None."""
        stopping = asyncio.create_task(stop.wait())
        while not stop.is_set():
            if self._clock() - self._asked > _IDLE_SECONDS:
                await self._sleep_until_asked(stopping)
                continue
            with suppress(StanzalakeError):
                await self.poll()
            await asyncio.wait({stopping}, timeout=_POLL_SECONDS)

    async def poll(self) -> None:
        """Read the new announcements.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        async with self._polling:
            await self._poll()

    async def _poll(self) -> None:
        begun = self._clock()
        since = 0 if self._since is None else self._since - _OVERLAP
        try:
            changes, now = await asyncio.to_thread(self._source.since, since)
        finally:
            self._polls += 1
        # A clock that was set back may have stamped changes below the moments asked for.
        if self._since is None or not 0 <= now - self._since <= _GAP:
            self._note_all()
        for change in sorted(changes, key=lambda change: change.at):
            if change not in self._seen:
                self._note(change)
        self._seen = dict.fromkeys(change for change in changes if change.at > now - _OVERLAP)
        self._since, self._polled = now, begun

    async def _sleep_until_asked(self, stopping: "asyncio.Task[bool]") -> None:
        self._wake.clear()
        # A poll that took so long knows of the changes since the last one alone.
        async with self._polling:
            self.is_idle, self._since = True, None
            self._open, self._seen = _OpenChanges(), {}
        waking = asyncio.create_task(self._wake.wait())
        await asyncio.wait({stopping, waking}, return_when=asyncio.FIRST_COMPLETED)
        waking.cancel()
        self.is_idle = False

    def _is_late(self) -> bool:
        return self._clock() - self._polled > HEEDED_WITHIN

    def _number_of(self, owner: str) -> int | None:
        if self._open.is_open(owner, self._since or 0):
            return None
        return max(self._owners.get(owner, 0), self._floor)

    def _note(self, change: Change) -> None:
        self._open.note(change)
        self._number += 1
        self._owners[change.owner] = self._number
        if change.owner == EVERYBODY or len(self._owners) > _MAX_OWNERS:
            self._note_all()

    def _note_all(self) -> None:
        self._number += 1
        self._floor = self._number
        self._owners.clear()
