"""`stanzalake restore`: a backup put back."""

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
    """Put a backup beside what is in the archive. Stop the services before.

    A message that is in both is one message. The schema is brought up to date; what was erased
    stays so, as far as the store or the backup knows of it; and the log is read again from its
    beginning, so that what came since the backup comes back with it.

    Without NAME: what has to follow a RESTORE that was done by ClickHouse's own means.
    """
    values = settings.load(env_file=env_file)
    with Console(stderr=True).status("restoring"):
        erasures = asyncio.run(backup.restore(values, name or ""))
    what = f"restored backup {name}" if name else "the log is read again"
    click.echo(f"{what}; {erasures} erasures are in force")
