"""`stanzalake migrate`: applies schema migrations."""

import json
from pathlib import Path

import click

from stanzalake.cli.output import tell
from stanzalake.config import settings
from stanzalake.operations.archive import migrate, pending


@click.command(name="migrate")
@click.option("--dry-run", is_flag=True, help="Print what would be applied, and apply nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
@click.pass_obj
def command(env_file: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Apply pending schema migrations, and the settings that the schema depends on.

    `up` does the same when starting. A second run changes nothing.
    """
    values = settings.load(env_file=env_file)
    changes = pending(values) if dry_run else migrate(values)
    if as_json:
        click.echo(json.dumps({"applied": not dry_run, "changes": changes}))
        return
    for change in changes:
        click.echo(f"{'would apply' if dry_run else 'applied'} {change}")
    if not changes:
        tell("the schema is up to date")
