"""Retention in the store: the horizon of each archive, and the record of the retention.

Every reader and the removal of bytes take the horizon from here.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from stanzalake.model.position import seconds_ago
from stanzalake.model.retention import Retention
from stanzalake.store.client import Store
from stanzalake.store.statement import literal, select

_SUFFIX = "_retention"
_HOST = "splitByChar('@', owner)[-1]"
_HOST_IN_VIEW = "splitByChar('@', message.owner)[-1]"
_NEWEST = "ORDER BY made_at DESC LIMIT 1"
OWN_HORIZON = """greatest(
    horizon,
    if(
        seconds = 0,
        0,
        toUInt64(greatest(toInt64(toUnixTimestamp(now('UTC'))) - toInt64(seconds), 0)) * 65536000
    )
)"""
"""Expression for a row of own retention: the position below which its owner has no messages now."""
NEVER = 10**12
"""Seconds in a view that no message is old."""


class Horizon(NamedTuple):
    """The lowest position that is kept in the archive of a row.

    Attributes:
        expression: Of the column ``owner``.
        parameters: Values of its parameters.
    """

    expression: str
    parameters: Mapping[str, Any]


def horizon(retention: Retention, now: float, prefix: str = "") -> Horizon:
    """Return the horizon of a retention.

    Args:
        retention: The retention.
        now: Unix time in seconds.
        prefix: Of the parameters' names, for a statement with several horizons.
    """
    names = ("horizon:UInt64", "hosts:Array(String)", "horizons:Array(UInt64)")
    default, hosts, horizons = (f"{{{prefix}{name}}}" for name in names)
    parameters: dict[str, Any] = {f"{prefix}horizon": seconds_ago(retention.default, now)}
    if not retention.hosts:
        return Horizon(default, parameters)
    parameters[f"{prefix}hosts"] = list(retention.hosts)
    parameters[f"{prefix}horizons"] = [seconds_ago(s, now) for s in retention.hosts.values()]
    return Horizon(f"transform({_HOST}, {hosts}, {horizons}, {default})", parameters)


def seconds(retention: Retention) -> str:
    """Return the expression for the seconds that a message of a view is kept."""
    default = _seconds(retention.default)
    if not retention.hosts:
        return str(default)
    hosts = ", ".join(map(literal, retention.hosts))
    periods = ", ".join(str(_seconds(period)) for period in retention.hosts.values())
    return f"transform({_HOST_IN_VIEW}, [{hosts}], [{periods}], {default})"


def _seconds(period: int | None) -> int:
    return NEVER if period is None else period


class _Row(NamedTuple):
    retention: str


class RetentionRecord:
    """The retention by which bytes are removed: the longest that no operator has shortened.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self) -> Retention | None:
        """Return the recorded retention, if there is one.

        Raises:
            StoreUnavailable: No answer; may work later.
        """
        rows = self._store.select(
            select("retention", tail=_NEWEST, source="{retention:Identifier}")
        )
        return msgspec.json.decode(rows[0][0], type=Retention) if rows else None

    def write(self, retention: Retention) -> None:
        """Record a retention, unless recorded already; raises as `read` does."""
        if retention != self.read():
            self._insert(retention)

    def extend(self, retention: Retention) -> Retention:
        """Record where a retention is longer than the recorded one; raises as `read` does.

        Returns:
            The retention that is recorded now.
        """
        recorded = self.read()
        longest = retention if recorded is None else recorded.longest(retention)
        if longest != recorded:
            self._insert(longest)
        return longest

    def _insert(self, retention: Retention) -> None:
        self._store.insert([_Row(msgspec.json.encode(retention).decode())], _SUFFIX)
