"""The store: reachable, recent enough, migrated, consistent with the settings, rights granted."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from urllib.parse import unquote, urlsplit

from stanzalake.config.settings import Settings
from stanzalake.doctor import clock, data_dir
from stanzalake.doctor.finding import Finding, fault, fine, unknown, warning
from stanzalake.errors import SchemaAhead, SchemaBehind, StoreDenied, StoreRefused, StoreUnavailable
from stanzalake.store import migrations, server_info
from stanzalake.store.client import Store
from stanzalake.store.deletion import Deletion
from stanzalake.store.migrations import Target
from stanzalake.store.partitions import Partitions
from stanzalake.store.server_info import ServerInfo

SUBJECT = "store"

OLDEST = (25, 3)
"""The oldest supported ClickHouse, an LTS release."""

_MIGRATE = "run stanzalake migrate, as the administrator of STANZALAKE_CLICKHOUSE_ADMIN_DSN"
_UPGRADE = "upgrade this service: docs/upgrading.md says in which order"
_PROCESSOR = (
    ("INSERT", "{}"),
    ("INSERT", "{}_preferences"),
    ("SELECT", "{}_preferences"),
    ("SELECT", "{}_erasures"),
    ("SELECT", "{}_erased"),
    ("INSERT", "{}_tombstones"),
    ("SELECT", "{}_tombstones"),
    ("SELECT", "{}_retracted"),
    ("SELECT", "{}_migrations"),
    ("SELECT", "{}_retention"),
    ("INSERT", "{}_retention"),
    ("SELECT", "{}_traffic"),
    ("SELECT", "{}_recent_traffic"),
    ("SELECT", "system.mutations"),
    ("ALTER DELETE", "{}"),
    ("ALTER DELETE", "{}_preferences"),
    ("ALTER DELETE", "{}_tombstones"),
    ("ALTER UPDATE(stanza)", "{}"),
)
_QUERY = (
    ("SELECT", "{}"),
    ("SELECT", "{}_preferences"),
    ("SELECT", "{}_erasures"),
    ("SELECT", "{}_erased"),
    ("SELECT", "{}_tombstones"),
    ("SELECT", "{}_migrations"),
)
_RIGHTS: Mapping[str, Sequence[tuple[str, str]]] = {
    "processor": _PROCESSOR,
    "query": _QUERY,
    "up": (*_PROCESSOR, *_QUERY),
}
"""Privileges that each service needs; {} stands for the name of the messages table."""

_ADMIN = ("ALTER TABLE", "CREATE TABLE", "CREATE VIEW")


def checker(service: str) -> Callable[[Settings], Awaitable[Sequence[Finding]]]:
    """Return the check of a service that uses the store."""

    async def check(settings: Settings) -> Sequence[Finding]:
        return await asyncio.to_thread(lambda: list(_check(settings, service)))

    return check


_UNAVAILABLE = (
    "start ClickHouse, or set STANZALAKE_CLICKHOUSE_DSN to where it is (and its port for HTTP, "
    "8123)"
)
_DENIED = (
    "set the user and password of the DSN right; deploy/clickhouse/users.xml has the users and "
    "what they are granted"
)
_REFUSED = "if the database is missing: CREATE DATABASE; else look at ClickHouse's log"


def _check(settings: Settings, service: str) -> Iterator[Finding]:
    directory = settings.store_dir
    if directory is not None and not directory.is_dir():
        yield fine(SUBJECT, f"{directory} is not there yet: stanzalake up makes it")
        return
    if settings.embedded_store and not data_dir.usable(settings):
        yield unknown(SUBJECT, "it is not opened: see the data directory")
        return
    try:
        with closing(Store.of(settings)) as store:
            yield from _server(store, settings, service)
        if service == "up":
            with closing(Store.for_admin(settings)) as store:
                yield from _admin_rights(store, settings)
    except StoreUnavailable as error:
        yield fault(SUBJECT, str(error), _UNAVAILABLE)
    except StoreDenied as error:
        yield fault(SUBJECT, str(error), _DENIED)
    except StoreRefused as error:
        yield fault(SUBJECT, str(error), _REFUSED)


def _server(store: Store, settings: Settings, service: str) -> Iterator[Finding]:
    before = time.time_ns()
    state = server_info.read(store)
    after = time.time_ns()
    user = _user(settings.dsn)
    yield _version(state, user)
    if not settings.embedded_store:
        here = (before + after) // 2_000_000
        yield clock.check(SUBJECT, state.now - here, (after - before) // 2_000_000)
        yield data_dir.disk(SUBJECT, state.capacity, state.available)
    yield from _schema(store, settings)
    yield from _rights(store, service, user)


def _retention(store: Store, settings: Settings) -> Iterator[Finding]:
    waiting = Deletion.of(store, settings).waiting(time.time()).total
    if waiting:
        yield warning(
            f"{SUBJECT}, retention",
            f"it was shortened: {waiting:,} messages are hidden, but not removed",
            "if they may be removed for good, run stanzalake expire; else set "
            "PROSODY_ARCHIVE_EXPIRES_AFTER and STANZALAKE_EXPIRE_HOSTS as they were",
        )


def _version(state: ServerInfo, user: str) -> Finding:
    major, minor, *_ = (int(part) for part in state.version.split("."))
    if (major, minor) < OLDEST:
        return fault(
            SUBJECT,
            f"ClickHouse {state.version} is too old",
            f"upgrade it to {OLDEST[0]}.{OLDEST[1]} or newer",
        )
    return fine(SUBJECT, f"ClickHouse {state.version} lets {user} in")


def _schema(store: Store, settings: Settings) -> Iterator[Finding]:
    subject = f"{SUBJECT}, schema"
    report = warning if settings.embedded_store else fault
    try:
        migrations.check(store)
    except SchemaBehind as error:
        yield report(subject, str(error), _MIGRATE)
        return
    except SchemaAhead as error:
        yield fault(subject, str(error), _UPGRADE)
        return
    except StoreDenied:
        yield unknown(subject, "this user may not see which migrations are applied")
        return
    yield fine(subject, "up to date")
    for change in migrations.pending_changes(store, settings):
        yield warning(
            subject, f"{store.table} is not as the settings say: {change} is due", _MIGRATE
        )
    yield from _partitions(store, settings)
    yield from _retention(store, settings)


def _partitions(store: Store, settings: Settings) -> Iterator[Finding]:
    partitions = Partitions(store, Target.of(store, settings))
    if partitions.is_due():
        yield warning(
            f"{SUBJECT}, partitions",
            f"{store.table} is partitioned by {partitions.current()}, or a change to "
            f"{settings.partition_by} was interrupted",
            "run stanzalake repartition, or set STANZALAKE_PARTITION_BY as it was",
        )


def _rights(store: Store, service: str, user: str) -> Iterator[Finding]:
    needed = [(right, table.format(store.table)) for right, table in _RIGHTS[service]]
    lacking = [
        f"{right} ON {table}"
        for right, table in dict.fromkeys(needed)
        if not server_info.has_grant(store, right, table)
    ]
    yield _granted(f"{SUBJECT}, rights", user, lacking)


def _admin_rights(store: Store, settings: Settings) -> Iterator[Finding]:
    lacking = [
        f"{right} ON {store.table}"
        for right in _ADMIN
        if not server_info.has_grant(store, right, store.table)
    ]
    name = "STANZALAKE_CLICKHOUSE_ADMIN_DSN" if settings.clickhouse_admin_dsn else "its only user"
    yield _granted(f"{SUBJECT}, rights of {name}", _user(settings.admin_dsn), lacking)


def _granted(subject: str, user: str, lacking: Sequence[str]) -> Finding:
    if not lacking:
        return fine(subject, f"{user} may do all that is needed")
    return fault(
        subject,
        f"{user} lacks {', '.join(lacking)}",
        f"GRANT {'; GRANT '.join(f'{right} TO {user}' for right in lacking)}; or use the users of "
        "deploy/clickhouse/users.xml, each for its own service (--service)",
    )


def _user(dsn: str) -> str:
    return unquote(urlsplit(dsn).username or "default")
