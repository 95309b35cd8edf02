"""The conversations of an archive, on both engines, against a model."""

import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stanzalake.model.event import VERSION, Erasure, Tombstone
from stanzalake.model.inbox import Inbox
from stanzalake.model.page import Conversation
from stanzalake.model.position import MAX_POSITION, from_milliseconds
from stanzalake.model.retention import FOREVER
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Row, Store
from stanzalake.store.erasures import Erasures
from stanzalake.store.tombstones import TombstoneRow, Tombstones
from stanzalake.xmpp.retraction import retracted
from tests.support.archives import SEALER, START, MemoryArchive

ROMEO, NURSE, MERCUTIO = (f"{name}@capulet.lit" for name in ("romeo", "nurse", "mercutio"))
BODY = "<body>hello</body>"
MARKER = "<displayed xmlns='urn:xmpp:chat-markers:0' id='{}'/>"
CORRECTION = f"{BODY}<replace id='m1' xmlns='urn:xmpp:message-correct:0'/>"
CONTENTS = [
    BODY,
    BODY,
    "<body>fallback</body><encrypted xmlns='urn:xmpp:omemo:2'/>",
    "<encrypted xmlns='urn:xmpp:omemo:2'/><store xmlns='urn:xmpp:hints'/>",
    CORRECTION,
    f"{BODY}<reactions id='m1' xmlns='urn:xmpp:reactions:0'/>",
    f"{BODY}<retract id='m1' xmlns='urn:xmpp:message-retract:1'/>",
    "<received xmlns='urn:xmpp:receipts' id='m1'/>",
    "<body/><active xmlns='http://jabber.org/protocol/chatstates'/>",
    f"{BODY}<x xmlns='urn:x'><displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/></x>",
    *[f"<displayed xmlns='urn:xmpp:chat-markers:0' id='m{n}'/>" for n in range(9)],
    *[
        f"<x xmlns='urn:x'><displayed id='m1'/></x>"
        f"<displayed xmlns='urn:xmpp:chat-markers:0' id='m{n}'/>"
        for n in (3, 4)
    ],
    "<displayed xmlns='urn:xmpp:chat-markers:0' id='none'/>",
]
_owners = (f"inbox-{n}@capulet.lit" for n in itertools.count())


def at(number: int, peer: str, direction: str, content: str = BODY, kind: str = "chat") -> Row:
    text = f"<message xmlns='jabber:client' type='{kind}' id='m{number}'>{content}</message>"
    return Row("", from_milliseconds(START + number), peer, "", direction, kind, text)


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    numbers = draw(st.lists(st.integers(0, 8), unique=True, max_size=9))
    return [
        at(
            number,
            draw(st.sampled_from([ROMEO, NURSE, MERCUTIO])),
            draw(st.sampled_from(["in", "in", "out"])),
            draw(st.sampled_from(CONTENTS)),
            draw(st.sampled_from(["chat", "chat", "normal", "error"])),
        )
        for number in sorted(numbers)
    ]


@pytest.fixture
def owner() -> str:
    return next(_owners)


@pytest.fixture
async def reader(messages: Store) -> AsyncIterator[ArchiveReader]:
    reader = ArchiveReader(messages, SEALER, FOREVER)
    yield reader
    await reader.close()


def keep(messages: Store, owner: str, given: list[Row]) -> list[Row]:
    """Insert rows of an owner, each twice."""
    own = [row._replace(owner=owner) for row in given]
    for _ in range(2):
        messages.insert(own)
    return own


@pytest.mark.requirement("430-04", "430-10", "430-11", "430-12")
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@example(
    given=[
        *[at(n, ROMEO, "in") for n in (0, 1)],
        at(2, ROMEO, "out", MARKER.format("m0")),
        at(6, ROMEO, "in"),
        at(3, NURSE, "in"),
        at(4, NURSE, "in", CORRECTION),
        at(7, NURSE, "out", MARKER.format("m4")),
    ],
    read=5,
    reader_of=MERCUTIO,
)
@given(given=rows(), read=st.integers(0, 8), reader_of=st.sampled_from([ROMEO, NURSE]))
async def test_conversations_agree_with_the_model(
    messages: Store, reader: ArchiveReader, given: list[Row], read: int, reader_of: str
) -> None:
    owner = next(_owners)
    own = keep(messages, owner, given)
    displayed = {reader_of: from_milliseconds(START + read)}
    found = await reader.archive(owner).conversations(displayed)
    assert found == await MemoryArchive(own, owner).conversations(displayed)
    known = await reader.inbox(owner, Inbox(), from_milliseconds(START + read))
    later = await reader.inbox(owner, known, MAX_POSITION)
    assert later.conversations(displayed, 0) == found


