"""Freshness: a last page that is requested right behind messages holds all of them.

    python -m tests.faults.freshness --mode kafka --rounds 200

Each round one client sends a burst and requests its last page at once; the receiver requests its
own as soon as the last message has arrived live. Other users send all the time, and an idle user
requests a page right behind the burst, when the pipeline is fullest, to measure its wait.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click

from devstack.client import Client
from devstack.deployment import Deployment, Distributed
from tests.faults.talk import Talk

MODES = {"embedded": Deployment, "kafka": Distributed}
CROWD = ("mercutio", "benvolio", "nurse")
_SETTINGS = {"PROSODY_ARCHIVE_POLICY": "true"}
_LOAD_INTERVAL = 0.005
_PAGE = 50


@dataclass
class Tally:
    """Result of the rounds.

    Attributes:
        messages: Messages in a burst.
        rounds: Number of rounds.
        misses: Pages with a message of the burst missing, repeated or out of order.
        late: Unstable pages.
        asked: Seconds for each page of sender and receiver.
        idle: Seconds for each page of the idle user.
    """

    messages: int
    rounds: int = 0
    misses: int = 0
    late: int = 0
    asked: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"rounds {self.rounds} of {self.messages} messages, misses {self.misses}, "
            f"late {self.late}, a page after a burst {_spread(self.asked)}, "
            f"of an idle user {_spread(self.idle)}"
        )


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.3f} s (at most {max(seconds):.3f} s)"


async def measure(directory: Path, mode: str, rounds: int, messages: int) -> Tally:
    """Run the rounds on a new deployment under load."""
    deployment = MODES[mode](directory, settings=_SETTINGS)
    try:
        await deployment.start()
        for user in CROWD:
            await deployment.register(user)
        async with _loaded(deployment):
            return await _rounds(deployment, rounds, messages)
    finally:
        await deployment.stop()


@asynccontextmanager
async def _loaded(deployment: Deployment) -> AsyncIterator[None]:
    stop = asyncio.Event()
    talks = [Talk(*pair, interval=_LOAD_INTERVAL) for pair in (CROWD[:2], CROWD[1::-1])]
    running = [asyncio.ensure_future(talk.run(deployment, stop)) for talk in talks]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*running)


async def _rounds(deployment: Deployment, rounds: int, messages: int) -> Tally:
    tally = Tally(messages)
    clients = [await deployment.client(user) for user in ("juliet", "romeo", "nurse")]
    juliet, romeo, nurse = clients
    for _ in range(rounds):
        await _burst(juliet, romeo, nurse, tally)
        tally.rounds += 1
    for client in clients:
        await client.offline()
    return tally


async def _burst(sender: Client, receiver: Client, idle: Client, tally: Tally) -> None:
    bodies = [f"{tally.rounds} {number}" for number in range(tally.messages)]
    heard = len(receiver.live) + len(bodies)
    to = f"to='{receiver.boundjid.bare}' type='chat'"
    # One write, so that the request directly follows the last message.
    sender.send_raw("".join(f"<message {to}><body>{body}</body></message>" for body in bodies))
    expected = bodies[-_PAGE:]
    await asyncio.gather(
        _ask(sender, expected, tally, tally.asked), _ask_once_heard(receiver, heard, idle, tally)
    )


async def _ask_once_heard(receiver: Client, heard: int, idle: Client, tally: Tally) -> None:
    await receiver.wait_received(heard)
    expected = [message.body for message in receiver.live[-_PAGE:]]
    await asyncio.gather(
        _ask(receiver, expected, tally, tally.asked), _ask(idle, [], tally, tally.idle)
    )


async def _ask(client: Client, expected: list[str], tally: Tally, times: list[float]) -> None:
    start = time.monotonic()
    page = await client.latest(_PAGE)
    times.append(time.monotonic() - start)
    found = [message.body for message in page.messages]
    tally.misses += found[-len(expected) :] != expected if expected else bool(found)
    tally.late += not page.stable


@click.command()
@click.option("--mode", type=click.Choice(list(MODES)), default="embedded", show_default=True)
@click.option("--rounds", default=200, show_default=True)
@click.option("--messages", default=1000, show_default=True, help="Messages in a burst.")
def main(mode: str, rounds: int, messages: int) -> None:
    """Request the last page right behind a burst; exit with status 1 if a message is missing."""
    with tempfile.TemporaryDirectory(prefix="stanzalake-freshness-") as directory:
        tally = asyncio.run(measure(Path(directory), mode, rounds, messages))
    click.echo(f"mode {mode}, {tally}")
    sys.exit(bool(tally.misses))


if __name__ == "__main__":
    main()
