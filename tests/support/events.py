"""Events for tests."""

from typing import Any

from stanzalake.model.event import VERSION, Message, encode
from stanzalake.model.history import History

JULIET = "juliet@capulet.lit"
ROMEO = "romeo@montague.lit"


def stanza(body: str = "hello", children: str = "") -> str:
    """Give a chat message from Romeo to Juliet."""
    return (
        f"<message xmlns='jabber:client' from='{ROMEO}/orchard' to='{JULIET}' type='chat' id='m'>"
        f"<body>{body}</body>{children}</message>"
    )


def message(position: int, **changes: Any) -> Message:
    """Give a message of Juliet's archive."""
    fields: dict[str, Any] = {
        "v": VERSION,
        "owner": JULIET,
        "position": position,
        "peer": ROMEO,
        "peer_resource": "orchard",
        "direction": "in",
        "kind": "chat",
        "contact": True,
        "stanza": stanza(),
    }
    return Message(**{**fields, **changes})


def encoded(position: int, **changes: Any) -> bytes:
    """Give the bytes of a message of Juliet's archive."""
    return encode(message(position, **changes))


def uncut(_message: Message, history: History) -> History:
    """Give a history that is complete from its first state on."""
    return history
