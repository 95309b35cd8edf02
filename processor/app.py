"""The processor as a Faust worker, the only module that uses Faust.

Faust provides signals and supervision. Its web server and its connection to Kafka are disabled: the
loop reads, writes and commits, and metrics are served as in the other services.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import faust
import mode
from faust.app.base import BootStrategy

log = logging.getLogger(__name__)


async def run(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run the work until SIGTERM or SIGINT, and raise its error if it fails.

    Args:
        work: Runs until the event is set.
    """
    stop = asyncio.Event()
    working = asyncio.ensure_future(work(stop))
    worker = _worker(_WorkService(working, stop))
    serving = asyncio.ensure_future(worker.start())
    await asyncio.wait({serving, working}, return_when=asyncio.FIRST_COMPLETED)
    await worker.stop()
    await asyncio.gather(serving, working)
    if worker.crash_reason is not None:
        raise worker.crash_reason


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
    enable_web = False


class _App(faust.App):
    logger = logging.getLogger("faust")
    BootStrategy = _Boot
    producer_only = True

    def _create_directories(self) -> None:
        """Create no directories: they are for tables, which this app does not have."""


def _worker(service: _WorkService) -> faust.Worker:
    worker = faust.Worker(
        _App("stanzalake-processor", web_enabled=False),
        service,
        loop=asyncio.get_running_loop(),
        quiet=True,
        override_logging=False,
        redirect_stdouts=False,
    )
    # Drawn on the terminal even with quiet=True.
    worker.spinner = None
    return worker
