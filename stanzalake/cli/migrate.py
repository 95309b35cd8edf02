"""`stanzalake migrate`: applies schema migrations."""

from pathlib import Path

import click

from stanzalake.config import settings
from stanzalake.operations.archive import migrate


@click.command(name="migrate")
@click.pass_obj
def command(env_file: Path | None) -> None:
    """Apply pending schema migrations, and the settings that the schema depends on.

    `up` does the same when starting. A second run changes nothing.
    """
    for name in migrate(settings.load(env_file=env_file)):
        click.echo(f"applied {name}")
