"""Snapshots of archives in memory for tests, and what to ask them."""

from collections.abc import Callable, Collection
from functools import partial

from hypothesis import strategies as st

from query.cached_archive import CachedArchive
from query.read_ahead import Segment
from query.snapshot import Snapshot
from stanzalake.model.inbox import Inbox
from stanzalake.model.page import Selection, StoredMessage
from stanzalake.model.position import MAX_POSITION
from stanzalake.store.client import Row
from tests.support.archives import SEALER, MemoryArchive, row
from tests.support.events import JULIET

PEERS = ("romeo@montague.lit", "nurse@capulet.lit")
POSITIONS = st.integers(1, 30)
EDGES = st.integers(-1, 32) | st.sampled_from([0, MAX_POSITION])


class AbsentArchive(MemoryArchive):
    """A store that must not be asked for messages."""

    def __init__(self) -> None:
        super().__init__(())

    def _chosen(self, selection: Selection) -> list[Row]:
        raise AssertionError(f"the store was asked for {selection}")

    async def stored(self, positions: Collection[int]) -> frozenset[int]:
        raise AssertionError(f"the store was asked for {positions}")


class NoChanges:
    """Announcements of changes, of which there are none."""

    horizon = 0

    async def current(self, _owner: str) -> int:
        """Return the number of the last change."""
        return 0

    async def refresh(self, _owner: str) -> int:
        """Return the same."""
        return 0


def stored_message(of: Row) -> StoredMessage:
    """Return a row as a snapshot has it."""
    return StoredMessage(
        of.position, of.legacy_id, of.stanza, of.peer, of.peer_resource, of.kind == "groupchat"
    )


def take(rows: list[Row], *, kept: int | None = None) -> Snapshot:
    """Take a snapshot of the newest rows, of all by default."""
    if kept is None or kept >= len(rows):
        return Snapshot([stored_message(r) for r in rows], 0, MAX_POSITION, 0)
    newest = rows[len(rows) - kept :]
    floor = newest[0].position if newest else rows[-1].position + 1
    return Snapshot([stored_message(r) for r in newest], floor, MAX_POSITION, 0)


def cached(
    of: Snapshot,
    stored: MemoryArchive,
    oldest: int = 0,
    on_count: Callable[[Selection], None] = lambda _: None,
) -> CachedArchive:
    """Return an archive that answers from a snapshot, and keeps what it reads with it."""

    def keep(segment: Segment) -> None:
        of.read_ahead.add(segment)

    async def summarise(selection: Selection, below: int) -> tuple[int, int, int]:
        on_count(selection)
        return await summary(stored, selection, below)

    seal = partial(SEALER.seal, JULIET)
    return CachedArchive(
        of,
        stored,
        seal,
        summarise,
        oldest,
        inbox=no_inbox,
        on_read=keep,
    )


async def no_inbox() -> Inbox:
    """Return an empty inbox."""
    return Inbox()


async def summary(stored: MemoryArchive, selection: Selection, below: int) -> tuple[int, int, int]:
    """Summarise a selection as the archive reader does."""
    number, before = await stored.count(selection, below) or (0, 0)
    first = (await stored.read(selection, 1)).items
    return number, first[0].position if first else 0, before


@st.composite
def archives(draw: st.DrawFn, size: int = 12, least: int = 0) -> list[Row]:
    """Draw the rows of an archive, `least` of them or more, `size` at most."""
    return [
        row(
            position,
            peer=draw(st.sampled_from(PEERS)),
            peer_resource=draw(st.sampled_from(["", "a"])),
            kind=draw(st.sampled_from(["chat", "groupchat"])),
            legacy_id=draw(st.sampled_from(["", f"old-{position}"])),
        )
        for position in sorted(draw(st.sets(POSITIONS, min_size=least, max_size=size)))
    ]


SELECTIONS = st.builds(
    Selection,
    low=EDGES,
    high=EDGES,
    peer=st.sampled_from(["", *PEERS]),
    resource=st.sampled_from(["", "a"]),
    groupchat=st.booleans(),
    positions=st.none() | st.frozensets(POSITIONS, max_size=4),
)
