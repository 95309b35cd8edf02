"""`stanzalake up`: runs all services in one process."""

import asyncio
from pathlib import Path

import click

from stanzalake.config import settings


@click.command(name="up")
@click.pass_obj
def command(env_file: Path | None) -> None:
    """Run ingest, processor and query in this process.

    By default the log is a file and the store is the ClickHouse engine in the process, both in
    STANZALAKE_DATA_DIR. SIGTERM and Ctrl-C end the services cleanly.
    """
    from stanzalake.runtime import up  # noqa: PLC0415  # not needed for --help and completion

    asyncio.run(up.run(settings.load(env_file=env_file)))
