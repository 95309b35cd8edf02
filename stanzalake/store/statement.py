"""Composition of SELECT statements from fragments, and quoting where parameters do not work."""

from collections.abc import Collection, Mapping, Sequence

MESSAGES = "{messages:Identifier}"
"""The messages table; `Store` binds the names of its tables to every statement."""

NO_PRESENCE = "kind != 'presence'"
"""Condition for messages alone: the presences of a room's occupants are in its archive, too."""


_PARTY = {"peer": "peer = {peer:String}", "resource": "peer_resource = {resource:String}"}


def match_party(peer: str | None, resource: str | None) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return the conditions for messages with a party, and their parameters.

    Args:
        peer: Bare JID; none or empty for all.
        resource: Resource of the party; in a room the author's nick. None or empty for all.
    """
    parameters = {n: v for n, v in (("peer", peer), ("resource", resource)) if v}
    return [_PARTY[name] for name in parameters], parameters


def select(
    columns: str, where: Collection[str] = (), tail: str = "", source: str = MESSAGES
) -> str:
    """Compose a SELECT statement.

    Every fragment is a literal of this package: values and table names travel as parameters.

    Args:
        columns: The expressions to select.
        where: Conditions, all of which apply.
        tail: Clauses after WHERE.
        source: What FROM names: a table with its modifiers, joined tables or a subquery.
    """
    condition = f"WHERE {' AND '.join(where)}" if where else ""
    return f"SELECT {columns} FROM {source} {condition} {tail}"  # noqa: S608  # see the docstring


def literal(text: str) -> str:
    """Quote a string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def identifier(name: str) -> str:
    """Quote an identifier; backticks in it are dropped."""
    return f"`{name.replace('`', '')}`"
