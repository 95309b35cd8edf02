"""`stanzalake restore`: restores a backup."""

import asyncio
from pathlib import Path

import click
from rich.console import Console

from stanzalake.cli.backup import NAME
from stanzalake.config import settings
from stanzalake.operations import backup


@click.command(name="restore")
@click.argument("name", type=NAME, required=False)
@click.pass_obj
def command(env_file: Path | None, name: str | None) -> None:
    """Merge a backup into the archive. Stop the services first.

    A message in both stays a single message. Afterwards migrations are applied, erasures recorded
    in the store or the backup are applied again, and the processor's offset returns to the start
    of the log, so that messages since the backup are archived again.

    Without NAME: only the steps after the merge, for a RESTORE by ClickHouse's own tools.
    """
    values = settings.load(env_file=env_file)
    with Console(stderr=True).status("restoring"):
        erasures = asyncio.run(backup.restore(values, name or ""))
    done = f"restored backup {name}" if name else "the log is read again"
    click.echo(f"{done}; {erasures} erasures are in force")
