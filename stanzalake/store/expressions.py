"""ClickHouse expressions over the column ``stanza``, for statements and for the schema."""

from importlib import resources

MUC_USER = "http://jabber.org/protocol/muc#user"
"""Namespace of a child by which a room marks a private message of an occupant (XEP-0045)."""

_FILES = resources.files("stanzalake.store") / "migrations"
_OPENS = "tag -> multiIf(tag = '', 0, startsWith(tag, '/'), -1, match(tag, '^[^>]*/>'), 0, 1)"
"""By how much a tag, from behind its "<", changes the depth."""


def _read(name: str, **fragments: str) -> str:
    text = (_FILES / f"{name}.sql").read_text()
    for fragment, expression in fragments.items():
        text = text.replace(f"{{{fragment}}}", expression)
    return text


def id_of(tag: str) -> str:
    """Return an expression for the id attribute of a tag; empty if there is none."""
    pattern = r"""'\\sid=(?:"([^"]*)"|''([^'']*)'')'"""
    return f"decodeXMLComponent(arrayStringConcat(extractGroups({tag}, {pattern})))"


def attribute(tag: str, name: str) -> str:
    """Return an expression for an attribute of a tag; whole attributes are skipped before it."""
    value = """("[^"]*"|\\'[^\\']*\\')"""
    before = value.replace("(", "(?:")
    pattern = f"^[^\\\\s>]+(?:\\\\s+[^\\\\s=>]+={before})*?\\\\s+{name}={value}"
    return f"decodeXMLComponent(trim(BOTH '\\'\"' FROM extract({tag}, '{pattern}')))"


def is_child(tag: str, name: str, namespace: str) -> str:
    """Return a condition for the start tag of a child: its name and its own xmlns."""
    return f"match({tag}, '^{name}(\\\\s|/|$)') AND {attribute(tag, 'xmlns')} = '{namespace}'"


START = "extract(stanza, '^[^>]*')"
"""Expression for the start tag of a stanza, without ">"."""

BODY = _read("body", opens=_OPENS)
"""Expression for the text of a message's body."""

THREAD = BODY.replace("body", "thread")
"""Expression for the text of a message's thread."""

CHILDREN = _read("children", opens=_OPENS)
"""Expression for the start tags of a stanza's children."""

ENCRYPTION = _read("encryption", children=CHILDREN, body=BODY)
"""Expression for the scheme of a message's encrypted payload; empty without any."""

TRAITS = _read("traits", encryption=ENCRYPTION, children=CHILDREN, body=BODY)
"""Expression for the kinds of a message's content, the bits of `Trait`."""

MESSAGE_ID = id_of(START)
"""Expression for a message's own id; empty without one."""

OF_OCCUPANT = f"arrayExists(tag -> {is_child('tag', 'x', MUC_USER)}, {CHILDREN})"
"""Condition for what an occupant sent through a room (XEP-0045): the room marks it."""
