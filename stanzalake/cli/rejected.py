"""`stanzalake rejected`: lists, shows and replays dead letters."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from stanzalake.cli.output import tell
from stanzalake.config import settings
from stanzalake.errors import InvalidEvent, NotFound
from stanzalake.log.base import Record
from stanzalake.observability.access_log import record_access
from stanzalake.operations import dead_letters
from stanzalake.operations.dead_letters import DeadLetter, RecordId, ReplayResult


class _IdType(click.ParamType):
    name = "id"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> RecordId:
        partition, slash, offset = value.partition("/")
        if not (slash and partition.isdecimal() and offset.isdecimal()):
            self.fail(f"{value!r} is not an ID, which looks like 0/17", param, ctx)
        return int(partition), int(offset)


_ID = _IdType()


@click.group(name="rejected")
def command() -> None:
    """Inspect and replay the dead letters: records that could not be archived.

    Dead letters are kept for good, byte for byte, with a reason and their source: a host's tap, or
    partition and offset in the log. Works beside running services. Message content is printed only
    by `show --body` and `show --output`.
    """


@command.command(name="list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option(
    "--page",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Page number; the first has the newest.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@click.pass_obj
def list_command(env_file: Path | None, limit: int, page: int, *, as_json: bool) -> None:
    """List dead letters, the newest last.

    ID, time of rejection, bytes, source, reason.
    """

    async def work() -> list[DeadLetter]:
        async with dead_letters.open_log(settings.load(env_file=env_file)) as log:
            return await dead_letters.newest(log, limit, page)

    found = asyncio.run(work())
    for letter in found:
        click.echo(json.dumps(_fields(letter)) if as_json else _line(letter))
    if not found:
        tell("there are no dead letters" if page == 1 else f"there is no page {page}")


@command.command(name="show")
@click.argument("id_", type=_ID, metavar="ID")
@click.option("--body", is_flag=True, help="Print only the original bytes.")
@click.option(
    "--output",
    type=click.File("wb", lazy=True),
    help="Also write the original bytes to this file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the metadata as a JSON object.")
@click.pass_obj
def show_command(
    env_file: Path | None, id_: RecordId, output: BinaryIO | None, *, body: bool, as_json: bool
) -> None:
    """Show one dead letter: its metadata and, on request, its bytes.

    The access log records each use of --body and --output.

    Status 1 if there is no such record.
    """
    values = settings.load(env_file=env_file)

    async def work() -> Record:
        async with dead_letters.open_log(values) as log:
            return await dead_letters.find(log, id_)

    record = asyncio.run(work())
    letter = DeadLetter.of(record)
    if body or output is not None:
        with record_access(values, "rejected", letter.key) as access:
            if output is not None:
                output.write(record.value)
            if body:
                click.echo(record.value, nl=False)
            access.messages, access.size = 1, letter.size
    fields = _fields(letter)
    if as_json and not body:
        click.echo(json.dumps(fields))
    elif not body:
        for name, value in fields.items():
            click.echo(f"{name}: {_printable(str(value))}")


@command.command(name="replay")
@click.argument("ids", type=_ID, metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Replay all, instead of IDs.")
@click.option("--source", help="With --all: only those whose source begins with this text.")
@click.option("--dry-run", is_flag=True, help="Append nothing; print the outcome only.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as a JSON object.")
@click.pass_obj
def replay_command(  # noqa: PLR0913  # the command's options
    env_file: Path | None,
    ids: tuple[RecordId, ...],
    source: str | None,
    *,
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Append dead letters that are valid events to the log again.

    For valid events that met a fault which has been repaired. Replaying an event that is archived
    already changes nothing. Dead letters stay where they are; one that is rejected again is added
    a second time.

    Status 1 if one of the IDs does not exist or is not a valid event.
    """
    if bool(ids) == everything:
        raise click.UsageError("Either IDs or --all.")
    if source is not None and not everything:
        raise click.UsageError("--source goes together with --all.")

    def selected(letter: DeadLetter) -> bool:
        return letter.id in ids or (everything and letter.source.startswith(source or ""))

    async def work() -> ReplayResult:
        async with dead_letters.open_log(settings.load(env_file=env_file)) as log:
            return await dead_letters.replay(log, selected, dry_run=dry_run)

    result = asyncio.run(work())
    if as_json:
        click.echo(json.dumps(_outcome(result, dry_run=dry_run)))
    else:
        _print(result, dry_run=dry_run)
    _require(ids, result)


def _outcome(result: ReplayResult, *, dry_run: bool) -> dict[str, object]:
    return {
        "replayed": not dry_run,
        "events": len(result.events),
        "invalid": {_format_id(id_): reason for id_, reason in result.invalid.items()},
    }


def _print(result: ReplayResult, *, dry_run: bool) -> None:
    for id_, reason in result.invalid.items():
        click.echo(f"{_format_id(id_)} stays: {_printable(reason)}")
    done = "would be replayed" if dry_run else "replayed"
    click.echo(
        f"{len(result.events)} events {done}, {len(result.invalid)} records stay as they are"
    )


def _require(ids: tuple[RecordId, ...], result: ReplayResult) -> None:
    """Fail if a record that was named by its ID was not replayed."""
    absent = [_format_id(id_) for id_ in ids if id_ not in {*result.replayed, *result.invalid}]
    if absent:
        raise NotFound(f"there is no rejected record {', '.join(absent)}")
    if ids and result.invalid:
        raise InvalidEvent(f"{len(result.invalid)} of them are not valid events")


def _fields(letter: DeadLetter) -> dict[str, str | int]:
    return {
        "id": _format_id(letter.id),
        "at": _format_time(letter.at),
        "size": letter.size,
        "key": letter.key,
        "source": letter.source,
        "reason": letter.reason,
    }


def _line(letter: DeadLetter) -> str:
    return (
        f"{_format_id(letter.id):<10} {_format_time(letter.at)} {letter.size:>9} "
        f"{_printable(letter.source)}: {_printable(letter.reason)}"
    )


def _format_id(id_: RecordId) -> str:
    return f"{id_[0]}/{id_[1]}"


def _format_time(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):  # anybody may write to the topic, with any clock
        return f"{milliseconds} ms"


def _printable(text: str) -> str:
    """Escape control characters, which a terminal would interpret."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
