"""Backup and restore of the store, with the steps that follow a restore."""

import asyncio
import time
from contextlib import nullcontext

from stanzalake.config import data_dir
from stanzalake.config.settings import Settings
from stanzalake.errors import NotFound, SettingsError
from stanzalake.log import opening
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP
from stanzalake.log.sqlite_file import PARTITION
from stanzalake.store import migrations
from stanzalake.store.backups import Backups
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.erasures import Erasures


def make(settings: Settings, name: str, base: str) -> None:
    """Back up the store's tables while services run; raises as `Backups.make` does.

    Args:
        settings: All settings.
        name: The new backup's file name.
        base: Name of the backup that an incremental backup builds on; empty for a full backup.
    """
    _require_single(settings)
    store = Store.for_admin(settings)
    try:
        Backups(store).make(name, base)
    finally:
        store.close()


async def restore(settings: Settings, name: str) -> int:
    """Merge a backup into the store, then archive the log again from its start.

    In between, migrations are applied, and so are the erasures recorded in the store or the
    backup.

    Args:
        settings: All settings.
        name: The backup; empty if ClickHouse's own tools have restored the tables.

    Returns:
        The number of erasures applied.

    Raises:
        DataDirInUse: A process uses the embedded store or log.
        LogRefused: Processors are running.
        NotFound: No such backup.
        StoreRefused: The backup is incompatible.
    """
    if name:
        _require_single(settings)
        _require_backup(settings, name)
    embedded = settings.embedded_store or not settings.kafka_bootstrap_servers
    with data_dir.hold_data_dir(settings.data_dir) if embedded else nullcontext():
        erasures = await asyncio.to_thread(_restore, settings, name)
        await _rewind(settings)
        return erasures


def _restore(settings: Settings, name: str) -> int:
    store = Store.for_admin(settings)
    try:
        if name:
            Backups(store).restore(name)
        migrations.apply(store, settings)
        # The backup may hold what was erased since, however long ago.
        Deletion(store, settings.clickhouse_cluster).step(time.time())
        return len(Erasures(store).since(0))
    finally:
        store.close()


async def _rewind(settings: Settings) -> None:
    """Reset the processors' offsets to the start of the log."""
    if settings.kafka_bootstrap_servers:
        # aiokafka takes longer to load than most commands take to run.
        from stanzalake.log.kafka import admin, connection  # noqa: PLC0415

        names = (settings.kafka_topic_prefix + name for name in (EVENTS, PROCESSOR_GROUP))
        await admin.reset_to_earliest(connection.client_arguments(settings), *names)
        return
    async with opening.open_log(settings) as log:
        consumer = await log.consumer(EVENTS, PROCESSOR_GROUP)
        await consumer.commit({PARTITION: 0})


def _require_backup(settings: Settings, name: str) -> None:
    """Require a backup of the embedded store, before a store is created to restore it into."""
    directory = settings.data_dir / "backups"
    if settings.embedded_store and not (directory / name).exists():
        raise NotFound(f"there is no backup {name} in {directory}")


def _require_single(settings: Settings) -> None:
    if settings.clickhouse_cluster:
        raise SettingsError(
            "STANZALAKE_CLICKHOUSE_CLUSTER is set: a cluster is backed up by BACKUP and RESTORE "
            "ON CLUSTER, as docs/backup.md says"
        )
