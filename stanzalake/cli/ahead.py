"""`stanzalake ahead`: lists the owners whose archives have positions ahead of the clock."""

import time
from pathlib import Path
from typing import TextIO

import click

from stanzalake.config import settings
from stanzalake.model.position import from_milliseconds
from stanzalake.operations.archive import open_archive
from stanzalake.store import statistics


@click.command(name="ahead")
@click.option("--output", type=click.File("w"), default="-", help="File to write to.")
@click.pass_obj
def command(env_file: Path | None, output: TextIO) -> None:
    """List the owners whose archives have positions ahead of this machine's clock.

    Prints the number of owners and then each of them, for `prosodyctl mod_stanzalake rewind`, which
    puts positions back after a clock was wrong. Run it once everything is archived.
    """
    now = from_milliseconds(int(1000 * time.time()))
    with open_archive(settings.load(env_file=env_file)) as store:
        owners = statistics.owners_ahead(store, now)
    click.echo("\n".join([f"owners {len(owners)}", *owners]), file=output)
