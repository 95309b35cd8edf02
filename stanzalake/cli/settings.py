"""`stanzalake settings`: shows the settings in force and their defaults."""

import json
from pathlib import Path

import click

from stanzalake.config import settings


def _epilog() -> str:
    """List all settings, generated from their definition."""
    lines = (f"{name}  {text} [{default}]" for name, default, text in settings.variables())
    return "All settings, and their defaults:\n\n\b\n" + "\n".join(lines)


@click.command(name="settings", epilog=_epilog())
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_obj
def command(env_file: Path | None, *, as_json: bool) -> None:
    """Show every setting with its effective value.

    Settings come from the environment, else from the --env-file, else from their defaults.
    Secrets are masked.

    Status 2 if a setting cannot be used.
    """
    found = dict(settings.in_effect(env_file=env_file))
    if as_json:
        click.echo(json.dumps(found))
    else:
        for name, value in found.items():
            click.echo(f"{name}={value}")
