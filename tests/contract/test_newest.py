"""The newest messages of owners who wait, read together, equal those of each read alone."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query import page_cache
from query.cached_archive import CachedArchive
from query.page_cache import PageCache
from query.request import Request
from stanzalake.errors import ResultTooLarge
from stanzalake.model.event import VERSION, Erasure, OwnRetention, Tombstone
from stanzalake.model.page import Selection
from stanzalake.model.position import MAX_POSITION, from_milliseconds
from stanzalake.model.retention import FOREVER
from stanzalake.store import newest
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Store
from stanzalake.store.erasures import Erasures
from stanzalake.store.own_retention import OwnRetentions
from stanzalake.store.tombstones import TombstoneRow, Tombstones
from tests.support.archives import SEALER, START, open_archive, row
from tests.support.events import ROMEO, stanza
from tests.support.snapshots import NoChanges
from tests.support.stores import CountingStore

NURSE = "nurse@capulet.lit"
_numbers = itertools.count()


def at(second: int) -> int:
    return from_milliseconds(START + 1000 * second)


class Archive(NamedTuple):
    """An archive of random messages, and what hides some of them."""

    kinds: Sequence[tuple[str, str]]
    repeated: frozenset[int]
    hidden: Literal["", "erasure", "tombstone", "own retention"]

    def fill(self, store: Store) -> str:
        """Write the archive; return its owner."""
        owner = f"batched{next(_numbers)}@capulet.lit"
        rows = [
            row(
                at(n),
                owner=owner,
                kind=kind,
                peer=peer,
                stanza=stanza(f"{owner} {n}"),
                legacy_id=f"old-{n}" if n % 5 == 0 else "",
            )
            for n, (kind, peer) in enumerate(self.kinds)
        ]
        store.insert(rows)
        # No merge drops what was replayed.
        store.insert([r for n, r in enumerate(rows) if n in self.repeated])
        self._hide(store, owner)
        return owner

    def _hide(self, store: Store, owner: str) -> None:
        if self.hidden == "erasure":
            erased = Erasure(
                v=VERSION, owner=owner, position=at(99), peer=ROMEO, start=at(1), end=at(4)
            )
            Erasures(store).write([erased])
        elif self.hidden == "tombstone":
            tombstone = Tombstone(
                v=VERSION,
                owner=owner,
                position=at(99),
                peer=ROMEO,
                direction="in",
                message_id="m",
                by=ROMEO,
            )
            Tombstones(store).write([TombstoneRow.of(tombstone, "<retracted xmlns='x'/>")])
        elif self.hidden:
            choice = OwnRetention(v=VERSION, owner=owner, position=at(99), seconds=86_400, by=owner)
            OwnRetentions(store).write([choice])


ARCHIVES = st.builds(
    Archive,
    st.lists(
        st.tuples(
            st.sampled_from(["chat", "chat", "groupchat", "presence"]),
            st.sampled_from([ROMEO, NURSE]),
        ),
        max_size=12,
    ),
    st.frozensets(st.integers(0, 11)),
    st.sampled_from(["", "", "", "erasure", "tombstone", "own retention"]),
)


QUESTIONS = (
    (Selection(), MAX_POSITION),
    (Selection(), at(6)),
    (Selection(groupchat=False), MAX_POSITION),
    (Selection(peer=ROMEO), at(9)),
)
"""Selections, and positions that pages end before."""


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
async def reader(store: Store) -> AsyncIterator[ArchiveReader]:
    reader = ArchiveReader(store, SEALER, FOREVER, threads=2)
    yield reader
    await reader.close()


def bound_whole_reads(patch: pytest.MonkeyPatch, rows: int) -> None:
    """Have batches of more rows look for where each archive's newest messages begin."""
    whole = newest._WHOLE.replace(str(newest._WHOLE_ROWS), str(rows))  # noqa: SLF001  # see above
    patch.setattr(newest, "_WHOLE", whole)


@settings(max_examples=8, deadline=None)
@given(
    archives=st.lists(ARCHIVES, min_size=3, max_size=6),
    bounds=st.lists(st.tuples(st.integers(0, 8), st.integers(1, 8)), min_size=7, max_size=7),
    rows=st.sampled_from([1, newest._WHOLE_ROWS]),  # noqa: SLF001  # a bound of thousands
)
def test_owners_read_together_get_what_each_gets_alone(
    runner: asyncio.Runner,
    store: Store,
    archives: list[Archive],
    bounds: list[tuple[int, int]],
    rows: int,
) -> None:
    async def compare() -> None:
        reader = ArchiveReader(store, SEALER, FOREVER, threads=2)
        owners = [archive.fill(store) for archive in archives]
        owners.append(owners[0])
        loads = [(owner, *bound) for owner, bound in zip(owners, bounds, strict=False)]
        asked = [reader.newest(owner, at(low) if low else 0, limit) for owner, low, limit in loads]
        together = await asyncio.gather(*asked)
        for (owner, low, limit), found in zip(loads, together, strict=True):
            start = at(low) if low else 0
            alone = await reader.newest(owner, start, limit)
            assert found.is_plain == alone.is_plain
            if found.older:
                # Repeats may take the room of older messages here.
                assert found.messages == alone.messages[-len(found.messages) :]
                assert found.floor == (found.messages[0].position if found.floor else 0)
            else:
                assert found == alone
            for selection, counted in found.older.items():
                high = (found.floor or start) - 1
                older = replace(selection, low=start, high=high)
                assert await reader.summarise(owner, older, 0) == (*counted, 0)
        await reader.close()

    with pytest.MonkeyPatch.context() as patch:
        bound_whole_reads(patch, rows)
        runner.run(compare())


