"""How clients read an archive: each with its own queries, pages and rule for when to stop.

What a client gets has to be all that it asked for: no gap and no repeat, also where a page ends
among messages of one millisecond.
"""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest

from query.errors import StanzaError
from stanzalake.model.page import Archive
from stanzalake.model.position import from_milliseconds
from stanzalake.model.retention import FOREVER
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Row, Store
from stanzalake.xmpp.namespaces import DATA, MAM
from tests.support.archives import SEALER, START, row
from tests.support.events import ROMEO, stanza
from tests.support.queries import Reply, Result, field, form, page, search
from tests.support.stores import ON_BOTH_STORES

pytestmark = ON_BOTH_STORES

CAP = 100
NURSE = "nurse@capulet.lit"
DAY, HOUR = 86_400_000, 3_600_000
NOW = START + 3 * DAY
LAST = "<before/>"
WITH = field("with", ROMEO)

_owners = (f"client-{n}@capulet.lit" for n in itertools.count())


def moments() -> Iterator[int]:
    """Give when messages came: one an hour, then some a second, then many in a millisecond."""
    yield from (START + HOUR * n for n in range(40))
    yield from (START + 41 * HOUR + 137 * n for n in range(90))
    yield from itertools.repeat(START + 42 * HOUR + 250, 33)
    yield from (START + 42 * HOUR + 251 + n for n in range(10))


def rows(owner: str) -> Iterator[Row]:
    """Give an archive of 173 messages, two of three with Romeo."""
    for n, moment in enumerate(moments()):
        peer = NURSE if n % 3 == 0 else ROMEO
        direction = "in" if n % 2 else "out"
        legacy_id = f"old-{n}" if n < 20 else ""
        place = from_milliseconds(moment, n)
        yield row(place, owner=owner, peer=peer, direction=direction, legacy_id=legacy_id)._replace(
            stanza=stanza(str(n))
        )


MOMENTS = list(moments())
ALL = [str(n) for n in range(len(MOMENTS))]
ROMEOS = [body for body in ALL if int(body) % 3]


class Client:
    """A client of one archive.

    Args:
        archive: The archive.
        owner: Whose it is.
        attributes: What its queries have.
    """

    def __init__(self, archive: Archive, owner: str, attributes: str = "queryid='q'") -> None:
        self.archive = archive
        self.owner = owner
        self.attributes = attributes
        self.pages = 0

    def id_of(self, number: int) -> str:
        """Give the id of a message that the client knows already."""
        legacy = f"old-{number}" if number < 20 else ""
        return legacy or SEALER.seal(self.owner, from_milliseconds(MOMENTS[number], number))

    async def ask(self, *content: str) -> Reply:
        """Ask for a page, and hold what every client holds of it."""
        self.pages += 1
        assert self.pages < 99, "it would never end"
        reply = await search(self.archive, *content, attributes=self.attributes, limit=CAP)
        ends = {reply.rsm("first"), reply.rsm("last")}
        assert ends == ({reply.ids[0], reply.ids[-1]} if reply.ids else {None})
        assert reply.results or reply.complete or "<max>0<" in "".join(content)
        return reply

    async def forward(self, asked: str, size: str, anchor: str = "") -> list[Result]:
        """Read on from an anchor until the archive says that it was all."""
        got: list[Result] = []
        complete = False
        while not complete:
            reply = await self.ask(asked, page(size + anchor))
            got += reply.results
            anchor = after(reply)
            complete = reply.complete
        return got

    async def backward(self, asked: str, size: str, anchor: str = LAST) -> list[Result]:
        """Read back from an anchor until the archive says that it was all."""
        got: list[Result] = []
        complete = False
        while not complete:
            reply = await self.ask(asked, page(size + anchor))
            got = [*reply.results, *got]
            anchor = before(reply)
            complete = reply.complete
        return got


Connect = Callable[..., Client]


