"""`stanzalake schema`: prints the data dictionary of the analysts' views."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from stanzalake.config import settings
from stanzalake.operations.archive import open_archive
from stanzalake.store import dictionary
from stanzalake.store.dictionary import View


@click.command(name="schema")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_obj
def command(env_file: Path | None, *, as_json: bool) -> None:
    """Show the views for analysts: their columns, types and meaning.

    The store has the same texts as comments of its views. docs/analytics.md has queries. Works
    beside `stanzalake up`.
    """
    values = settings.load(env_file=env_file)
    with open_archive(values) as store:
        views = dictionary.read(store)
    if as_json:
        click.echo(msgspec.json.encode([_fields(view) for view in views]))
    else:
        _print(views)


def _print(views: Sequence[View]) -> None:
    console = Console(highlight=False)
    for view in views:
        console.print(f"{view.name}: {view.comment}")
        table = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
        for column in view.columns:
            table.add_row(column.name, column.type, column.comment)
        console.print(table)
        console.print()


def _fields(view: View) -> dict[str, Any]:
    columns = [column._asdict() for column in view.columns]
    return {"view": view.name, "comment": view.comment, "columns": columns}
