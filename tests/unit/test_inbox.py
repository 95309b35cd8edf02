"""The inbox: what a client gets of an archive's conversations."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

import pytest

from query import mam
from query.errors import StanzaError
from query.question import QueryContext
from query.request import Request, RoomAnchor, RoomEntry, RoomRights
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
    rooms: Sequence[RoomEntry] = (),
) -> tuple[list[Entry], Element]:
    iq = parsed(
        f"<iq xmlns='{CLIENT}' type='get' id='q1' from='{BALCONY}'>"
        f"<inbox xmlns='{INBOX}' {attributes}>{content}</inbox></iq>"
    )
    anchors = {room.id: RoomAnchor(room.jid, room.position) for room in rooms}
    request = Request(
        HOST, JULIET, BALCONY, iq, displayed=displayed or {}, rooms=rooms, anchors=anchors
    )
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


@pytest.mark.requirement("490-02")
@pytest.mark.parametrize("order", [1, -1])
async def test_private_messages_in_a_room_are_read_up_to_the_last_of_all_occupants(
    order: int,
) -> None:
    ids = [SEALER.seal(JULIET, row.position) for row in ROWS[:2]] + ["of no message"]
    chats = [f"{PEERS[0]}{resource}" for resource in ("/Romeo", "/Nurse", "")]
    displayed = dict(list(zip(chats, ids, strict=True))[::order])
    entries, _ = await ask(displayed=displayed)
    assert entries[-1] == Entry(PEERS[0], "0", last(0), "0-1")


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


@pytest.mark.parametrize(
    ("content", "shown"),
    [("", [4, 3]), (page("<before/>"), [1, 0])],
    ids=["forward", "backward"],
)
async def test_a_page_ends_where_the_last_messages_take_its_bytes(
    content: str, shown: list[int]
) -> None:
    archive = MemoryArchive(ROWS, page_bytes=len(ROWS[0].stanza) + 1)
    entries, fin = await ask(content, archive=archive)
    assert [entry.id for entry in entries] == [last(n) for n in shown]
    reply = Reply([], fin)
    assert (reply.rsm("first"), reply.rsm("last")) == (last(shown[0]), last(shown[-1]))
    assert (reply.count, reply.index) == (5, 4 - shown[0])


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


HALL, GARDEN = [f"{name}@rooms.capulet.lit" for name in ("hall", "garden")]
ROOMS = [
    # Two archives may have a message at the same position.
    RoomEntry(HALL, "hall-id", ROWS[7].position, 3),
    RoomEntry(GARDEN, "garden-id", ROWS[7].position, 0),
    RoomEntry("old@rooms.capulet.lit", "old-id", ROWS[0].position - 1, 1),
]
ORDER = [last(4), "hall-id", "garden-id", last(3), last(2), last(1), last(0), "old-id"]


@pytest.mark.requirement("430-15")
async def test_rooms_are_listed_among_the_conversations_by_time() -> None:
    entries, fin = await ask(rooms=ROOMS)
    assert [entry.id for entry in entries] == ORDER
    # The host adds the last message of a room itself.
    assert entries[1:3] == [
        Entry(HALL, "3", "hall-id", None),
        Entry(GARDEN, "0", "garden-id", None),
    ]
    assert fin.attrib == {"total": "8", "unread": "7", "all-unread": "14"}
    assert Reply([], fin).rsm("last") == "old-id"
    entries, fin = await ask(rooms=ROOMS, attributes="unread-only='true'")
    assert [entry.id for entry in entries] == [id_ for id_ in ORDER if id_ != "garden-id"]
    assert Reply([], fin).count == 7


@pytest.mark.requirement("430-15")
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("end", ["after", "before"])
async def test_a_walk_meets_every_room_and_conversation_once(size: int, end: str) -> None:
    seen: list[str | None] = []
    anchor = ""
    while True:
        content = page(f"<max>{size}</max><{end}>{anchor}</{end}>")
        entries, fin = await ask(content, rooms=ROOMS)
        if not entries:
            break
        ids = [entry.id for entry in entries]
        seen = seen + ids if end == "after" else ids + seen
        anchor = (ids[-1] if end == "after" else ids[0]) or ""
        assert Reply([], fin).index == ORDER.index(ids[0] or "")
    assert seen == ORDER


async def test_the_id_of_a_room_that_is_not_listed_is_not_found() -> None:
    with pytest.raises(StanzaError, match="item-not-found"):
        await ask(page("<after>hall-id</after>"))


SAID = [
    row(
        from_milliseconds(START + n),
        owner=HALL,
        peer=HALL,
        kind="groupchat",
        occupant="romeo@montague.lit",
        stanza=f"<message xmlns='{CLIENT}' id='{n}'><body>{n}</body>{extra}</message>",
    )
    for n, extra in enumerate(["", "", "<x xmlns='http://jabber.org/protocol/muc#user'/>"])
]


@pytest.mark.requirement("430-15", "430-04")
@pytest.mark.parametrize("messages", ["true", "false"])
async def test_a_room_gives_its_entry_as_the_asker_may_see_it(messages: str) -> None:
    payload = f"<inbox xmlns='{INBOX}' messages='{messages}'/>"
    iq = f"<iq xmlns='{CLIENT}' type='get' id='q1' from='{BALCONY}' to='{HALL}'>{payload}</iq>"
    rights = RoomRights("none", "moderators", moderator=False)
    displayed = {HALL: SEALER.seal(HALL, SAID[0].position)}
    request = Request(
        "rooms.capulet.lit", HALL, BALCONY, parsed(iq), displayed=displayed, room=rights
    )
    publisher = StatePublisher(HALL, 0, "roster", HeardLog())
    context = QueryContext(MemoryArchive(SAID, HALL), 250, True, publisher, rights)
    [result] = (await mam.question(request).answer(context)).results
    id_ = SEALER.seal(HALL, SAID[2].position)
    body = "2" if messages == "true" else None
    assert _entry(result.content) == Entry(HALL, "2", id_, body)
    assert "muc#user" not in result.content
    assert result.position == SAID[2].position
