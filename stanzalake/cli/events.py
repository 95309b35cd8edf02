"""`stanzalake events`: prints the log's events for other programs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import click

from stanzalake.cli.parameters import OWNER
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.errors import InvalidEvent
from stanzalake.log.base import EVENTS
from stanzalake.model.event import Message, decode, encode
from stanzalake.observability.access_log import record_access
from stanzalake.operations import dead_letters


@click.command(name="events")
@click.option("--owner", type=OWNER, help="Only the events of this archive.")
@click.pass_obj
def command(env_file: Path | None, owner: str | None) -> None:
    """Print the log's events, as JSON Lines (docs/protocol.md).

    The log contains whole messages, even those that no archive keeps: for people who may read
    them. The access log records each use. Malformed records are left out (`stanzalake rejected`),
    and an event may occur twice. Works beside running services, with Kafka and with the embedded
    log. To follow Kafka's topic, see docs/analytics.md.
    """
    values = settings.load(env_file=env_file)
    asyncio.run(_print(values, owner or ""))


async def _print(values: Settings, owner: str) -> None:
    with record_access(values, "events", owner) as access:
        async with aclosing(_lines(values, owner)) as lines:
            async for is_message, line in lines:
                click.echo(line)
                access.messages += is_message
                access.size += len(line)


async def _lines(values: Settings, owner: str) -> AsyncGenerator[tuple[bool, bytes], None]:
    async with dead_letters.open_log(values) as log, aclosing(log.scan(EVENTS)) as records:
        async for record in records:
            try:
                event = decode(record.value)
            except InvalidEvent:
                continue
            if owner in ("", event.owner):
                yield isinstance(event, Message), encode(event)
