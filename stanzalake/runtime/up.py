"""`stanzalake up`: ingest, processor and query in a single process."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial

import ingest.service
import processor.service
import query.service
from stanzalake.config import data_dir
from stanzalake.config.settings import Settings
from stanzalake.log import opening
from stanzalake.log.base import Log
from stanzalake.observability import health
from stanzalake.operations.archive import migrate
from stanzalake.runtime.services import STOP_ALL_SECONDS, open_store, run_all, until_stopped
from stanzalake.runtime.survey import surveyor
from stanzalake.store.chdb import analysts, sharing
from stanzalake.store.client import Store

_Resources = tuple[Log, Store, Store]

log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Events that are not archived by then stay in the log.

    Raises:
        DataDirInUse: Another process uses the data directory.
        SettingsError: The data directory cannot be created or written.
    """
    embedded = settings.embedded_store or not settings.kafka_bootstrap_servers
    with data_dir.hold_data_dir(settings.data_dir) if embedded else nullcontext():
        await until_stopped(_open(settings), partial(_serve, settings), STOP_ALL_SECONDS)


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[_Resources]:
    """Open the log and the store, the latter twice, with its schema up to date."""
    async with (
        health.serve_health(settings.http) as reporter,
        opening.open_log(settings) as events,
        open_store(settings) as writes,
        open_store(settings) as reads,
    ):
        _log_configuration(settings)
        await asyncio.to_thread(migrate, settings)
        reporter.survey = surveyor(settings, reads, settings.query_jid)
        yield events, writes, reads


async def _serve(settings: Settings, resources: _Resources, stop: asyncio.Event) -> None:
    events, writes, reads = resources
    # The processor stops last, to archive the events that the components have accepted.
    closing = asyncio.Event()
    async with _shared(settings), _analysts(settings), asyncio.TaskGroup() as group:
        group.create_task(processor.service.run(settings, events, writes, closing))
        await run_all(
            ingest.service.run(settings, events, stop),
            query.service.run(settings, events, reads, stop),
        )
        closing.set()


def _shared(settings: Settings) -> AbstractAsyncContextManager[None]:
    """Let other commands use the embedded store, which only this process can open."""
    if settings.store_dir is None:
        return nullcontext()
    return sharing.share_store(settings.data_dir, settings.store_dir)


def _analysts(settings: Settings) -> AbstractAsyncContextManager[None]:
    """Serve the views of the embedded store to analysts, if the settings say where."""
    if settings.store_dir is None or settings.analyst_password is None or not settings.analysts:
        return nullcontext()
    [address] = settings.analysts
    password = settings.analyst_password.get_secret_value()
    return analysts.serve_analysts(address, password, settings.store_dir)


def _log_configuration(settings: Settings) -> None:
    """Log what is served, and the lines that Prosody's configuration needs."""
    addresses = ", ".join(f"{host}:{port}" for host, port in settings.prosody)
    log.info("archive of %s", ", ".join(settings.hosts))
    for location in _locations(settings):
        log.info("%s", location)
    log.info("connecting to Prosody's component listeners at %s", addresses)
    for line in _prosody_lines(settings):
        log.info("prosody.cfg.lua needs: %s", line)


def _locations(settings: Settings) -> Iterator[str]:
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
