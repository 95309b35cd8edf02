"""Rooms: the form in which an asker may see a room's messages."""

from query.request import RoomRights
from stanzalake.xmpp.namespaces import MUC_USER
from stanzalake.xmpp.stanza import SEPARATOR, cut, parse

_IDENTITY = f"{MUC_USER}{SEPARATOR}x"


def view(stanza: str, rights: RoomRights) -> str:
    """Return a stored message without its author's real JID, unless the asker may see that now.

    The stanza has the JID only if the room showed it to everybody when the message was sent.
    """
    if rights.whois == "anyone" or rights.moderator:
        return stanza
    # Anything else is written without references.
    if MUC_USER not in stanza and "&#" not in stanza:
        return stanza
    _, *children = parse(stanza)
    return cut(stanza, [child for child in children if child.name == _IDENTITY])
