"""The fault storm: everything is killed, stopped and restarted under load; then it is all there.

    python -m tests.faults.storm --mode kafka --rounds 50 --seed 7

Pairs of clients send numbered messages without a pause, while parts of the deployment are hit in
random order. At the end both archives of every pair must hold every message that was delivered,
once, in order, under the id that was seen live, and no process may have needed a hand.
"""

import asyncio
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

from stanzalake.local.client import Said
from stanzalake.local.deployment import HOST, Deployment, Distributed

MODES = {"embedded": Deployment, "kafka": Distributed}
_INTERVAL = 0.02
_RECONNECT = 0.2
_CALM_SECONDS = 60.0

Fault = Callable[[], Awaitable[None]]


@dataclass
class Talk:
    """One pair: what was sent, what arrived, and when something last did.

    Attributes:
        sender: A user.
        receiver: Another one.
        sent: How many messages were handed to Prosody.
        delivered: What the receiver got, by body; a body may come again after a crash of Prosody.
        longest_gap: Seconds for which nothing arrived, at the most.
    """

    sender: str
    receiver: str
    sent: int = 0
    delivered: dict[str, str] = field(default_factory=dict)
    longest_gap: float = 0.0
    _since: float = field(default_factory=time.monotonic)

    async def run(self, deployment: Deployment, stop: asyncio.Event) -> None:
        """Talk until told to stop, through whatever happens to the server."""
        while not stop.is_set():
            try:
                await self._session(deployment, stop)
            except (TimeoutError, OSError):
                await asyncio.sleep(_RECONNECT)

    async def _session(self, deployment: Deployment, stop: asyncio.Event) -> None:
        receiver = await deployment.client(self.receiver, f"from-{self.sender}")
        sender = await deployment.client(self.sender, f"to-{self.receiver}")
        seen = 0
        while not stop.is_set() and sender.is_connected() and receiver.is_connected():
            sender.say(f"{self.receiver}@{HOST}", f"{self.sender} {self.sent}")
            self.sent += 1
            await asyncio.sleep(_INTERVAL)
            if len(receiver.live) > seen:
                self._take(receiver.live[seen:])
                seen = len(receiver.live)
        for client in (sender, receiver):
            await client.offline()

    def _take(self, messages: list[Said]) -> None:
        now = time.monotonic()
        self.longest_gap = max(self.longest_gap, now - self._since)
        self._since = now
        for message in messages:
            if message.sender == f"{self.sender}@{HOST}":
                self.delivered[message.body] = message.id

    def faults(self, owner: str, archive: list[Said]) -> Iterator[str]:
        """Give what is wrong with an owner's archive."""
        mine = [message for message in archive if message.sender == f"{self.sender}@{HOST}"]
        numbers = [int(message.body.split()[1]) for message in mine]
        where = f"{owner}'s archive, from {self.sender} to {self.receiver}"
        lost = self.delivered.keys() - {message.body for message in mine}
        if lost:
            yield f"{where}: {len(lost)} lost: {', '.join(sorted(lost)[:5])}"
        if len(set(numbers)) != len(numbers):
            yield f"{where}: {len(numbers) - len(set(numbers))} doubled"
        if numbers != sorted(numbers):
            yield f"{where}: out of order"
        if owner == self.receiver:
            ids = {message.body: message.id for message in mine}
            other = [b for b, id_ in self.delivered.items() if b in ids and ids[b] != id_]
            if other:
                yield f"{where}: {len(other)} under another id than was seen live"


