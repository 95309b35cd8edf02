"""The processor as a Faust worker, the only module that uses Faust.

Faust provides signals, supervision and the web server. Its connection to Kafka is disabled: the
loop reads, writes and commits.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

import faust
import mode
from faust.app.base import BootStrategy

from stanzalake.errors import SettingsError

_LOOPBACK = "127.0.0.1"

log = logging.getLogger(__name__)

# They log each component's state; errors that end the worker are raised below.
for _name in ("faust", "mode"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


async def run(work: Callable[[asyncio.Event], Awaitable[None]], port: int = 0) -> None:
    """Run the work until SIGTERM or SIGINT, and raise its error if it fails.

    Args:
        work: Runs until the event is set.
        port: Port of Faust's web server on loopback; 0 for none.

    Raises:
        SettingsError: The port is in use.
    """
    _probe(port)
    stop = asyncio.Event()
    working = asyncio.ensure_future(work(stop))
    worker = _worker(_app(port), _WorkService(working, stop))
    serving = asyncio.ensure_future(worker.start())
    await asyncio.wait({serving, working}, return_when=asyncio.FIRST_COMPLETED)
    await worker.stop()
    await asyncio.gather(serving, working)
    if worker.crash_reason is not None:
        raise worker.crash_reason
    log.info("stopped")


def _probe(port: int) -> None:
    try:
        with socket.create_server((_LOOPBACK, port)):
            pass
    except OSError as error:
        raise SettingsError(
            f"STANZALAKE_PROCESSOR_PORT={port} cannot be used: {error.strerror}"
        ) from None


class _WorkService(mode.Service):
    """The work as a service of the worker."""

    logger = logging.getLogger("mode")

    def __init__(self, working: asyncio.Future[None], stop: asyncio.Event) -> None:
        super().__init__()
        self._working = working
        self._stop = stop

    async def on_stop(self) -> None:
        """Set the work's stop event, and wait for the work to end."""
        if not self._working.done():
            log.info("stopping")
        self._stop.set()
        await asyncio.wait({self._working})


class _Boot(BootStrategy):
    enable_kafka = False


class _App(faust.App):
    logger = logging.getLogger("faust")
    BootStrategy = _Boot
    producer_only = True

    def _create_directories(self) -> None:
        """Create no directories: they are for tables, which this app does not have."""


def _app(port: int) -> faust.App:
    return _App(
        "stanzalake-processor",
        web_enabled=port > 0,
        web_bind=_LOOPBACK,
        web_host=_LOOPBACK,
        web_port=port or None,
    )


def _worker(app: faust.App, service: _WorkService) -> faust.Worker:
    worker = faust.Worker(
        app,
        service,
        loop=asyncio.get_running_loop(),
        quiet=True,
        override_logging=False,
        redirect_stdouts=False,
    )
    # Drawn on the terminal even with quiet=True.
    worker.spinner = None
    return worker
