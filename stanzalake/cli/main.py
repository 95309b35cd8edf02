"""The command line."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from stanzalake.cli import output
from stanzalake.cli.group import LazyGroup, Sections
from stanzalake.errors import OutputClosed, OutputFailed, SettingsError, StanzalakeError
from stanzalake.observability.quiet import silence_libraries

EXIT_FAILED = 1
EXIT_UNUSABLE = 2

_NICENESS = 10
_REMOVALS = frozenset({"delete", "expire"})
"""Commands that others on the same machine are not to feel: Python's start is half of a delete."""
_LEVELS = ("debug", "info", "warning", "error")
_SECTIONS: Sections = {
    "Services": {
        "up": "Run ingest, processor and query in this process.",
        "ingest": "Receive batches of events from Prosody and append them to Kafka.",
        "processor": "Archive events from Kafka in ClickHouse.",
        "query": "Answer the archive queries of Prosody's clients.",
    },
    "Set-up": {
        "check": "Check whether a deployment works, and how to repair each fault.",
        "settings": "Show every setting with its effective value.",
        "completion": "Print the completion script of a shell.",
        "migrate": "Apply pending schema migrations, and the settings that the schema depends on.",
        "repartition": "Change the partitions of the messages to those of STANZALAKE_PARTITION_BY.",
        "import": "Import archives and archiving preferences of another server.",
        "prosody-modules": "Show where Prosody's modules are, or install them in DIR.",
        "systemd-unit": "Print a systemd unit for a service, by default for `up`.",
    },
    "Archives": {
        "status": "Show what a running service does: its parts, traffic, archive and journals.",
        "stats": "Show the number of messages and owners, and their size on disk.",
        "schema": "Show the views for analysts: their columns, types and meaning.",
        "search": "Find messages whose body has all words of TEXT, in all archives or one.",
        "export": "Export the archive of an account or a room, or analysts' rows of all.",
        "delete": "Erase messages of one archive: all of them, or those of a peer or a period.",
        "expire": "Remove expired messages from the store, now.",
        "retention": "Show for how long the messages of one archive are kept, or set it.",
        "backup": "Copy the archive while services run, and list or verify the copies.",
        "restore": "Merge a backup into the archive.",
    },
    "The log": {
        "events": "Print the log's events, as JSON Lines (docs/protocol.md).",
        "rejected": "Inspect and replay the dead letters: records that could not be archived.",
        "ahead": "List the owners whose archives have positions ahead of this machine's clock.",
    },
}


@click.group(
    cls=LazyGroup, sections=_SECTIONS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="stanzalake")
@click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    help="Read settings from this file of VARIABLE=value lines; the environment wins.",
)
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True)
@click.pass_context
def cli(context: click.Context, env_file: Path | None, log_level: str) -> None:
    """Keep the message archive of Prosody: XEP-0313 for clients, SQL for analysts.

    Settings are environment variables, or lines of a file: `stanzalake settings --help` lists
    them. Every command has its own --help.

    Exit status: 0 for success, 1 for failure, 2 if settings or arguments cannot be used.
    """
    logging.basicConfig(
        level=log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    silence_libraries()
    context.obj = env_file


def main() -> NoReturn:
    """Run the command line; failures become a message on stderr and an exit status."""
    # Every file may hold messages or secrets: the log, the store, backups, exports.
    os.umask(0o077)
    _give_way(sys.argv[1:])
    output.guard()
    status = _run()
    try:
        output.flush()
    except StanzalakeError as error:
        status = status or _report(error)
    sys.exit(status)


def _give_way(arguments: Sequence[str]) -> None:
    """Lower the priority of this process if it removes messages."""
    if not _REMOVALS.isdisjoint(arguments):
        os.setpriority(os.PRIO_PROCESS, 0, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


def _run() -> int:
    try:
        cli(standalone_mode=False)
    except SystemExit as error:  # a command's own status
        return int(error.code or 0)
    except click.ClickException as error:
        error.show()
        return EXIT_UNUSABLE
    except click.Abort:  # Ctrl-C, or "no" to a question
        click.echo("stanzalake: stopped", err=True)
        return EXIT_FAILED
    except StanzalakeError as error:
        return _report(error)
    except BaseExceptionGroup as group:
        expected, others = group.split(StanzalakeError)
        if others is not None or expected is None:
            raise
        return _report(_first(expected))
    return 0


def _first(group: BaseExceptionGroup[StanzalakeError]) -> StanzalakeError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _report(error: StanzalakeError) -> int:
    """Print an error, and return the exit status."""
    if isinstance(error, OutputClosed | OutputFailed):
        output.discard()
    if isinstance(error, OutputClosed):
        return 0
    for line in str(error).splitlines():
        click.echo(f"stanzalake: {line}", err=True)
    return EXIT_UNUSABLE if isinstance(error, SettingsError) else EXIT_FAILED
