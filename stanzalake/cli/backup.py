"""`stanzalake backup`: copies the archive while services run."""

import re
from pathlib import Path

import click
from rich.console import Console

from stanzalake.config import settings
from stanzalake.operations import backup


class _NameType(click.ParamType):
    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value):
            self.fail(f"{value!r} is not a plain file name", param, ctx)
        return value


NAME = _NameType()
"""Parameter type: the name of a backup."""


@click.command(name="backup")
@click.argument("name", type=NAME)
@click.option("--base", type=NAME, help="Copy only what differs from this backup; keep it too.")
@click.pass_obj
def command(env_file: Path | None, name: str, base: str | None) -> None:
    """Copy the archive, consistent at this moment, while services run.

    The copy is the directory backups/NAME in STANZALAKE_DATA_DIR; a ClickHouse server writes to
    the backups.allowed_path of its configuration. Move the copy to another machine from there. A
    backup does not contain the id keys: back them up too, or the ids that clients hold are lost.
    """
    values = settings.load(env_file=env_file)
    with Console(stderr=True).status("copying"):
        backup.make(values, name, base or "")
    click.echo(f"made backup {name}")
