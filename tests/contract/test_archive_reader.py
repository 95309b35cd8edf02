"""The Archive interface: the store's archives on both engines, and the tests' in-memory one."""

import asyncio
import itertools
import threading
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from xml.sax.saxutils import escape

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import StreamFailureError
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from query.forms import MAX_IDS
from stanzalake.errors import StoreRefused
from stanzalake.model.full_text import MAX_TEXT, parse
from stanzalake.model.page import MAX_PAGE, Archive, Item, Page, Selection
from stanzalake.model.position import MAX_POSITION, from_milliseconds
from stanzalake.model.retention import FOREVER, Retention
from stanzalake.store import archive_reader, full_text
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Row, Store
from stanzalake.store.statement import select
from tests.support.archives import SEALER, START, MemoryArchive, row, visible_id
from tests.support.events import ROMEO, stanza
from tests.support.full_text import matches, text_query
from tests.support.wait import until

NOW = START / 1000 + 86_400
EXPIRES_AFTER = 86_400
OLDEST = from_milliseconds(START)
OTHER = "nurse@capulet.lit"

_owners = (f"owner'{n}\\\"@capulet.lit" for n in itertools.count())

Fill = Callable[[list[Row]], Archive]


@pytest.fixture(scope="module", autouse=True)
def patient_counts() -> Iterator[None]:
    """Have no count of a search be given up because the machine is busy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_reader, "COUNT_SECONDS", 60)
        yield


@pytest.fixture
def owner() -> str:
    """Give an owner that no other test has."""
    return next(_owners)


@pytest.fixture
async def reader(messages: Store) -> AsyncIterator[ArchiveReader]:
    reader = ArchiveReader(messages, SEALER, Retention(EXPIRES_AFTER), clock=lambda: NOW)
    yield reader
    await reader.close()


@pytest.fixture(params=["stored", "memory"])
def fill(
    request: pytest.FixtureRequest, messages: Store, reader: ArchiveReader, owner: str
) -> Fill:
    """Give a function that creates the owner's archive with rows."""

    def stored(rows: list[Row]) -> Archive:
        messages.insert(owned(rows, owner))
        return reader.archive(owner)

    def memory(rows: list[Row]) -> Archive:
        return MemoryArchive(owned(rows, owner), owner, OLDEST)

    return stored if request.param == "stored" else memory


def owned(rows: list[Row], owner: str) -> list[Row]:
    """Set the owner of the rows, except of those of OTHER."""
    return [r if r.owner == OTHER else r._replace(owner=owner) for r in rows]


def at(seconds: int, **changes: str) -> Row:
    return row(from_milliseconds(START + 1000 * seconds), **changes)


def bodies(page: Page) -> list[str]:
    return [item.stanza for item in page.items]


@pytest.mark.requirement("313-06", "313-08", "313-118")
async def test_items_come_once_in_order_with_their_ids(fill: Fill, owner: str) -> None:
    rows = [at(n, stanza=stanza(str(n))) for n in (3, 1, 2, 1)]
    archive = fill([*rows, rows[0], at(9)._replace(owner=OTHER)])
    assert await archive.read(Selection(), 9) == Page(
        [
            Item(r.position, SEALER.seal(owner, r.position), r.stanza)
            for r in (rows[1], rows[2], rows[0])
        ],
        more=False,
    )
    assert await archive.count(Selection(), rows[0].position) == (3, 2)


