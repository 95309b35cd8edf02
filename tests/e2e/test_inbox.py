"""The inbox of a real client, with its markers in the archive and in PEP."""

import asyncio
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from devstack.deployment import HOST, Deployment
from stanzalake.xmpp.namespaces import INBOX, RSM, tag
from tests.support.clients import CLIENT, RawClient, condition, stanza_ids
from tests.support.deployments import JULIET, ROMEO, running, session
from tests.support.queries import page
from tests.support.rooms import ROOMS, affiliate, configure, join, real_jid, talk, with_rooms
from tests.support.wait import until

ENTRY = tag(INBOX, "entry")
Entries = list[tuple[str | None, str | None, str | None]]
MARKER = "<displayed xmlns='urn:xmpp:chat-markers:0' id='{}'/>"
_PUBLISH = (
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'>{item}</publish>"
    "<publish-options><x xmlns='jabber:x:data' type='submit'>"
    "<field var='FORM_TYPE' type='hidden'>"
    "<value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
    "<field var='pubsub#persist_items'><value>true</value></field>"
    "<field var='pubsub#max_items'><value>255</value></field>"
    "</x></publish-options></pubsub>"
)
_DISPLAYED = (
    "<item id='{chat}'><displayed xmlns='urn:xmpp:mds:displayed:0'>"
    "<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{id}'/></displayed></item>"
)
_BOOKMARK = "<item id='{room}'><conference xmlns='urn:xmpp:bookmarks:1'/></item>"


async def inbox(
    client: RawClient, attributes: str = "", content: str = ""
) -> tuple[Entries, ET.Element]:
    """Give the peer, unread messages and last body of each entry, and the fin."""
    before = len(client.received)
    answer = await client.ask("get", f"<inbox xmlns='{INBOX}' {attributes}>{content}</inbox>")
    assert answer.get("type") == "result", ET.tostring(answer)
    messages = client.received[before : client.received.index(answer)]
    entries = [
        (entry.get("jid"), entry.get("unread"), message.findtext(f".//{CLIENT}body"))
        for message in messages
        if (entry := message.find(ENTRY)) is not None
    ]
    return entries, answer[0]


async def publish(client: RawClient, node: str, item: str) -> None:
    """Publish an item of a PEP node that keeps many."""
    answer = await client.ask("set", _PUBLISH.format(node=node, item=item))
    assert answer.get("type") == "result", ET.tostring(answer)


async def display(client: RawClient, chat: str, by: str, id_: str) -> None:
    """Publish up to where a chat is read (XEP-0490)."""
    item = _DISPLAYED.format(chat=chat, by=by, id=id_)
    await publish(client, "urn:xmpp:mds:displayed:0", item)


async def bookmark(client: RawClient, *rooms: str) -> None:
    """Bookmark rooms (XEP-0402)."""
    for one in rooms:
        await publish(client, "urn:xmpp:bookmarks:1", _BOOKMARK.format(room=one))


def entry_of(received: list[ET.Element], chat: str) -> ET.Element:
    """Give the message with the entry of a chat."""
    return next(x for x in received if x.find(f"{ENTRY}[@jid='{chat}']") is not None)


@pytest.mark.requirement(
    "430-01", "430-02", "430-04", "430-05", "430-06", "430-07", "430-08", "430-09", "430-10",
    "430-11", "490-01", "490-02",
)  # fmt: skip
async def test_an_inbox_follows_what_its_owner_reads_and_writes(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, settings={"PROSODY_ARCHIVE_POLICY": "true"})
    deployment.prosody.modules = (*deployment.prosody.modules, "pep")
    async with running(deployment):
        juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
        for number in range(4):
            juliet.say(ROMEO, f"hello {number}", f"m{number}")
        ids = [dict(stanza_ids(await romeo.message(f"m{n}")))[ROMEO] for n in range(4)]
        entries, fin = await inbox(romeo)
        assert entries == [(JULIET, "4", "hello 3")]
        assert fin.attrib == {"total": "1", "unread": "1", "all-unread": "4"}
        assert fin.findtext(f"{tag(RSM, 'set')}/{tag(RSM, 'last')}") == ids[3]

        romeo.send_raw(f"<message to='{JULIET}' type='chat' id='d'>{MARKER.format('m0')}</message>")
        await juliet.message("d")
        assert (await inbox(romeo))[0] == [(JULIET, "3", "hello 3")]

        await display(romeo, JULIET, ROMEO, ids[2])
        entries, fin = await inbox(romeo, "messages='false'")
        assert entries == [(JULIET, "1", None)]
        assert fin.get("all-unread") == "1"
        assert (await inbox(juliet))[0] == [(ROMEO, "0", "hello 3")]
        # Prosody's JSON does not write them as keys.
        for name in ("__array", "__hash"):
            await display(romeo, name, ROMEO, ids[3])
        assert (await inbox(romeo))[1].get("all-unread") == "1"

        romeo.say(JULIET, "good night", "m4")
        await juliet.message("m4")
        assert (await inbox(romeo, "unread-only='true'"))[0] == []
        assert (await inbox(juliet))[0] == [(ROMEO, "1", "good night")]

        info = await romeo.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        assert INBOX in {child.get("var") for child in info[0]}
        for client in (juliet, romeo):
            await client.offline()


ROOM_NAMES = ("hall", "shown", "garden", "members", "locked", "off", "gone", "banned")
"""Rooms: two that everybody may read, one that is not bookmarked, and five that are shut."""


async def pass_millisecond() -> None:
    """Wait for the next stamp: what came within a millisecond is in no order of time."""
    stamp = time.time() + 0.001
    await until(lambda: time.time() > stamp)


