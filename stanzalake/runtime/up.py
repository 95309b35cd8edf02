"""`stanzalake up`: ingest, processor and query in one process; log and store embedded or not."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

import ingest.service
import processor.service
import query.service
from stanzalake.config import data_dir
from stanzalake.config.settings import Settings
from stanzalake.log import opening
from stanzalake.observability import health
from stanzalake.runtime.services import opened_store, together, until_stopped
from stanzalake.store import migrations
from stanzalake.store.chdb import sharing
from stanzalake.store.client import Store

log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; what is taken is then in the log, and read again.

    Raises:
        DataDirInUse: Another process serves from the same data directory.
        SettingsError: The data directory cannot be made or written.
    """
    embedded = settings.embedded_store or not settings.kafka_bootstrap_servers
    with data_dir.hold_data_dir(settings.data_dir) if embedded else nullcontext():
        await until_stopped(partial(_serve, settings))


async def _serve(settings: Settings, stop: asyncio.Event) -> None:
    async with (
        health.serve_health(settings.http),
        opening.open_log(settings) as events,
        opened_store(settings) as writes,
        opened_store(settings) as reads,
    ):
        _tell(settings)
        await asyncio.to_thread(migrate, settings)
        # The components go first and the processor after them: what they took is archived.
        closing = asyncio.Event()
        async with _shared(settings), asyncio.TaskGroup() as group:
            group.create_task(processor.service.run(settings, events, writes, closing))
            await together(
                ingest.service.run(settings, events, stop),
                query.service.run(settings, events, reads, stop),
            )
            closing.set()


def _shared(settings: Settings) -> AbstractAsyncContextManager[None]:
    """Share an embedded store, which only this process can open, with the other commands."""
    if settings.store_dir is None:
        return nullcontext()
    return sharing.share_store(settings.data_dir, settings.store_dir)


def migrate(settings: Settings) -> list[str]:
    """Bring the store's schema up to date, and give the names of what was missing."""
    store = Store.for_admin(settings)
    try:
        return migrations.apply(store, settings)
    finally:
        store.close()


def _tell(settings: Settings) -> None:
    """Say what is served, and which lines Prosody's configuration needs for it."""
    addresses = ", ".join(f"{host}:{port}" for host, port in settings.prosody)
    log.info("archive of %s", ", ".join(settings.hosts))
    for kept in _places(settings):
        log.info("%s", kept)
    log.info("connecting to Prosody's component listeners at %s", addresses)
    for line in _prosody_lines(settings):
        log.info("prosody.cfg.lua needs: %s", line)


def _places(settings: Settings) -> Iterator[str]:
    brokers = ", ".join(f"{host}:{port}" for host, port in settings.kafka_bootstrap_servers)
    yield f"the log is Kafka at {brokers}" if brokers else f"the log is in {settings.data_dir}"
    if settings.embedded_store:
        yield f"the store is in {settings.data_dir}"
    else:
        yield "the store is the server of STANZALAKE_CLICKHOUSE_DSN"


def _prosody_lines(settings: Settings) -> Iterator[str]:
    for host in settings.hosts:
        yield f'VirtualHost "{host}" with modules_enabled = {{ "stanzalake" }}, without "mam"'
    yield 'storage = { archive = "stanzalake" }, so that an account takes its archive along'
    yield f'stanzalake_ingest = {{ "{settings.ingest_jid}" }}'
    yield f'stanzalake_query = {{ "{settings.query_jid}" }}'
    yield "stanzalake_id_keys = the keys of STANZALAKE_ID_KEYS"
    for jid in (settings.ingest_jid, settings.query_jid):
        yield f'Component "{jid}" with component_secret = STANZALAKE_COMPONENT_SECRET'
