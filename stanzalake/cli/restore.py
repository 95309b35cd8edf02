"""`stanzalake restore`: restores a backup."""

import asyncio
import json
from pathlib import Path

import click
from rich.console import Console

from stanzalake.cli.backup import NAME, describe
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.observability.interrupts import raise_interrupts
from stanzalake.operations import backup


@click.command(name="restore")
@click.argument("name", type=NAME, required=False)
@click.option("--dry-run", is_flag=True, help="Verify the backup, and print what it has.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
@click.pass_obj
def command(env_file: Path | None, name: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Merge a backup into the archive. Stop the services first.

    A message in both stays a single message. Afterwards migrations are applied, erasures recorded
    in the store or the backup are applied again, and the processor's offset returns to the start
    of the log, so that messages since the backup are archived again.

    Without NAME: only the steps after the merge, for a RESTORE by ClickHouse's own tools.
    """
    values = settings.load(env_file=env_file)
    if dry_run:
        _verify(values, name, as_json=as_json)
        return
    with Console(stderr=True).status("restoring"):
        erasures = asyncio.run(backup.restore(values, name or ""))
    if as_json:
        click.echo(json.dumps({"name": name, "erasures": erasures}))
    else:
        done = f"restored backup {name}" if name else "the log is read again"
        click.echo(f"{done}; {erasures} erasures are in force")


def _verify(values: Settings, name: str | None, *, as_json: bool) -> None:
    if name is None:
        raise click.UsageError("--dry-run needs the NAME of a backup.")
    with raise_interrupts(), Console(stderr=True).status("verifying"):
        contents = backup.verify(values, name)
    if as_json:
        click.echo(json.dumps({"name": name, **contents._asdict()}))
    else:
        click.echo(f"would be merged: {describe(contents)}")
