"""Every reader hides erased messages at once, whatever is on the disk; on both engines."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest

from stanzalake.model.event import VERSION, Erasure
from stanzalake.model.page import MAX_PAGE, Selection
from stanzalake.model.position import MAX_POSITION
from stanzalake.model.retention import FOREVER
from stanzalake.store import statistics
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Row, Store
from stanzalake.store.erasures import OF_OWNER, Erasures
from stanzalake.store.messages import MessageRange, Messages
from stanzalake.store.search import SearchQuery, search
from tests.support.archives import EVERYTHING, SEALER
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.full_text import text_query
from tests.support.stores import migrated_store

OTHER = "nurse@capulet.lit"
POSITIONS = {1: ROMEO, 2: ROMEO, 3: OTHER, 50: ROMEO, 100: ROMEO, 200: ROMEO}
SHAPES: dict[str, tuple[dict[str, Any], set[int]]] = {
    "everything before it": ({}, {100, 200}),
    "a period": ({"start": 2, "end": 50}, {1, 50, 100, 200}),
    "a peer": ({"peer": OTHER}, {1, 2, 50, 100, 200}),
    "nothing after it": ({"end": 2**63}, {100, 200}),
}
"""Erasures at position 100, and the positions that they leave."""


class Erased(NamedTuple):
    """A store with an erasure, and the positions of Juliet's messages that are left."""

    store: Store
    left: set[int]


def row(position: int, owner: str = JULIET, peer: str = ROMEO) -> Row:
    text = stanza(f"love {position}")
    return Row(owner, position, peer, "", "in", "chat", text, f"old-{position}")


def erasure(position: int = 100, **changes: Any) -> Erasure:
    fields: dict[str, Any] = {"v": VERSION, "owner": JULIET, "position": position, "end": position}
    return Erasure(**{**fields, **changes})


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    with migrated_store(dsn, merges=False) as store:
        yield store


@pytest.fixture(scope="module", params=["before", "after"])
def order(request: pytest.FixtureRequest) -> str:
    """Say whether the messages were inserted before or after their erasure."""
    return str(request.param)


@pytest.fixture(scope="module", params=SHAPES)
def erased(request: pytest.FixtureRequest, dsn: str, order: str) -> Iterator[Erased]:
    """Give a store with an erasure, for tests that only read."""
    changes, left = SHAPES[request.param]
    rows = [row(p, owner, peer) for p, peer in POSITIONS.items() for owner in (JULIET, OTHER)]
    with migrated_store(dsn, merges=False) as store:
        if order == "before":
            store.insert(rows)
        Erasures(store).write([erasure(**changes)])
        if order == "after":
            store.insert(rows)
        yield Erased(store, left)


@pytest.fixture(params=[False, True], ids=["single", "sharded"])
async def reader(request: pytest.FixtureRequest, store: Store) -> AsyncIterator[ArchiveReader]:
    reader = ArchiveReader(store, SEALER, FOREVER, sharded=request.param)
    yield reader
    await reader.close()


@pytest.mark.parametrize("sharded", [False, True], ids=["single", "sharded"])
async def test_pages_counts_and_look_ups_leave_out_erased_messages(
    erased: Erased, sharded: bool
) -> None:
    left, reader = erased.left, ArchiveReader(erased.store, SEALER, FOREVER, sharded=sharded)
    archive, ids = reader.archive(JULIET), {f"old-{p}": p for p in POSITIONS}
    for backward in (False, True):
        page = await archive.read(Selection(), 9, backward=backward)
        assert [item.position for item in page.items] == sorted(left)
    behind = await archive.read(Selection(), 9, skip=1)
    assert [item.position for item in behind.items] == sorted(left)[1:]
    first = await archive.read(Selection(), 1)
    assert first.items[0].position == min(left)
    below = sum(position < 60 for position in left)
    assert await archive.count(Selection(), 60) == (len(left), below)
    assert await archive.stored(POSITIONS) == left
    assert await archive.find(ids) == {id_: p for id_, p in ids.items() if p in left}
    others = await reader.archive(OTHER).read(Selection(), 9)
    assert len(others.items) == len(POSITIONS)
    await reader.close()


def test_an_export_leaves_out_erased_messages(erased: Erased) -> None:
    messages = Messages(erased.store)
    assert {found.position for found in messages.read(MessageRange(JULIET))} == erased.left
    assert messages.count(MessageRange(JULIET)) == len(erased.left)
    assert messages.count(MessageRange(OTHER)) == len(POSITIONS)


def test_a_search_leaves_out_erased_messages(erased: Erased) -> None:
    found = search(erased.store, SearchQuery(text_query("love")), 99, EVERYTHING)
    assert {result.position for result in found if result.owner == JULIET} == erased.left
    assert len(found) == len(erased.left) + len(POSITIONS)


