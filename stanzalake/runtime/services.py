"""Runs each service as a process: opens its resources, serves until a signal, closes them."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, NoReturn, TypeVar

import ingest.service
import processor.service
import query.service
from stanzalake.config.settings import Settings
from stanzalake.errors import SettingsError
from stanzalake.log import opening
from stanzalake.log.base import Log
from stanzalake.observability import health
from stanzalake.runtime.survey import surveyor
from stanzalake.store import migrations
from stanzalake.store.client import Store

T = TypeVar("T")
Work = Callable[[asyncio.Event], Awaitable[None]]
"""A coroutine that returns soon after the event is set."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

STOP_SECONDS = 25.0
"""Seconds from a signal until a service has ended, whatever does not answer."""
STOP_ALL_SECONDS = 50.0
"""The same for all services in one process, which end one after the other."""

log = logging.getLogger(__name__)


async def until_stopped(
    resources: AbstractAsyncContextManager[T],
    work: Callable[[T, asyncio.Event], Awaitable[None]],
    seconds: float = STOP_SECONDS,
) -> None:
    """Run a service until SIGTERM or SIGINT.

    Args:
        resources: Opens what the service needs. A signal meanwhile ends the process at once.
        work: The service's main coroutine, which returns soon after the event is set.
        seconds: Seconds from a signal until the process ends at the latest.
    """
    stop = asyncio.Event()
    leave_on_signals()
    async with resources as opened:
        _bound(stop, seconds)
        _handle_signals(partial(_stop, stop))
        await work(opened, stop)
    log.info("stopped")


def leave_on_signals() -> None:
    """End the process at once on SIGTERM or SIGINT, until somebody else handles these.

    Nothing is to be finished before a service has begun, and what it waits for may be frozen. As
    the first process of a container it would ignore signals without a handler.
    """
    _handle_signals(_leave)


def _handle_signals(handle: Callable[[int], None]) -> None:
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, handle, number)


def _stop(stop: asyncio.Event, number: int) -> None:
    log.info("stopping on %s", signal.Signals(number).name)
    stop.set()


def _leave(number: int) -> NoReturn:
    log.info("stopped by %s before the start was complete", signal.Signals(number).name)
    _exit()


def _bound(stop: asyncio.Event, seconds: float) -> None:
    """End the process so many seconds after `stop` is set, if it has not ended by then.

    A thread that waits for a frozen server cannot be interrupted. Whatever is unfinished is read
    again at the next start.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.ensure_future(stop.wait())
    stopping.add_done_callback(lambda _: loop.call_later(seconds, _abandon))


def _abandon() -> NoReturn:
    log.warning("stopped without waiting any longer for what does not answer")
    _exit()


def _exit() -> NoReturn:
    logging.shutdown()
    os._exit(0)


async def run_all(*services: Coroutine[Any, Any, None]) -> None:
    """Run services concurrently; the failure of any cancels the others."""
    async with asyncio.TaskGroup() as group:
        for service in services:
            group.create_task(service)


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """Open a client of the store for the block."""
    store = await asyncio.to_thread(Store.of, settings)
    try:
        yield store
    finally:
        await asyncio.to_thread(store.close)


def require_kafka(settings: Settings) -> None:
    """Refuse the embedded log, which only a single process can use.

    Raises:
        SettingsError: STANZALAKE_KAFKA_BOOTSTRAP_SERVERS is not set.
    """
    if not settings.kafka_bootstrap_servers:
        raise SettingsError(
            "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS is not set: several services share their log in "
            "Kafka (stanzalake up runs all of them in one process without it)"
        )


def require_server(settings: Settings) -> None:
    """Refuse the embedded store, which only a single process can use.

    Raises:
        SettingsError: STANZALAKE_CLICKHOUSE_DSN names no server.
    """
    if settings.embedded_store:
        raise SettingsError(
            "STANZALAKE_CLICKHOUSE_DSN does not name a server (clickhouse://...): several "
            "services share their store (stanzalake up runs all of them in one process without it)"
        )


async def run_ingest(settings: Settings) -> None:
    """Run ingest until SIGTERM or SIGINT."""
    await until_stopped(_open_for_ingest(settings), partial(ingest.service.run, settings))


async def run_processor(settings: Settings, run: Callable[[Work], Awaitable[None]]) -> None:
    """Run the processor.

    Args:
        settings: All settings.
        run: Runs its work until SIGTERM or SIGINT.
    """
    leave_on_signals()
    async with _shared(settings, "") as (shared, store):

        async def work(stop: asyncio.Event) -> None:
            _bound(stop, STOP_SECONDS)
            await processor.service.run(settings, shared, store, stop)

        await run(work)
    log.info("stopped")


async def run_query(settings: Settings) -> None:
    """Run the query component until SIGTERM or SIGINT."""

    async def work(opened: tuple[Log, Store], stop: asyncio.Event) -> None:
        await query.service.run(settings, *opened, stop)

    await until_stopped(_shared(settings, settings.query_jid), work)


@asynccontextmanager
async def _open_for_ingest(settings: Settings) -> AsyncIterator[Log]:
    require_kafka(settings)
    async with (
        health.serve_health(settings.http) as reporter,
        opening.open_log(settings) as shared,
    ):
        reporter.survey = surveyor(settings, jid=settings.ingest_jid)
        yield shared


@asynccontextmanager
async def _shared(settings: Settings, jid: str) -> AsyncIterator[tuple[Log, Store]]:
    require_kafka(settings)
    require_server(settings)
    async with health.serve_health(settings.http) as reporter, open_store(settings) as store:
        await asyncio.to_thread(migrations.check, store)
        reporter.survey = surveyor(settings, store, jid)
        async with opening.open_log(settings) as shared:
            yield shared, store
