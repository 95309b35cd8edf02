"""The fault storm: everything is killed, frozen, cut off and restarted under load.

    python -m tests.faults.storm --mode kafka --rounds 50 --seed 7

Pairs of clients send numbered messages without a pause, and a hostile user attacks, while parts of
the deployment are hit in random order. At the end both archives of every pair must hold every
message that was delivered, once, in order, under the id that was seen live, and no process may have
ended by itself.

There is one broker; tests/faults/test_coordinator.py is for several.
"""

import asyncio
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import click

from devstack.deployment import Deployment, Distributed
from devstack.service import Service
from tests.faults.hostile import USER, Hostile
from tests.faults.talk import Findings, Talk
from tests.support.proxy import Proxy

MODES = {"embedded": Deployment, "kafka": Distributed}
_SETTINGS = {"PROSODY_ARCHIVE_POLICY": "true", "PROSODY_ARCHIVE_MAX_QUERY_RESULTS": "1000"}
_BREATH = 0.3
_CALM_SECONDS = 60.0
_REBALANCES = 2

Fault = Callable[[], Awaitable[None]]


class Part(Protocol):
    """A process of a deployment."""

    async def start(self) -> None: ...

    async def stop(self) -> object: ...

    def signal(self, number: signal.Signals) -> None: ...


class Ground:
    """A deployment whose services reach Prosody and ClickHouse through proxies.

    Attributes:
        deployment: The whole of it.
        proxies: By what stands behind them.
    """

    def __init__(self, directory: Path, mode: str) -> None:
        self.proxies = {"prosody": Proxy()}
        settings = {**_SETTINGS, "STANZALAKE_PROSODY": f"127.0.0.1:{self.proxies['prosody'].port}"}
        if mode == "kafka":
            self.proxies["clickhouse"] = Proxy()
            port = self.proxies["clickhouse"].port
            dsn = f"clickhouse://default:@127.0.0.1:{port}/stanzalake"
            settings["STANZALAKE_CLICKHOUSE_DSN"] = dsn
        self.deployment = MODES[mode](directory, settings=settings)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Deployment]:
        """Run all of it."""
        await self.proxies["prosody"].start(self.deployment.prosody.component_port)
        if isinstance(self.deployment, Distributed):
            await self.proxies["clickhouse"].start(self.deployment.clickhouse.port)
        try:
            await self.deployment.start()
            yield self.deployment
        finally:
            await self.deployment.stop()
            for proxy in self.proxies.values():
                proxy.cut()

    @property
    def servers(self) -> dict[str, Part]:
        """What the services stand on."""
        servers: dict[str, Part] = {"prosody": self.deployment.prosody}
        if isinstance(self.deployment, Distributed):
            servers |= {"kafka": self.deployment.kafka, "clickhouse": self.deployment.clickhouse}
        return servers


class Storm:
    """Hits the parts of a deployment, one at a time.

    Args:
        ground: What is hit.
        chance: Where the order comes from.
        longest: Seconds for which a part is away or frozen, at the most.

    Attributes:
        hits: What was hit, in order.
        fallen: Services that ended by themselves.
    """

    def __init__(self, ground: Ground, chance: random.Random, longest: float) -> None:
        self._ground = ground
        self._services = ground.deployment.services
        self._chance = chance
        self._longest = longest
        self._bag: list[tuple[str, Fault]] = []
        self.hits: list[str] = []
        self.fallen: set[str] = set()

    async def hit(self) -> None:
        """Hit one part in one way, and put it up again; every way comes before one comes again."""
        if not self._bag:
            self._bag = list(self._faults())
            self._chance.shuffle(self._bag)
        name, fault = self._bag.pop()
        self.hits.append(name)
        await fault()
        self.look()

    def look(self) -> None:
        """Notice services that ended by themselves."""
        self.fallen |= {name for name, service in self._services.items() if not service.alive}

    def _faults(self) -> Iterator[tuple[str, Fault]]:
        for name in ("kill", "freeze", "stop and start"):
            service = self._chance.choice(list(self._services))
            yield f"{name} {service}", partial(self._ways[name], self._services[service])
        for server, part in self._ground.servers.items():
            yield f"kill {server}", partial(self._kill, part)
            yield f"freeze {server}", partial(self._freeze, part)
        for server, proxy in self._ground.proxies.items():
            yield f"cut off {server}", partial(self._cut, proxy)
        if isinstance(self._ground.deployment, Distributed):
            yield "rebalance", self._rebalance

    @property
    def _ways(self) -> dict[str, Callable[[Service], Awaitable[None]]]:
        return {"kill": self._kill, "freeze": self._freeze, "stop and start": self._restart}

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, self._longest))

    async def _kill(self, part: Part) -> None:
        part.signal(signal.SIGKILL)
        await part.stop()
        await self._pause()
        await part.start()

    async def _freeze(self, part: Part) -> None:
        part.signal(signal.SIGSTOP)
        await self._pause()
        part.signal(signal.SIGCONT)

    async def _restart(self, service: Service) -> None:
        status = await service.stop()
        if status:
            raise AssertionError(f"{service.command} ended with status {status}")
        await self._pause()
        await service.start()

    async def _cut(self, proxy: Proxy) -> None:
        proxy.cut()
        await self._pause()
        await proxy.mend()

    async def _rebalance(self) -> None:
        """Send more processors into the group and out of it, faster than it can settle."""
        service = self._ground.deployment.service
        guests = [service(f"guest-{n}", "processor") for n in range(_REBALANCES)]
        for _ in range(_REBALANCES):
            await asyncio.gather(*(guest.start() for guest in guests))
            await asyncio.gather(*(guest.stop() for guest in guests))


