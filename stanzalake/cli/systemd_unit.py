"""`stanzalake systemd-unit`: prints the unit of a service."""

import sys
from pathlib import Path

import click

from stanzalake.operations import shipped

_NAME = "stanzalake"
_SERVICES = ("up", "ingest", "processor", "query")


@click.command(name="systemd-unit")
@click.option("--service", type=click.Choice(_SERVICES), default="up", show_default=True)
def command(service: str) -> None:
    """Print a systemd unit for a service, by default for `up`.

    It starts this program as the user stanzalake, with /etc/stanzalake/stanzalake.env, and may
    write to /var/lib/stanzalake only.
    """
    click.echo(shipped.unit(_program(), service), nl=False)


def _program() -> Path:
    started = Path(sys.argv[0]).absolute()
    # `python -m stanzalake` is started by the name of a module's file.
    return started if started.name == _NAME else Path(sys.executable).with_name(_NAME)
