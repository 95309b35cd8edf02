"""`stanzalake delete`: erases messages of one archive for good."""

import json
import time
from pathlib import Path

import click

from stanzalake.cli.disk import wait_until_clean
from stanzalake.cli.parameters import JID_TYPE, MOMENT, OWNER, require_hosts, require_order, within
from stanzalake.config import settings
from stanzalake.errors import NotCarriedOut
from stanzalake.model.event import Erasure
from stanzalake.model.position import to_milliseconds
from stanzalake.observability.access_log import operator, record_access
from stanzalake.operations.archive import open_archive
from stanzalake.operations.erasure import Eraser
from stanzalake.store.deletion import MessageSummary
from stanzalake.xmpp import dates


@click.command(name="delete")
@click.argument("owner", type=OWNER, metavar="JID")
@click.option("--with", "peer", type=JID_TYPE, help="Only messages with this bare JID.")
@click.option("--start", type=MOMENT, default=0, help="Only messages from this date or time on.")
@click.option("--end", type=MOMENT, help="Only messages before this date or time.")
@click.option("--by", default=operator, help="On whose behalf, for the record. Default: you.")
@click.option("--dry-run", is_flag=True, help="Only count the messages.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@within("erasure")
@click.option("--wait/--no-wait", help="Wait until the bytes are off the disk.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
@click.pass_obj
def command(  # noqa: PLR0913, PLR0917  # the command's options
    env_file: Path | None,
    owner: str,
    peer: str | None,
    start: int,
    end: int | None,
    by: str,
    timeout: float,
    *,
    dry_run: bool,
    yes: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Erase messages of one archive: all of them, or those of a peer or a period.

    With a room's messages go the presences of its occupants, where Prosody archives these.

    The archives of the other parties keep their copies. The erasure is an event in the log, so a
    processor has to be running to apply it, and messages that are replayed or imported later stay
    erased. The table messages_erasures keeps a record without content. Dates are UTC.

    Status 0: no reader sees the messages. Their bytes are off the store's disk within
    PROSODY_ARCHIVE_CLEANUP_INTERVAL, or with --wait when the command ends, a minute or more later.
    The log keeps its events for STANZALAKE_LOG_RETENTION. Status 1: no processor applied the
    erasure in time; the next one to start will.
    """
    require_order(start, end)
    values = settings.load(env_file=env_file)
    require_hosts(values, [owner.partition("@")[2]])
    with open_archive(values, admin=True) as store:
        eraser = Eraser(values, store)
        erasure = eraser.plan(owner, peer or "", start, end, by)
        span = eraser.covered(erasure)
        if not (dry_run or yes):
            click.confirm(f"Erase {_describe(span)} of {owner}?", abort=True, err=True)
        if not dry_run:
            now = time.time()
            doomed = eraser.deletion.doomed(now, [erasure]) if wait else frozenset()
            with record_access(values, "delete", owner, filtered=bool(peer)) as access:
                access.messages = span.messages
                _erase(eraser, erasure, timeout)
            if wait:
                wait_until_clean(eraser.deletion, doomed, now)
    _print(erasure, span, dry_run=dry_run, as_json=as_json)


def _erase(eraser: Eraser, erasure: Erasure, timeout: float) -> None:
    if not eraser.erase(erasure, timeout):
        raise NotCarriedOut(
            "the erasure is in the log, but no processor has applied it: `stanzalake up` or "
            "`stanzalake processor` will as soon as it runs"
        )


def _print(erasure: Erasure, span: MessageSummary, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        fields = {"owner": erasure.owner, "messages": span.messages, "presences": span.presences}
        fields["erased"] = not dry_run
        click.echo(json.dumps(fields))
    else:
        done = "would be erased" if dry_run else "erased"
        click.echo(f"{done}: {_describe(span)} of {erasure.owner}")


def _describe(span: MessageSummary) -> str:
    if not span.total:
        return "no messages"
    first, last = (
        dates.emit(to_milliseconds(position)).partition("T")[0]
        for position in (span.first, span.last)
    )
    return f"{span.describe()}, {first} to {last},"
