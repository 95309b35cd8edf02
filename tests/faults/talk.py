"""Conversations of numbered messages that go on through faults of the server."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from devstack.client import Client, ReceivedMessage
from devstack.deployment import HOST, Deployment

RECONNECT = 0.2
"""Seconds before a new session is tried."""


@dataclass
class Findings:
    """Faults of archives.

    Attributes:
        lost: Number of delivered messages that are missing.
        doubled: Number of repeats.
        problems: A sentence for each fault.
    """

    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class Talk:
    """A conversation in one direction.

    Attributes:
        sender: Local part of the sender.
        receiver: Local part of the receiver.
        interval: Seconds between two messages.
        sent: Number of messages handed to Prosody.
        delivered: Archive id of each body that was delivered with an id.
        received: Number of messages that arrived, with an id or without.
        longest_gap: Longest time without a delivery, in seconds.
    """

    sender: str
    receiver: str
    interval: float = 0.02
    sent: int = 0
    delivered: dict[str, str] = field(default_factory=dict)
    received: int = 0
    longest_gap: float = 0.0
    _since: float = field(default_factory=time.monotonic)

    async def run(self, deployment: Deployment, stop: asyncio.Event) -> None:
        """Send until `stop` is set, with new sessions whenever the old ones end."""
        while not stop.is_set():
            clients: list[Client] = []
            try:
                for user, resource in ((self.receiver, "from"), (self.sender, "to")):
                    name = f"{resource}-{self.sender}"
                    clients.append(await deployment.client(user, name, known=False))
                receiver, sender = clients
                await self._session(receiver, sender, stop)
            except (TimeoutError, OSError):
                await asyncio.sleep(RECONNECT)
            finally:
                await asyncio.gather(*(client.offline() for client in clients))

    async def _session(self, receiver: Client, sender: Client, stop: asyncio.Event) -> None:
        seen = 0
        while not stop.is_set() and sender.is_connected() and receiver.is_connected():
            sender.say(f"{self.receiver}@{HOST}", f"{self.sender} {self.sent}")
            self.sent += 1
            await asyncio.sleep(self.interval)
            if len(receiver.live) > seen:
                self._take(receiver.live[seen:])
                seen = len(receiver.live)

    def _take(self, messages: list[ReceivedMessage]) -> None:
        now = time.monotonic()
        self.longest_gap = max(self.longest_gap, now - self._since)
        self._since = now
        for message in messages:
            self.received += message.sender == f"{self.sender}@{HOST}"
            # Without an id nothing was promised: Prosody did not know the owner's preferences.
            if message.sender == f"{self.sender}@{HOST}" and message.id:
                self.delivered[message.body] = message.id

    def check(self, owner: str, archive: list[ReceivedMessage], findings: Findings) -> None:
        """Compare an owner's archive with the delivered messages."""
        mine = [
            (message.id, message.body)
            for message in archive
            if message.sender == f"{self.sender}@{HOST}"
        ]
        where = f"{owner}'s archive, from {self.sender} to {self.receiver}"
        compare(where, self.delivered, mine, findings, same_ids=owner == self.receiver)


def compare(
    where: str,
    delivered: Mapping[str, str],
    archived: Sequence[tuple[str, str]],
    findings: Findings,
    *,
    same_ids: bool = True,
) -> None:
    """Compare an archive's messages with those that were delivered.

    Args:
        where: The archive, in words.
        delivered: Ids as seen live, by body; a body ends with the message's number.
        archived: Ids and bodies, in the archive's order.
        findings: Takes the faults.
        same_ids: Whether the archive is the one that announced the ids.
    """
    numbers = [int(body.split()[1]) for _, body in archived]
    ids = {body: id_ for id_, body in archived}
    lost = delivered.keys() - ids.keys()
    doubled = len(archived) - len(ids)
    other = [b for b, id_ in delivered.items() if b in ids and ids[b] != id_]
    problems = {
        f"{len(lost)} lost: {', '.join(sorted(lost)[:5])}": lost,
        f"{doubled} doubled": doubled,
        "out of order": numbers != sorted(numbers),
        f"{len(other)} under another id than was seen live": same_ids and other,
    }
    findings.lost += len(lost)
    findings.doubled += doubled
    findings.problems += [f"{where}: {words}" for words, wrong in problems.items() if wrong]
