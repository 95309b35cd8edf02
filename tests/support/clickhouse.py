"""A ClickHouse with the users that the project ships, and stores on it."""

import re
from pathlib import Path

from devstack.clickhouse import ClickHouse
from stanzalake.config.settings import Settings
from stanzalake.store import migrations
from stanzalake.store.client import Store
from tests.support import settings
from tests.support.documents import ROOT

USERS = ROOT / "deploy" / "clickhouse" / "users.xml"
PASSWORDS = {
    "STANZALAKE_PROCESSOR_PASSWORD": "p/r@o:c#",
    "STANZALAKE_QUERY_PASSWORD": "query's",
    "STANZALAKE_ADMIN_PASSWORD": "admin",
}


def for_the_engine(users: str) -> str:
    """Give a file of users without what an engine in the process cannot be told.

    It has no access_control_improvements, without which changeable_in_readonly is refused.
    """
    bounded = users.replace("<changeable_in_readonly/>", "")
    return re.sub(r"<(\w+)></\1>", "", bounded)


def load(dsn: str, **changes: str) -> Settings:
    """Load the settings of an archive on a server, which keeps messages for ever."""
    return settings.load(
        STANZALAKE_CLICKHOUSE_DSN=dsn, **{"PROSODY_ARCHIVE_EXPIRES_AFTER": "never", **changes}
    )


def guarded(directory: Path) -> ClickHouse:
    """Give a server, not started yet, that has the shipped users only."""
    return ClickHouse(directory=directory, users=USERS, environment=PASSWORDS)


def migrated(dsn: str, **changes: str) -> Store:
    """Open a store with its schema up to date."""
    values = load(dsn, **changes)
    store = Store.for_admin(values)
    migrations.apply(store, values)
    return store


def dsn_of(server: ClickHouse, user: str) -> str:
    """Give the DSN of one of the shipped users: admin, processor, query."""
    return server.dsn(f"stanzalake_{user}", PASSWORDS[f"STANZALAKE_{user.upper()}_PASSWORD"])
