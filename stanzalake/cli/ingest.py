"""`stanzalake ingest`: runs ingest as a process."""

import asyncio
from pathlib import Path

import click

from stanzalake.config import settings


@click.command(name="ingest")
@click.pass_obj
def command(env_file: Path | None) -> None:
    """Receive batches of events from Prosody and append them to Kafka.

    Run any number, each with its own component name or for its own Prosody.
    Needs STANZALAKE_KAFKA_BOOTSTRAP_SERVERS.
    """
    from stanzalake.runtime import services  # noqa: PLC0415  # not needed for --help and completion

    values = settings.load(env_file=env_file)
    asyncio.run(services.run_ingest(values))
