"""Freshness: whoever sends messages and asks for the last page at once finds all of them.

    python -m tests.faults.freshness --mode kafka --rounds 200

Each round one client sends a burst and asks for its last page in the same breath; the receiver asks
as soon as it has seen the last message live. Other users talk all the while, and one who says
nothing asks right behind them, when the pipe is at its fullest, to see what that costs it.
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
    """What the rounds came to.

    Attributes:
        messages: In each burst.
        rounds: So many.
        misses: Pages that lack a message of the burst, or have one twice or out of order.
        late: Pages that say that they may lack something.
        asked: Seconds for each page of the two who talk.
        idle: Seconds for each page of the one who says nothing.
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
    """Run the rounds on a deployment of their own, with a load beside them."""
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
    # One piece, so that the question is behind the last message by nothing.
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
@click.option("--messages", default=1000, show_default=True, help="In each round.")
def main(mode: str, rounds: int, messages: int) -> None:
    """Ask for the last page right behind a burst; status 1 if a message of it is missing."""
    with tempfile.TemporaryDirectory(prefix="stanzalake-freshness-") as directory:
        tally = asyncio.run(measure(Path(directory), mode, rounds, messages))
    click.echo(f"mode {mode}, {tally}")
    sys.exit(bool(tally.misses))


if __name__ == "__main__":
    main()
