"""`stanzalake rejected`: what could not be archived, looked at and tried again."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from stanzalake.config import settings
from stanzalake.errors import InvalidEvent, NotFound
from stanzalake.log.base import Record
from stanzalake.operations import dead_letters
from stanzalake.operations.dead_letters import RecordPlace, Rejected, Replayed


class _PlaceType(click.ParamType):
    name = "id"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> RecordPlace:
        partition, slash, offset = value.partition("/")
        if not (slash and partition.isdecimal() and offset.isdecimal()):
            self.fail(f"{value!r} is not an ID, which looks like 0/17", param, ctx)
        return int(partition), int(offset)


_ID = _PlaceType()


@click.group(name="rejected")
def command() -> None:
    """Look at the events that could not be archived, and try them again.

    Each is kept as it came, for good, with the reason and its source: the tap of a host, or its
    place in the log. Works beside services that are running. Nothing here prints what people
    wrote unless `show --body` or `show --output` asks for it.
    """


@command.command(name="list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option(
    "--page",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Which page; the first holds the newest.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def list_command(env_file: Path | None, limit: int, page: int, *, as_json: bool) -> None:
    """List the rejected events, the newest last.

    ID, when it was rejected, bytes, source, reason.
    """

    async def work() -> list[Rejected]:
        async with dead_letters.opened(settings.load(env_file=env_file)) as log:
            return await dead_letters.newest(log, limit, page)

    for one in asyncio.run(work()):
        click.echo(json.dumps(_fields(one)) if as_json else _line(one))


@command.command(name="show")
@click.argument("place", type=_ID, metavar="ID")
@click.option("--body", is_flag=True, help="Print the original bytes, and nothing else.")
@click.option(
    "--output",
    type=click.File("wb", lazy=True),
    help="Write the original bytes to this file as well.",
)
@click.pass_obj
def show_command(
    env_file: Path | None, place: RecordPlace, output: BinaryIO | None, *, body: bool
) -> None:
    """Show one rejected event.

    What is known about it, and its bytes if asked for. Status 1 if there is no such event.
    """

    async def work() -> Record:
        async with dead_letters.opened(settings.load(env_file=env_file)) as log:
            return await dead_letters.find(log, place)

    record = asyncio.run(work())
    if output is not None:
        output.write(record.value)
    if body:
        click.echo(record.value, nl=False)
    else:
        for name, value in _fields(Rejected.of(record)).items():
            click.echo(f"{name}: {_printable(str(value))}")


@command.command(name="replay")
@click.argument("places", type=_ID, metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them, in place of IDs.")
@click.option("--source", help="With --all: only those whose source begins with this text.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.pass_obj
def replay_command(
    env_file: Path | None,
    places: tuple[RecordPlace, ...],
    source: str | None,
    *,
    everything: bool,
    dry_run: bool,
) -> None:
    """Put rejected events into the log again.

    Those that can be read now: events that are good, and met a mistake that is mended since. An
    event that is archived already stays one message. Nothing is taken away from the rejected; what
    is refused again is there once more.

    Status 1 if one of the IDs is not there, or still cannot be read.
    """
    if bool(places) == everything:
        raise click.UsageError("Either IDs or --all.")
    if source is not None and not everything:
        raise click.UsageError("--source goes together with --all.")

    def wanted(one: Rejected) -> bool:
        return one.place in places or (everything and one.source.startswith(source or ""))

    async def work() -> Replayed:
        async with dead_letters.opened(settings.load(env_file=env_file)) as log:
            return await dead_letters.replay(log, wanted, dry_run=dry_run)

    result = asyncio.run(work())
    _tell(result, dry_run=dry_run)
    _require(places, result)


def _tell(result: Replayed, *, dry_run: bool) -> None:
    for place, reason in result.left.items():
        click.echo(f"{_id(place)} stays: {_printable(reason)}")
    done = "would be replayed" if dry_run else "replayed"
    click.echo(f"{len(result.events)} events {done}, {len(result.left)} records stay as they are")


def _require(places: tuple[RecordPlace, ...], result: Replayed) -> None:
    """Fail if a record that was asked for by its ID was not replayed."""
    absent = [_id(one) for one in places if one not in {*result.taken, *result.left}]
    if absent:
        raise NotFound(f"there is no rejected record {', '.join(absent)}")
    if places and result.left:
        raise InvalidEvent(f"{len(result.left)} of them cannot be read as events")


def _fields(one: Rejected) -> dict[str, str | int]:
    return {
        "id": _id(one.place),
        "at": _when(one.at),
        "size": one.size,
        "key": one.key,
        "source": one.source,
        "reason": one.reason,
    }


def _line(one: Rejected) -> str:
    return (
        f"{_id(one.place):<10} {_when(one.at)} {one.size:>9} "
        f"{_printable(one.source)}: {_printable(one.reason)}"
    )


def _id(place: RecordPlace) -> str:
    return f"{place[0]}/{place[1]}"


def _when(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):  # anybody may write to the topic, with any clock
        return f"{milliseconds} ms"


def _printable(text: str) -> str:
    """Leave out nothing, and nothing that a terminal would act on."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
