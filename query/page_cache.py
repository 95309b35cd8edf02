"""Snapshots of archives in memory: small archives whole, of large ones the newest messages.

A snapshot is used only while it is proven current: the tap stamps each request with an upper bound
of the positions of the owner's messages, and whatever changes an archive behind the tap's back
(an erasure, an import, a replay) announces a change in the store.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Protocol

from query.cached_archive import CachedArchive
from query.read_ahead import Segment
from query.request import Request
from query.snapshot import SNAPSHOT_MESSAGES, Older, Snapshot, empty
from stanzalake.errors import ResultTooLarge
from stanzalake.model.inbox import Inbox
from stanzalake.model.page import Archive, NewestMessages, Selection
from stanzalake.model.position import Sealer
from stanzalake.observability.metrics import SNAPSHOTS

FIRST_MESSAGES = 300
"""Messages of an owner's first snapshot at most: the first page should not wait for more."""
INBOX_BYTES = 1024 * 1024
"""Bytes of an inbox that is kept at most, about 1,500 conversations."""
_MISSES = 4
"""Requests beyond the first snapshot after which a larger one is loaded; it costs two of them."""


class Source(Protocol):
    """Archives in the store."""

    def archive(self, owner: str) -> Archive:
        """Return an owner's archive, with the retention horizon as of now."""

    def horizon(self, owner: str, own: int = 0) -> int:
        """Return the lowest position that is shown now.

        Args:
            owner: Bare JID.
            own: The owner's own retention in seconds; 0 for none.
        """

    async def own_retention(self, owner: str) -> int:
        """Return an owner's own retention in seconds; 0 for none."""

    async def newest(self, owner: str, low: int, limit: int) -> NewestMessages:
        """Return the newest messages of an owner from a position on.

        Args:
            owner: Bare JID.
            low: The position.
            limit: Number of messages at most.

        Raises:
            ResultTooLarge: Their stanzas are too large to be held.
        """

    async def summarise(self, owner: str, selection: Selection, below: int) -> tuple[int, int, int]:
        """Return the number of a selection's messages, the first's position, and a part's number.

        Nothing expires meanwhile: the selection has the horizon.

        Args:
            owner: Bare JID.
            selection: The selection.
            below: Position below which the part's messages are.
        """

    async def inbox(self, owner: str, known: Inbox, up_to: int, own: int = 0) -> Inbox:
        """Return an owner's inbox with the messages up to a position.

        Args:
            owner: Bare JID.
            known: The inbox as of an earlier position; nothing older has changed since.
            up_to: The position.
            own: The owner's own retention in seconds; 0 for none.
        """


class Changes(Protocol):
    """Changes of archives that no tap stamped."""

    @property
    def horizon(self) -> int:
        """The position below which messages may be vanishing from the store."""

    async def current(self, owner: str) -> int | None:
        """Return the number of the owner's last change; None during one, or if it is unknown."""

    async def refresh(self, owner: str) -> int | None:
        """Ask the store, and return the number of the owner's last change; None during one.

        Raises:
            StoreUnavailable: The store does not answer.
        """


