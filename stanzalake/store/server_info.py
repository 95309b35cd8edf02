"""Inspection: what a store says of itself and of what its user may do. Only reads."""

from typing import NamedTuple

from stanzalake.store.client import Store

_STATE = (
    "SELECT version(), toUnixTimestamp64Milli(now64(3)),"
    " filesystemCapacity(), filesystemAvailable()"
)


class ServerInfo(NamedTuple):
    """What a server says of itself.

    Attributes:
        version: As in `26.3.1.4`.
        now: Its clock, unix milliseconds.
        capacity: Bytes of the disk that its data are on.
        available: Those that it may still take.
    """

    version: str
    now: int
    capacity: int
    available: int


def state(store: Store) -> ServerInfo:
    """Ask the server about itself; raises as `Store.select` does."""
    [row] = store.select(_STATE)
    return ServerInfo(*row)


def exists(store: Store, table: str) -> bool:
    """Tell whether a table is there that this user may see; raises as `Store.select` does."""
    [(there,)] = store.select(f"EXISTS TABLE {table}")
    return bool(there)


def granted(store: Store, right: str, table: str) -> bool:
    """Tell whether the user has a right; raises as `Store.select` does.

    Args:
        store: The store, opened for the user.
        right: As `GRANT` names it.
        table: A table of the store's database.
    """
    [(yes,)] = store.select(f"CHECK GRANT {right} ON {table}")
    return bool(yes)
