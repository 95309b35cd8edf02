"""The version of Stanzalake that last changed the schema, which an older version may misread."""

from importlib.metadata import version

from stanzalake.errors import SchemaAhead
from stanzalake.store.client import Store

_NEWEST = "SELECT number, COLUMNS('^version$') FROM {migrations:Identifier} ORDER BY 1 DESC LIMIT 1"
"""One column only, if a version before this one made the table."""


def current() -> str:
    """Return the version of this program."""
    return version("stanzalake")


def require_near(store: Store) -> None:
    """Return if the schema is of this version, an older one, or the one after this.

    Raises:
        SchemaAhead: The schema is of a later version, whose rows this version may misread.
    """
    for _, *newest in store.select(_NEWEST):
        if newest and not is_near(current(), newest[0]):
            raise SchemaAhead(
                f"the schema of {store.table} is of version {newest[0]}, and this is {current()}: "
                "services work on the schema of the next version at most (docs/upgrading.md)"
            )


def is_near(own: str, schema: str) -> bool:
    """Return whether a version works on the schema of another, as docs/upgrading.md promises.

    Args:
        own: The version of a service, MAJOR.MINOR.PATCH.
        schema: The version that changed the schema; empty if that was not recorded.
    """
    if not schema:
        return True
    (major, minor), (next_major, next_minor) = _parse(own), _parse(schema)
    if major == next_major:
        return next_minor <= minor + 1
    return next_major < major or (next_major, next_minor) == (major + 1, 0)


def _parse(text: str) -> tuple[int, int]:
    major, minor, *_ = text.split(".")
    return int(major), int(minor)