@pytest.mark.requirement("430-04", "430-10", "430-11")
async def test_messages_are_unread_until_an_answer_or_a_marker(
    messages: Store, reader: ArchiveReader, owner: str
) -> None:
    marker = "<displayed xmlns='urn:xmpp:chat-markers:0' id='{}'/>"
    own = keep(
        messages,
        owner,
        [
            *[at(n, ROMEO, "in") for n in range(4)],
            at(4, ROMEO, "out", marker.format("m1")),
            at(5, NURSE, "in"),
            at(6, NURSE, "out"),
            at(7, NURSE, "in"),
            at(8, MERCUTIO, "in"),
            at(9, MERCUTIO, "out", marker.format(SEALER.seal(owner, from_milliseconds(START + 8)))),
        ],
    )
    archive = reader.archive(owner)
    expected = [
        Conversation(MERCUTIO, own[8].position, 0),
        Conversation(NURSE, own[7].position, 1),
        Conversation(ROMEO, own[3].position, 2),
    ]
    assert await archive.conversations({}) == expected
    erasure = Erasure(
        v=VERSION, owner=owner, position=own[9].position, peer=NURSE, end=own[9].position
    )
    Erasures(messages).write([erasure])
    assert await archive.conversations({ROMEO: own[2].position}) == [
        expected[0],
        expected[2]._replace(unread=1),
    ]


@pytest.mark.requirement("430-11")
async def test_a_marker_is_found_wherever_it_is_in_its_stanza(
    messages: Store, reader: ArchiveReader, owner: str
) -> None:
    marker = "<displayed xmlns='urn:xmpp:chat-markers:0' id='{}'/>"
    note = f"<body>{'é' * 2000}&lt;displayed id='m1'/></body>"
    own = [
        *[at(n, ROMEO, "in", f"<body>{n}</body>").stanza for n in range(3)],
        at(3, ROMEO, "out", f"<x xmlns='urn:x'>{'y' * 5000}</x>{marker.format('m1')}").stanza,
        at(4, NURSE, "in", note).stanza.replace("id='m4'", f"to='{'t' * 1500}' id='m4'"),
        at(5, NURSE, "in").stanza,
        at(6, NURSE, "out", f"<x xmlns='urn:x'>{'é' * 700}</x>{marker.format('m4')}").stanza,
    ]
    peers = [*[(ROMEO, "in")] * 3, (ROMEO, "out"), *[(NURSE, "in")] * 2, (NURSE, "out")]
    rows = [at(n, *peers[n])._replace(stanza=stanza) for n, stanza in enumerate(own)]
    kept = keep(messages, owner, rows)
    found = await reader.archive(owner).conversations({})
    assert found == [
        Conversation(NURSE, kept[5].position, 1),
        Conversation(ROMEO, kept[2].position, 1),
    ]


@pytest.mark.requirement("430-11")
@pytest.mark.parametrize(
    ("id_", "marker"),
    [
        ("m1", f"<x xmlns='urn:x'><displayed id='m0'/></x>{MARKER.format('m1')}"),
        (
            "m1",
            f"<x xmlns='urn:x'><displayed id='m0'/>{'y' * 1024}</x>{MARKER.format('m1')}",
        ),
        ("a&amp;b", MARKER.format("a&#38;b")),
    ],
    ids=["another element", "another element before a long text", "another spelling"],
)
async def test_a_marker_names_a_message_by_its_id(
    messages: Store, reader: ArchiveReader, owner: str, id_: str, marker: str
) -> None:
    rows = [*[at(n, ROMEO, "in") for n in range(3)], at(3, ROMEO, "out", marker)]
    rows[1] = rows[1]._replace(stanza=rows[1].stanza.replace("m1", id_))
    own = keep(messages, owner, rows)
    assert await reader.archive(owner).conversations({}) == [
        Conversation(ROMEO, own[2].position, 1)
    ]


@pytest.mark.requirement("430-11")
async def test_a_marker_with_an_id_of_another_conversation_reads_nothing(
    messages: Store, reader: ArchiveReader, owner: str
) -> None:
    marker = MARKER.format(SEALER.seal(owner, from_milliseconds(START + 1)))
    rows = [at(0, ROMEO, "in"), at(1, NURSE, "in"), at(2, ROMEO, "out", marker)]
    own = keep(messages, owner, rows)
    assert await reader.archive(owner).conversations({}) == [
        Conversation(NURSE, own[1].position, 1),
        Conversation(ROMEO, own[0].position, 1),
    ]


