"""`stanzalake export`: writes one owner's archive to a file."""

import time
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

import click

from stanzalake.cli.parameters import MOMENT, OWNER, require_order, split, with_party
from stanzalake.cli.progress import progress
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.errors import NotFound
from stanzalake.model.event import Preferences
from stanzalake.model.jid import Jid
from stanzalake.model.position import MAX_POSITION, Sealer, from_milliseconds
from stanzalake.observability.access_log import Access, record_access
from stanzalake.operations import export
from stanzalake.operations.archive import open_archive
from stanzalake.store import analysis
from stanzalake.store.client import Row, Store
from stanzalake.store.histories import Histories
from stanzalake.store.messages import MessageRange, Messages


@click.command(name="export")
@click.argument("owner", type=OWNER, metavar="[JID]", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(("xep0227", "jsonl", "parquet")),
    default="xep0227",
    show_default=True,
    help="XEP-0227, which other servers import; JSON Lines, an object for each message; or "
    "Parquet, analysts' rows of all archives, with hashed addresses.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="-",
    help="The file, replaced when the export is complete; compressed if the name ends in .zst. "
    "Default: standard output. For Parquet the directory, in which each month is a file.",
)
@with_party()
@click.option("--start", type=MOMENT, help="Only messages from this date or time on.")
@click.option("--end", type=MOMENT, help="Only messages before this date or time.")
@click.option("--with-texts", is_flag=True, help="Parquet with the texts of messages.")
@click.option(
    "--with-retracted",
    is_flag=True,
    help="Retracted messages with their content, where STANZALAKE_KEEP_RETRACTED keeps it.",
)
@click.pass_obj
def command(  # noqa: PLR0913, PLR0917  # the command's options
    env_file: Path | None,
    owner: str | None,
    form: str,
    output: Path,
    peer: Jid | None,
    start: int | None,
    end: int | None,
    with_texts: bool,
    with_retracted: bool,
) -> None:
    """Export the archive of an account or a room, or analysts' rows of all.

    The oldest message comes first. With --format parquet export the rows of messages_traffic
    instead (`stanzalake schema`), or with --with-texts of messages_bodies, of whole days (UTC).

    Messages keep their ids. Expired and erased messages are not exported, and of retracted ones
    only that, when and by whom they were retracted. JSON Lines of a room have the real JIDs of its
    authors, whether the room shows them or not, and presences, where Prosody archives these. The
    archive is read page by page, whatever its size, and includes messages that arrive meanwhile.
    Dates are UTC. Works beside `stanzalake up`.
    The access log records each use, and whether it was with retracted content.

    Status 1, and no file, if there is no such message.
    """
    require_order(start, end)
    values = settings.load(env_file=env_file)
    if form == "parquet":
        if owner or peer or with_retracted or output == export.STANDARD_OUTPUT:
            raise click.UsageError(
                "--format parquet needs --output DIRECTORY, and --start or --end"
            )
        _export_parquet(values, output, start, end, "bodies" if with_texts else "traffic")
        return
    if owner is None or with_texts:
        raise click.UsageError("name a JID; --with-texts goes with --format parquet")
    if output.is_dir():
        raise click.UsageError(f"{output} is a directory")
    if with_retracted and not values.keep_retracted:
        raise click.UsageError("--with-retracted needs STANZALAKE_KEEP_RETRACTED=true")
    low = max(from_milliseconds(start or 0), values.retention.horizon(owner, time.time()))
    high = MAX_POSITION if end is None else from_milliseconds(end) - 1
    span = MessageRange(owner, *split(peer), low, high)
    with (
        record_access(
            values, "export", owner, filtered=bool(peer), retracted=with_retracted
        ) as access,
        open_archive(values) as store,
    ):
        messages = Messages(store, with_retracted=with_retracted, with_presences=form == "jsonl")
        total = messages.count(span)
        if not total:
            raise NotFound(f"the archive of {owner} holds no such message")
        written = _FORMS[form](values, store, owner)
        with export.open_output(output) as file:
            export.write(file, written, _report_progress(messages.read(span), total, access))


def _export_parquet(
    values: Settings, directory: Path, start: int | None, end: int | None, view: str
) -> None:
    first, last = _day(start, date.min), _day(None if end is None else end - 1, date.max)
    with record_access(values, "export", "") as access, open_archive(values) as store:
        for month in analysis.months(store, first, last):
            number = analysis.count(store, view, month, first, last)
            if not number:
                continue
            export.make_directory(directory)
            path = directory / f"{view}-{month:%Y-%m}.parquet"
            with export.open_output(path) as file:
                analysis.write_parquet(store, view, month, first, last, file)
            access.messages += number
            access.size += path.stat().st_size
            click.echo(f"{path}: {number:,} messages", err=True)
        if not access.messages:
            raise NotFound("there is no such message")


def _day(moment: int | None, default: date) -> date:
    """Give the day of a moment in unix milliseconds, within what ClickHouse's dates hold."""
    if moment is None:
        return max(_FIRST_DAY, min(default, _LAST_DAY))
    days = min(moment // _DAY, (_LAST_DAY - _FIRST_DAY).days)
    return _FIRST_DAY + timedelta(days=days)


def _xep0227(values: Settings, store: Store, owner: str) -> export.Format:
    history = Histories(store).read([owner])[owner]
    said = next((one for one in reversed(history) if isinstance(one, Preferences)), None)
    return export.Xep0227(owner, Sealer(values.id_key_list), said)


def _json_lines(values: Settings, _: Store, __: str) -> export.Format:
    return export.JsonLines(Sealer(values.id_key_list))


_DAY = 86_400_000
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(2149, 6, 6)
_FORMS = {"xep0227": _xep0227, "jsonl": _json_lines}


def _report_progress(rows: Iterable[Row], total: int, access: Access) -> Iterator[Row]:
    """Pass rows through, counting them for the progress bar and the access log."""
    with progress() as display:
        task = display.add_task("messages", total=total)
        for row in rows:
            yield row
            access.messages += 1
            access.size += len(row.stanza.encode())
            display.update(task, completed=access.messages)