@settings(max_examples=4, deadline=None)
@given(
    archives=st.lists(ARCHIVES, min_size=4, max_size=5),
    limit=st.integers(1, 6),
    rows=st.sampled_from([1, newest._WHOLE_ROWS]),  # noqa: SLF001  # a bound of thousands
)
def test_pages_and_counts_from_snapshots_loaded_together_equal_those_of_the_store(
    runner: asyncio.Runner, store: Store, archives: list[Archive], limit: int, rows: int
) -> None:
    async def compare() -> None:
        reader = ArchiveReader(store, SEALER, FOREVER, threads=2)
        cache = PageCache(reader, SEALER, NoChanges(), 1 << 20)
        owners = [archive.fill(store) for archive in archives]
        requests = [Request("capulet.lit", o, o, None, newest=at(50)) for o in owners]
        found = await asyncio.gather(*(open_archive(cache, r) for r in requests))
        for owner, archive in zip(owners, found, strict=True):
            assert isinstance(archive, CachedArchive)
            stored = reader.archive(owner)
            for selection, below in QUESTIONS:
                counted = await stored.count(selection, below)
                assert await archive.count(selection, below) == counted
                page = await stored.read(replace(selection, high=below), 4, backward=True)
                assert await archive.read(replace(selection, high=below), 4, backward=True) == page
        await reader.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_cache, "FIRST_MESSAGES", limit)
        bound_whole_reads(patch, rows)
        runner.run(compare())


async def test_owners_who_wait_share_one_statement_and_large_archives_two(
    store: CountingStore, reader: ArchiveReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(owners: Sequence[str]) -> int:
        """Return the number of statements that it takes."""
        before = store.selects
        bounds = itertools.cycle([(0, 3), (at(2), 4)])
        asked = (reader.newest(owner, *bound) for owner, bound in zip(owners, bounds, strict=False))
        found = await asyncio.gather(*asked)
        for owner, newest_messages in zip(owners, found, strict=True):
            stanzas = [message.stanza for message in newest_messages.messages]
            assert stanzas == [stanza(f"{owner} {n}") for n in (2, 3, 4)]
        return store.selects - before

    plain = Archive([("chat", ROMEO)] * 5, frozenset(), "")
    owners = [plain.fill(store) for _ in range(12)]
    assert await read(owners) == 1
    bound_whole_reads(monkeypatch, 47)
    statements = [await read(owners) for _ in range(2 + newest._PAUSE)]  # noqa: SLF001  # a count
    assert statements == [3, *[2] * newest._PAUSE, 3]  # noqa: SLF001  # the same
    assert await read(owners[:3]) == 3, "few are read alone"


@pytest.mark.parametrize(("sharded", "limit"), [(True, 3), (False, newest.MAX_BATCHED + 1)])
async def test_many_messages_and_those_of_a_cluster_are_read_by_owner(
    store: CountingStore, sharded: bool, limit: int
) -> None:
    """No server knows what is hidden on the others."""
    reader = ArchiveReader(store, SEALER, FOREVER, threads=2, sharded=sharded)
    plain = Archive([("chat", ROMEO)] * 2, frozenset(), "")
    owners = [plain.fill(store) for _ in range(4)]
    before = store.selects
    found = await asyncio.gather(*(reader.newest(owner, 0, limit) for owner in owners))
    assert [len(one.messages) for one in found] == [2] * 4
    assert store.selects - before == 4
    await reader.close()


async def test_an_owner_whose_stanzas_are_too_large_fails_alone(
    store: Store, reader: ArchiveReader
) -> None:
    plain = Archive([("chat", ROMEO)] * 2, frozenset(), "")
    owners = [plain.fill(store) for _ in range(5)]
    large = stanza("a" * 3_000_000)
    store.insert([row(at(10 + n), owner=owners[3], stanza=large) for n in range(3)])
    asked = [reader.newest(owner, 0, 300) for owner in owners]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(found.pop(3), ResultTooLarge)
    assert [isinstance(one, BaseException) or len(one.messages) for one in found] == [2] * 4, found


async def test_too_many_rows_for_a_batch_are_read_by_owner(
    store: CountingStore, reader: ArchiveReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = newest._EXTENTS.replace(str(newest._ROWS), "1")  # noqa: SLF001  # a bound of millions
    monkeypatch.setattr(newest, "_EXTENTS", bound)
    bound_whole_reads(monkeypatch, 1)
    plain = Archive([("chat", ROMEO)] * 2, frozenset(), "")
    owners = [plain.fill(store) for _ in range(4)]
    before = store.selects
    found = await asyncio.gather(*(reader.newest(owner, 0, 300) for owner in owners))
    assert [len(one.messages) for one in found] == [2] * 4
    assert store.selects - before == 2 + len(owners)
