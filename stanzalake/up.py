"""`stanzalake up`: ingest, processor and query in one process, on the embedded log and store."""

import asyncio
import fcntl
import logging
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import ingest.service
import processor.service
import query.service
from archive import migrations
from archive.errors import DataDirInUse, SettingsError
from archive.local_log import LocalLog
from archive.settings import Settings
from archive.store import Store

log = logging.getLogger(__name__)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; what is taken is then in the log, and read again.

    Raises:
        DataDirInUse: Another process serves from the same data directory.
        SettingsError: The data directory cannot be made or written.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop, stop, number)
    with _data_dir(settings.data_dir):
        async with (
            _local_log(settings) as local,
            _store(settings) as writes,
            _store(settings) as reads,
        ):
            _tell(settings)
            await asyncio.to_thread(migrations.apply, writes, settings)
            # The components go first and the processor after them: what they took is archived.
            closing = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(processor.service.run(settings, local, writes, closing))
                await _together(
                    ingest.service.run(settings, local, stop),
                    query.service.run(settings, local, reads, stop),
                )
                closing.set()
    log.info("stopped")


async def _together(*services: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as group:
        for service in services:
            group.create_task(service)


def _stop(stop: asyncio.Event, number: int) -> None:
    log.info("stopping on %s", signal.Signals(number).name)
    stop.set()


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


@asynccontextmanager
async def _local_log(settings: Settings) -> AsyncIterator[LocalLog]:
    local = LocalLog(settings.data_dir / "log.sqlite", settings.log_retention)
    try:
        yield local
    finally:
        await local.close()


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Store]:
    store = await asyncio.to_thread(Store, settings.dsn, settings.store)
    try:
        yield store
    finally:
        await asyncio.to_thread(store.close)


def _tell(settings: Settings) -> None:
    """Say what is served, and which lines Prosody's configuration needs for it."""
    addresses = ", ".join(f"{host}:{port}" for host, port in settings.prosody)
    log.info("archive of %s in %s", ", ".join(settings.hosts), settings.data_dir)
    log.info("no port of its own; connecting to Prosody's component listeners at %s", addresses)
    for line in _prosody_lines(settings):
        log.info("prosody.cfg.lua needs: %s", line)


def _prosody_lines(settings: Settings) -> Iterator[str]:
    for host in settings.hosts:
        yield f'VirtualHost "{host}" with modules_enabled = {{ "stanzalake" }}, without "mam"'
    yield f'stanzalake_ingest = {{ "{settings.ingest_jid}" }}'
    yield f'stanzalake_query = {{ "{settings.query_jid}" }}'
    yield "stanzalake_id_keys = the keys of STANZALAKE_ID_KEYS"
    for jid in (settings.ingest_jid, settings.query_jid):
        yield f'Component "{jid}" with component_secret = STANZALAKE_COMPONENT_SECRET'