@pytest.mark.parametrize(
    ("limit", "backward", "skip", "expected", "more"),
    [
        (2, False, 0, ["0", "1"], True),
        (5, False, 0, ["0", "1", "2", "3", "4"], False),
        (0, False, 0, [], True),
        (0, False, 5, [], False),
        (2, True, 0, ["3", "4"], True),
        (5, True, 0, ["0", "1", "2", "3", "4"], False),
        (2, False, 2, ["2", "3"], True),
        (2, False, 3, ["3", "4"], False),
        (2, False, 10**18 - 1, [], False),
    ],
)
async def test_a_page_respects_limit_direction_and_skip(  # noqa: PLR0913, PLR0917  # a row of the table above
    fill: Fill, limit: int, backward: bool, skip: int, expected: list[str], more: bool
) -> None:
    archive = fill([at(n, stanza=str(n)) for n in (0, 1, 1, 2, 3, 3, 3, 4)])
    page = await archive.read(Selection(), limit, backward=backward, skip=skip)
    assert (bodies(page), page.more) == (expected, more)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), ["0", "1", "2", "3"]),
        (Selection(peer=ROMEO), ["0", "1"]),
        (Selection(peer=ROMEO, resource="orchard"), ["0"]),
        (Selection(peer="o'neil\\@x\n\t\"%s"), ["2"]),
        (Selection(peer="' OR 1=1 --"), []),
        (Selection(groupchat=False), ["0", "1", "2"]),
        (Selection(low=at(1).position, high=at(2).position), ["1", "2"]),
        (Selection(positions=frozenset({at(3).position, at(0).position})), ["0", "3"]),
        (Selection(positions=frozenset()), []),
        (Selection(low=at(2).position, high=at(1).position), []),
        (Selection(low=MAX_POSITION + 1), []),
        (Selection(low=2**90), []),
        (Selection(high=-1), []),
        (Selection(low=MAX_POSITION), []),
    ],
)
async def test_a_selection_filters_by_every_field(
    fill: Fill, selection: Selection, expected: list[str]
) -> None:
    archive = fill(
        [
            at(0, stanza="0"),
            at(1, stanza="1", peer_resource="o"),
            at(2, stanza="2", peer="o'neil\\@x\n\t\"%s"),
            at(3, stanza="3", peer="room@chat.lit", kind="groupchat"),
        ]
    )
    page = await archive.read(selection, 9)
    assert (bodies(page), page.more) == (expected, False)
    assert await archive.count(selection, MAX_POSITION) == (len(expected), len(expected))


OMEMO = "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted>"


