"""The inbox: what a client gets of an archive's conversations."""

from typing import NamedTuple
from xml.etree.ElementTree import Element

import pytest

from query import mam
from query.errors import StanzaError
from query.question import QueryContext
from query.request import Request
from query.state_publisher import StatePublisher
from stanzalake.model.position import from_milliseconds
from stanzalake.xmpp.namespaces import CLIENT, FORWARD, INBOX, MAM, tag
from tests.support.archives import SEALER, START, HeardLog, MemoryArchive, row
from tests.support.events import JULIET
from tests.support.queries import BALCONY, HOST, Reply, page, parsed

PEERS = [f"friend{n}@montague.lit" for n in range(5)]
ROWS = [
    row(
        from_milliseconds(START + 10 * n + m),
        peer=peer,
        stanza=f"<message xmlns='{CLIENT}' id='{n}-{m}'><body>{n}-{m}</body></message>",
    )
    for n, peer in enumerate(PEERS)
    for m in range(2)
]
ARCHIVE = MemoryArchive(ROWS)


class Entry(NamedTuple):
    """An entry as the client reads it."""

    jid: str | None
    unread: str | None
    id: str | None
    body: str | None


def last(number: int) -> str:
    """Give the id of the last message with a peer."""
    return SEALER.seal(JULIET, ROWS[2 * number + 1].position)


async def ask(
    content: str = "",
    attributes: str = "",
    displayed: dict[str, str] | None = None,
    archive: MemoryArchive = ARCHIVE,
) -> tuple[list[Entry], Element]:
    iq = parsed(
        f"<iq xmlns='{CLIENT}' type='get' id='q1' from='{BALCONY}'>"
        f"<inbox xmlns='{INBOX}' {attributes}>{content}</inbox></iq>"
    )
    request = Request(HOST, JULIET, BALCONY, iq, displayed=displayed or {})
    publisher = StatePublisher(JULIET, 0, "roster", HeardLog())
    answer = await mam.question(request).answer(QueryContext(archive, 250, True, publisher))
    return [_entry(result.content) for result in answer.results], parsed(answer.payload)


def _entry(content: str) -> Entry:
    entry, *results = parsed(f"<message>{content}</message>")
    assert entry.tag == tag(INBOX, "entry")
    body = None
    for result in results:
        assert (result.tag, result.get("queryid")) == (tag(MAM, "result"), "q1")
        assert result.get("id") == entry.get("id")
        body = result.findtext(
            f"{tag(FORWARD, 'forwarded')}/{tag(CLIENT, 'message')}/{tag(CLIENT, 'body')}"
        )
    return Entry(entry.get("jid"), entry.get("unread"), entry.get("id"), body)


@pytest.mark.requirement("430-02", "430-03", "430-05", "430-06", "430-07", "430-09")
async def test_the_inbox_has_each_conversations_last_message_newest_first() -> None:
    entries, fin = await ask()
    assert entries == [Entry(PEERS[n], "2", last(n), f"{n}-1") for n in (4, 3, 2, 1, 0)]
    assert (fin.tag, fin.attrib) == (
        tag(INBOX, "fin"),
        {"total": "5", "unread": "5", "all-unread": "10"},
    )
    assert Reply([], fin).count == 5


@pytest.mark.requirement("430-08")
@pytest.mark.parametrize("value", ["false", "0"])
async def test_last_messages_are_left_out_if_not_wanted(value: str) -> None:
    entries, _ = await ask(attributes=f"messages='{value}'")
    assert entries[0] == Entry(PEERS[4], "2", last(4), None)


@pytest.mark.requirement("430-07", "430-09", "490-02")
async def test_only_unread_conversations_are_listed_if_wanted() -> None:
    displayed = {
        PEERS[4]: last(4),
        PEERS[2].upper(): SEALER.seal(JULIET, ROWS[4].position),
        "@": last(1),
    }
    entries, fin = await ask(attributes="unread-only='true'", displayed=displayed)
    assert [(entry.jid, entry.unread) for entry in entries] == [
        (PEERS[3], "2"),
        (PEERS[2], "1"),
        (PEERS[1], "2"),
        (PEERS[0], "2"),
    ]
    assert fin.attrib == {"total": "5", "unread": "4", "all-unread": "7"}
    assert Reply([], fin).count == 4


@pytest.mark.requirement("430-03", "430-09")
@pytest.mark.parametrize(
    ("content", "shown", "index"),
    [
        ("<max>2</max>", [4, 3], 0),
        (f"<max>2</max><after>{last(3)}</after>", [2, 1], 2),
        (f"<after>{last(0)}</after>", [], None),
        ("<max>2</max><before/>", [1, 0], 3),
        (f"<max>2</max><before>{last(1)}</before>", [3, 2], 1),
        (f"<max>9</max><after>{last(4)}</after><before>{last(1)}</before>", [3, 2], 1),
        ("<max>2</max><index>3</index>", [1, 0], 3),
        ("<max>0</max>", [], None),
    ],
)
async def test_conversations_come_in_pages(
    content: str, shown: list[int], index: int | None
) -> None:
    entries, fin = await ask(page(content))
    assert [entry.jid for entry in entries] == [PEERS[n] for n in shown]
    reply = Reply([], fin)
    assert (reply.count, reply.index) == (5, index)
    ends = (last(shown[0]), last(shown[-1])) if shown else (None, None)
    assert (reply.rsm("first"), reply.rsm("last")) == ends


async def test_an_anchor_holds_its_place_when_its_conversation_goes_on() -> None:
    newer = ROWS[-1]._replace(position=from_milliseconds(START + 99), peer=PEERS[3])
    entries, _ = await ask(
        page(f"<max>2</max><after>{last(3)}</after>"), archive=MemoryArchive([*ROWS, newer])
    )
    assert [entry.jid for entry in entries] == [PEERS[2], PEERS[1]]


@pytest.mark.requirement("430-14")
@pytest.mark.parametrize(
    ("content", "attributes", "condition"),
    [
        ("", "unread-only='yes'", "bad-request"),
        ("", "messages=''", "bad-request"),
        (page("<max>x</max>"), "", "bad-request"),
        (page("") * 2, "", "bad-request"),
        (page("<after>nothing</after>"), "", "item-not-found"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(
    content: str, attributes: str, condition: str
) -> None:
    with pytest.raises(StanzaError) as raised:
        await ask(content, attributes)
    assert raised.value.condition == condition


async def test_an_empty_archive_has_no_conversations() -> None:
    entries, fin = await ask(archive=MemoryArchive([]))
    assert entries == []
    assert fin.attrib == {"total": "0", "unread": "0", "all-unread": "0"}
