"""The fault storm: everything is killed, frozen, cut off and restarted under load.

    python -m tests.faults.storm --mode kafka --rounds 50 --seed 7

Pairs of clients, and somebody in a room, send numbered messages without a pause, and a hostile user
attacks, while parts of the deployment are hit in random order. At the end both archives of every
pair, and the room's, must hold every message that was delivered, once, in order, under the id that
was seen live, and no process may have ended by itself.

There is one broker; tests/faults/test_coordinator.py is for several.
"""

import asyncio
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import click
from slixmpp.exceptions import IqError

from devstack.client import Client, ReceivedMessage
from devstack.deployment import HOST, Deployment, Distributed
from devstack.process import running
from devstack.service import Service
from tests.faults.hostile import USER, Hostile
from tests.faults.room_talk import RoomTalk
from tests.faults.talk import Findings, Talk
from tests.support.proxy import Proxy
from tests.support.rooms import ROOMS, component

MODES = {"embedded": Deployment, "kafka": Distributed}
_SETTINGS = {"PROSODY_ARCHIVE_POLICY": "true", "PROSODY_ARCHIVE_MAX_QUERY_RESULTS": "1000"}
_PAUSE = 0.3
_READ_SECONDS = 60.0
_REBALANCES = 2
_ANNOUNCED = 20
_ANNOUNCED_SECONDS = 60.0

Fault = Callable[[], Awaitable[None]]


def _options(deployment: Deployment) -> str:
    """Give a MUC component the options of the VirtualHost."""
    prosody = deployment.prosody
    lists = {
        "stanzalake_id_keys": prosody.id_keys,
        "stanzalake_ingest": prosody.ingest,
        "stanzalake_query": prosody.query,
    }
    return "\n".join(f"{name} = {{ {str(list(v))[1:-1]} }}" for name, v in lists.items())


class Part(Protocol):
    """A process of a deployment."""

    async def start(self) -> None: ...

    async def stop(self) -> object: ...

    def signal(self, number: signal.Signals) -> None: ...


class Target:
    """A deployment whose services reach Prosody and ClickHouse through proxies.

    Attributes:
        deployment: The deployment.
        proxies: The proxies, by the servers behind them.
    """

    def __init__(self, directory: Path, mode: str) -> None:
        self.proxies = {"prosody": Proxy()}
        settings = {**_SETTINGS, "STANZALAKE_PROSODY": f"127.0.0.1:{self.proxies['prosody'].port}"}
        if mode == "kafka":
            self.proxies["clickhouse"] = Proxy()
            port = self.proxies["clickhouse"].port
            dsn = f"clickhouse://default:@127.0.0.1:{port}/stanzalake"
            settings["STANZALAKE_CLICKHOUSE_DSN"] = dsn
        settings["STANZALAKE_HOSTS"] = f"{HOST},{ROOMS}"
        self.deployment = MODES[mode](directory, settings=settings)
        self.deployment.prosody.extra_host = component(_options(self.deployment))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Deployment]:
        """Run the deployment and its proxies."""
        await self.proxies["prosody"].start(self.deployment.prosody.component_port)
        if isinstance(self.deployment, Distributed):
            await self.proxies["clickhouse"].start(self.deployment.clickhouse.port)
        try:
            async with running(self.deployment):
                yield self.deployment
        finally:
            for proxy in self.proxies.values():
                proxy.cut()

    @property
    def servers(self) -> dict[str, Part]:
        """The servers that the services depend on."""
        servers: dict[str, Part] = {"prosody": self.deployment.prosody}
        if isinstance(self.deployment, Distributed):
            servers |= {"kafka": self.deployment.kafka, "clickhouse": self.deployment.clickhouse}
        return servers


class Storm:
    """Injects faults into a deployment, one at a time.

    Args:
        target: The deployment.
        chance: Source of the faults' order.
        longest: Seconds for which a part is away or frozen, at most.

    Attributes:
        faults: Names of the injected faults, in order.
        ended: Services that ended by themselves.
    """

    def __init__(self, target: Target, chance: random.Random, longest: float) -> None:
        self._target = target
        self._services = target.deployment.services
        self._chance = chance
        self._longest = longest
        self._bag: list[tuple[str, Fault]] = []
        self.faults: list[str] = []
        self.ended: set[str] = set()

    async def inject(self) -> None:
        """Inject a fault and end it; every fault comes before one is repeated."""
        if not self._bag:
            self._bag = list(self._faults())
            self._chance.shuffle(self._bag)
        name, fault = self._bag.pop()
        self.faults.append(name)
        await fault()
        self.check_services()

    def check_services(self) -> None:
        """Record services that ended by themselves."""
        self.ended |= {name for name, service in self._services.items() if not service.alive}

    def _faults(self) -> Iterator[tuple[str, Fault]]:
        for name in ("kill", "freeze", "stop and start"):
            service = self._chance.choice(list(self._services))
            yield f"{name} {service}", partial(self._ways[name], self._services[service])
        for server, part in self._target.servers.items():
            yield f"kill {server}", partial(self._kill, part)
            yield f"freeze {server}", partial(self._freeze, part)
        for server, proxy in self._target.proxies.items():
            yield f"cut off {server}", partial(self._cut, proxy)
        if isinstance(self._target.deployment, Distributed):
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
        """Have more processors join and leave the group, faster than it can rebalance."""
        service = self._target.deployment.service
        guests = [service(f"guest-{n}", "processor") for n in range(_REBALANCES)]
        for _ in range(_REBALANCES):
            await asyncio.gather(*(guest.start() for guest in guests))
            await asyncio.gather(*(guest.stop() for guest in guests))