@pytest.mark.requirement("431-04", "431-05")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rose", [0, 3, 5]),
        ("ROSE name", [0]),
        ("rose*", [0, 1, 3, 5]),
        ('"a rose by any"', [0]),
        ('"by a rose"', []),
        ("ete", [2]),
        ("Été 50", [2]),
        ("roméo", [3]),
        ("世界", [4]),
        ("來", [11]),
        ("hello", [4]),
        ("hell", []),
        ("'; DROP TABLE messages --", []),
        ("\\", [5]),
        ("{x:String} %s", [5]),
        ("rose .*", []),
        ("omemo", []),
        ("axolotl", [7]),
        ("otr", []),
    ],
)
async def test_a_full_text_query_matches_bodies_alone_and_combines_with_filters(
    fill: Fill, text: str, expected: list[int]
) -> None:
    written = [
        stanza("That which we call a rose\nby any other name"),
        stanza("roses", "<subject>a rose</subject><x xmlns='rose'>rose</x>"),
        stanza("E\u0301T\u00c9! 50%"),
        stanza("a rose, Rome\u0301o").replace(
            "<body>", "<body xmlns='jabber:client' xml:lang='it'>"
        ),
        stanza("hello你好世界"),
        stanza("C:\\rose_ {x:String} %s"),
        stanza("I sent you an OMEMO encrypted message: rose", OMEMO),
        stanza("&lt;encrypted xmlns='eu.siacs.conversations.axolotl'/&gt;"),
        stanza("?OTR:AAIC rose"),
        stanza("a rose", "<openpgp xmlns='urn:xmpp:openpgp:0'>rose</openpgp>"),
        stanza("a rose", "<encryption xmlns='urn:xmpp:eme:0' namespace='urn:new'/>"),
        stanza("歸來"),
    ]
    archive = fill([at(n, stanza=text) for n, text in enumerate(written)])
    asked = Selection(text=text_query(text))
    found = await archive.read(asked, 9)
    assert [(item.position - OLDEST) // (1000 << 16) for item in found.items] == expected
    assert await archive.count(asked, MAX_POSITION) == (len(expected), len(expected))
    later = Selection(text=text_query(text), low=at(1).position, peer=ROMEO)
    last = await archive.read(later, 1, backward=True)
    assert len(last.items) == min(1, sum(n > 0 for n in expected))
    assert await archive.read(Selection(text=text_query(text), peer=OTHER), 9) == Page(
        [], more=False
    )


@pytest.mark.requirement("431-05")
@pytest.mark.parametrize(
    "text",
    [
        *(letter * MAX_TEXT for letter in "жσم世한กე\ufdf2e🌹.*"),
        " ".join(["ж" * 31] * 32),
        "e" + "\u0301" * (MAX_TEXT - 1),
    ],
)
async def test_a_text_of_the_greatest_length_is_looked_for(fill: Fill, text: str) -> None:
    archive = fill([at(0, stanza=stanza("hello")), at(1, stanza=stanza(text))])
    asked = Selection(text=text_query(text))
    page = await archive.read(asked, 9)
    assert [item.position for item in page.items] == [at(1).position]
    assert await archive.count(asked, MAX_POSITION) == (1, 1)


@pytest.mark.requirement("59-08")
async def test_a_full_text_query_is_not_counted_for_long(
    messages: Store, reader: ArchiveReader, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages.insert(owned([at(n, stanza=stanza("é" * 500)) for n in range(20_000)], owner))
    archive = reader.archive(owner)
    monkeypatch.setattr(archive_reader, "COUNT_SECONDS", 0.001)
    assert await archive.count(Selection(text=text_query("é")), MAX_POSITION) is None
    assert await archive.count(Selection(), MAX_POSITION) == (20_000, 20_000)


LETTERS = st.sampled_from(
    "aAé\u0301ßΣ\u03c2\u017f1٣_-'<&>\\n 世あ한ไي\u064e\u093f🌹\ufe0f\u200d*\""
)
TEXTS = st.text(LETTERS | st.characters(codec="utf-8", categories=["L", "M", "N", "S"]), max_size=9)


@pytest.mark.parametrize("dsn", ["chdb://:memory:"], scope="session")  # the engine is the same one
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(bodies=st.lists(TEXTS, max_size=6), asked=st.lists(TEXTS, min_size=1, max_size=3))
def test_full_text_queries_agree_with_a_search_in_python(
    messages: Store, bodies: list[str], asked: list[str]
) -> None:
    # The store's tables of Unicode are newer.
    assume(not any(unicodedata.category(c) == "Cn" for text in (*bodies, *asked) for c in text))
    stanzas = [stanza(escape(body)) for body in bodies]
    for query in filter(None, map(parse, [*asked, *(body[1:5] for body in bodies)])):
        where, parameters = full_text.conditions(query)
        statement = select(
            "stanza", where, source="(SELECT arrayJoin({given:Array(String)}) AS stanza)"
        )
        found = messages.select(statement, {"given": stanzas, **parameters})
        assert sorted(text for [text] in found) == sorted(
            s for s in stanzas if matches(query, s)
        ), query


@pytest.mark.requirement("313-59", "313-61", "313-62", "313-148")
async def test_sealed_and_legacy_ids_resolve_to_positions(fill: Fill, owner: str) -> None:
    old = at(1, legacy_id="it's \\ old]\n")
    archive = fill([at(0), old, at(2, legacy_id="other's")._replace(owner=OTHER)])
    unused = SEALER.seal(owner, at(7).position)
    foreign = SEALER.seal(OTHER, at(0).position)
    asked = [old.legacy_id, unused, foreign, "other's", "made up", "", "x" * 256]
    assert await archive.find(asked) == {
        old.legacy_id: old.position,
        unused: at(7).position,
    }
    assert await archive.find([]) == {}


async def test_imported_items_keep_their_legacy_id(fill: Fill) -> None:
    [item] = (await fill([at(1, legacy_id="old")]).read(Selection(), 1)).items
    assert item.id == visible_id(at(1, legacy_id="old")) == "old"


async def test_a_query_may_name_many_long_ids(fill: Fill) -> None:
    archive = fill([at(1, legacy_id="old")])
    made_up = [f"{n}{'x' * 250}" for n in range(MAX_IDS)]
    assert await archive.find([*made_up, "old"]) == {"old": at(1).position}


async def test_nothing_is_before_all_time(fill: Fill) -> None:
    """As a client finds that pages backward from a moment before 1970."""
    archive, before = fill([at(0)]), Selection(high=-2)
    assert await archive.count(before, before.high + 1) == (0, 0)
    assert await archive.read(before, 9, backward=True) == Page([], more=False)


async def test_only_positions_with_an_item_are_stored(fill: Fill) -> None:
    archive = fill([at(0), at(1), at(1), at(2)._replace(owner=OTHER)])
    asked = [at(1).position, at(2).position, at(3).position, 0, MAX_POSITION]
    assert await archive.stored(asked) == {at(1).position}
    assert await archive.stored([]) == set()


@pytest.mark.requirement("313-09", "313-113")
async def test_expired_items_are_not_in_the_archive(fill: Fill, owner: str) -> None:
    expired = row(OLDEST - 1, stanza="expired", legacy_id="expired")
    archive = fill([expired, row(OLDEST, stanza="kept")])
    assert bodies(await archive.read(Selection(), 9)) == ["kept"]
    assert await archive.count(Selection(), MAX_POSITION) == (1, 1)
    assert await archive.stored([OLDEST - 1, OLDEST]) == {OLDEST}
    gone = SEALER.seal(owner, OLDEST - 1)
    edge = SEALER.seal(owner, OLDEST)
    assert await archive.find(["expired", gone, edge]) == {edge: OLDEST}


async def test_nothing_expires_under_unlimited_retention(messages: Store, owner: str) -> None:
    messages.insert(owned([row(0, stanza="first")], owner))
    reader = ArchiveReader(messages, SEALER, FOREVER, clock=lambda: NOW)
    assert bodies(await reader.archive(owner).read(Selection(), 9)) == ["first"]
    await reader.close()


async def test_a_page_is_bounded_in_bytes(
    messages: Store, reader: ArchiveReader, owner: str
) -> None:
    half = "x" * (MAX_PAGE // 2)
    rows = [at(n, stanza=half + str(n)) for n in range(4)]
    messages.insert(owned([*rows, at(5, stanza=half * 3)], owner))
    archive = reader.archive(owner)
    forward = await archive.read(Selection(), 4)
    assert ([s[-1] for s in bodies(forward)], forward.more) == (["0", "1"], True)
    backward = await archive.read(Selection(high=at(4).position), 4, backward=True)
    assert ([s[-1] for s in bodies(backward)], backward.more) == (["2", "3"], True)
    # More than a page, and not so much more that ClickHouse is asked to leave it out.
    three = await archive.read(Selection(high=at(2).position), 4)
    assert ([s[-1] for s in bodies(three)], three.more) == (["0", "1"], True)
    alone = await archive.read(Selection(), 4, backward=True)
    assert (bodies(alone), alone.more) == ([half * 3], True)


async def test_a_page_whose_answer_broke_off_is_read_with_fewer_bytes(
    messages: Store, reader: ArchiveReader, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that exceeds the bound in mid-answer breaks off; the engine reports it instead."""
    messages.insert(owned([at(1, stanza="first")], owner))
    query, cut = Client.query, [StreamFailureError("cut")]

    def answer(client: Client, *arguments: Any, **more: Any) -> Any:
        if cut:
            raise cut.pop()
        return query(client, *arguments, **more)

    monkeypatch.setattr(Client, "query", answer)
    assert bodies(await reader.archive(owner).read(Selection(), 9)) == ["first"]
    assert not cut


async def test_closing_the_reader_does_not_block_the_event_loop(
    messages: Store, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement may run for 20 s, and other components share the loop."""
    started, finish = threading.Event(), threading.Event()

    def select(*_: Any) -> list[Any]:
        started.set()
        assert finish.wait(10)
        return []

    monkeypatch.setattr(messages, "select", select)
    reader = ArchiveReader(messages, SEALER, FOREVER)
    reading = asyncio.create_task(reader.archive(owner).read(Selection(), 1))
    await until(started.is_set)
    closing = asyncio.create_task(reader.close())
    await asyncio.sleep(0)
    assert not closing.done()
    finish.set()
    await closing
    assert await reading == Page([], more=False)


async def test_store_errors_quote_no_value(dsn: str, owner: str) -> None:
    store = Store(dsn, "there_is_no_such_table")
    reader = ArchiveReader(store, SEALER, FOREVER)
    with pytest.raises(StoreRefused) as raised:
        await reader.archive(owner).read(Selection(peer="secret"), 1)
    assert "secret" not in str(raised.value)
    await reader.close()
    store.close()


@pytest.mark.parametrize(
    ("limit", "expected"), [(4, [0, 1, 2, 3]), (3, [1, 2, 3]), (9, [0, 1, 2, 3])]
)
async def test_the_newest_messages_are_distinct_up_to_their_limit(
    messages: Store, reader: ArchiveReader, owner: str, limit: int, expected: list[int]
) -> None:
    for rows in ([0, 1, 2, 3], [2, 3]):
        messages.insert(owned([at(second) for second in rows], owner))
    found, is_plain, *_ = await reader.newest(owner, 0, limit)
    assert is_plain
    assert [m.position for m in found] == [at(second).position for second in expected]


async def test_presences_are_in_no_page_and_no_count(
    messages: Store, reader: ArchiveReader, owner: str
) -> None:
    presence, said = at(1, kind="presence", stanza="<presence/>"), at(2, kind="groupchat")
    messages.insert(owned([presence, said], owner))
    archive = reader.archive(owner)
    for backward in (False, True):
        page = await archive.read(Selection(), 9, backward=backward)
        assert bodies(page) == [said.stanza]
    assert await archive.count(Selection(), said.position) == (1, 0)
    assert await archive.stored([presence.position, said.position]) == {said.position}
    assert await reader.summarise(owner, Selection(), 0) == (1, said.position, 0)
    assert [m.position for m in (await reader.newest(owner, 0, 9)).messages] == [said.position]


async def test_messages_are_summarised_once_each(
    messages: Store, reader: ArchiveReader, owner: str
) -> None:
    for rows in ([1, 2, 3], [2, 3]):
        messages.insert(owned([at(second) for second in rows], owner))
    low, last, high = (at(second).position for second in (2, 3, 9))
    assert await reader.summarise(owner, Selection(low=low, high=high), last) == (2, low, 1)
    assert await reader.summarise(owner, Selection(peer=OTHER), last) == (0, 0, 0)


async def test_pages_do_not_wait_for_searches(
    messages: Store, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages.insert(owned([row(1)], owner))
    reader = ArchiveReader(messages, SEALER, FOREVER, threads=2)
    begun, free, given_select = threading.Event(), threading.Event(), messages.select

    def slow_search(statement: str, parameters: Any) -> Any:
        if parameters["owner"] == OTHER:
            begun.set()
            assert free.wait(30)
        return given_select(statement, parameters)

    monkeypatch.setattr(messages, "select", slow_search)
    words = Selection(text=text_query("wherefore"))
    searches = [asyncio.ensure_future(reader.archive(OTHER).read(words, 9)) for _ in range(2)]
    try:
        await until(begun.is_set)
        async with asyncio.timeout(10):
            assert (await reader.archive(owner).read(Selection(), 9)).items
        assert not any(search.done() for search in searches)
    finally:
        free.set()
        await asyncio.gather(*searches)
        await reader.close()