def test_statistics_leave_out_erased_messages(erased: Erased) -> None:
    found = statistics.read(erased.store, days=1, retention=FOREVER, now=1.0)
    assert found.messages == len(erased.left) + len(POSITIONS)
    assert [day.messages for day in found.days] == [found.messages]


def test_analysts_views_leave_out_erased_messages(erased: Erased) -> None:
    name, expected = erased.store.table, len(erased.left) + len(POSITIONS)
    for view in ("bodies", "traffic"):
        rows = erased.store.select(f"SELECT count() FROM {name}_{view} WHERE peer_host != ''")
        assert rows == [(expected,)], view
    assert erased.store.select(f"SELECT sum(messages) FROM {name}_daily") == [(expected,)]


async def test_a_page_bounded_in_bytes_leaves_out_erased_messages(
    store: Store, reader: ArchiveReader
) -> None:
    store.insert([row(n)._replace(stanza=f"{n}" + "x" * (MAX_PAGE // 2)) for n in range(9)])
    Erasures(store).write([erasure(start=2, end=8)])
    page = await reader.archive(JULIET).read(Selection(), 9)
    assert ([item.position for item in page.items], page.more) == ([0, 1], True)
    rest = await reader.archive(JULIET).read(Selection(low=2), 9)
    assert ([item.position for item in rest.items], rest.more) == ([8], False)


async def test_a_restart_of_clickhouse_reveals_nothing(store: Store, reader: ArchiveReader) -> None:
    """The table of owners with erasures is in memory."""
    store.insert([row(1), row(1, OTHER)])
    Erasures(store).write([erasure()])
    store.command(f"TRUNCATE TABLE {store.table}_erased")
    for _ in range(2):
        assert await reader.archive(JULIET).count(Selection(), MAX_POSITION) == (0, 0)
        assert await reader.archive(OTHER).count(Selection(), MAX_POSITION) == (1, 1)
        Erasures(store).complete()
    store.command(f"TRUNCATE TABLE {store.table}_erased")
    Erasures(store).write([erasure(owner=OTHER)])
    assert await reader.archive(JULIET).count(Selection(), MAX_POSITION) == (0, 0)


async def test_an_owner_without_erasures_is_read_by_a_single_unfiltered_statement(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filter makes a page half as expensive again."""
    store.insert([row(1), row(1, OTHER)])
    Erasures(store).write([erasure(owner=OTHER)])
    select, statements = store.select, list[str]()

    def counted(statement: str, *arguments: Any) -> Any:
        statements.append(statement)
        return select(statement, *arguments)

    monkeypatch.setattr(store, "select", counted)
    reader = ArchiveReader(store, SEALER, FOREVER)
    assert await reader.archive(JULIET).count(Selection(), 9) == (1, 1)
    [statement] = statements
    assert "arrayExists" not in statement
    assert await reader.archive(OTHER).count(Selection(), 9) == (0, 0)
    await reader.close()


def test_an_erasure_is_on_record(store: Store) -> None:
    asked = [erasure(7, peer=ROMEO, by="the operator"), erasure(9, start=3, account=True)]
    erasures = Erasures(store)
    erasures.write(asked)
    erasures.write(asked)
    assert erasures.read([JULIET, OTHER]) == {JULIET: tuple(asked)}
    assert erasures.since(8) == [asked[1]]


def test_an_erasure_is_in_force_once_it_is_recorded(store: Store) -> None:
    erasures = Erasures(store)
    store.command(f"TRUNCATE TABLE {store.table}_erased")
    assert not erasures.is_in_force(erasure())
    erasures.write([erasure(7)])
    assert not erasures.is_in_force(erasure())
    erasures.write([erasure()])
    assert erasures.is_in_force(erasure())


async def test_a_room_that_is_destroyed_over_and_over_again_costs_readers_as_one(
    store: Store, reader: ArchiveReader
) -> None:
    """Any user can do so."""
    store.insert([row(position) for position in (1, 5000, 30_000)])
    Erasures(store).write([erasure(position) for position in range(10, 20_010)])
    Erasures(store).write([erasure(9, peer=OTHER), erasure(25_000, start=24_000, end=24_500)])
    page = await reader.archive(JULIET).read(Selection(), 9)
    assert [item.position for item in page.items] == [30_000]
    assert [e.position for e in Erasures(store).read([JULIET])[JULIET]] == [20_009, 25_000]
    [(ranges,)] = store.select(OF_OWNER, {"owner": JULIET})
    assert sorted(ranges) == [(0, 20_009, ""), (24_000, 24_500, "")]