@dataclass
class Outcome:
    """Result of a storm.

    Attributes:
        faults: Names of the injected faults, in order.
        attacks: Number of each of the hostile user's attacks.
        talks: The conversations.
        findings: Faults of the archives and of services.
    """

    faults: list[str]
    attacks: Counter[str]
    talks: list[Talk | RoomTalk]
    findings: Findings

    def __str__(self) -> str:
        kills = sum(fault.startswith("kill") for fault in self.faults)
        sent = sum(talk.sent for talk in self.talks)
        delivered = sum(len(talk.delivered) for talk in self.talks)
        gap = max(talk.longest_gap for talk in self.talks)
        summary = (
            f"rounds {len(self.faults)}, kills {kills}, attacks {self.attacks.total()}, "
            f"messages sent {sent}, delivered {delivered}, "
            f"lost {self.findings.lost}, doubled {self.findings.doubled}, longest gap {gap:.1f} s"
        )
        return "\n".join([summary, *self.findings.problems])


async def run_storm(directory: Path, mode: str, rounds: int, seed: int, longest: float) -> Outcome:
    """Run a storm and check the archives."""
    target = Target(directory, mode)
    async with target.running() as deployment:
        storm = Storm(target, random.Random(seed), longest)  # noqa: S311  # a seed repeats a storm
        hostile = Hostile(deployment, "romeo", random.Random(seed))  # noqa: S311
        await deployment.register(USER)
        talks = [Talk("juliet", "romeo"), Talk("romeo", "juliet")]
        room = RoomTalk("juliet", "romeo", interval=0.05)
        spoken: list[Talk | RoomTalk] = [*talks, room]
        stop = asyncio.Event()
        running = [asyncio.ensure_future(talk.run(deployment, stop)) for talk in spoken]
        running.append(asyncio.ensure_future(hostile.run(stop)))
        try:
            for _ in range(rounds):
                await storm.inject()
                await asyncio.sleep(_PAUSE)
            await _wait_announced(talks)
        finally:
            stop.set()
            await asyncio.gather(*running)
        findings = await check_archives(deployment, talks)
        await room.check(deployment, findings)
        storm.check_services()
        findings.problems += [f"{name} ended by itself" for name in sorted(storm.ended)]
        return Outcome(storm.faults, hostile.attacks, spoken, findings)


async def _wait_announced(talks: list[Talk]) -> None:
    """Wait until both sides receive messages with ids again, if there were few during the storm.

    How much of it the services were up depends on the machine.

    Raises:
        TimeoutError: Ids are still missing after a minute.
    """
    async with asyncio.timeout(_ANNOUNCED_SECONDS):
        while any(len(talk.delivered) < _ANNOUNCED for talk in talks):  # noqa: ASYNC110  # talks set no event
            await asyncio.sleep(_PAUSE)


async def _read(reader: Client) -> list[ReceivedMessage]:
    """Read an archive once a query service is connected again after the last fault.

    Raises:
        TimeoutError: None answers in time.
    """
    async with asyncio.timeout(_READ_SECONDS):
        while True:
            with suppress(IqError):
                return await reader.archive(1000)
            await asyncio.sleep(_PAUSE)


async def check_archives(deployment: Deployment, talks: list[Talk]) -> Findings:
    """Compare both archives of every conversation with the delivered messages."""
    findings = Findings()
    for owner in ("juliet", "romeo"):
        reader = await deployment.client(owner, "reader", known=False)
        archive = await _read(reader)
        for talk in talks:
            talk.check(owner, archive, findings)
        await reader.offline()
    return findings


@click.command()
@click.option("--mode", type=click.Choice(list(MODES)), default="embedded", show_default=True)
@click.option("--rounds", default=30, show_default=True, help="Number of faults.")
@click.option("--seed", type=int, help="Repeats a storm; random if not given.")
@click.option(
    "--longest",
    default=12.0,
    show_default=True,
    help="Seconds for which a part is away at most; over 10, Kafka expels a frozen processor.",
)
def main(mode: str, rounds: int, seed: int | None, longest: float) -> None:
    """Inject faults under load, and exit with status 1 if a message is lost or doubled."""
    seed = seed if seed is not None else random.SystemRandom().randrange(10**6)
    click.echo(f"mode {mode}, seed {seed}")
    with tempfile.TemporaryDirectory(prefix="stanzalake-storm-") as directory:
        outcome = asyncio.run(run_storm(Path(directory), mode, rounds, seed, longest))
    click.echo(str(outcome))
    sys.exit(bool(outcome.findings.problems))


if __name__ == "__main__":
    main()
