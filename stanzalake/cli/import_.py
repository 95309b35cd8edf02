"""`stanzalake import`: imports archives of other servers."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from stanzalake.cli.parameters import HOST, MOMENT, OWNER, require_hosts
from stanzalake.cli.progress import progress
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.errors import ImportIncomplete, SourceUnavailable
from stanzalake.importer.importer import Importer, Summary
from stanzalake.importer.pie import Pie
from stanzalake.importer.source import STORES, Selection, Source, Unreadable
from stanzalake.store import migrations
from stanzalake.store.client import Store

_MAX_REPORTED = 100
"""Unreadable items that are reported individually."""

_EPILOG = """\b
A SOURCE is
  FILE                              an export in XEP-0227's format; .zst if it is compressed
  sqlite:///FILE                    the SQL storage of a Prosody with mod_mam, mod_muc_mam
  postgresql://USER:PASSWORD@HOST/DATABASE
  mysql://USER:PASSWORD@HOST/DATABASE
"""


@click.command(name="import", epilog=_EPILOG)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option(
    "--host",
    "hosts",
    type=HOST,
    multiple=True,
    help="Only archives of this VirtualHost or MUC component; repeatable.",
)
@click.option("--owner", "owners", type=OWNER, multiple=True, help="Only this archive; repeatable.")
@click.option(
    "--since", type=MOMENT, default=0, help="Only messages archived since then: a date or a time."
)
@click.option(
    "--store",
    "stores",
    multiple=True,
    help="Prosody's archive_store, of a database; repeatable, the one in use last. "
    "Default: archive2 (of old installations), archive, and muc_log of rooms, whichever is there.",
)
@click.option("--dry-run", is_flag=True, help="Read everything, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as a JSON object.")
@click.pass_obj
def command(
    env_file: Path | None,
    /,
    sources: tuple[str, ...],
    *,
    dry_run: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Import archives and archiving preferences of another server.

    Messages keep their ids, so that clients can continue to synchronise. Preferences are imported
    for users who have set none here. Messages that are older than PROSODY_ARCHIVE_EXPIRES_AFTER or
    were erased are left out.

    Repeating an import is safe: messages that exist already stay as they are, and an interrupted
    import continues. Do not run two imports of the same owners at the same time.

    Status 1 if something could not be read; everything else is imported.
    """
    values = settings.load(env_file=env_file)
    selection = _selection(values, **chosen)
    readers = [(_redact(source), _source(source, selection)) for source in sources]
    reporter = _Reporter()
    with _open_store(values) as store, _stop() as stopped:
        importer = Importer(store, values, reporter.report, dry_run=dry_run)
        for name, source in readers:
            _run(importer, name, source, stopped)
            if not importer.summary.complete:
                break
    click.echo(
        json.dumps(asdict(importer.summary)) if as_json else _text(importer.summary, dry_run)
    )
    reporter.end()
    _require(importer.summary)


def _selection(
    values: Settings,
    *,
    hosts: tuple[str, ...],
    owners: tuple[str, ...],
    since: int,
    stores: tuple[str, ...],
) -> Selection:
    require_hosts(values, [*hosts, *(owner.partition("@")[2] for owner in owners)])
    return Selection(
        hosts=frozenset(hosts or values.hosts),
        owners=frozenset(owners),
        since=since,
        stores=stores or STORES,
    )


def _source(source: str, selection: Selection) -> Source:
    if "://" not in source:
        return Pie(Path(source), selection)
    try:
        from stanzalake.importer.prosody_sql import ProsodySql  # noqa: PLC0415  # an optional extra

        return ProsodySql(source, selection)
    except ModuleNotFoundError as error:
        raise SourceUnavailable(
            f"a database needs the Python package {error.name}: pip install 'stanzalake[import]'"
        ) from None


@contextmanager
def _open_store(values: Settings) -> Iterator[Store]:
    store = Store.for_admin(values)
    try:
        migrations.check(store)
        yield store
    finally:
        store.close()


@contextmanager
def _stop() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM and Ctrl-C end the import after the current batch."""
    stop = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(importer: Importer, name: str, source: Source, stopped: Callable[[], bool]) -> None:
    with progress() as display:
        task = display.add_task(name, total=source.size())

        def update() -> bool:
            display.update(task, completed=source.done(), total=source.size())
            return stopped()

        importer.run(source, update)


def _redact(source: str) -> str:
    """Name a source without user name and password."""
    return source.rpartition("@")[2].rpartition("/")[2]


class _Reporter:
    """Reports unreadable items on standard error, up to a limit."""

    def __init__(self) -> None:
        self._number = 0

    def report(self, item: Unreadable) -> None:
        self._number += 1
        if self._number <= _MAX_REPORTED:
            click.echo(f"stanzalake: {item.place}: {item.reason}", err=True)

    def end(self) -> None:
        if self._number > _MAX_REPORTED:
            click.echo(f"stanzalake: and {self._number - _MAX_REPORTED} more", err=True)


def _text(summary: Summary, dry_run: bool) -> str:
    done = "would be imported" if dry_run else "imported"
    left_out = {
        "expired": summary.expired,
        "erased": summary.erased,
        "nothing but what is excluded": summary.empty,
        "unreadable": summary.unreadable,
        **{f"not ours: {name}": number for name, number in summary.foreign.items()},
    }
    return "\n".join(
        [
            f"{summary.imported} messages {done}, {summary.present} were there already",
            f"{summary.preferences} preferences {done}",
            *(f"{number} left out: {why}" for why, number in left_out.items() if number),
        ]
    )


def _require(summary: Summary) -> None:
    if not summary.complete:
        raise ImportIncomplete("stopped before the end: the same command goes on from there")
    if summary.unreadable:
        raise ImportIncomplete(f"{summary.unreadable} of them could not be read: see above")
