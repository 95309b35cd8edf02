"""`make up` and `make demo`."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from devstack import conversation
from devstack.client import Client, ReceivedMessage
from devstack.deployment import HOST, USERS, Deployment, Distributed
from devstack.ports import is_free
from devstack.process import running

_CLIENT_PORT = 15222

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
    console.print(_STARTING[mode])
    async with running(deployment):
        return await _show(deployment)


async def _up(directory: Path, mode: str) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    port = _CLIENT_PORT if is_free(_CLIENT_PORT) else None
    deployment = _MODES[mode](directory, port)
    console.print(f"{_STARTING[mode]} in {directory}")
    async with running(deployment):
        status = await _show(deployment)
        if status == 0:
            _print_accounts(deployment)
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


def _print_accounts(deployment: Deployment) -> None:
    console.print(
        f"\nServing. Connect a client to 127.0.0.1, port {deployment.client_port}, "
        "without TLS (loopback only):"
    )
    for user in USERS:
        console.print(f"  {user}@{HOST}  password {deployment.passwords[user]}")
    console.print(f"Logs are in {deployment.directory}. Ctrl-C ends it; the archive stays.")


async def _wait_first(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


if __name__ == "__main__":
    main()
