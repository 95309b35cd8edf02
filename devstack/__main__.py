"""`make up` and `make demo`."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from devstack import conversation
from devstack.client import Client, ReceivedMessage
from devstack.deployment import HOST, USERS, Deployment, Distributed
from devstack.ports import free_port, is_free
from devstack.process import running

_CLIENT_PORT = 15222
_HTTP_PORT = 15280
_ANALYSTS_PORT = 15281

_MODES = {"embedded": Deployment, "kafka": Distributed}
_STARTING = {
    "embedded": "Starting a Prosody with mod_stanzalake, and `stanzalake up` …",
    "kafka": "Starting a Prosody with mod_stanzalake, Kafka, a ClickHouse, and two each of "
    "`stanzalake ingest`, `processor` and `query` …",
}
_mode = click.option(
    "--mode",
    type=click.Choice(list(_MODES)),
    default="embedded",
    show_default=True,
    help="A single process, or separate services as in docker-compose.yml.",
)

console = Console(highlight=False, soft_wrap=True)


@click.group()
def main() -> None:
    """Run a complete deployment on loopback: Prosody with the tap, and the archive."""


@main.command()
@click.option("--directory", type=click.Path(path_type=Path), default=Path(".stanzalake"))
@_mode
def up(directory: Path, mode: str) -> None:
    """Hold a short conversation as a demonstration, then serve until Ctrl-C."""
    sys.exit(asyncio.run(_up(directory / mode, mode)))


@main.command()
@_mode
def demo(mode: str) -> None:
    """Send a conversation, read both archives, and exit with 0 if they are correct."""
    with tempfile.TemporaryDirectory(prefix="stanzalake-demo-") as directory:
        sys.exit(asyncio.run(_demo(Path(directory), mode)))


async def _demo(directory: Path, mode: str) -> int:
    deployment = _MODES[mode](directory)
    deployment.report = _report
    console.print(_STARTING[mode])
    async with running(deployment):
        return await _show(deployment)


async def _up(directory: Path, mode: str) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    deployment = _MODES[mode](directory, _CLIENT_PORT if is_free(_CLIENT_PORT) else None)
    deployment.report = _report
    addresses = deployment.serve_http(_HTTP_PORT if is_free(_HTTP_PORT) else free_port())
    sql = {"SQL": deployment.sql()}
    if mode == "embedded":
        port = _ANALYSTS_PORT if is_free(_ANALYSTS_PORT) else free_port()
        sql["analysts"] = deployment.serve_analysts(port)
    settings = deployment.write_settings()
    console.print(f"{_STARTING[mode]} in {directory}, with the settings in {settings}")
    async with running(deployment):
        status = await _show(deployment)
        if status == 0:
            _print_addresses(deployment, addresses, sql)
            _print_next(settings)
            await _wait_first(stop.wait(), deployment.wait())
            console.print("Stopping …")
        return status


async def _show(deployment: Deployment) -> int:
    """Hold the conversation, print both archives, and return 0 if they are correct."""
    juliet, romeo = [await deployment.client(user) for user in USERS]
    await conversation.run(juliet, romeo)
    problems: list[str] = []
    for reader in (juliet, romeo):
        archive = await reader.archive(conversation.PAGE)
        _print_archive(reader, archive)
        problems += conversation.problems(reader, archive)
        await reader.offline()
    for problem in problems:
        console.print(f"[red]wrong:[/red] {problem}")
    if not problems:
        console.print(
            "[green]Both archives are complete, in order, with the ids seen live.[/green]"
        )
    return 1 if problems else 0


def _print_archive(reader: Client, archive: list[ReceivedMessage]) -> None:
    size = conversation.PAGE
    console.print(f"\nThe archive of [bold]{reader.boundjid.bare}[/bold], in pages of {size}:")
    for message in archive[-len(conversation.LINES) :]:
        console.print(f"  {message.id}  {message.sender:<17} ", end="")
        console.print(message.body, markup=False)


def _report(step: str) -> None:
    console.print(f"  {step}")


def _print_addresses(
    deployment: Deployment, addresses: Mapping[str, str], sql: Mapping[str, str]
) -> None:
    console.print("\n[bold]Serving[/bold] on loopback, without TLS:")
    console.print(f"  clients  127.0.0.1:{deployment.client_port}")
    for user in USERS:
        console.print(f"           {user}@{HOST}, password {deployment.passwords[user]}")
    for name, address in addresses.items():
        console.print(f"  status   http://{address}/ and /metrics of {name}")
    for name, place in sql.items():
        console.print(f"  {name:<8} {place}")
    console.print(f"  logs     {deployment.directory}")


def _print_next(settings: Path) -> None:
    stanzalake = f"{Path(sys.executable).parent / 'stanzalake'} --env-file {settings}"
    console.print("\n[bold]Next[/bold], in another terminal:")
    for command in ("status --watch", "search rose", "stats"):
        console.print(f"  {stanzalake} {command}")
    console.print("\nCtrl-C ends it; the archive stays.")


async def _wait_first(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


if __name__ == "__main__":
    main()
