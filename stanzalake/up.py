"""`stanzalake up`: ingest, processor and query in one process; log and store embedded or not."""

import asyncio
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import ingest.service
import processor.service
import query.service
from archive import health, logs, migrations
from archive.errors import DataDirInUse, SettingsError
from archive.settings import Settings
from archive.store import Store
from stanzalake.services import opened_store, together, until_stopped

log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; what is taken is then in the log, and read again.

    Raises:
        DataDirInUse: Another process serves from the same data directory.
        SettingsError: The data directory cannot be made or written.
    """
    embedded = settings.embedded_store or not settings.kafka_bootstrap_servers
    with _data_dir(settings.data_dir) if embedded else nullcontext():
        await until_stopped(partial(_serve, settings))


async def _serve(settings: Settings, stop: asyncio.Event) -> None:
    async with (
        health.served(settings.http),
        logs.opened(settings) as events,
        opened_store(settings) as writes,
        opened_store(settings) as reads,
    ):
        _tell(settings)
        await asyncio.to_thread(migrate, settings)
        # The components go first and the processor after them: what they took is archived.
        closing = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(processor.service.run(settings, events, writes, closing))
            await together(
                ingest.service.run(settings, events, stop),
                query.service.run(settings, events, reads, stop),
            )
            closing.set()


def migrate(settings: Settings) -> list[str]:
    """Bring the store's schema up to date, and give the names of what was missing."""
    store = Store.for_admin(settings)
    try:
        return migrations.apply(store, settings)
    finally:
        store.close()


@contextmanager
def _data_dir(path: Path) -> Iterator[None]:
    """Hold the data directory, which one process at a time may write."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(
            f"STANZALAKE_DATA_DIR={path} cannot be used: {error.strerror}"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DataDirInUse(
            f"{path} is in use by another stanzalake up: stop that one, "
            "or set STANZALAKE_DATA_DIR to another directory"
        ) from None
    finally:
        os.close(handle)


def _tell(settings: Settings) -> None:
    """Say what is served, and which lines Prosody's configuration needs for it."""
    addresses = ", ".join(f"{host}:{port}" for host, port in settings.prosody)
    log.info("archive of %s", ", ".join(settings.hosts))
    for kept in _places(settings):
        log.info("%s", kept)
    log.info("no port of its own; connecting to Prosody's component listeners at %s", addresses)
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
    yield f'stanzalake_ingest = {{ "{settings.ingest_jid}" }}'
    yield f'stanzalake_query = {{ "{settings.query_jid}" }}'
    yield "stanzalake_id_keys = the keys of STANZALAKE_ID_KEYS"
    for jid in (settings.ingest_jid, settings.query_jid):
        yield f'Component "{jid}" with component_secret = STANZALAKE_COMPONENT_SECRET'