class Storm:
    """Hits the parts of a deployment.

    Args:
        deployment: What is hit.
        chance: Where the order comes from.
    """

    def __init__(self, deployment: Deployment, chance: random.Random) -> None:
        self._deployment = deployment
        self._chance = chance
        self.hits: list[str] = []

    async def hit(self) -> None:
        """Hit one part in one way, and put it up again."""
        name, fault = self._chance.choice(list(self._faults()))
        self.hits.append(name)
        await fault()

    def _faults(self) -> Iterator[tuple[str, Fault]]:
        yield "kill prosody", self._kill_prosody
        for name in self._deployment.services:
            yield f"kill {name}", partial(self._kill, name)
            yield f"stop and start {name}", partial(self._restart, name)
            yield f"freeze {name}", partial(self._freeze, name)
        if isinstance(self._deployment, Distributed):
            yield "kill kafka", self._kill_kafka
            yield "kill clickhouse", self._kill_clickhouse

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, 1.5))

    async def _kill(self, name: str) -> None:
        service = self._deployment.services[name]
        await service.kill()
        await self._pause()
        await service.start()

    async def _restart(self, name: str) -> None:
        service = self._deployment.services[name]
        status = await service.stop()
        if status:
            raise AssertionError(f"{name} ended with status {status}")
        await self._pause()
        await service.start()

    async def _freeze(self, name: str) -> None:
        service = self._deployment.services[name]
        service.signal(signal.SIGSTOP)
        await self._pause()
        service.signal(signal.SIGCONT)

    async def _kill_prosody(self) -> None:
        self._deployment.prosody.kill()
        await self._deployment.prosody.stop()
        await self._pause()
        await self._deployment.prosody.start()

    async def _kill_kafka(self) -> None:
        assert isinstance(self._deployment, Distributed)
        self._deployment.kafka.kill()
        await self._deployment.kafka.stop()
        await self._pause()
        await self._deployment.kafka.start()

    async def _kill_clickhouse(self) -> None:
        assert isinstance(self._deployment, Distributed)
        await self._deployment.clickhouse.kill()
        await self._pause()
        await self._deployment.clickhouse.start()


@dataclass
class Outcome:
    """What a storm came to.

    Attributes:
        hits: What was hit, in order.
        talks: The pairs.
        problems: What is wrong; empty if all is well.
    """

    hits: list[str]
    talks: list[Talk]
    problems: list[str]

    def __str__(self) -> str:
        kills = sum(hit.startswith("kill") for hit in self.hits)
        sent = sum(talk.sent for talk in self.talks)
        delivered = sum(len(talk.delivered) for talk in self.talks)
        gap = max(talk.longest_gap for talk in self.talks)
        summary = (
            f"rounds {len(self.hits)}, kills {kills}, messages sent {sent}, "
            f"delivered {delivered}, longest gap {gap:.1f} s, problems {len(self.problems)}"
        )
        return "\n".join([summary, *self.problems])


async def rage(directory: Path, mode: str, rounds: int, seed: int) -> Outcome:
    """Run a storm and look at what is left."""
    settings = {"PROSODY_ARCHIVE_POLICY": "true", "PROSODY_ARCHIVE_MAX_QUERY_RESULTS": "1000"}
    deployment = MODES[mode](directory, settings=settings)
    try:
        await deployment.start()
        storm = Storm(deployment, random.Random(seed))  # noqa: S311  # a seed repeats a storm
        talks = [Talk("juliet", "romeo"), Talk("romeo", "juliet")]
        stop = asyncio.Event()
        running = [asyncio.ensure_future(talk.run(deployment, stop)) for talk in talks]
        for _ in range(rounds):
            await storm.hit()
            await asyncio.sleep(0.5)
        stop.set()
        await asyncio.gather(*running)
        problems = await _problems(deployment, talks)
        return Outcome(storm.hits, talks, problems)
    finally:
        await deployment.stop()


async def _problems(deployment: Deployment, talks: list[Talk]) -> list[str]:
    problems: list[str] = []
    for owner in ("juliet", "romeo"):
        reader = await deployment.client(owner, "reader")
        async with asyncio.timeout(_CALM_SECONDS):
            archive = await reader.archive(1000)
        for talk in talks:
            problems += talk.faults(owner, archive)
        await reader.offline()
    return problems


@click.command()
@click.option("--mode", type=click.Choice(list(MODES)), default="embedded", show_default=True)
@click.option("--rounds", default=30, show_default=True, help="How often something is hit.")
@click.option("--seed", type=int, help="Repeats a storm; a new one each time if none is given.")
def main(mode: str, rounds: int, seed: int | None) -> None:
    """Hit a deployment under load, and end with status 1 if a message is lost or doubled."""
    seed = seed if seed is not None else random.SystemRandom().randrange(10**6)
    click.echo(f"mode {mode}, seed {seed}")
    with tempfile.TemporaryDirectory(prefix="stanzalake-storm-") as directory:
        outcome = asyncio.run(rage(Path(directory), mode, rounds, seed))
    click.echo(str(outcome))
    sys.exit(bool(outcome.problems))


if __name__ == "__main__":
    main()
