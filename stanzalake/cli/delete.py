"""`stanzalake delete`: an owner's messages erased, for good."""

import json
from pathlib import Path

import click

from stanzalake.cli.disk import wait_until_clean
from stanzalake.cli.parameters import JID_TYPE, MOMENT, OWNER, require_hosts, require_order
from stanzalake.config import settings
from stanzalake.errors import NotCarriedOut
from stanzalake.model.event import Erasure
from stanzalake.model.position import to_milliseconds
from stanzalake.observability.access_log import operator, record_access
from stanzalake.operations.erasure import Eraser
from stanzalake.runtime.services import opened_archive
from stanzalake.store.deletion import MessageSummary
from stanzalake.xmpp import dates


@click.command(name="delete")
@click.argument("owner", type=OWNER, metavar="JID")
@click.option("--with", "peer", type=JID_TYPE, help="Only messages with this bare JID.")
@click.option("--start", type=MOMENT, default=0, help="Only messages from this date or time on.")
@click.option("--end", type=MOMENT, help="Only messages before this date or time.")
@click.option("--by", default=operator, help="Who asks for it, for the record. Default: you.")
@click.option("--dry-run", is_flag=True, help="Only say how many messages it would be.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--within",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds that a processor may take until no reader sees them.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait until the bytes are off the disk.")
@click.option("--json", "as_json", is_flag=True, help="Say what was done as one JSON object.")
@click.pass_obj
def command(  # noqa: PLR0913, PLR0917  # one for each option
    env_file: Path | None,
    owner: str,
    peer: str | None,
    start: int,
    end: int | None,
    by: str,
    within: float,
    *,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Erase the messages of one archive: all of them, or those of a peer or a time.

    Other archives keep their own copies: those of the people JID talked with, too. The erasure goes
    into the log like everything else, so a processor has to be running, and what is replayed or
    imported later does not come back. It stays on record, without content, in the table
    messages_erasures. Dates are UTC.

    When this ends with status 0, no reader sees the messages, and their bytes are off the
    store's disk (with --no-wait: will be within some minutes). The log keeps its events for
    STANZALAKE_LOG_RETENTION. Status 1 if no processor has done it in time; it is then done as
    soon as one runs.
    """
    require_order(start, end)
    values = settings.load(env_file=env_file)
    require_hosts(values, [owner.partition("@")[2]])
    with opened_archive(values, admin=True) as store:
        eraser = Eraser(values, store)
        erasure = eraser.plan(owner, peer or "", start, end, by)
        span = eraser.covered(erasure)
        if not (dry_run or yes):
            click.confirm(f"Erase {_described(span)} of {owner}?", abort=True, err=True)
        if not dry_run:
            with record_access(values, "delete", owner) as access:
                access.messages, access.filtered = span.messages, bool(peer)
                _erase(eraser, erasure, within)
            eraser.deletion.clean()
        if not (dry_run or no_wait):
            wait_until_clean(eraser.deletion)
    _tell(erasure, span, dry_run=dry_run, as_json=as_json)


def _erase(eraser: Eraser, erasure: Erasure, within: float) -> None:
    eraser.say(erasure)
    if not eraser.carried_out(erasure, within):
        raise NotCarriedOut(
            "the erasure is in the log, but no processor has carried it out: it is done as soon as "
            "`stanzalake up` or `stanzalake processor` runs"
        )


def _tell(erasure: Erasure, span: MessageSummary, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        fields = {"owner": erasure.owner, "messages": span.messages, "erased": not dry_run}
        click.echo(json.dumps(fields))
    else:
        done = "would be erased" if dry_run else "erased"
        click.echo(f"{done}: {_described(span)} of {erasure.owner}")


def _described(span: MessageSummary) -> str:
    if not span.messages:
        return "no messages"
    first, last = (
        dates.emit(to_milliseconds(position)).partition("T")[0]
        for position in (span.first, span.last)
    )
    return f"{span.messages:,} messages, {first} to {last},"
