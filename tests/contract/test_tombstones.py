"""Retracted messages: every reader has the tombstone at once, and the content leaves the disk."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stanzalake.model.event import VERSION, Erasure, Tombstone
from stanzalake.model.page import Item, Selection
from stanzalake.model.position import from_milliseconds
from stanzalake.model.retention import FOREVER
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Row, Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.erasures import Erasures
from stanzalake.store.messages import MessageRange, Messages
from stanzalake.store.retention import horizon
from stanzalake.store.search import SearchQuery, search
from stanzalake.store.tombstones import TombstoneRow, Tombstones
from stanzalake.xmpp.retraction import retracted
from tests.support.archives import SEALER
from tests.support.events import JULIET, ROMEO
from tests.support.full_text import text_query
from tests.support.stores import migrated_store
from tests.support.wait import until

ROOM = "balcony@rooms.lit"
OTHER, STRANGER = "nurse@capulet.lit", "mercutio@verona.lit"
SECRET = "wherefore"
NOW = 1_790_000_000
RETRACTED = "<retracted xmlns='urn:xmpp:message-retract:1'/>"


def at(second: int) -> int:
    return from_milliseconds(1000 * (NOW + second))


def row(second: int, id_: str = "m", children: str = "", **changes: Any) -> Row:
    """Give a message from Romeo to Juliet; `root` of the changes is further attributes."""
    root = changes.pop("root", "")
    text = (
        f"<message xmlns='jabber:client' from='{ROMEO}/orchard' to='{JULIET}' id='{id_}'{root}>"
        f"<body>{SECRET}</body>{children}</message>"
    )
    return Row(JULIET, at(second), ROMEO, "orchard", "in", "chat", text)._replace(**changes)


def tombstone(second: int, id_: str = "m", **changes: Any) -> Tombstone:
    fields: dict[str, Any] = {
        "v": VERSION,
        "owner": JULIET,
        "position": at(second),
        "peer": ROMEO,
        "direction": "in",
        "message_id": id_,
        "by": ROMEO,
        "retraction_id": f"r{second}",
    }
    return Tombstone(**{**fields, **changes})


def bury(store: Store, *tombstones: Tombstone) -> None:
    Tombstones(store).write([TombstoneRow.of(one, retracted(one)) for one in tombstones])


def exported(store: Store, owner: str = JULIET, **options: bool) -> dict[int, str]:
    """Give the stanzas of an export by position."""
    messages = Messages(store, **options).read(MessageRange(owner))
    return {message.position: message.stanza for message in messages}


def found(store: Store) -> list[int]:
    """Give the positions that an operator's search finds."""
    results = search(store, SearchQuery(text_query(SECRET)), 99, horizon(FOREVER, NOW))
    return [result.position for result in results]


def on_disk(store: Store) -> str:
    return "".join(text for (text,) in store.select(f"SELECT stanza FROM {store.table}"))


@pytest.fixture(scope="module")
def migrated(dsn: str) -> Iterator[Store]:
    with migrated_store(dsn) as store:
        yield store


@pytest.fixture
def store(migrated: Store) -> Store:
    for suffix in ("", "_tombstones", "_erasures", "_erased", "_changes"):
        migrated.command(f"TRUNCATE TABLE {migrated.table}{suffix}")
    migrated.command(f"SYSTEM START MERGES {migrated.table}")
    return migrated


@pytest.fixture
async def reader(store: Store) -> AsyncIterator[ArchiveReader]:
    reader = ArchiveReader(store, SEALER, FOREVER)
    yield reader
    await reader.close()


async def pages(reader: ArchiveReader, owner: str = JULIET) -> dict[int, str]:
    """Give the stanzas of pages in both directions and of a snapshot, which have to agree."""
    archive = reader.archive(owner)
    forward = await archive.read(Selection(), 100)
    backward = await archive.read(Selection(), 100, backward=True)
    newest, is_plain, *_ = await reader.newest(owner, 0, 100)
    assert not is_plain
    assert forward.items == backward.items
    shown = {item.position: item.stanza for item in forward.items}
    assert shown == {message.position: message.stanza for message in newest}
    return shown


