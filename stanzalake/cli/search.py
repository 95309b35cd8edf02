"""`stanzalake search`: finds messages by their text, in any archive."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from stanzalake.cli.output import tell
from stanzalake.cli.parameters import MOMENT, OWNER, require_order, split, with_party
from stanzalake.config import settings
from stanzalake.model import full_text
from stanzalake.model.full_text import TextQuery
from stanzalake.model.jid import Jid
from stanzalake.model.position import MAX_POSITION, from_milliseconds, to_milliseconds
from stanzalake.observability.access_log import record_access
from stanzalake.operations.archive import open_archive
from stanzalake.store import search
from stanzalake.store.retention import horizon
from stanzalake.store.search import SearchQuery, SearchResult
from stanzalake.xmpp import dates


@click.command(name="search")
@click.argument("text")
@click.option("--owner", type=OWNER, help="Only the archive of this JID.")
@with_party()
@click.option("--start", type=MOMENT, help="Only messages from this date or time on.")
@click.option("--end", type=MOMENT, help="Only messages before this date or time.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="Maximum number of results: the newest.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@click.pass_obj
def command(  # noqa: PLR0913, PLR0917  # the command's options
    env_file: Path | None,
    text: str,
    owner: str | None,
    peer: Jid | None,
    start: int | None,
    end: int | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Find messages whose body has all words of TEXT, in all archives or one.

    Case and accents do not matter. A word* stands for all that begin so, and words in
    "quotation marks" follow each other. The newest is last. Prints an excerpt of each message: for
    people who may read private messages. The access log records each use, without TEXT. A message
    between two users of this server is in two archives and found in both; an encrypted one is found
    in none. What was said in a room is in the room's archive, with the author's nick. A full scan
    of the period, millions of messages a second. Dates are UTC.

    Works beside `stanzalake up`. Status 0 even if nothing is found.
    """
    query = _parse(text)
    require_order(start, end)
    values = settings.load(env_file=env_file)
    high = MAX_POSITION if end is None else from_milliseconds(end) - 1
    low = from_milliseconds(start or 0)
    wanted = SearchQuery(query, owner or "", *split(peer), low, high)
    oldest = horizon(values.retention, time.time())
    with (
        record_access(values, "search", wanted.owner, filtered=bool(peer)) as access,
        open_archive(values) as store,
        Console(stderr=True).status("searching"),
    ):
        found = search.search(store, wanted, limit, oldest)
        access.messages = len(found)
        access.size = sum(message.size for message in found)
    for line in _lines(found, as_json=as_json):
        click.echo(line)
    if not found:
        tell("no message was found")


def _parse(text: str) -> TextQuery:
    try:
        query = full_text.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="TEXT") from None
    if query is None:
        raise click.BadParameter("the text is empty", param_hint="TEXT")
    return query


def _lines(found: Any, *, as_json: bool) -> Iterator[str | bytes]:
    for message in found:
        # JSON is UTF-8, whatever the terminal can show.
        yield msgspec.json.encode(_fields(message)) if as_json else _line(message)


def _fields(message: SearchResult) -> dict[str, str | int]:
    return {
        "at": _format_time(message.position),
        "owner": message.owner,
        "position": message.position,
        "peer": message.peer,
        "peer_resource": message.peer_resource,
        "direction": message.direction,
        "kind": message.kind,
        "excerpt": message.excerpt,
    }


def _line(message: SearchResult) -> str:
    at = _format_time(message.position)
    line = f"{at} {_format_parties(message)}: {message.excerpt}"
    return "".join(c if c.isprintable() else " " for c in line)


def _format_parties(message: SearchResult) -> str:
    if message.peer == message.owner and message.kind == "groupchat":
        return f"{message.owner}/{message.peer_resource}".removesuffix("/")
    arrow = "<-" if message.direction == "in" else "->"
    return f"{message.owner} {arrow} {message.peer}"


def _format_time(position: int) -> str:
    return dates.emit(to_milliseconds(position))
