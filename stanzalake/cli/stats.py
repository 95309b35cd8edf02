"""`stanzalake stats`: shows the size and growth of the archives."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click
import msgspec
from rich.bar import Bar
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from stanzalake.cli.output import encodable
from stanzalake.config import settings
from stanzalake.operations.archive import open_archive
from stanzalake.store import statistics
from stanzalake.store.statistics import Day, Host, Statistics

_BAR_WIDTH = 50


@click.command(name="stats")
@click.option(
    "--days",
    type=click.IntRange(1, 3660),
    default=14,
    show_default=True,
    help="Days of growth to show, including today (UTC).",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_obj
def command(env_file: Path | None, days: int, *, as_json: bool) -> None:
    """Show the number of messages and owners, and their size on disk.

    Expired messages are not counted; a repeated message counts twice until ClickHouse merges the
    parts. The number of owners is an estimate above some ten thousand. Disk usage is that of the
    server that answers, expired rows included. Works beside `stanzalake up`.
    """
    values = settings.load(env_file=env_file)
    with open_archive(values) as store:
        found = statistics.read(store, days, values.retention)
    if as_json:
        click.echo(msgspec.json.encode(_fields(found)))
    else:
        console = Console(highlight=False)
        for table in (_summary(found), _hosts(found.hosts), _days(found.days)):
            console.print(table)


def _fields(found: Statistics) -> dict[str, object]:
    return {
        "messages": found.messages,
        "owners": found.owners,
        "disk": {
            **msgspec.structs.asdict(found.disk),
            "compression_ratio": round(found.disk.ratio, 2),
            "bytes_per_row": round(found.disk.bytes_per_row, 1),
        },
        "hosts": found.hosts,
        "days": found.days,
    }


def _summary(found: Statistics) -> Table:
    disk = found.disk
    table = Table.grid(padding=(0, 2))
    table.add_row("messages", f"{found.messages:,}")
    table.add_row("owners", f"{found.owners:,}")
    table.add_row("rows on disk", f"{disk.rows:,}")
    table.add_row("bytes on disk", f"{decimal(disk.bytes_on_disk)}, {disk.bytes_per_row:.1f} a row")
    size = decimal(disk.uncompressed_bytes)
    table.add_row("uncompressed", f"{size}, {disk.ratio:.1f} times that")
    return table


def _hosts(hosts: Sequence[Host]) -> Table:
    table = Table("host", box=None, padding=(0, 2, 0, 0))
    for number in ("messages", "owners"):
        table.add_column(number, justify="right")
    for moment in ("oldest", "newest"):
        table.add_column(moment)
    for host in hosts:
        times = map(_format_time, (host.oldest, host.newest))
        table.add_row(host.host, f"{host.messages:,}", f"{host.owners:,}", *times)
    return table


def _days(days: Sequence[Day]) -> Table:
    most = max(1, *(day.messages for day in days))
    table = Table("day", box=None, padding=(0, 2, 0, 0))
    table.add_column("messages", justify="right")
    table.add_column()
    for day in days:
        table.add_row(f"{day.day}", f"{day.messages:,}", _bar(day.messages / most))
    return table


def _bar(share: float) -> Bar | str:
    return (
        Bar(1, 0, share, width=_BAR_WIDTH)
        if encodable("█", "")
        else "#" * round(share * _BAR_WIDTH)
    )


def _format_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
