"""`stanzalake repartition`: changes the partitions of the messages table."""

import json
from pathlib import Path

import click

from stanzalake.cli.progress import progress
from stanzalake.config import settings
from stanzalake.operations import archive


@click.command(name="repartition")
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
@click.pass_obj
def command(env_file: Path | None, *, as_json: bool) -> None:
    """Change the partitions of the messages to those of STANZALAKE_PARTITION_BY.

    Needed after the setting was changed, and after an upgrade that brought it, where the messages
    take more than a GiB: `migrate` and `up` change smaller archives by themselves.

    Works beside running services, in pieces of about a second each, and needs as much disk space
    as the messages take. At the end ClickHouse refuses inserts for some seconds, which processors
    repeat. May be interrupted: run it again, and it goes on where it was.
    """
    values = settings.load(env_file=env_file)
    with progress() as display:
        task = display.add_task("copying messages", total=None)
        is_changed = archive.repartition(
            values, lambda done, total: display.update(task, completed=done, total=total)
        )
    if as_json:
        click.echo(json.dumps({"partition_by": values.partition_by, "changed": is_changed}))
        return
    state = "partitioned by" if is_changed else "partitioned already by"
    click.echo(f"{values.store} is {state} {values.partition_by}")
