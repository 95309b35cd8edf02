"""Runs each service as a process: opens its resources, serves until a signal, closes them."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

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

Work = Callable[[asyncio.Event], Awaitable[None]]
"""A service's main coroutine, which returns soon after the event is set."""

log = logging.getLogger(__name__)


async def until_stopped(work: Work) -> None:
    """Run a service until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop, stop, number)
    await work(stop)
    log.info("stopped")


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


async def run_ingest(settings: Settings, stop: asyncio.Event) -> None:
    """Run ingest until `stop` is set."""
    require_kafka(settings)
    async with (
        health.serve_health(settings.http) as reporter,
        opening.open_log(settings) as shared,
    ):
        reporter.survey = surveyor(settings, jid=settings.ingest_jid)
        await ingest.service.run(settings, shared, stop)


async def run_processor(settings: Settings, stop: asyncio.Event) -> None:
    """Run the processor until `stop` is set."""
    async with _shared(settings, "") as (shared, store):
        await processor.service.run(settings, shared, store, stop)


async def run_query(settings: Settings, stop: asyncio.Event) -> None:
    """Run the query component until `stop` is set."""
    async with _shared(settings, settings.query_jid) as (shared, store):
        await query.service.run(settings, shared, store, stop)


@asynccontextmanager
async def _shared(settings: Settings, jid: str) -> AsyncIterator[tuple[Log, Store]]:
    require_kafka(settings)
    require_server(settings)
    async with health.serve_health(settings.http) as reporter, open_store(settings) as store:
        await asyncio.to_thread(migrations.check, store)
        reporter.survey = surveyor(settings, store, jid)
        async with opening.open_log(settings) as shared:
            yield shared, store


def _stop(stop: asyncio.Event, number: int) -> None:
    log.info("stopping on %s", signal.Signals(number).name)
    stop.set()
