"""The query service: one component for each Prosody, one store, one log."""

import asyncio
from contextlib import suppress

from query.change_feed import ChangeFeed
from query.component import PAGES_AT_ONCE, Component
from query.freshness import Freshness
from query.page_cache import PageCache
from query.state_publisher import StatePublishers
from stanzalake.config.settings import Settings
from stanzalake.errors import StanzalakeError
from stanzalake.log.base import Log
from stanzalake.model.position import Sealer
from stanzalake.observability import gc_tuning
from stanzalake.observability.access_log import AccessLog
from stanzalake.observability.metrics import ARCHIVE_SIZE
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.changes import Changes
from stanzalake.store.client import Store

_MEASURE_SECONDS = 60.0
_EMBEDDED_THREADS = 2
"""A page and its count; the engine in the process has the machine's processors to share."""


async def run(settings: Settings, log: Log, store: Store, stop: asyncio.Event) -> None:
    """Answer requests until told to stop.

    Args:
        settings: All settings.
        log: The log, for the processors' commits and for state changes; stays open.
        store: The store, used from the service's own threads; stays open.
        stop: Set to stop the service, which finishes the requests at work.
    """
    sealer = Sealer(settings.id_key_list)
    threads = _EMBEDDED_THREADS if settings.embedded_store else PAGES_AT_ONCE
    reader = ArchiveReader(
        store,
        sealer,
        settings.retention,
        threads=threads,
        sharded=bool(settings.clickhouse_cluster),
        partition_by=settings.partition_by,
    )
    feed = ChangeFeed(Changes(store))
    cache = PageCache(reader, sealer, feed, settings.page_cache_bytes)
    freshness = Freshness(log, settings.freshness_timeout)
    publishers = StatePublishers(log, settings.policy, settings.smart)
    accesses = AccessLog(settings.access_log)
    gc_tuning.tune()
    try:
        async with asyncio.TaskGroup() as group:
            for address in settings.prosody:
                component = Component(settings, address, cache, freshness, publishers, accesses)
                group.create_task(component.run(stop))
            group.create_task(feed.run(stop))
            group.create_task(_measure(reader, stop))
    finally:
        accesses.close()
        await reader.close()


async def _measure(reader: ArchiveReader, stop: asyncio.Event) -> None:
    """Update the metric of the archive's size, as long as the store can measure."""
    while not stop.is_set():
        with suppress(StanzalakeError):
            ARCHIVE_SIZE.set(await reader.size())
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _MEASURE_SECONDS)