async def say_in_private(juliet: RawClient, romeo: RawClient) -> None:
    """Say something that nothing else shares its stamp with."""
    await pass_millisecond()
    juliet.say(ROMEO, "in private", "p")
    await romeo.message("p")
    await pass_millisecond()


async def wait_listed(client: RawClient, expected: Entries) -> None:
    """Ask for the inbox until it is so: a room whose journal is sent again is left out at first."""
    async with asyncio.timeout(20):
        while (await inbox(client))[0] != expected:
            pass


async def wait_connected(client: RawClient) -> None:
    """Ask for the inbox until the archive is connected to a Prosody that has just started."""
    async with asyncio.timeout(20):
        while (await client.ask("get", f"<inbox xmlns='{INBOX}'/>")).get("type") == "error":
            pass


async def begin(juliet: RawClient, *rooms: str) -> None:
    """Make rooms that stay, and say something in each."""
    for one in rooms:
        await join(juliet, "Juliet", one)
        await configure(juliet, {"muc#roomconfig_persistentroom": "1"}, one)
        await talk(juliet, "secret", f"s-{one}", one)


async def shut(juliet: RawClient, *rooms: str) -> None:
    """Take five rooms from their readers, each in another way."""
    members, locked, off, gone, banned = rooms
    await configure(juliet, {"muc#roomconfig_membersonly": "1"}, members)
    protected = {"passwordprotectedroom": "1", "roomsecret": "x"}
    await configure(juliet, {f"muc#roomconfig_{n}": v for n, v in protected.items()}, locked)
    await configure(juliet, {"muc#roomconfig_enablearchiving": "0"}, off)
    destroy = "<query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query>"
    assert (await juliet.ask("set", destroy, to=gone)).get("type") == "result"
    await affiliate(juliet, ROMEO, "outcast", banned)


def last_message(message: ET.Element) -> ET.Element:
    """Give the last message in the entry of an inbox."""
    found = message.find(
        f"{{urn:xmpp:mam:2}}result/{{urn:xmpp:forward:0}}forwarded/{CLIENT}message"
    )
    assert found is not None
    return found


@pytest.mark.requirement("430-15", "490-02")
async def test_an_inbox_has_the_bookmarked_rooms_that_its_owner_may_read(tmp_path: Path) -> None:
    deployment = with_rooms(tmp_path)
    deployment.prosody.modules = (*deployment.prosody.modules, "pep")
    hall, shown, garden, *closed = [f"{name}@{ROOMS}" for name in ROOM_NAMES]
    async with running(deployment):
        juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
        await begin(juliet, hall, shown, garden, *closed)
        await shut(juliet, *closed)
        await configure(juliet, {"muc#roomconfig_whois": "anyone"}, shown)
        hall_id = [await talk(juliet, f"hall {n}", f"h{n}", hall) for n in range(2)][-1]
        await say_in_private(juliet, romeo)
        shown_id = await talk(juliet, "shown", "o", shown)
        assert (await inbox(romeo))[0] == [(JULIET, "1", "in private")]

        nowhere = (f"never@{ROOMS}", "hall@rooms.example.org", ROMEO, HOST, f"{hall}/Juliet", "@")
        await bookmark(romeo, hall.upper(), hall, shown, *closed, *nowhere)
        entries, fin = await inbox(romeo)
        listed = [(shown, "2", "shown"), (JULIET, "1", "in private"), (hall, "3", "hall 1")]
        assert entries == listed
        assert fin.attrib == {"total": "3", "unread": "3", "all-unread": "6"}
        of_hall = entry_of(romeo.received, hall)
        assert [child.get("id") for child in of_hall] == [hall_id, hall_id]
        assert JULIET not in ET.tostring(of_hall, "unicode")
        assert real_jid(last_message(entry_of(romeo.received, shown))) == JULIET

        # A page begins behind the entry of a room as behind any other, also once the room goes on.
        entries, fin = await inbox(romeo, "", page("<max>1</max>"))
        assert entries == listed[:1]
        assert fin.findtext(f"{tag(RSM, 'set')}/{tag(RSM, 'last')}") == shown_id
        await talk(juliet, "more", "o2", shown)
        behind = page(f"<max>1</max><after>{shown_id}</after>")
        assert (await inbox(romeo, "messages='false'", behind))[0] == [(JULIET, "1", None)]
        assert (await inbox(romeo, "", page("<max>2</max><before/>")))[0] == listed[1:]

        # Read is what the account has displayed by the room's own id, or answered.
        await display(romeo, hall, ROMEO, hall_id)
        await display(romeo, shown, shown, shown_id)
        assert (await inbox(romeo))[0] == [(shown, "1", "more"), *listed[1:]]
        await join(romeo, "Romeo", hall)
        await talk(romeo, "well said", "h3", hall)
        entries, fin = await inbox(romeo, "unread-only='true'")
        assert entries == [(shown, "1", "more"), listed[1]]
        assert fin.attrib == {"total": "3", "unread": "2", "all-unread": "2"}

        # What a room lets nobody see any more, it does not show here either.
        await configure(juliet, {"muc#roomconfig_whois": "moderators"}, shown)
        await affiliate(juliet, ROMEO, "outcast", hall)
        romeo.received.clear()
        assert (await inbox(romeo))[0] == [(shown, "1", "more"), listed[1]]
        assert JULIET not in ET.tostring(entry_of(romeo.received, shown), "unicode")
        answer = await romeo.ask("get", f"<inbox xmlns='{INBOX}'/>", to=shown)
        assert condition(answer) == "cancel/service-unavailable"

        # A room that nobody has woken since the start of Prosody is read as well.
        await deployment.prosody.kill()
        await deployment.prosody.start()
        romeo = await session(deployment, "romeo", "two")
        await wait_connected(romeo)
        await wait_listed(romeo, [(shown, "1", "more"), listed[1]])