@pytest.mark.requirement("424-03", "424-04", "424-05", "424-06", "424-11")
@pytest.mark.parametrize("order", ["message first", "tombstone first"])
async def test_every_reader_has_the_tombstone_in_place_of_the_content(
    store: Store, reader: ArchiveReader, order: str
) -> None:
    ids = "<origin-id xmlns='urn:xmpp:sid:0' id='m'/>"
    rows = [row(1, "m", f"<x xmlns='x'>{SECRET}</x>{ids}"), row(2, "other")]
    if order == "message first":
        store.insert(rows)
    bury(store, tombstone(5))
    if order == "tombstone first":
        store.insert(rows)
    shown = await pages(reader)
    assert shown[at(1)] == (
        f"<message xmlns='jabber:client' from='{ROMEO}/orchard' to='{JULIET}' id='m'>{ids}"
        '<retracted xmlns="urn:xmpp:message-retract:1" id="r5" stamp="2026-09-21T14:13:25.000Z"'
        f' by="{ROMEO}"/></message>'
    )
    assert shown[at(2)] == rows[1].stanza
    assert exported(store) == shown
    assert found(store) == [at(2)]
    bodies = store.select(f"SELECT body FROM {store.table}_bodies ORDER BY at")
    assert bodies == [("",), (SECRET,)]
    assert store.select(f"SELECT count() FROM {store.table}_traffic") == [(2,)]
    archive, by_text = reader.archive(JULIET), Selection(text=text_query(SECRET))
    assert await archive.count(Selection(), 0) == (2, 0)
    # Nobody learns by a search what was retracted.
    assert [item.position for item in (await archive.read(by_text, 9)).items] == [at(2)]
    assert await archive.count(by_text, at(2)) == (1, 0)
    assert not (await archive.read(by_text, 9, skip=1)).items


OCCUPANT_ID = (
    "<x xmlns='http://jabber.org/protocol/muc#user'/>"
    "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='{}'/>"
)
HIS, HERS = OCCUPANT_ID.format("his"), OCCUPANT_ID.format("hers")
OCCUPANT = {"peer": ROOM, "peer_resource": "romeo", "kind": "chat"}


@pytest.mark.requirement("424-08", "424-09", "424-10", "424-12")
@pytest.mark.parametrize(
    ("message", "one"),
    [
        pytest.param(row(1), tombstone(5, by="x@y", peer="x@y"), id="of another sender"),
        pytest.param(row(1), tombstone(5, direction="out"), id="of the recipient"),
        pytest.param(row(1), tombstone(5, owner="x@y"), id="in another archive"),
        pytest.param(row(1), tombstone(5, "other"), id="of another id"),
        pytest.param(row(9), tombstone(5), id="of an older message"),
        pytest.param(row(1, kind="groupchat"), tombstone(5), id="of a room by a client's id"),
        pytest.param(row(1, kind="error"), tombstone(5), id="of a bounce"),
        pytest.param(
            row(1, "m", "<retract xmlns='urn:xmpp:message-retract:1' id='m0'/>"),
            tombstone(5),
            id="of a retraction",
        ),
        pytest.param(
            row(1, "n", "<f xmlns='f'><origin-id xmlns='urn:xmpp:sid:0' id='m'/></f>"),
            tombstone(5),
            id="by an id within a child",
        ),
        pytest.param(
            row(1, "n", root=" x=' id=&apos;m&apos;'"), tombstone(5), id="by an attribute"
        ),
        pytest.param(
            row(1, "n", root=''' x=" id='m'"'''), tombstone(5), id="by a quoted attribute"
        ),
        pytest.param(row(1, "n", root=" aid='m'"), tombstone(5), id="by a longer attribute name"),
        pytest.param(
            row(1, "m", HIS, **OCCUPANT),
            tombstone(5, peer=ROOM),
            id="of an occupant by the room's bare JID",
        ),
        pytest.param(
            row(1, "m", HIS, **OCCUPANT),
            tombstone(5, peer=ROOM, peer_resource="tybalt", occupant_id="his"),
            id="of an occupant by another nick",
        ),
        pytest.param(
            row(1, "m", HIS, **OCCUPANT),
            tombstone(5, peer=ROOM, peer_resource="romeo", occupant_id="hers"),
            id="of an occupant by who took the nick",
        ),
        pytest.param(
            row(1, "m", HERS, owner=ROOM, peer=ROOM, kind="groupchat"),
            tombstone(5, "", owner=ROOM, peer=ROOM, target=at(1), occupant_id="his"),
            id="in a room by another occupant",
        ),
    ],
)
async def test_a_forged_retraction_changes_nothing(
    store: Store, reader: ArchiveReader, message: Row, one: Tombstone
) -> None:
    store.insert([message])
    # The filter is in force for the owner.
    bury(store, one, tombstone(5, "of nothing", owner=message.owner))
    assert await pages(reader, message.owner) == {message.position: message.stanza}
    assert exported(store, message.owner) == {message.position: message.stanza}
    assert found(store)
    # The view of bodies does not tell a later message of the same id from the retracted one.
    body = SECRET if message.position < one.position else ""
    assert store.select(f"SELECT body FROM {store.table}_bodies") == [(body,)]
    assert not Tombstones(store).pending()


