"""Configuration of an embedded engine that analysts may query, for every process that opens it."""

from collections.abc import Sequence
from pathlib import Path

from stanzalake.store.dictionary import VIEWS, VIEWS_OF_DAYS, VIEWS_OF_MONTHS

USER = "stanzalake_analyst"

_CONFIG = """\
<clickhouse>
    <users_config>{users}</users_config>
</clickhouse>
"""
_ALL = "has(currentRoles(), 'stanzalake_all')"
# System tables that show the statements of others.
_HIDDEN = "".join(
    f"<{table}><filter>{_ALL}</filter></{table}>"
    for table in ("processes", "errors", "asynchronous_inserts", "query_cache", "mutations")
)
_USERS = """\
<clickhouse>
    <users><default>
        <password></password>
        <networks><ip>::1</ip><ip>127.0.0.1</ip></networks>
        <profile>default</profile>
        <quota>default</quota>
        <databases><system>{hidden}</system></databases>
        <grants><query>GRANT stanzalake_all</query><query>GRANT {user}</query></grants>
    </default></users>
    <roles>
        <stanzalake_all><grants><query>GRANT ALL ON *.*</query></grants></stanzalake_all>
        <{user}><grants>{grants}</grants></{user}>
    </roles>
    <profiles><default/></profiles>
    <quotas><default/></quotas>
</clickhouse>
"""


def configure(directory: Path, table: str) -> Path:
    """Write the configuration of an engine that analysts may query; return its file.

    Args:
        directory: Where the files are put; made if missing.
        table: Name of the messages table.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    names = (f"{table}_{view}" for view in _readable())
    grants = "".join(f"<query>GRANT SELECT ON default.{name}</query>" for name in names)
    users, config = directory / "users.xml", directory / "config.xml"
    users.write_text(_USERS.format(hidden=_HIDDEN, user=USER, grants=grants))
    config.write_text(_CONFIG.format(users=users))
    return config


def _readable() -> Sequence[str]:
    """Return the views of analysts and the views below them."""
    views = (view for view in VIEWS if view != "bodies")
    computed = (f"{view}_computed" for view in (*VIEWS_OF_DAYS, *VIEWS_OF_MONTHS))
    return [*views, *computed, "dirty", "dirty_months", "dirty_traffic"]
