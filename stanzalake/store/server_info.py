"""Server facts for `stanzalake check`: version, clock, disk and grants."""

from typing import NamedTuple

from stanzalake.store.client import Store

_INFO = (
    "SELECT version(), toUnixTimestamp64Milli(now64(3)),"
    " filesystemCapacity(), filesystemAvailable()"
)


class ServerInfo(NamedTuple):
    """Version, clock and disk of a server.

    Attributes:
        version: As in `26.3.1.4`.
        now: The server's clock, unix milliseconds.
        capacity: Bytes of the data disk.
        available: Free bytes of the data disk.
    """

    version: str
    now: int
    capacity: int
    available: int


def read(store: Store) -> ServerInfo:
    """Query the server's facts; raises as `Store.select` does."""
    [row] = store.select(_INFO)
    return ServerInfo(*row)


def has_grant(store: Store, privilege: str, table: str) -> bool:
    """Return whether the user has a privilege; raises as `Store.select` does.

    Args:
        store: The store, opened as the user.
        privilege: In the words of `GRANT`.
        table: A table of the store's database.
    """
    [(granted,)] = store.select(f"CHECK GRANT {privilege} ON {table}")
    return bool(granted)
