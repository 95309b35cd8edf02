"""`stanzalake expire`: removes expired messages before the next clean-up is due."""

import json
import time
from pathlib import Path

import click

from stanzalake.cli.disk import wait_until_clean
from stanzalake.cli.output import tell
from stanzalake.config import settings
from stanzalake.operations.archive import open_archive
from stanzalake.store.deletion import Deletion, MessageSummary
from stanzalake.store.own_retention import OwnRetentions

_NEVER = {
    True: "only owners' own retentions expire messages: PROSODY_ARCHIVE_EXPIRES_AFTER=never",
    False: "nothing expires: PROSODY_ARCHIVE_EXPIRES_AFTER=never, and no owner's own retention",
}
"""Said if no host has a retention, by whether an owner has their own."""


@click.command(name="expire")
@click.option("--dry-run", is_flag=True, help="Only count the messages.")
@click.option("--yes", is_flag=True, help="Confirm a retention that was shortened.")
@click.option("--wait/--no-wait", help="Wait until the bytes are off the disk.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
@click.pass_obj
def command(env_file: Path | None, *, dry_run: bool, yes: bool, wait: bool, as_json: bool) -> None:
    """Remove expired messages from the store, now.

    These are older than PROSODY_ARCHIVE_EXPIRES_AFTER, or than their owner keeps messages
    (`stanzalake retention`).

    Optional: readers stop seeing messages the moment they expire, and a processor removes their
    bytes every PROSODY_ARCHIVE_CLEANUP_INTERVAL. The bytes of erased messages are removed as well.

    Needed only after the retention was shortened, here or in STANZALAKE_EXPIRE_HOSTS: readers see
    nothing older at once, but the bytes of messages that the former retention keeps stay, and come
    back with it, until this command has asked and got a yes.
    """
    values = settings.load(env_file=env_file)
    now = time.time()
    with open_archive(values, admin=True) as store:
        deletion = Deletion.of(store, values)
        expired, waiting = deletion.expired(now), deletion.waiting(now)
        if not any(values.retention.periods):
            tell(_NEVER[bool(expired.total or OwnRetentions(store).periods())])
        if not dry_run:
            if waiting.total and not yes:
                click.confirm(_question(waiting), abort=True, err=True)
            deletion.confirm()
            _remove(deletion, now, wait=wait)
    _print(expired, waiting, dry_run=dry_run, as_json=as_json)


def _question(waiting: MessageSummary) -> str:
    return f"The retention was shortened: remove {waiting.describe()} that were kept before?"


def _remove(deletion: Deletion, now: float, *, wait: bool) -> None:
    if wait:
        wait_until_clean(deletion, deletion.doomed(now), now)
    else:
        deletion.step(now)


def _print(
    expired: MessageSummary, waiting: MessageSummary, *, dry_run: bool, as_json: bool
) -> None:
    if as_json:
        fields = {
            "messages": expired.messages,
            "presences": expired.presences,
            "waiting": waiting.total,
            "removed": not dry_run,
        }
        click.echo(json.dumps(fields))
        return
    click.echo(f"{'would be removed' if dry_run else 'removed'}: {expired.describe('expired ')}")
    if waiting.total and dry_run:
        number = f"{waiting.total:,}"
        click.echo(f"of them once it is confirmed, as the retention was shortened: {number}")
