"""The inbox of a real client, with its markers in the archive and in PEP."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from devstack.deployment import Deployment
from stanzalake.xmpp.namespaces import INBOX, RSM, tag
from tests.support.clients import CLIENT, RawClient, stanza_ids
from tests.support.deployments import JULIET, ROMEO, running, session

ENTRY = tag(INBOX, "entry")
MARKER = "<displayed xmlns='urn:xmpp:chat-markers:0' id='{}'/>"
PUBLISH = (
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
    "<publish node='urn:xmpp:mds:displayed:0'><item id='{chat}'>"
    "<displayed xmlns='urn:xmpp:mds:displayed:0'>"
    "<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{id}'/></displayed></item></publish></pubsub>"
)


async def inbox(
    client: RawClient, attributes: str = ""
) -> tuple[list[tuple[str | None, str | None, str | None]], ET.Element]:
    """Give the peer, unread messages and last body of each entry, and the fin."""
    before = len(client.received)
    answer = await client.ask("get", f"<inbox xmlns='{INBOX}' {attributes}/>")
    assert answer.get("type") == "result", ET.tostring(answer)
    messages = client.received[before : client.received.index(answer)]
    entries = [
        (entry.get("jid"), entry.get("unread"), message.findtext(f".//{CLIENT}body"))
        for message in messages
        if (entry := message.find(ENTRY)) is not None
    ]
    return entries, answer[0]


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

        item = PUBLISH.format(chat=JULIET, by=ROMEO, id=ids[2])
        assert (await romeo.ask("set", item)).get("type") == "result"
        entries, fin = await inbox(romeo, "messages='false'")
        assert entries == [(JULIET, "1", None)]
        assert fin.get("all-unread") == "1"
        assert (await inbox(juliet))[0] == [(ROMEO, "0", "hello 3")]

        romeo.say(JULIET, "good night", "m4")
        await juliet.message("m4")
        assert (await inbox(romeo, "unread-only='true'"))[0] == []
        assert (await inbox(juliet))[0] == [(ROMEO, "1", "good night")]

        info = await romeo.ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        assert INBOX in {child.get("var") for child in info[0]}
        for client in (juliet, romeo):
            await client.offline()
