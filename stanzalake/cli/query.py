"""`stanzalake query`: runs the query component as a process."""

import asyncio
from pathlib import Path

import click

from stanzalake.config import settings


@click.command(name="query")
@click.pass_obj
def command(env_file: Path | None) -> None:
    """Answer the archive queries of Prosody's clients.

    Run any number, each with its own component name or for its own Prosody.
    Needs STANZALAKE_KAFKA_BOOTSTRAP_SERVERS, and a server in STANZALAKE_CLICKHOUSE_DSN.
    """
    from stanzalake.runtime import services  # noqa: PLC0415  # not needed for --help and completion

    values = settings.load(env_file=env_file)
    asyncio.run(services.run_query(values))
