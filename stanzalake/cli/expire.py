"""`stanzalake expire`: removes expired messages before the next clean-up is due."""

import json
import time
from pathlib import Path

import click

from stanzalake.cli.disk import wait_until_clean
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.operations.archive import open_archive
from stanzalake.store.deletion import Deletion


@click.command(name="expire")
@click.option("--dry-run", is_flag=True, help="Only count the messages.")
@click.option("--wait/--no-wait", help="Wait until the bytes are off the disk.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
@click.pass_obj
def command(env_file: Path | None, *, dry_run: bool, wait: bool, as_json: bool) -> None:
    """Remove messages older than PROSODY_ARCHIVE_EXPIRES_AFTER from the store, now.

    Optional: readers stop seeing messages the moment they expire, and a processor removes their
    bytes every PROSODY_ARCHIVE_CLEANUP_INTERVAL. The bytes of erased messages are removed as well.
    """
    values = settings.load(env_file=env_file)
    with open_archive(values, admin=True) as store:
        expired = _expire(values, Deletion.of(store, values), dry_run=dry_run, wait=wait)
    if as_json:
        click.echo(json.dumps({"messages": expired, "removed": not dry_run}))
    else:
        click.echo(f"{'would be removed' if dry_run else 'removed'}: {expired:,} expired messages")


def _expire(values: Settings, deletion: Deletion, *, dry_run: bool, wait: bool) -> int:
    if values.expires_after is None:
        click.echo("nothing expires: PROSODY_ARCHIVE_EXPIRES_AFTER=never", err=True)
    now = time.time()
    expired = deletion.expired(now).messages
    if wait and not dry_run:
        wait_until_clean(deletion, deletion.doomed(now), now)
    elif not dry_run:
        deletion.step(now)
    return expired
