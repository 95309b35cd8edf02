"""A flood: one account with several sessions that keeps as many queries on their way as it may."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice

from bench.contenders import Contender
from bench.corpus import HOST, Corpus, Owner
from bench.questions import ask, draw
from devstack.raw import RawSession

SESSIONS = 5
QUERIES = 256
"""Queries of a session that are on their way at most."""
LARGEST = 250
"""Messages in a page of the flood."""

_END = b"</fin>"
_CHUNK = 1 << 16


@dataclass
class Flood:
    """Sessions of an account that replace each page by another query at once.

    Refused queries are not replaced: a refusal costs no more than any other stanza.

    Attributes:
        contender: Whose archive they read.
        corpus: The messages in the archive.
        owner: The account.
        pages: Number of pages.
    """

    contender: Contender
    corpus: Corpus
    owner: Owner
    pages: int = field(default=0, init=False)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Query during the block, in which no session is closed by the server.

        Raises:
            ExceptionGroup: A session was closed; its ConnectionError is in it.
        """
        user = self.owner.jid.partition("@")[0]
        port = self.contender.prosody.client_port
        sessions = [RawSession(user, user, HOST, port) for _ in range(SESSIONS)]
        for session in sessions:
            await session.open()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._query(session)) for session in sessions]
                yield
                for task in tasks:
                    task.cancel()
        finally:
            for session in sessions:
                session.writer.transport.abort()

    async def _query(self, session: RawSession) -> None:
        queries = questions(self.contender, self.corpus, self.owner, LARGEST)
        due, rest = QUERIES, b""
        while True:
            session.write("".join(f"<iq type='set' id='q'>{q}</iq>" for q in islice(queries, due)))
            data = await session.reader.read(_CHUNK)
            if not data:
                raise ConnectionError("Prosody closed a session of the flood")
            data = rest + data
            due, rest = data.count(_END), data[1 - len(_END) :]
            self.pages += due


def questions(contender: Contender, corpus: Corpus, owner: Owner, limit: int) -> Iterator[str]:
    """Yield questions of every kind about an archive, without an end."""
    chance = random.Random(owner.jid)  # noqa: S311  # a seed repeats the questions
    positions: Sequence[int] = corpus.positions(owner)
    for position in cycle(chance.sample(positions, len(positions))):
        for question in draw(owner, position, chance):
            yield question.markup(lambda at: contender.seal(owner.jid, at), limit)


async def read(session: RawSession, queries: Iterator[str], seconds: float) -> list[float]:
    """Ask one question after the other for some time; return the duration of each page."""
    loop, taken = asyncio.get_running_loop(), list[float]()
    end = loop.time() + seconds
    while loop.time() < end:
        taken.append(await ask(session, next(queries)))
    return taken
