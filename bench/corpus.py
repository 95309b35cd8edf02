"""The corpus: a year of messages of many owners, some with ten thousand times more than others.

Every archive that is compared holds the same: these messages, with these texts and ids.
"""

import random
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from bench.load import bodies
from stanzalake.model.event import VERSION, Message
from stanzalake.model.position import from_milliseconds
from stanzalake.store.client import Row

HOST = "localhost"
DAY = 86_400_000
YEAR = 365 * DAY

_SMALLEST = 10
_PEERS = 200
_TEXTS = 200_000


class Owner(NamedTuple):
    """A user, and the number of messages in the user's archive."""

    jid: str
    size: int


@dataclass(frozen=True)
class Corpus:
    """Messages whose owners' archives hold 10, 100, ... messages: as many in each such class.

    Attributes:
        messages: Number of messages at most.
        seed: Seed of the random generator.
        end: Unix time in milliseconds of the last message; now by default.
        span: Milliseconds from the first message to the last.
        owner_size: Messages of each owner, if all have as many; 0 for the classes.
    """

    messages: int
    seed: int
    end: int = field(default_factory=lambda: int(time.time() * 1000))
    span: int = YEAR
    owner_size: int = 0

    @cached_property
    def owners(self) -> Sequence[Owner]:
        """All owners, smallest archives first."""
        if self.owner_size:
            sizes = [self.owner_size] * (self.messages // self.owner_size)
            return [Owner(f"user{n}@{HOST}", size) for n, size in enumerate(sizes)]
        sizes = [_SMALLEST]
        while 10 * sizes[-1] * (len(sizes) + 1) <= self.messages:
            sizes.append(10 * sizes[-1])
        share = self.messages // len(sizes)
        all_sizes = [size for size in sizes for _ in range(max(1, share // size))]
        return [Owner(f"user{n}@{HOST}", size) for n, size in enumerate(all_sizes)]

    def rows(self) -> Iterator[Row]:
        """Yield the messages in order of time, owners shuffled."""
        chance = random.Random(self.seed)  # noqa: S311  # a seed repeats the load
        places = array("L", (n for n, owner in enumerate(self.owners) for _ in range(owner.size)))
        chance.shuffle(places)
        texts = bodies(min(len(places), _TEXTS), self.seed)
        start, step = self.end - self.span, self.span / len(places)
        for n, place in enumerate(places):
            position = from_milliseconds(start + int(n * step))
            yield _row(self.owners[place], position, texts[n % len(texts)], chance)

    @cached_property
    def _positions(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row in self.rows():
            found.setdefault(row.owner, []).append(row.position)
        return found

    def positions(self, owner: Owner) -> Sequence[int]:
        """Return the positions of an owner's messages, in order."""
        return self._positions[owner.jid]

    def arguments(self) -> Sequence[str]:
        """Return the arguments that make bench.filling generate the same corpus."""
        return [str(number) for number in (self.messages, self.seed, self.end, self.owner_size)]

    def chunks(self, size: int) -> Iterator[list[Row]]:
        """Yield the rows in lists of a size; the last may be shorter."""
        rows = self.rows()
        while piece := list(islice(rows, size)):
            yield piece


def peers(owner: Owner) -> int:
    """Return the number of an owner's peers."""
    return max(1, min(_PEERS, owner.size // 10))


def event(row: Row) -> Message:
    """Return the event that produces a row."""
    return Message(
        v=VERSION,
        owner=row.owner,
        position=row.position,
        peer=row.peer,
        peer_resource=row.peer_resource,
        direction="in" if row.direction == "in" else "out",
        kind="chat",
        contact=True,
        stanza=row.stanza,
    )


def _row(owner: Owner, position: int, text: str, chance: random.Random) -> Row:
    bits = chance.getrandbits(130)
    # The lower the number, the more is said with this peer.
    nth = int(peers(owner) * ((bits & 0xFFFF) / 0x10000) ** 2)
    direction, peer = ("in", "out")[bits >> 129], f"peer{nth}@{HOST}"
    sender, receiver = (f"{peer}/phone", owner.jid)
    if direction == "out":
        sender, receiver = (f"{owner.jid}/phone", peer)
    stanza = (
        f"<message xmlns='jabber:client' id='{bits & (1 << 128) - 1:032x}' type='chat' "
        f"to='{receiver}' from='{sender}'><body>{text}</body></message>"
    )
    resource = "phone" if direction == "in" else ""
    return Row(owner.jid, position, peer, resource, direction, "chat", stanza)
