"""Conversations of numbered messages that go on through faults of the server."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from devstack.client import Client, ReceivedMessage, Session
from devstack.deployment import HOST, Deployment

C = TypeVar("C", bound=Session)
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
class NumberedTalk(ABC, Generic[C]):
    """A conversation in one direction, over sessions of a kind.

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
            clients: list[C] = []
            try:
                clients.append(sender := await self._enter(deployment, self.sender))
                clients.append(receiver := await self._enter(deployment, self.receiver))
                await self._converse(sender, receiver, stop)
            # The last is a stanza that did not come.
            except (TimeoutError, OSError, AssertionError):
                await asyncio.sleep(RECONNECT)
            finally:
                await asyncio.gather(*(client.offline() for client in clients))

    async def _converse(self, sender: C, receiver: C, stop: asyncio.Event) -> None:
        seen = 0
        while not stop.is_set() and sender.is_connected() and receiver.is_connected():
            self._say(sender, f"{self.sender} {self.sent}")
            self.sent += 1
            await asyncio.sleep(self.interval)
            heard = self._heard(receiver, seen)
            seen += len(heard)
            self._take([message for message in heard if message is not None])

    def _take(self, messages: Sequence[tuple[str, str]]) -> None:
        if messages:
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - self._since)
            self._since = now
        self.received += len(messages)
        # Without an id nothing was promised: Prosody did not know the owner's preferences.
        self.delivered |= {body: id_ for body, id_ in messages if id_}

    @abstractmethod
    async def _enter(self, deployment: Deployment, user: str) -> C:
        """Give a new session of the sender or the receiver."""

    @abstractmethod
    def _say(self, sender: C, body: str) -> None:
        """Send a message."""

    @abstractmethod
    def _heard(self, receiver: C, seen: int) -> Sequence[tuple[str, str] | None]:
        """Give the stanzas after the first `seen`: bodies and ids, None for those of others."""


class Talk(NumberedTalk[Client]):
    """A conversation between two accounts."""

    async def _enter(self, deployment: Deployment, user: str) -> Client:
        resource = "to" if user == self.sender else "from"
        return await deployment.client(user, f"{resource}-{self.sender}", known=False)

    def _say(self, sender: Client, body: str) -> None:
        sender.say(f"{self.receiver}@{HOST}", body)

    def _heard(self, receiver: Client, seen: int) -> Sequence[tuple[str, str] | None]:
        return [
            (message.body, message.id) if message.sender == f"{self.sender}@{HOST}" else None
            for message in receiver.live[seen:]
        ]

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
