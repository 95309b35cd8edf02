"""`stanzalake processor`: runs the processor as a process."""

import asyncio
from pathlib import Path

import click

from stanzalake.config import settings


@click.command(name="processor")
@click.pass_obj
def command(env_file: Path | None) -> None:
    """Archive events from Kafka in ClickHouse.

    Processors share the partitions: run at most as many as there are partitions. Needs
    STANZALAKE_KAFKA_BOOTSTRAP_SERVERS, and a server in STANZALAKE_CLICKHOUSE_DSN.
    """
    from processor import app  # noqa: PLC0415  # not needed for --help and completion
    from stanzalake.runtime import services  # noqa: PLC0415  # not needed for --help and completion

    values = settings.load(env_file=env_file)
    asyncio.run(services.run_processor(values, app.run))