@dataclass
class Outcome:
    """What a storm came to.

    Attributes:
        hits: What was hit, in order.
        attacks: What the hostile user sent, and how often.
        talks: The pairs.
        findings: What is wrong.
    """

    hits: list[str]
    attacks: Counter[str]
    talks: list[Talk]
    findings: Findings

    def __str__(self) -> str:
        kills = sum(hit.startswith("kill") for hit in self.hits)
        sent = sum(talk.sent for talk in self.talks)
        delivered = sum(len(talk.delivered) for talk in self.talks)
        gap = max(talk.longest_gap for talk in self.talks)
        summary = (
            f"rounds {len(self.hits)}, kills {kills}, attacks {self.attacks.total()}, "
            f"messages sent {sent}, delivered {delivered}, "
            f"lost {self.findings.lost}, doubled {self.findings.doubled}, longest gap {gap:.1f} s"
        )
        return "\n".join([summary, *self.findings.problems])


async def rage(directory: Path, mode: str, rounds: int, seed: int, longest: float) -> Outcome:
    """Run a storm and look at what is left."""
    ground = Ground(directory, mode)
    async with ground.held() as deployment:
        storm = Storm(ground, random.Random(seed), longest)  # noqa: S311  # a seed repeats a storm
        hostile = Hostile(deployment, "romeo", random.Random(seed))  # noqa: S311
        await deployment.register(USER)
        talks = [Talk("juliet", "romeo"), Talk("romeo", "juliet")]
        stop = asyncio.Event()
        running = [asyncio.ensure_future(talk.run(deployment, stop)) for talk in talks]
        running.append(asyncio.ensure_future(hostile.run(stop)))
        try:
            for _ in range(rounds):
                await storm.hit()
                await asyncio.sleep(_BREATH)
        finally:
            stop.set()
            await asyncio.gather(*running)
        findings = await look_through(deployment, talks)
        storm.look()
        findings.problems += [f"{name} ended by itself" for name in sorted(storm.fallen)]
        return Outcome(storm.hits, hostile.attacks, talks, findings)


async def look_through(deployment: Deployment, talks: list[Talk]) -> Findings:
    """Hold both archives of every pair against what was delivered."""
    findings = Findings()
    for owner in ("juliet", "romeo"):
        reader = await deployment.client(owner, "reader")
        async with asyncio.timeout(_CALM_SECONDS):
            archive = await reader.archive(1000)
        for talk in talks:
            talk.check(owner, archive, findings)
        await reader.offline()
    return findings


@click.command()
@click.option("--mode", type=click.Choice(list(MODES)), default="embedded", show_default=True)
@click.option("--rounds", default=30, show_default=True, help="How often something is hit.")
@click.option("--seed", type=int, help="Repeats a storm; a new one each time if none is given.")
@click.option(
    "--longest",
    default=12.0,
    show_default=True,
    help="Seconds for which a part is away at most; over 10, Kafka gives up a frozen processor.",
)
def main(mode: str, rounds: int, seed: int | None, longest: float) -> None:
    """Hit a deployment under load, and end with status 1 if a message is lost or doubled."""
    seed = seed if seed is not None else random.SystemRandom().randrange(10**6)
    click.echo(f"mode {mode}, seed {seed}")
    with tempfile.TemporaryDirectory(prefix="stanzalake-storm-") as directory:
        outcome = asyncio.run(rage(Path(directory), mode, rounds, seed, longest))
    click.echo(str(outcome))
    sys.exit(bool(outcome.findings.problems))


if __name__ == "__main__":
    main()
