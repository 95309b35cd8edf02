"""Traffic beside an erasure: pairs that talk and page, and what an erasure costs them."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle

from bench import load
from bench.lag import Watch
from bench.questions import LAST_PAGE, fetch
from devstack.process import ProgramFailed
from devstack.raw import RawSession
from devstack.service import environment
from stanzalake.config import settings
from stanzalake.model.position import from_milliseconds
from stanzalake.store.client import Store

RATE = 10.0
"""Messages of each pair in a second."""
PAGES = 10.0
"""Last pages of all pairs together in a second."""

_SLICE = 2.0
"""Seconds of talk after which the traffic may end."""


@dataclass
class Felt:
    """Record of what users felt meanwhile.

    Attributes:
        lags: Seconds from the stamp of each message until the store had it.
        deliveries: Seconds from send to receipt of each message.
        pages: Seconds of each page.
        unstable: Number of pages that might lack a message.
    """

    lags: list[float] = field(default_factory=list)
    deliveries: list[float] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)
    unstable: int = 0

    def add(self, other: "Felt") -> None:
        """Add another record."""
        self.lags += other.lags
        self.deliveries += other.deliveries
        self.pages += other.pages
        self.unstable += other.unstable


@dataclass
class Traffic:
    """Pairs that talk at a steady rate, whose senders ask for the last page of their archives.

    Attributes:
        senders: Who sends and pages.
        receivers: A receiver for each sender.
        settings: Settings of the archive.
        seed: Seed of the texts.
    """

    senders: Sequence[RawSession]
    receivers: Sequence[RawSession]
    settings: Mapping[str, str]
    seed: int

    @asynccontextmanager
    async def running(self, felt: Felt) -> AsyncIterator[None]:
        """Talk and page during the block, and record it."""
        now, stop, since = Felt(), asyncio.Event(), from_milliseconds(int(time.time() * 1000))
        store = Store.of(settings.load(self.settings))
        watch = Watch(store, [session.jid for session in (*self.senders, *self.receivers)])
        seen = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(watch.run(since, seen))
                talking = group.create_task(self._talk(now, stop))
                paging = group.create_task(self._page(now, stop))
                yield
                stop.set()
                await asyncio.gather(talking, paging)
                await watch.wait_stored(since, 2 * len(now.deliveries))
                seen.set()
                await watching
            now.lags += watch.lags(since)
            felt.add(now)
        finally:
            store.close()

    async def _talk(self, felt: Felt, stop: asyncio.Event) -> None:
        texts = load.bodies(int(len(self.senders) * RATE * _SLICE), self.seed)
        while not stop.is_set():
            result = await load.run(
                list(self.senders), list(self.receivers), texts, window=load.UNBOUNDED, rate=RATE
            )
            felt.deliveries += result.latencies

    async def _page(self, felt: Felt, stop: asyncio.Event) -> None:
        loop, markup = asyncio.get_running_loop(), LAST_PAGE.markup(str)
        due = loop.time()
        for session in cycle(self.senders):
            if stop.is_set():
                return
            due += 1 / PAGES
            await asyncio.sleep(due - loop.time())
            start = loop.time()
            page = await fetch(session, markup)
            felt.pages.append(loop.time() - start)
            felt.unstable += b"stable='false'" in page


async def run_command(given: Mapping[str, str], *arguments: str) -> float:
    """Run a command of `stanzalake` in a session of its own; return the seconds that it took.

    An operator's shell is one, too. Linux shares its processors among sessions first (sched(7),
    autogroup): in this one it would take the time of the clients that are measured.

    Raises:
        ProgramFailed: It failed; the text has its output.
    """
    start = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stanzalake", *arguments),
        env=environment(given),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise ProgramFailed(f"{arguments[0]} failed:\n{output.decode()}")
    return time.perf_counter() - start
