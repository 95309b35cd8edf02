"""`stanzalake events`: prints the log's events for other programs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from signal import SIGINT, SIGTERM

import click

from stanzalake.cli.output import tell
from stanzalake.cli.parameters import MOMENT, OWNER
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.errors import InvalidEvent
from stanzalake.log.base import EVENTS
from stanzalake.model.event import Event, Message, decode, encode
from stanzalake.model.position import from_milliseconds
from stanzalake.observability.access_log import Access, record_access
from stanzalake.operations import dead_letters


@click.command(name="events")
@click.option("--owner", type=OWNER, help="Only the events of this archive.")
@click.option("--since", type=MOMENT, default=0, help="Only events from this date or time on.")
@click.option("--follow", is_flag=True, help="Go on with new events, until Ctrl-C or SIGTERM.")
@click.pass_obj
def command(env_file: Path | None, owner: str | None, since: int, *, follow: bool) -> None:
    """Print the log's events, as JSON Lines (docs/protocol.md).

    The log contains whole messages, even those that no archive keeps: for people who may read
    them. The access log records each use. Malformed records are left out (`stanzalake rejected`),
    and an event may occur twice. Works beside running services, with Kafka and with the embedded
    log. Consumers that have to continue where they stopped read Kafka's topic themselves
    (docs/analytics.md).
    """
    values = settings.load(env_file=env_file)
    with record_access(values, "events", owner or "") as access:
        asyncio.run(_print(_events(values, owner, since, follow=follow), access, follow=follow))


async def _print(events: AsyncGenerator[Event, None], access: Access, *, follow: bool) -> None:
    printing = asyncio.ensure_future(_print_all(events, access))
    if follow:
        for number in (SIGINT, SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, printing.cancel)
        with suppress(asyncio.CancelledError):
            await printing
    elif not await printing:
        tell("there are no such events")


async def _print_all(events: AsyncGenerator[Event, None], access: Access) -> int:
    """Print events, and return their number."""
    number = 0
    async with aclosing(events):
        async for event in events:
            line = encode(event)
            click.echo(line)
            number += 1
            access.messages += isinstance(event, Message)
            access.size += len(line)
    return number


async def _events(
    values: Settings, owner: str | None, since: int, *, follow: bool
) -> AsyncGenerator[Event, None]:
    first = from_milliseconds(since)
    async with (
        dead_letters.open_log(values) as log,
        aclosing(log.follow(EVENTS) if follow else log.scan(EVENTS)) as records,
    ):
        async for record in records:
            with suppress(InvalidEvent):
                event = decode(record.value)
                if event.position >= first and owner in {None, event.owner}:
                    yield event