@pytest.mark.requirement("424-03")
async def test_the_first_retraction_is_shown_by_whichever_id_it_names_the_message(
    store: Store, reader: ArchiveReader
) -> None:
    store.insert([row(1, "m", "<origin-id xmlns='urn:xmpp:sid:0' id='o'/>")])
    bury(store, tombstone(7, "m"), tombstone(5, "o"))
    [shown] = (await pages(reader)).values()
    assert retracted(tombstone(5, "o")) in shown


@pytest.mark.requirement("424-08", "424-09", "424-10")
@pytest.mark.parametrize(
    ("message", "one"),
    [
        pytest.param(
            row(1, "n", "<origin-id xmlns='urn:xmpp:sid:0' id='m'/>"), tombstone(5), id="origin-id"
        ),
        pytest.param(row(1, "a&amp;&apos;b"), tombstone(5, "a&'b"), id="escaped id"),
        pytest.param(row(1, kind="normal"), tombstone(5), id="normal"),
        pytest.param(row(1, direction="out"), tombstone(5, direction="out"), id="one's own"),
        pytest.param(row(1, peer_resource="phone"), tombstone(5), id="from another client"),
        pytest.param(
            row(1, "m", HIS, **OCCUPANT),
            tombstone(5, peer=ROOM, peer_resource="romeo", occupant_id="his"),
            id="of an occupant",
        ),
        pytest.param(
            row(1, "m", HIS, **OCCUPANT, direction="out"),
            tombstone(5, peer=ROOM, peer_resource="romeo", direction="out"),
            id="one's own to an occupant",
        ),
        pytest.param(
            row(1, "x", HIS, owner=ROOM, peer=ROOM, kind="groupchat"),
            tombstone(5, "", owner=ROOM, peer=ROOM, target=at(1), occupant_id="his"),
            id="in a room by its author",
        ),
        pytest.param(
            row(1, "x", HIS, owner=ROOM, peer=ROOM, kind="groupchat"),
            tombstone(5, "", owner=ROOM, peer=ROOM, target=at(1), moderated=True, reason="rude"),
            id="in a room by a moderator",
        ),
    ],
)
async def test_the_author_and_moderators_retract(
    store: Store, reader: ArchiveReader, message: Row, one: Tombstone
) -> None:
    store.insert([message])
    bury(store, one)
    [shown] = (await pages(reader, message.owner)).values()
    assert SECRET not in shown
    assert retracted(one) in shown
    assert exported(store, message.owner) == {message.position: shown}
    assert not found(store)
    assert store.select(f"SELECT body FROM {store.table}_bodies") == [("",)]


@pytest.mark.requirement("424-13")
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(
        st.builds(row, st.integers(0, 9), st.sampled_from("ab")), unique_by=lambda one: one.position
    ),
    tombstones=st.lists(st.builds(tombstone, st.integers(0, 9), st.sampled_from("ab"))),
    random=st.randoms(use_true_random=False),
)
def test_the_outcome_depends_on_positions_alone(
    store: Store, rows: Sequence[Row], tombstones: Sequence[Tombstone], random: Any
) -> None:
    for suffix in ("", "_tombstones"):
        store.command(f"TRUNCATE TABLE {store.table}{suffix}")
    writes: list[Row | Tombstone] = [*rows, *tombstones, *rows[:1], *tombstones[:1]]
    random.shuffle(writes)
    for one in writes:
        if isinstance(one, Row):
            store.insert([one])
        else:
            bury(store, one)
    first = {
        message.position: min(
            (
                one.position
                for one in tombstones
                if one.position > message.position and f"id='{one.message_id}'" in message.stanza
            ),
            default=None,
        )
        for message in rows
    }
    shown = exported(store)
    assert shown.keys() == first.keys()
    for position, by in first.items():
        assert (SECRET in shown[position]) is (by is None)
        if by is not None:
            assert f'id="r{(by - at(0)) // (at(1) - at(0))}"' in shown[position]
    hidden = {position for position, by in first.items() if by is not None}
    assert set(found(store)) == first.keys() - hidden


