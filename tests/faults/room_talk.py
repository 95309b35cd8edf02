"""A room in which somebody says numbers through faults of the server."""

import asyncio
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from devstack.deployment import HOST, Deployment
from stanzalake.xmpp.namespaces import MAM
from tests.faults.talk import RECONNECT, Findings, NumberedTalk, compare
from tests.support.clients import CLIENT, RawClient, stanza_ids
from tests.support.deployments import Entry, entries
from tests.support.queries import field as form_field
from tests.support.queries import form, page, query
from tests.support.rooms import ROOM, bodies, configure, join

_SETTLING = 60.0


class RoomTalk(NumberedTalk[RawClient]):
    """A conversation in a room, which the sender owns."""

    async def _enter(self, deployment: Deployment, user: str) -> RawClient:
        client = RawClient(
            f"{user}@{HOST}/room", deployment.passwords[user], deployment.client_port
        )
        await client.bind()
        client.send_raw("<presence/>")
        await join(client, user)
        if user == self.sender:
            await configure(client, {"muc#roomconfig_persistentroom": "1"})
        return client

    def _say(self, sender: RawClient, body: str) -> None:
        sender.send_raw(
            f"<message to='{ROOM}' type='groupchat' id='r{self.sent}'><body>{body}</body></message>"
        )

    def _heard(self, receiver: RawClient, seen: int) -> Sequence[tuple[str, str] | None]:
        return [_live(stanza) for stanza in receiver.received[seen:]]

    async def check(self, deployment: Deployment, findings: Findings) -> None:
        """Compare the room's archive with the delivered messages."""
        client = RawClient(
            f"{self.sender}@{HOST}/reader",
            deployment.passwords[self.sender],
            deployment.client_port,
        )
        await client.bind()
        async with asyncio.timeout(_SETTLING):
            while not await _is_settled(client):  # noqa: ASYNC110  # an archive sets no asyncio.Event
                await asyncio.sleep(RECONNECT)
        archive = await _archive(client)
        said = [
            (entry.id, body or "") for entry, body in zip(archive, bodies(archive), strict=True)
        ]
        compare("the room's archive", self.delivered, said, findings)
        await client.offline()


def _live(stanza: ET.Element) -> tuple[str, str] | None:
    """Give body and id of a message in the room; None for its history and anything else."""
    body = stanza.findtext(f"{CLIENT}body")
    is_history = stanza.find("{urn:xmpp:delay}delay") is not None
    if stanza.get("type") != "groupchat" or is_history or body is None:
        return None
    return body, next((id_ for by, id_ in stanza_ids(stanza) if by == ROOM), "")


async def _is_settled(client: RawClient) -> bool:
    """Tell whether the archive answers, and has all that was said."""
    answer = await client.ask("set", query(page("<max>0</max>")), ROOM)
    fin = answer.find(f"{{{MAM}}}fin")
    return fin is not None and fin.get("stable") != "false"


async def _archive(client: RawClient) -> list[Entry]:
    """Read a room's whole archive, newest page first."""
    pages: list[Entry] = []
    condition: tuple[str, ...] = ()
    while found := await entries(client, *condition, to=ROOM):
        pages = found + pages
        condition = (form(form_field("before-id", found[0].id)),)
    return pages
