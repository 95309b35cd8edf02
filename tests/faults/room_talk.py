"""A room in which somebody says numbers through faults of the server."""

import asyncio
import time
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from devstack.deployment import HOST, Deployment
from stanzalake.xmpp.namespaces import MAM
from tests.faults.talk import RECONNECT, Findings, compare
from tests.support.clients import CLIENT, RawClient, stanza_ids
from tests.support.deployments import Entry, entries
from tests.support.queries import field as form_field
from tests.support.queries import form, page, query
from tests.support.rooms import ROOM, bodies, configure, join

_INTERVAL = 0.05
_SETTLING = 60.0


@dataclass
class RoomTalk:
    """A conversation in a room; the attributes are those of `Talk`."""

    sender: str = "juliet"
    receiver: str = "romeo"
    sent: int = 0
    delivered: dict[str, str] = field(default_factory=dict)
    received: int = 0
    longest_gap: float = 0.0
    _since: float = field(default_factory=time.monotonic)

    async def run(self, deployment: Deployment, stop: asyncio.Event) -> None:
        """Talk until `stop` is set, with new sessions whenever the old ones end."""
        while not stop.is_set():
            clients: list[RawClient] = []
            try:
                clients.append(sender := await self._enter(deployment, self.sender))
                clients.append(receiver := await self._enter(deployment, self.receiver))
                await self._session(sender, receiver, stop)
            # The last is a stanza that did not come.
            except (TimeoutError, OSError, AssertionError):
                await asyncio.sleep(RECONNECT)
            finally:
                await asyncio.gather(*(client.offline() for client in clients))

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

    async def _session(self, sender: RawClient, receiver: RawClient, stop: asyncio.Event) -> None:
        seen = len(receiver.received)
        while not stop.is_set() and sender.is_connected() and receiver.is_connected():
            sender.send_raw(
                f"<message to='{ROOM}' type='groupchat' id='r{self.sent}'>"
                f"<body>{self.sender} {self.sent}</body></message>"
            )
            self.sent += 1
            await asyncio.sleep(_INTERVAL)
            heard = receiver.received[seen:]
            seen += len(heard)
            self._take([x for x in heard if x.get("type") == "groupchat"])

    def _take(self, messages: list[ET.Element]) -> None:
        if messages:
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - self._since)
            self._since = now
        for message in messages:
            is_told = message.find("{urn:xmpp:delay}delay") is not None
            if is_told or message.find(f"{CLIENT}body") is None:
                continue
            self.received += 1
            ids = [id_ for by, id_ in stanza_ids(message) if by == ROOM]
            self.delivered |= {message.findtext(f"{CLIENT}body") or "": id_ for id_ in ids}

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