@pytest.mark.parametrize("backward", [False, True])
async def test_pages_go_on_behind_rows_that_are_stored_twice(
    store: Store, reader: ArchiveReader, backward: bool
) -> None:
    store.command(f"SYSTEM STOP MERGES {store.table}")
    rows = [row(second) for second in range(5)]
    for _ in range(3):
        store.insert(rows)
    bury(store, tombstone(3))
    read: list[Item] = []
    selection = Selection()
    while items := (await reader.archive(JULIET).read(selection, 2, backward=backward)).items:
        read += items[::-1] if backward else items
        end = read[-1].position
        selection = Selection(high=end - 1) if backward else Selection(low=end + 1)
    shown = sorted((item.position, SECRET in item.stanza) for item in read)
    assert shown == [(at(second), second >= 3) for second in range(5)]


async def remove(deletion: Deletion) -> None:
    await until(lambda: not deletion.step(NOW), 60)


async def test_the_content_leaves_the_disk_and_the_tombstone_stays(
    store: Store, reader: ArchiveReader
) -> None:
    recent = int(store.select("SELECT toUnixTimestamp(now())")[0][0]) - NOW
    store.insert([row(recent, "m"), row(recent + 1, "other"), row(recent + 2, "m", root=" a='b'")])
    bury(store, tombstone(recent + 5))
    before = await pages(reader)
    keeping = Deletion(store, keep_retracted=True)
    await remove(keeping)
    assert on_disk(store).count(SECRET) == 3
    assert SECRET in exported(store, with_retracted=True)[at(recent)]
    await remove(Deletion(store))
    await until(lambda: on_disk(store).count(SECRET) == 1)
    assert await pages(reader) == before
    assert exported(store, with_retracted=True) == before
    # Replayed: hidden at once, and removed with the next clean-up.
    store.insert([row(recent, "m")])
    assert await pages(reader) == before
    await remove(Deletion(store))
    await until(lambda: on_disk(store).count(SECRET) == 1)


async def test_a_tombstone_goes_with_all_that_it_may_name(
    store: Store, reader: ArchiveReader
) -> None:
    def left() -> list[tuple[int]]:
        return [(at_,) for (at_,) in store.select(f"SELECT position FROM {store.table}_tombstones")]

    store.insert([row(1), row(3, "other")])
    bury(store, tombstone(5))
    period = Erasure(v=VERSION, owner=JULIET, position=at(9), start=at(2), end=at(9))
    Erasures(store).write([period])
    await remove(Deletion(store))
    assert SECRET not in "".join((await pages(reader)).values())
    assert left()
    Erasures(store).write([Erasure(v=VERSION, owner=JULIET, position=at(10), end=at(10))])
    await remove(Deletion(store))
    await until(lambda: not left())


@pytest.fixture
def frugal(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Give a store whose statements may join and group a hundred rows."""
    few = "max_rows_in_join = 100, max_rows_to_group_by = 100"
    given_select = store.select
    monkeypatch.setattr(
        store, "select", lambda statement, *values: given_select(f"{statement}, {few}", *values)
    )
    return store


async def test_a_strangers_retractions_are_read_for_no_archive(
    frugal: Store, reader: ArchiveReader
) -> None:
    """However many there are of one owner, pages of this one and of all others cost the same."""
    frugal.insert([row(1), row(1, owner=OTHER)])
    flood = [tombstone(5 + n, f"made up {n}", peer=STRANGER, by=STRANGER) for n in range(20_000)]
    bury(frugal, *flood, tombstone(2), tombstone(2, owner=OTHER))
    for owner in (JULIET, OTHER):
        await pages(reader, owner)
        archive = reader.archive(owner)
        assert await archive.conversations({}) == []
        words = Selection(text=text_query(SECRET))
        assert (await archive.read(words, 9)).items == []
        assert await archive.count(words, 0) == (0, 0)


async def test_a_correspondents_retractions_of_nothing_are_read_for_no_page(
    frugal: Store, reader: ArchiveReader
) -> None:
    frugal.insert([row(1), row(2, "other")])
    bury(frugal, *(tombstone(5 + n, f"made up {n}") for n in range(20_000)), tombstone(3))
    shown = await pages(reader)
    assert "<retracted " in shown[at(1)]
    assert shown[at(2)] == row(2, "other").stanza


async def test_a_flood_of_retractions_hides_nothing_and_stays_readable(
    store: Store, reader: ArchiveReader
) -> None:
    store.insert([row(1), row(2, "n" * 900_000), row(3, "other", root=f" x='{'y' * 9000}'")])
    flood = [tombstone(5 + n, f"made up {n}") for n in range(20_000)]
    bury(store, *flood, *[tombstone(4, "other")] * 1000)
    shown = await pages(reader)
    assert [SECRET in text for text in shown.values()] == [True, True, True]
    assert len(found(store)) == 3
