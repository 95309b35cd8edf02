"""A load of chat messages over plain TCP: raw clients with stanzas that are built beforehand."""

import asyncio
import math
import random
import re
import time
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol

from devstack.raw import RawSession

UNBOUNDED = 1_000_000
"""Window of a steady load, which does not wait for the server."""

_END = b"</message>"
_STAMP = re.compile(rb"id='(\d+)'|id=\"(\d+)\"")
_WORDS = 5000


@dataclass
class Result:
    """Result of a load.

    Attributes:
        seconds: From the first message sent to the last one received.
        latencies: Seconds from send to receipt of each message, in order of size.
    """

    seconds: float
    latencies: list[float] = field(default_factory=list)

    def latency(self, share: float) -> float:
        """Return a quantile of the latencies, in seconds."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def bodies(number: int, seed: int) -> list[str]:
    """Return texts of realistic lengths with Zipf-distributed words."""
    chance = random.Random(seed)  # noqa: S311  # a seed repeats the load
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(_WORDS)]
    weights = list(accumulate(1 / rank for rank in range(1, _WORDS + 1)))
    lengths = [max(1, int(chance.lognormvariate(2.2, 0.8))) for _ in range(number)]
    return [" ".join(chance.choices(words, cum_weights=weights, k=length)) for length in lengths]


async def run(
    senders: list[RawSession],
    receivers: list[RawSession],
    texts: list[str],
    window: int = 10,
    rate: float = math.inf,
) -> Result:
    """Send the texts, in equal parts from each sender to its receiver.

    Args:
        senders: Who sends.
        receivers: A receiver for each sender.
        texts: The bodies.
        window: Messages of a sender that are on their way at most: with no bound, the latency
            would be that of the load's own queue.
        rate: Messages of a sender in a second; as fast as possible if infinite.
    """
    share = len(texts) // len(senders)
    sent = [0.0] * len(texts)
    result = Result(0.0)
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for k, (sender, receiver) in enumerate(zip(senders, receivers, strict=True)):
            first, slots = k * share, asyncio.Semaphore(window)
            some = texts[first : first + share]
            group.create_task(_send(sender, receiver.jid, some, first, sent, slots, rate))
            group.create_task(receive(receiver, share, sent, result, slots))
    result.seconds = time.perf_counter() - start
    result.latencies.sort()
    return result


async def _send(  # noqa: PLR0913, PLR0917  # what the two ends share
    sender: RawSession,
    to: str,
    texts: list[str],
    first: int,
    sent: list[float],
    slots: asyncio.Semaphore,
    rate: float,
) -> None:
    start = time.perf_counter()
    for number, text in enumerate(texts, first):
        await _pause(start + (number - first) / rate)
        await slots.acquire()
        sent[number] = time.perf_counter()
        sender.writer.write(
            f"<message to='{to}' type='chat' id='{number}'><body>{text}</body></message>".encode()
        )
        await sender.writer.drain()


async def _pause(until: float) -> None:
    left = until - time.perf_counter()
    if left > 0:
        await asyncio.sleep(left)


class Slots(Protocol):
    """Bounds the messages that are on their way."""

    def release(self) -> None:
        """Count a message that arrived."""


async def receive(
    receiver: RawSession, count: int, sent: list[float], result: Result, slots: Slots
) -> None:
    """Receive messages, and record the latency of each.

    Args:
        receiver: Who receives.
        count: Number of messages.
        sent: Moment at which each was sent, by the number in its id.
        result: Takes the latencies.
        slots: Learns of each message.

    Raises:
        ConnectionError: Prosody closed the stream.
    """
    left = b""
    while count:
        data = await receiver.reader.read(1 << 16)
        if not data:
            raise ConnectionError("Prosody closed a client's stream")
        *stanzas, left = (left + data).split(_END)
        now = time.perf_counter()
        for stanza in stanzas:
            found = _STAMP.search(stanza)
            if found is not None:
                result.latencies.append(now - sent[int(found[1] or found[2])])
                slots.release()
                count -= 1
