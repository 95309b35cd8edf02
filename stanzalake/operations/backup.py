"""Backup and restore: the store's copies, and what has to follow a restore."""

import asyncio
from contextlib import nullcontext

from stanzalake.config import data_dir
from stanzalake.config.settings import Settings
from stanzalake.errors import SettingsError
from stanzalake.log import opening
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP
from stanzalake.log.kafka import admin as kafka_admin
from stanzalake.log.sqlite import PARTITION
from stanzalake.store import migrations
from stanzalake.store.backups import Backups
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.erasures import Erasures


def make(settings: Settings, name: str, base: str) -> None:
    """Copy the store's tables, beside services that are running; raises as `Backups.make` does.

    Args:
        settings: All settings.
        name: Of the new backup; a file name.
        base: Of the older one that it adds to; empty for none.
    """
    _require_single(settings)
    store = Store.for_admin(settings)
    try:
        Backups(store).make(name, base)
    finally:
        store.close()


async def restore(settings: Settings, name: str) -> int:
    """Put a backup beside what is in the store, and let what is newer win.

    The schema is brought up to date, erasures that are known, of the store or of the backup, are
    carried out again, and the log is read again from its beginning.

    Args:
        settings: All settings.
        name: Of the backup; empty if it was put back by other means.

    Returns:
        The number of erasures that are known.

    Raises:
        DataDirInUse: A process uses the embedded store or log.
        LogRefused: Processors are running.
        StoreRefused: There is no such backup, or it does not fit.
    """
    embedded = settings.embedded_store or not settings.kafka_bootstrap_servers
    with data_dir.hold_data_dir(settings.data_dir) if embedded else nullcontext():
        erasures = await asyncio.to_thread(_restored, settings, name)
        await _read_again(settings)
        return erasures


def _restored(settings: Settings, name: str) -> int:
    store = Store.for_admin(settings)
    try:
        if name:
            _require_single(settings)
            Backups(store).restore(name)
        migrations.apply(store, settings)
        erasures = Erasures(store).since(0)
        Deletion.of(store, settings).erase(erasures)
        return len(erasures)
    finally:
        store.close()


async def _read_again(settings: Settings) -> None:
    if settings.kafka_bootstrap_servers:
        names = (settings.kafka_topic_prefix + name for name in (EVENTS, PROCESSOR_GROUP))
        await kafka_admin.reset_to_earliest(opening.client_arguments(settings), *names)
        return
    async with opening.open_log(settings) as log:
        consumer = await log.consumer(EVENTS, PROCESSOR_GROUP)
        await consumer.commit({PARTITION: 0})


def _require_single(settings: Settings) -> None:
    if settings.clickhouse_cluster:
        raise SettingsError(
            "STANZALAKE_CLICKHOUSE_CLUSTER is set: a cluster is backed up by BACKUP and RESTORE "
            "ON CLUSTER, as docs/backup.md says"
        )
