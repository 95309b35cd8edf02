"""`stanzalake retention`: for how long the messages of one archive are kept."""

import json
from pathlib import Path

import click

from stanzalake.cli.parameters import OWNER, PERIOD, require_hosts, within
from stanzalake.config import duration, settings
from stanzalake.errors import NotCarriedOut
from stanzalake.model.page import ArchiveRetention
from stanzalake.observability.access_log import operator, record_access
from stanzalake.operations.archive import open_archive
from stanzalake.operations.retention import OwnerRetention


@click.command(name="retention")
@click.argument("owner", type=OWNER, metavar="JID")
@click.argument("period", type=PERIOD, metavar="[PERIOD]", required=False)
@click.option("--by", default=operator, help="On whose behalf, for the record. Default: you.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@within("change")
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
@click.pass_obj
def command(  # noqa: PLR0913  # the command's options
    env_file: Path | None,
    owner: str,
    period: int | None,
    by: str,
    timeout: float,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Show for how long the messages of one archive are kept, or set it.

    PERIOD is a number with h, d, w, m or y (90d), or `never` for as long as the host keeps them.
    The shorter of the two counts: PROSODY_ARCHIVE_EXPIRES_AFTER and STANZALAKE_EXPIRE_HOSTS stay
    the upper bound. Users set their own by an ad-hoc command of their client.

    Status 0: no reader sees older messages. They do not come back with a longer period, and their
    bytes are off the disk within PROSODY_ARCHIVE_CLEANUP_INTERVAL. Status 1: no processor applied
    the change in time; the next one to start will.
    """
    values = settings.load(env_file=env_file)
    require_hosts(values, [owner.partition("@")[2]])
    with open_archive(values, admin=True) as store:
        archive = OwnerRetention(values, store, owner)
        if period is not None:
            hidden = archive.hidden_by(period)
            if hidden.total and not yes:
                click.confirm(f"Remove {hidden.describe()} of {owner}?", abort=True, err=True)
            with record_access(values, "retention", owner) as access:
                access.messages = hidden.messages
                _set(archive, period, by, timeout)
        _print(owner, archive.read(), as_json=as_json)


def _set(archive: OwnerRetention, period: int, by: str, timeout: float) -> None:
    if not archive.set(period, by, timeout):
        raise NotCarriedOut(
            "the change is in the log, but no processor has applied it: `stanzalake up` or "
            "`stanzalake processor` will as soon as it runs"
        )


def _print(owner: str, kept: ArchiveRetention, *, as_json: bool) -> None:
    if as_json:
        fields = {"owner": owner, "own_seconds": kept.own or None, "host_seconds": kept.host}
        click.echo(json.dumps(fields))
        return
    own = duration.write(kept.own) if kept.own else "none of its own"
    click.echo(f"{owner}: {own}, host {duration.write(kept.host)}")
