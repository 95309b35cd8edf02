"""`stanzalake import`: archives of other servers, into ours."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from stanzalake.cli.parameters import MOMENT, OWNER, require_hosts
from stanzalake.config import settings
from stanzalake.config.settings import Settings
from stanzalake.errors import ImportIncomplete, SourceUnavailable
from stanzalake.importer.importer import Importer, Summary
from stanzalake.importer.pie import Pie
from stanzalake.importer.source import STORES, Selection, Source, Unreadable
from stanzalake.store import migrations
from stanzalake.store.client import Store

_MOST_TOLD = 100
"""Damaged things that are told one by one."""

_EPILOG = """\b
A SOURCE is
  FILE                              an export in XEP-0227's format; .zst if it is compressed
  sqlite:///FILE                    the SQL storage of a Prosody with mod_mam
  postgresql://USER:PASSWORD@HOST/DATABASE
  mysql://USER:PASSWORD@HOST/DATABASE
"""


@click.command(name="import", epilog=_EPILOG)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option(
    "--host", "hosts", multiple=True, help="Only archives of this VirtualHost; repeatable."
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
    "Default: archive2 (of old installations) and archive, whichever is there.",
)
@click.option("--dry-run", is_flag=True, help="Read everything, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Give the numbers as one JSON object.")
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

    Messages keep their ids, so clients find their place again; preferences of users who have not
    set any here come along. What is older than PROSODY_ARCHIVE_EXPIRES_AFTER or was erased is left
    out, and so are archives of rooms.

    Import as often as you like: what is there already stays as it is. An import that was stopped
    goes on when it is repeated. One at a time, though, for the same owners.

    Status 1 if something could not be read; everything else is imported all the same.
    """
    values = settings.load(env_file=env_file)
    selection = _selection(values, **chosen)
    given = [(_shown(source), _source(source, selection)) for source in sources]
    told = _Told()
    with _opened(values) as store, _stop() as stopped:
        importer = Importer(store, values, told.tell, dry_run=dry_run)
        for name, source in given:
            if not stopped():
                _run(importer, name, source, stopped)
    click.echo(
        json.dumps(asdict(importer.summary)) if as_json else _text(importer.summary, dry_run)
    )
    told.end()
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
        from stanzalake.importer.prosody_sql import ProsodySql  # noqa: PLC0415  # it is an extra

        return ProsodySql(source, selection)
    except ModuleNotFoundError as error:
        raise SourceUnavailable(
            f"a database needs the Python package {error.name}: pip install 'stanzalake[import]'"
        ) from None


@contextmanager
def _opened(values: Settings) -> Iterator[Store]:
    store = Store.for_admin(values)
    try:
        migrations.check(store)
        yield store
    finally:
        store.close()


@contextmanager
def _stop() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM and Ctrl-C end the import behind the batch in hand."""
    asked = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in numbers}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(importer: Importer, name: str, source: Source, stopped: Callable[[], bool]) -> None:
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(name, total=source.size())

        def behind_batch() -> bool:
            progress.update(task, completed=source.done(), total=source.size())
            return stopped()

        importer.run(source, behind_batch)


def _shown(source: str) -> str:
    """Name a source without the password that may be in it."""
    return source.rpartition("@")[2].rpartition("/")[2]


class _Told:
    """Tells where something is damaged, the first hundred times."""

    def __init__(self) -> None:
        self._number = 0

    def tell(self, damaged: Unreadable) -> None:
        self._number += 1
        if self._number <= _MOST_TOLD:
            click.echo(f"stanzalake: {damaged.place}: {damaged.reason}", err=True)

    def end(self) -> None:
        if self._number > _MOST_TOLD:
            click.echo(f"stanzalake: and {self._number - _MOST_TOLD} more", err=True)


def _text(summary: Summary, dry_run: bool) -> str:
    done = "would be imported" if dry_run else "imported"
    left_out = {
        "expired": summary.expired,
        "erased": summary.erased,
        "nothing but what is excluded": summary.empty,
        "unreadable": summary.unreadable,
        **{f"not ours: {what}": number for what, number in summary.foreign.items()},
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
