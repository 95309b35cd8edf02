"""`stanzalake settings`: what is set, and what can be."""

import json
from pathlib import Path

import click

from stanzalake.config import settings


def _epilog() -> str:
    """List the settings below the help, from their only definition."""
    lines = (f"{name}  {text} [{default}]" for name, default, text in settings.variables())
    return "All settings, and their defaults:\n\n\b\n" + "\n".join(lines)


@click.command(name="settings", epilog=_epilog())
@click.option("--json", "as_json", is_flag=True, help="Give all of them as one JSON object.")
@click.pass_obj
def command(env_file: Path | None, *, as_json: bool) -> None:
    """Show every setting with the value that is in force.

    Settings are environment variables, or lines of the file given as --env-file; the
    environment wins, and what is in neither has its default. Secrets are not shown, only that
    they are set.

    Status 2 if one cannot be used.
    """
    found = dict(settings.in_effect(env_file=env_file))
    if as_json:
        click.echo(json.dumps(found))
    else:
        for name, value in found.items():
            click.echo(f"{name}={value}")
