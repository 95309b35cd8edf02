"""The services as processes: what each needs, opened, run until a signal, and closed."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

import ingest.service
import processor.service
import query.service
from stanzalake.config.settings import Settings
from stanzalake.errors import SettingsError, StoreUnavailable
from stanzalake.log import opening
from stanzalake.log.base import Log
from stanzalake.observability import health
from stanzalake.store import migrations
from stanzalake.store.client import Store

Work = Callable[[asyncio.Event], Awaitable[None]]
"""What a process does until the event is set."""

log = logging.getLogger(__name__)


async def until_stopped(work: Work) -> None:
    """Work until SIGTERM or SIGINT, and say so."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop, stop, number)
    await work(stop)
    log.info("stopped")


async def together(*services: Coroutine[Any, Any, None]) -> None:
    """Run services side by side; if one fails, the others end too."""
    async with asyncio.TaskGroup() as group:
        for service in services:
            group.create_task(service)


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """Open a client of the store, and close it at the end."""
    store = await asyncio.to_thread(Store.of, settings)
    try:
        yield store
    finally:
        await asyncio.to_thread(store.close)


@contextmanager
def opened_archive(settings: Settings, *, admin: bool = False) -> Iterator[Store]:
    """Open the store for a command that works on what is there, also beside a `stanzalake up`.

    Args:
        settings: They say where it is.
        admin: Whether the command changes what is there.

    Raises:
        StoreUnavailable: It does not answer; an embedded store is not made here.
        SchemaBehind: It lacks migrations of this version.
    """
    if settings.store_dir is not None and not settings.store_dir.is_dir():
        raise StoreUnavailable(
            f"there is no store {settings.store_dir}: STANZALAKE_DATA_DIR says where it is"
        )
    with closing((Store.for_admin if admin else Store.of)(settings)) as store:
        migrations.check(store)
        yield store


def require_kafka(settings: Settings) -> None:
    """Refuse the embedded log, which is one process's own.

    Raises:
        SettingsError: No Kafka is set.
    """
    if not settings.kafka_bootstrap_servers:
        raise SettingsError(
            "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS is not set: several services share their log in "
            "Kafka (stanzalake up runs all of them in one process without it)"
        )


def require_server(settings: Settings) -> None:
    """Refuse the embedded store, which is one process's own.

    Raises:
        SettingsError: No ClickHouse server is set.
    """
    if settings.embedded_store:
        raise SettingsError(
            "STANZALAKE_CLICKHOUSE_DSN does not name a server (clickhouse://...): several "
            "services share their store (stanzalake up runs all of them in one process without it)"
        )


async def run_ingest(settings: Settings, stop: asyncio.Event) -> None:
    """Take batches from Prosody into Kafka until `stop` is set."""
    require_kafka(settings)
    async with health.serve_health(settings.http), opening.open_log(settings) as shared:
        await ingest.service.run(settings, shared, stop)


async def run_processor(settings: Settings, stop: asyncio.Event) -> None:
    """Archive events from Kafka until `stop` is set."""
    async with _shared(settings) as (shared, store):
        await processor.service.run(settings, shared, store, stop)


async def run_query(settings: Settings, stop: asyncio.Event) -> None:
    """Answer the queries of Prosody's clients until `stop` is set."""
    async with _shared(settings) as (shared, store):
        await query.service.run(settings, shared, store, stop)


@asynccontextmanager
async def _shared(settings: Settings) -> AsyncIterator[tuple[Log, Store]]:
    require_kafka(settings)
    require_server(settings)
    async with health.serve_health(settings.http), opened_store(settings) as store:
        await asyncio.to_thread(migrations.check, store)
        async with opening.open_log(settings) as shared:
            yield shared, store


def _stop(stop: asyncio.Event, number: int) -> None:
    log.info("stopping on %s", signal.Signals(number).name)
    stop.set()