async def test_an_inbox_begins_anew_once_older_messages_are_shown_again(
    messages: Store, reader: ArchiveReader, owner: str
) -> None:
    """As of a clock that is set back."""
    own = keep(messages, owner, [at(0, NURSE, "in"), at(1, ROMEO, "in")])
    known = Inbox(since=own[1].position, up_to=own[1].position - 1)
    found = await reader.inbox(owner, known, MAX_POSITION)
    assert [one.peer for one in found.conversations({}, 0)] == [ROMEO, NURSE]


@pytest.mark.requirement("430-11")
async def test_a_marker_that_a_bounced_message_brings_back_reads_nothing(
    messages: Store, reader: ArchiveReader, owner: str
) -> None:
    marker = "<displayed xmlns='urn:xmpp:chat-markers:0' id='m0'/>"
    own = keep(messages, owner, [at(0, ROMEO, "in"), at(1, ROMEO, "out", marker, "error")])
    assert await reader.archive(owner).conversations({}) == [
        Conversation(ROMEO, own[0].position, 1)
    ]


@pytest.mark.requirement("430-10", "424-11")
async def test_a_retracted_message_is_neither_unread_nor_the_last_of_its_conversation(
    messages: Store, reader: ArchiveReader, owner: str
) -> None:
    marker = "<displayed xmlns='urn:xmpp:chat-markers:0' id='m4'/>"
    own = keep(
        messages,
        owner,
        [
            *[at(n, ROMEO, "in") for n in range(3)],
            *[at(n, NURSE, "in") for n in (3, 4, 5)],
            at(6, NURSE, "out", marker),
        ],
    )
    archive = reader.archive(owner)
    nurse = Conversation(NURSE, own[5].position, 1)
    assert await archive.conversations({}) == [nurse, Conversation(ROMEO, own[2].position, 3)]
    for peer, number in ((ROMEO, 1), (ROMEO, 2), (NURSE, 4)):
        retract(messages, owner, peer, number)
    # What was read up to a message stays read once that is retracted.
    assert await archive.conversations({}) == [nurse, Conversation(ROMEO, own[0].position, 1)]


@pytest.mark.requirement("430-15")
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@example(
    given=[
        at(0, NURSE, "in"),
        at(1, ROMEO, "in", "<displayed xmlns='urn:xmpp:chat-markers:0' id='m0'/>"),
    ],
    read=-1,
)
@example(given=[at(n, NURSE, "in") for n in range(3)], read=1)
@given(given=rows(), read=st.integers(-1, 8))
async def test_a_room_is_a_conversation_of_whoever_reads_it(
    messages: Store, reader: ArchiveReader, given: list[Row], read: int
) -> None:
    owner = next(_owners)
    kinds = {"error": "error", "normal": "presence"}
    in_room = [
        row._replace(
            peer=owner, direction="in", occupant=row.peer, kind=kinds.get(row.kind, "groupchat")
        )
        for row in given
    ]
    own = keep(messages, owner, in_room)
    displayed = from_milliseconds(START + read)
    archive = reader.archive(owner)
    assert await archive.room_conversation(ROMEO, displayed) == await MemoryArchive(
        [row for row in own if row.kind != "presence"], owner
    ).room_conversation(ROMEO, displayed)


async def test_what_a_room_no_longer_shows_is_no_part_of_its_conversation(
    messages: Store, reader: ArchiveReader, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [at(n, owner, "in", kind="groupchat")._replace(occupant=NURSE) for n in range(5)]
    own = keep(messages, owner, said)
    archive = reader.archive(owner)
    assert await archive.room_conversation(ROMEO, 0) == Conversation(owner, own[4].position, 5)
    tombstone = Tombstone(
        v=VERSION,
        owner=owner,
        position=from_milliseconds(START + 100),
        target=own[4].position,
        peer=owner,
        direction="in",
        by=owner,
        moderated=True,
        retraction_id="r",
    )
    Tombstones(messages).write([TombstoneRow.of(tombstone, retracted(tombstone))])
    assert await archive.room_conversation(ROMEO, 0) == Conversation(owner, own[3].position, 4)
    monkeypatch.setattr("stanzalake.store.archive_reader.MAX_ROOM_MESSAGES", 3)
    assert await archive.room_conversation(ROMEO, 0) == Conversation(owner, own[3].position, 2)
    Erasures(messages).write(
        [Erasure(v=VERSION, owner=owner, position=own[4].position + 1, end=own[4].position + 1)]
    )
    assert await archive.room_conversation(ROMEO, 0) == Conversation(owner, 0, 0)


def retract(messages: Store, owner: str, peer: str, number: int) -> None:
    tombstone = Tombstone(
        v=VERSION,
        owner=owner,
        position=from_milliseconds(START + 100),
        peer=peer,
        direction="in",
        message_id=f"m{number}",
        by=peer,
        retraction_id=f"r{number}",
    )
    Tombstones(messages).write([TombstoneRow.of(tombstone, retracted(tombstone))])
