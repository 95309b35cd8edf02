"""Backup and restore of the store, with the steps that follow a restore."""

import asyncio
import re
import shutil
import time
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from stanzalake.config import data_dir
from stanzalake.config.settings import Settings
from stanzalake.errors import BackupIncomplete, NotFound, SettingsError
from stanzalake.log import opening
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP
from stanzalake.log.sqlite_file import PARTITION
from stanzalake.store import migrations
from stanzalake.store.backups import INCOMPLETE, BackupContents, Backups, MadeBackup
from stanzalake.store.changes import EVERYBODY, Changes
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.erasures import Erasures

_LAST_FILE = ".backup"
_HEAD = 4096
_TIMESTAMP = re.compile("<timestamp>(.*?)</timestamp>")
_BASE = re.compile(r"<base_backup>File\('(.*?)'\)</base_backup>")


def make(settings: Settings, name: str, base: str) -> None:
    """Back up the store's tables while services run; raises as `Backups.make` does.

    Args:
        settings: All settings.
        name: The new backup's file name.
        base: Name of the backup that an incremental backup builds on; empty for a full backup.
    """
    _require_single(settings)
    path = _directory(settings) / name
    try:
        with closing(Store.for_admin(settings)) as store:
            size = Backups(store).make(name, base)
        if settings.embedded_store and path.is_dir():
            _require_size(path, size)
    except BackupIncomplete:
        # Without it nobody takes the rest for a backup.
        if settings.embedded_store:
            (path / _LAST_FILE).unlink(missing_ok=True)
        raise


def _require_size(path: Path, size: int) -> None:
    if _size(path) != size:
        raise BackupIncomplete(INCOMPLETE.format(path.name))


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def made(settings: Settings) -> list[MadeBackup]:
    """Return the backups that exist, the oldest first; of a server, those since its start."""
    if settings.embedded_store:
        directory = _directory(settings)
        found = (_read(path) for path in directory.iterdir()) if directory.is_dir() else ()
        return sorted((backup for backup in found if backup is not None), key=lambda b: b.at)
    with closing(Store.for_admin(settings)) as store:
        return Backups(store).made()


def verify(settings: Settings, name: str) -> BackupContents:
    """Read a backup to the end, and return a summary; works beside running services.

    Needs as much disk space as the archive for the time being: in the data directory for the
    embedded store, else in ClickHouse.

    Raises:
        NotFound: There is no such backup.
        StoreRefused: The backup is damaged or incomplete.
    """
    _require_single(settings)
    if not settings.embedded_store:
        with closing(Store.for_admin(settings)) as store:
            return Backups(store).verify(name)
    _require_backup(settings, name)
    scratch = settings.data_dir / "verify"
    with data_dir.hold_data_dir(scratch):
        shutil.rmtree(scratch / "store", ignore_errors=True)
        try:
            return _verify_embedded(settings, scratch / "store", name)
        finally:
            shutil.rmtree(scratch)


def _verify_embedded(settings: Settings, scratch: Path, name: str) -> BackupContents:
    """Restore into an engine of its own, as that of the archive may be another process's."""
    options = {"chdb_options": {"backups.allowed_path": str(_directory(settings).absolute())}}
    with closing(Store(f"chdb://{scratch.absolute()}", settings.store, engine=options)) as store:
        return Backups(store).verify(name)


def _directory(settings: Settings) -> Path:
    return settings.data_dir / "backups"


def _read(path: Path) -> MadeBackup | None:
    """Describe an embedded backup from the head of the file that ClickHouse writes last."""
    try:
        with (path / _LAST_FILE).open() as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    made, base = _TIMESTAMP.search(head), _BASE.search(head)
    if made is None:
        return None
    at = datetime.fromisoformat(made[1]).astimezone(UTC)
    return MadeBackup(path.name, base[1] if base else "", at, _size(path))


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
        await asyncio.to_thread(_announce, settings)
        return erasures


def _restore(settings: Settings, name: str) -> int:
    with closing(Store.for_admin(settings)) as store:
        if name:
            Backups(store).restore(name)
        migrations.apply(store, settings)
        # The backup may hold what was erased since, however long ago.
        Deletion(store, settings.clickhouse_cluster, settings.retention).step(time.time())
        return len(Erasures(store).since(0))


def _announce(settings: Settings) -> None:
    """Have query services that still run drop their copies, before messages are archived again."""
    with closing(Store.for_admin(settings)) as store, Changes(store).announce([EVERYBODY]):
        pass


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
    directory = _directory(settings)
    if settings.embedded_store and not _is_whole(directory / name):
        raise NotFound(f"there is no backup {name} in {directory}")


def _is_whole(path: Path) -> bool:
    """Return whether a backup was made to its end: an archive, or a directory with all files."""
    return path.is_file() or _read(path) is not None


def _require_single(settings: Settings) -> None:
    if settings.clickhouse_cluster:
        raise SettingsError(
            "STANZALAKE_CLICKHOUSE_CLUSTER is set: a cluster is backed up by BACKUP and RESTORE "
            "ON CLUSTER, as docs/backup.md says"
        )
