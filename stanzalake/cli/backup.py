"""`stanzalake backup`: copies the archive while services run, and looks after the copies."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.filesize import decimal

from stanzalake.cli.output import tell
from stanzalake.config import settings
from stanzalake.model.position import to_milliseconds
from stanzalake.observability.interrupts import raise_interrupts
from stanzalake.operations import backup
from stanzalake.store.backups import BackupContents, MadeBackup
from stanzalake.xmpp import dates


class _NameType(click.ParamType):
    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value):
            self.fail(f"{value!r} is not a plain file name", param, ctx)
        return value


NAME = _NameType()
"""Parameter type: the name of a backup."""


class _Group(click.Group):
    """Takes arguments that begin with no subcommand for those of `make`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, ["make", *args] if args and args[0] not in known else args)


@click.group(name="backup", cls=_Group)
def command() -> None:
    """Copy the archive while services run, and list or verify the copies.

    `stanzalake backup NAME` is short for `stanzalake backup make NAME`.
    """


@command.command(name="make")
@click.argument("name", type=NAME)
@click.option("--base", type=NAME, help="Copy only what differs from this backup; keep it too.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
@click.pass_obj
def make_command(env_file: Path | None, name: str, base: str | None, *, as_json: bool) -> None:
    """Copy the archive, consistent at this moment, while services run.

    The copy is the directory backups/NAME in STANZALAKE_DATA_DIR; a ClickHouse server writes to
    the backups.allowed_path of its configuration. Move the copy to another machine from there. A
    backup does not contain the id keys: back them up too, or the ids that clients hold are lost.
    """
    values = settings.load(env_file=env_file)
    with Console(stderr=True).status("copying"):
        backup.make(values, name, base or "")
    made = json.dumps({"name": name, "base": base or ""})
    click.echo(made if as_json else f"made backup {name}")


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@click.pass_obj
def list_command(env_file: Path | None, *, as_json: bool) -> None:
    """List the backups, the newest last: name, time, bytes, base.

    Of a ClickHouse server, those that the server has made since its start.
    """
    found = backup.made(settings.load(env_file=env_file))
    for line in _lines(found, as_json=as_json):
        click.echo(line)
    if not found:
        tell("there are no backups")


@command.command(name="verify")
@click.argument("name", type=NAME)
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
@click.pass_obj
def verify_command(env_file: Path | None, name: str, *, as_json: bool) -> None:
    """Read a backup to the end, with all checksums, while services run.

    Restores the backup beside the archive, where nobody sees the copy, and removes the copy again:
    there has to be as much free disk space. A base is read along.

    Status 1 if the backup is damaged, incomplete, or does not exist.
    """
    values = settings.load(env_file=env_file)
    with raise_interrupts(), Console(stderr=True).status("verifying"):
        contents = backup.verify(values, name)
    click.echo(
        json.dumps(contents._asdict()) if as_json else f"{name} is intact: {describe(contents)}"
    )


def describe(contents: BackupContents) -> str:
    """Describe the contents of a backup."""
    if not contents.messages:
        return "no messages"
    first, last = (
        dates.emit(to_milliseconds(position)).partition("T")[0]
        for position in (contents.first, contents.last)
    )
    owners = f"{contents.owners:,} owners"
    return f"{contents.messages:,} messages of {owners}, {first} to {last}"


def _lines(found: Sequence[MadeBackup], *, as_json: bool) -> list[str]:
    if as_json:
        return [json.dumps({**made._asdict(), "at": made.at.isoformat()}) for made in found]
    width = max((len(made.name) for made in found), default=0)
    return [
        f"{made.name:<{width}}  {made.at:%F %H:%M}  {decimal(made.size):>10}  {made.base}".rstrip()
        for made in found
    ]