class PageCache:
    """Opens archives, from a snapshot where one is proven current.

    Args:
        source: Archives in the store.
        sealer: Seals ids.
        changes: Changes that no tap stamped.
        limit: Bytes of all snapshots at most; 0 turns the cache off.
    """

    def __init__(self, source: Source, sealer: Sealer, changes: Changes, limit: int) -> None:
        self._source = source
        self._sealer = sealer
        self._changes = changes
        self._limit = limit
        self._snapshots: OrderedDict[str, Snapshot] = OrderedDict()
        self._size = 0
        self._loads: dict[str, asyncio.Lock] = {}
        self._misses: dict[str, int] = {}

    async def prepare(self, request: Request, *, current: bool, inbox: bool = False) -> bool:
        """Load a snapshot of the archive of a request, or bring it up to date.

        Args:
            request: The request.
            current: Whether the store has all messages announced before the request.
            inbox: Whether the inbox is asked for: the first is read at the same time.

        Returns:
            Whether it is kept; else to open one would load it again.
        """
        proof = await self._prove(request, current=current)
        if proof is None:
            return False
        load = self._load_with_inbox if inbox else self._current
        return await load(request.owner, *proof) is not None and request.owner in self._snapshots

    async def archive(self, request: Request, *, current: bool) -> Archive:
        """Open the archive of a request.

        Args:
            request: The request.
            current: The result of `prepare`.
        """
        owner = request.owner
        proof = await self._prove(request, current=current)
        snapshot = await self._reopen(owner, *proof) if proof else None
        stored = self._source.archive(owner)
        return stored if snapshot is None else self._open(owner, snapshot, stored)

    def _open(self, owner: str, snapshot: Snapshot, stored: Archive) -> CachedArchive:
        may_grow = _may_grow(snapshot)
        return CachedArchive(
            snapshot,
            stored,
            partial(self._sealer.seal, owner),
            partial(self._source.summarise, owner),
            self._source.horizon(owner, snapshot.own),
            inbox=partial(self._inbox, owner, snapshot),
            enlarge=partial(self._open_larger, owner, snapshot, stored) if may_grow else None,
            vanishing=self._changes.horizon,
            on_miss=partial(self._miss, owner),
            on_read=partial(self._keep_segment, owner, snapshot),
        )

    async def _open_larger(self, owner: str, snapshot: Snapshot, stored: Archive) -> Archive:
        """Open an archive with a larger snapshot, which those who ask meanwhile share."""
        moment = (snapshot.newest, snapshot.change)
        async with self._loading(owner):
            kept = self._snapshots.get(owner, snapshot)
            is_kept = (kept.newest, kept.change) == moment
            larger = kept if is_kept else snapshot
            if _may_grow(larger):
                larger = await self._enlarge(owner, larger)
                if is_kept:
                    self._keep(owner, larger)
        return self._open(owner, larger, stored)

    async def _prove(self, request: Request, *, current: bool) -> tuple[int, int] | None:
        """Return `newest` and `change` of a snapshot that is current now; None if none is."""
        if not (self._limit and current) or request.newest is None:
            return None
        change = await self._changes.current(request.owner)
        return None if change is None else (request.newest, change)

    async def _reopen(self, owner: str, newest: int, change: int) -> Snapshot | None:
        """Return the snapshot that was prepared, or another if it is not current any more."""
        known = self._snapshots.get(owner)
        if known and (known.newest, known.change) == (newest, change):
            return known
        return await self._current(owner, newest, change)

    async def _inbox(self, owner: str, snapshot: Snapshot) -> Inbox:
        """Return the inbox as of a snapshot, and keep it with the one that is current by then."""
        inbox = await self._source.inbox(owner, snapshot.inbox, snapshot.newest, snapshot.own)
        if inbox is not snapshot.inbox:
            self._keep_inbox(owner, inbox, snapshot.change)
        return inbox

    def _keep_inbox(self, owner: str, inbox: Inbox, change: int) -> None:
        kept = self._snapshots.get(owner)
        if kept is None or kept.change != change or kept.newest < inbox.up_to:
            return
        if inbox.size <= INBOX_BYTES:
            self._keep(owner, replace(kept, inbox=inbox))

    async def _load_with_inbox(self, owner: str, newest: int, change: int) -> Snapshot | None:
        """Return the owner's snapshot as `_current` does; a first one gets its inbox."""
        if owner in self._snapshots:
            return await self._current(owner, newest, change)
        snapshot, inbox = await asyncio.gather(
            self._current(owner, newest, change), self._source.inbox(owner, Inbox(), newest)
        )
        if snapshot is not None:
            # What the owner's own retention hid is not in it, and shows if a clock is set back.
            since = max(inbox.since, self._source.horizon(owner, snapshot.own))
            self._keep_inbox(owner, replace(inbox, since=since), change)
        return snapshot

    def _miss(self, owner: str) -> None:
        """Count a request beyond a snapshot: the next request may load a larger one."""
        if owner in self._snapshots:
            self._misses[owner] = self._misses.get(owner, 0) + 1

    async def _current(self, owner: str, newest: int, change: int) -> Snapshot | None:
        """Return the owner's snapshot, brought up to date; None if it cannot be held."""
        try:
            async with self._loading(owner):
                snapshot = await self._update(owner, self._snapshots.get(owner), newest, change)
                if snapshot is not None:
                    self._keep(owner, snapshot)
                return snapshot
        except ResultTooLarge:
            return None

    @asynccontextmanager
    async def _loading(self, owner: str) -> AsyncIterator[None]:
        """Load an owner's snapshot within the block, alone."""
        lock = self._loads.setdefault(owner, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._loads.pop(owner, None)

    async def _update(
        self, owner: str, known: Snapshot | None, newest: int, change: int
    ) -> Snapshot | None:
        if known and _may_grow(known) and self._misses.get(owner, 0) >= _MISSES:
            known = await self._enlarge(owner, known)
            self._misses.pop(owner, None)  # another archive may have taken its room meanwhile
        # A lower bound than before comes from a Prosody whose journal was lost.
        if known is None or known.change != change or known.newest > newest:
            known = empty(change, FIRST_MESSAGES)
        if known.newest == newest:
            SNAPSHOTS.labels("current").inc()
            return known
        if known.newest >= 0:
            # The new events may be an erasure, which is announced before it is committed.
            now = await self._changes.refresh(owner)
            if now is None:
                return None
            if now != known.change:
                known = empty(now, FIRST_MESSAGES)
        SNAPSHOTS.labels("loaded" if known.newest < 0 else "extended").inc()
        return await self._extend(owner, known, newest)

    async def _enlarge(self, owner: str, known: Snapshot) -> Snapshot:
        """Load a larger snapshot in place of the first, if its messages are not too large."""
        first = empty(known.change, SNAPSHOT_MESSAGES)
        first = replace(first, inbox=known.inbox, read_ahead=known.read_ahead)
        try:
            return await self._extend(owner, first, known.newest)
        except ResultTooLarge:
            return replace(known, limit=SNAPSHOT_MESSAGES)

    async def _extend(self, owner: str, known: Snapshot, newest: int) -> Snapshot:
        horizon = self._source.horizon(owner, known.own)
        low = max(known.newest + 1, horizon)
        found = await self._source.newest(owner, low, known.limit)
        is_first = known.newest < 0
        if is_first and not found.is_plain:
            known = replace(known, own=await self._source.own_retention(owner))
            horizon = self._source.horizon(owner, known.own)
        if horizon > known.newest:
            # What has expired is not read, and is shown again if the clock is set back. Messages
            # may be missing between those that were known and the horizon.
            floor = max(known.floor, horizon)
            known = replace(known, messages=(), floor=floor, older={}, ids={})
        if not found.floor:
            return known.extend(found.messages, newest)
        older = {s: Older(*counted, low) for s, counted in found.older.items() if is_first}
        return replace(
            known,
            messages=found.messages,
            floor=found.floor,
            newest=newest,
            older=older,
            ids={},
        ).cut()

    def _keep_segment(self, owner: str, snapshot: Snapshot, segment: Segment) -> None:
        """Keep a segment with the current snapshot, if that covers it and nothing changed."""
        kept = self._snapshots.get(owner)
        if kept and kept.change == snapshot.change and segment.high <= kept.newest:
            self._size += kept.read_ahead.add(segment)
            self._shrink()

    def _keep(self, owner: str, snapshot: Snapshot) -> None:
        """Remember a snapshot as the one that was used last."""
        old = self._snapshots.pop(owner, None)
        self._snapshots[owner] = snapshot
        self._size += snapshot.size - (old.size if old else 0)
        self._shrink()

    def _shrink(self) -> None:
        """Drop the snapshots that were used longest ago."""
        while self._size > self._limit:
            oldest, dropped = self._snapshots.popitem(last=False)
            self._size -= dropped.size
            self._misses.pop(oldest, None)


def _may_grow(snapshot: Snapshot) -> bool:
    """Tell whether a larger snapshot may be loaded in place of one."""
    return snapshot.limit < SNAPSHOT_MESSAGES
