"""`stanzalake search`: messages by what is written in them, in any archive."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from stanzalake.cli.parameters import JID_TYPE, MOMENT, OWNER, require_order
from stanzalake.config import settings
from stanzalake.model.position import MAX_POSITION, from_milliseconds, to_milliseconds
from stanzalake.observability.access_log import record_access
from stanzalake.runtime.services import opened_archive
from stanzalake.store import search
from stanzalake.store.search import SearchQuery, SearchResult
from stanzalake.xmpp import dates


@click.command(name="search")
@click.argument("text")
@click.option("--owner", type=OWNER, help="Only the archive of this JID.")
@click.option("--with", "peer", type=JID_TYPE, help="Only messages with this bare JID.")
@click.option("--start", type=MOMENT, help="Only messages from this date or time on.")
@click.option("--end", type=MOMENT, help="Only messages before this date or time.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="How many at most: the newest ones.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(  # noqa: PLR0913, PLR0917  # one for each option
    env_file: Path | None,
    text: str,
    owner: str | None,
    peer: str | None,
    start: int | None,
    end: int | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Find messages whose body contains TEXT, in all archives or one: the newest last.

    The case of letters does not matter. Shows what stands around the text: this reads what people
    wrote to each other, so it is for those who may, and leaves a line in the access log, without
    TEXT. A message between two users of this server is in two archives, and found in both. Every
    message of the time asked for is looked at, some ten million a second. Dates are UTC.

    Works beside a `stanzalake up`. Status 0 also if nothing is found.
    """
    if not text.strip():
        raise click.BadParameter("it is empty", param_hint="TEXT")
    require_order(start, end)
    values = settings.load(env_file=env_file)
    high = MAX_POSITION if end is None else from_milliseconds(end) - 1
    wanted = SearchQuery(text, owner or "", peer or "", from_milliseconds(start or 0), high)
    with (
        record_access(values, "search", wanted.owner) as access,
        opened_archive(values) as store,
        Console(stderr=True).status("searching"),
    ):
        found = search.search(store, wanted, limit)
        access.filtered, access.messages = bool(peer), len(found)
        access.size = sum(one.size for one in found)
    for line in _lines(found, as_json=as_json):
        click.echo(line)


def _lines(found: Any, *, as_json: bool) -> Iterator[str]:
    for one in found:
        yield json.dumps(_fields(one), ensure_ascii=False) if as_json else _line(one)


def _fields(one: SearchResult) -> dict[str, str | int]:
    return {
        "at": _when(one.position),
        "owner": one.owner,
        "position": one.position,
        "peer": one.peer,
        "direction": one.direction,
        "kind": one.kind,
        "excerpt": one.excerpt,
    }


def _line(one: SearchResult) -> str:
    arrow = "<-" if one.direction == "in" else "->"
    line = f"{_when(one.position)} {one.owner} {arrow} {one.peer}: {one.excerpt}"
    return "".join(c if c.isprintable() else " " for c in line)


def _when(position: int) -> str:
    return dates.emit(to_milliseconds(position))
