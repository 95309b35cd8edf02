"""Rooms: the form in which an asker may see a room's messages (XEP-0313 §6.1.2)."""

from collections.abc import Sequence

from query.request import RoomRights
from stanzalake.model.page import Archive, Item
from stanzalake.xmpp import markup
from stanzalake.xmpp.namespaces import MUC_USER
from stanzalake.xmpp.stanza import SEPARATOR, cut, parse

_IDENTITY = f"{MUC_USER}{SEPARATOR}x"
_END = "</message>"


async def visible(items: Sequence[Item], rights: RoomRights, archive: Archive) -> Sequence[Item]:
    """Return a room's messages with the authors' real JIDs that the asker may see now.

    A stored message has the JID only if the room showed it to everybody when it was sent. Then it
    is for everybody as long as the room still does. Moderators see each author's.

    Raises:
        StoreUnavailable: The store did not answer this time.
    """
    if rights.whois == "anyone":
        return items
    if not rights.moderator:
        return [item._replace(stanza=_anonymous(item.stanza)) for item in items]
    authors = await archive.occupants([item.position for item in items])
    return [
        item._replace(stanza=_identified(item.stanza, authors.get(item.position, "")))
        for item in items
    ]


def _anonymous(stanza: str) -> str:
    # Anything else is written without references.
    if MUC_USER not in stanza and "&#" not in stanza:
        return stanza
    _, *children = parse(stanza)
    return cut(stanza, [child for child in children if child.name == _IDENTITY])


def _identified(stanza: str, author: str) -> str:
    if not author or MUC_USER in stanza or not stanza.endswith(_END):
        return stanza
    identity = markup.element("x", {"xmlns": MUC_USER}, markup.element("item", {"jid": author}))
    return stanza.removesuffix(_END) + identity + _END
