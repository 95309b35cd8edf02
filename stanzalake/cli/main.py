"""The command line."""

import asyncio
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import NoReturn

import click

import processor.app
from stanzalake.cli import (
    ahead,
    backup,
    check,
    delete,
    events,
    expire,
    export,
    import_,
    rejected,
    restore,
    search,
    stats,
)
from stanzalake.cli import settings as settings_command
from stanzalake.config import settings
from stanzalake.errors import SettingsError, StanzalakeError
from stanzalake.observability.quiet import silence_libraries
from stanzalake.runtime import services, up

EXIT_FAILED = 1
EXIT_UNUSABLE = 2

_MAX_SHORT_HELP = 200
"""Characters; longer than any command's first sentence."""
_LEVELS = ("debug", "info", "warning", "error")
_SECTIONS = {
    "Services": ("up", "ingest", "processor", "query"),
    "Set-up": ("check", "settings", "migrate", "import"),
    "Archives": ("stats", "search", "export", "delete", "expire", "backup", "restore"),
    "The log": ("events", "rejected", "ahead"),
}


class _Sections(click.Group):
    """Lists the commands by topic, each with its first sentence in full."""

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of the help."""
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name, self.commands[name].get_short_help_str(_MAX_SHORT_HELP))
                        for name in names
                    ]
                )


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"]})
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


@cli.command(name="up")
@click.pass_obj
def up_command(env_file: Path | None) -> None:
    """Run ingest, processor and query in this process.

    By default the log is a file and the store is the ClickHouse engine in the process, both in
    STANZALAKE_DATA_DIR. SIGTERM and Ctrl-C end the services cleanly.
    """
    asyncio.run(up.run(settings.load(env_file=env_file)))


@cli.command(name="ingest")
@click.pass_obj
def ingest_command(env_file: Path | None) -> None:
    """Receive batches of events from Prosody and append them to Kafka.

    Run any number, each with its own component name or for its own Prosody.
    Needs STANZALAKE_KAFKA_BOOTSTRAP_SERVERS.
    """
    values = settings.load(env_file=env_file)
    asyncio.run(services.until_stopped(partial(services.run_ingest, values)))


@cli.command(name="processor")
@click.pass_obj
def processor_command(env_file: Path | None) -> None:
    """Archive events from Kafka in ClickHouse.

    Processors share the partitions: run at most as many as there are partitions. Needs
    STANZALAKE_KAFKA_BOOTSTRAP_SERVERS, and a server in STANZALAKE_CLICKHOUSE_DSN.
    """
    values = settings.load(env_file=env_file)
    work = partial(services.run_processor, values)
    asyncio.run(processor.app.run(work))


@cli.command(name="query")
@click.pass_obj
def query_command(env_file: Path | None) -> None:
    """Answer the archive queries of Prosody's clients.

    Run any number, each with its own component name or for its own Prosody.
    Needs STANZALAKE_KAFKA_BOOTSTRAP_SERVERS, and a server in STANZALAKE_CLICKHOUSE_DSN.
    """
    values = settings.load(env_file=env_file)
    asyncio.run(services.until_stopped(partial(services.run_query, values)))


@cli.command()
@click.pass_obj
def migrate(env_file: Path | None) -> None:
    """Apply pending schema migrations, and the settings that the schema depends on.

    `up` does the same when starting. A second run changes nothing.
    """
    for name in up.migrate(settings.load(env_file=env_file)):
        click.echo(f"applied {name}")


cli.add_command(ahead.command)
cli.add_command(backup.command)
cli.add_command(check.command)
cli.add_command(delete.command)
cli.add_command(events.command)
cli.add_command(expire.command)
cli.add_command(export.command)
cli.add_command(import_.command)
cli.add_command(rejected.command)
cli.add_command(restore.command)
cli.add_command(search.command)
cli.add_command(settings_command.command)
cli.add_command(stats.command)


def main() -> NoReturn:
    """Run the command line; failures become a message on stderr and an exit status."""
    # Every file may hold messages or secrets: the log, the store, backups, exports.
    os.umask(0o077)
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_UNUSABLE)
    except click.Abort:  # Ctrl-C, or "no" to a question
        click.echo("stanzalake: stopped", err=True)
        sys.exit(EXIT_FAILED)
    except SettingsError as error:
        _fail(error, EXIT_UNUSABLE)
    except StanzalakeError as error:
        _fail(error, EXIT_FAILED)
    except BaseExceptionGroup as group:
        expected, others = group.split(StanzalakeError)
        if others is not None or expected is None:
            raise
        _fail(_first(expected), EXIT_FAILED)
    sys.exit(0)


def _first(group: BaseExceptionGroup[StanzalakeError]) -> StanzalakeError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _fail(error: StanzalakeError, status: int) -> NoReturn:
    for line in str(error).splitlines():
        click.echo(f"stanzalake: {line}", err=True)
    sys.exit(status)