@pytest.fixture
async def connect(messages: Store) -> AsyncIterator[Connect]:
    """Give a function that makes a client of an archive."""
    reader = ArchiveReader(messages, SEALER, FOREVER)
    owner = next(_owners)
    messages.insert(list(rows(owner)))

    def connected(attributes: str = "queryid='q'") -> Client:
        return Client(reader.archive(owner), owner, attributes)

    yield connected
    await reader.close()


def most(size: int) -> str:
    return f"<max>{size}</max>"


def after(reply: Reply) -> str:
    return f"<after>{reply.rsm('last')}</after>"


def before(reply: Reply) -> str:
    return f"<before>{reply.rsm('first')}</before>"


def bodies(results: Sequence[Result]) -> list[str]:
    return [result.body for result in results]


def written(milliseconds: int, layout: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    """Give a moment as most clients write it: in UTC, to the second."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime(layout)


def precise(milliseconds: int) -> str:
    """Give a moment with microseconds and an offset, as Profanity writes it."""
    zone = timezone(timedelta(hours=2))
    moment = datetime.fromtimestamp(milliseconds // 1000, zone)
    return (moment + timedelta(milliseconds=milliseconds % 1000)).isoformat(timespec="microseconds")


def milliseconds_of(result: Result) -> int:
    return round(datetime.fromisoformat(result.stamp).timestamp() * 1000)


@pytest.mark.behaviour(13, 15, 28, 46)
async def test_gajim_reads_a_week_and_then_what_is_new(connect: Connect) -> None:
    client = connect()
    week = form(field("start", written(NOW - 7 * DAY)))
    assert bodies(await client.forward(week, most(70))) == ALL
    known = f"<after>{client.id_of(99)}</after>"
    assert bodies(await client.forward("", most(70), known)) == ALL[100:]


@pytest.mark.behaviour(34)
@pytest.mark.requirement("313-59", "313-94")
@pytest.mark.parametrize("size", [50, 70])
async def test_gajim_and_monal_start_again_by_date_if_their_id_is_lost(
    connect: Connect, size: int
) -> None:
    client = connect()
    with pytest.raises(StanzaError, match="item-not-found"):
        await client.forward("", most(size), "<after>a-lost-id</after>")
    recent = form(field("start", written(MOMENTS[40])))
    assert bodies(await client.forward(recent, most(size))) == ALL[40:]


@pytest.mark.behaviour(25, 27, 35)
async def test_dino_reads_back_from_the_newest(connect: Connect) -> None:
    client = connect()
    ever = form(field("start", "1970-01-01T00:00:00Z"))
    assert bodies(await client.backward(ever, most(20))) == ALL


@pytest.mark.behaviour(21, 22, 27)
@pytest.mark.requirement("313-50", "313-52", "82-04")
@pytest.mark.parametrize("known", [39, 77, 135, 162, 170])
async def test_dino_reads_back_to_what_it_knows(connect: Connect, known: int) -> None:
    client = connect()
    start = field("start", written(MOMENTS[known] - 300_000))
    reply = await client.ask(form(start), page(most(20) + LAST))
    got = list(reply.results)
    while client.id_of(known) not in {result.id for result in got}:
        # The range ends with a message, whose time it remembers to the second.
        end = field("end", written(milliseconds_of(reply.results[0])))
        reply = await client.ask(form(start, end), page(most(20) + before(reply)))
        got = [*reply.results, *got]
    read = bodies(got)
    assert read == ALL[-len(read) :]
    assert len(read) >= len(ALL[known:])


@pytest.mark.behaviour(18)
async def test_profanity_013_does_not_page(connect: Connect) -> None:
    client = connect("")
    recent = form(WITH, field("start", written(MOMENTS[40])))
    reply = await client.ask(recent)
    assert (reply.bodies, reply.complete) == ([b for b in ROMEOS if int(b) >= 40], True)
    again = await client.ask(recent, f"<after>{reply.rsm('last')}</after>")
    assert again.ids == reply.ids
    assert {result.queryid for result in reply.results} == {None}


@pytest.mark.behaviour(21, 22)
@pytest.mark.requirement("82-03", "82-05", "313-54")
async def test_profanity_reads_with_microseconds_and_offsets(connect: Connect) -> None:
    client = connect("")
    reply = await client.ask(form(WITH, field("end", precise(NOW))), page(most(10) + LAST))
    got = list(reply.results)
    while not reply.complete:
        end = field("end", precise(milliseconds_of(reply.results[0])))
        reply = await client.ask(form(WITH, end), page(most(10) + before(reply)))
        got = [*reply.results, *got]
    assert bodies(got) == ROMEOS
    start = field("start", precise(milliseconds_of(got[9])))
    known = f"<after>{got[9].id}</after>"
    assert await client.forward(form(WITH, start), most(10), known) == got[10:]


@pytest.mark.behaviour(26)
@pytest.mark.requirement("59-23", "59-25")
async def test_profanity_counts_what_it_has(connect: Connect) -> None:
    reply = await connect("").ask(form(WITH, field("end", precise(NOW))), page(most(0)))
    assert (reply.results, reply.count) == ([], len(ROMEOS))


@pytest.mark.behaviour(39)
async def test_poezio_asks_once_past_the_end(connect: Connect) -> None:
    client = connect()
    asked = form(WITH, field("end", written(NOW)))
    got: list[Result] = []
    reply = await client.ask(asked, page(most(30) + LAST))
    while reply.results:
        got = [*reply.results, *got]
        reply = await client.ask(asked, page(most(30) + before(reply)))
    assert bodies(got) == ROMEOS


@pytest.mark.behaviour(35)
@pytest.mark.requirement("313-91", "59-07", "59-08")
@pytest.mark.parametrize(("anchor", "reverse"), [("", False), (LAST, True)])
async def test_slixmpp_reads_until_index_and_size_come_to_the_count(
    connect: Connect, anchor: str, reverse: bool
) -> None:
    client = connect("queryid='6b1e'")
    got: list[Result] = []
    reply = await client.ask(form(WITH), page(most(10) + anchor))
    while reply.results:
        got = [*reply.results, *got] if reverse else [*got, *reply.results]
        if reply.index is not None and reply.index + len(reply.results) == reply.count:
            break
        anchor = before(reply) if reverse else after(reply)
        reply = await client.ask(form(WITH), page(most(10) + anchor))
    assert bodies(got) == ROMEOS


@pytest.mark.behaviour(23, 25)
async def test_converse_fills_a_chat_and_its_cache(connect: Connect) -> None:
    client = connect()
    got = await client.backward(form(WITH), most(50))
    assert bodies(got) == ROMEOS
    cached = got[70]
    newer = await client.backward(form(WITH, field("start", cached.stamp)), most(50))
    known = {result.id for result in got[:71]}
    assert [result for result in newer if result.id not in known] == got[71:]


@pytest.mark.behaviour(17, 38)
@pytest.mark.requirement("68-04", "313-98")
async def test_smack_reads_the_last_and_then_on_from_an_id(connect: Connect) -> None:
    client = connect()
    untyped = f"<x xmlns='{DATA}' type='submit'>{field('FORM_TYPE', MAM)}{WITH}</x>"
    newest = await client.ask(untyped, page(most(1) + LAST))
    assert newest.bodies == ROMEOS[-1:]
    assert (await client.ask(untyped)).bodies == ROMEOS[:CAP]
    known = f"<after>{client.id_of(142)}</after>"
    got = await client.forward("", most(10), known)
    assert (bodies(got), client.pages) == (ALL[143:], 2 + 3)


@pytest.mark.behaviour(28, 32)
async def test_conversations_catches_up_from_an_id_or_a_time(connect: Connect) -> None:
    client = connect()
    known = f"<after>{client.id_of(140)}</after>"
    assert bodies(await client.forward("", most(50), known)) == ALL[141:]
    start = field("start", written(MOMENTS[100], "%Y-%m-%dT%H:%M:%S.000Z"))
    reply = await client.ask(form(start), page(most(50)))
    whole = [n for n, moment in enumerate(MOMENTS) if moment >= MOMENTS[100] // 1000 * 1000]
    assert reply.count == len(whole)
    assert bodies(await client.forward(form(start), most(50))) == [str(n) for n in whole]


@pytest.mark.behaviour(27, 35)
async def test_conversations_reads_a_gap_back_until_there_is_no_end(connect: Connect) -> None:
    client = connect()
    ends = field("start", written(NOW - 5 * DAY)) + field("end", written(NOW))
    got: list[Result] = []
    anchor = LAST
    while True:
        reply = await client.ask(form(ends), page(most(50) + anchor))
        got = [*reply.results, *got]
        if reply.complete or reply.rsm("first") is None or len(got) >= 750:
            break
        anchor = before(reply)
    assert bodies(got) == ALL


@pytest.mark.behaviour(25, 28)
async def test_monal_learns_the_newest_id_and_goes_on_from_it(connect: Connect) -> None:
    client = connect()
    newest = await client.ask(form(field("end", written(NOW))), page(most(1) + LAST))
    assert newest.bodies == ALL[-1:]
    assert bodies(await client.forward("", most(50), after(newest))) == []
    known = f"<after>{client.id_of(50)}</after>"
    assert bodies(await client.forward("", most(50), known)) == ALL[51:]
    history = f"<before>{client.id_of(130)}</before>"
    expected = [body for body in ROMEOS if int(body) < 130]
    assert bodies(await client.backward(form(WITH), most(50), history)) == expected


@pytest.mark.behaviour(21, 25, 30)
async def test_kaidan_reads_on_from_a_time_and_back_by_times(connect: Connect) -> None:
    client = connect()
    newest = await client.ask(form(WITH), page(most(1) + LAST))
    known = field("start", newest.results[0].stamp)
    assert bodies(await client.forward(form(known), "")) == ALL[172:]
    assert bodies(await client.forward(form(field("start", written(START))), "")) == ALL
    got = {result.id: result for result in newest.results}
    end, reply = newest.results[0].stamp, newest
    while not reply.complete:
        reply = await client.ask(form(WITH, field("end", end)), page(most(40) + LAST))
        got.update((result.id, result) for result in reply.results)
        end = reply.results[0].stamp
    assert sorted(bodies(list(got.values())), key=int) == ROMEOS


@pytest.mark.behaviour(21, 33)
@pytest.mark.requirement("313-93")
async def test_movim_goes_on_a_second_later_and_keeps_both_anchors(connect: Connect) -> None:
    client = connect()
    later = (MOMENTS[60] // 1000 + 1) * 1000
    asked = form(field("start", written(later)))
    window = [body for body in ALL if MOMENTS[int(body)] >= later]
    assert len(window) > CAP
    assert bodies(await client.forward(asked, most(500))) == window
    newest = await client.ask(page(most(500) + LAST))
    assert newest.bodies == ALL[-CAP:]
    assert not newest.complete
    onwards = await client.ask(page(most(500) + LAST + after(newest)))
    assert (onwards.bodies, onwards.complete) == ([], True)


@pytest.mark.behaviour(17, 42, 43, 44, 45, 48, 49)
@pytest.mark.requirement("313-107")
async def test_libraries_write_the_set_first_and_use_what_is_extended(connect: Connect) -> None:
    client = connect()
    bounds = form(field("after-id", client.id_of(120)), field("before-id", client.id_of(170)))
    inside = ALL[121:170]
    assert (await client.ask(page(most(10)), "\n ", bounds)).bodies == inside[:10]
    last = await client.ask(page(most(10) + LAST), "<flip-page/>", bounds)
    assert last.bodies[::-1] == inside[-10:]
    three = form(field("ids", *(client.id_of(n) for n in (150, 5, 149))))
    assert (await client.ask(page(""), three)).bodies == ["5", "149", "150"]
