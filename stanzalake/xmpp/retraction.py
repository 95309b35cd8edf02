"""The element that stands for the content of a retracted message (XEP-0424 §4, XEP-0425 §4)."""

from stanzalake.model.event import Tombstone
from stanzalake.model.position import to_milliseconds
from stanzalake.xmpp import dates, markup
from stanzalake.xmpp.namespaces import MODERATION, OCCUPANT_ID, RETRACTION


def retracted(tombstone: Tombstone) -> str:
    """Return the markup of a tombstone: when the message was retracted, by whom and why."""
    values = {
        "xmlns": RETRACTION,
        "id": tombstone.retraction_id or None,
        "stamp": dates.emit(to_milliseconds(tombstone.position)),
        "by": None if tombstone.moderated else tombstone.by,
    }
    return markup.element("retracted", values, _moderated(tombstone), _reason(tombstone))


def _moderated(tombstone: Tombstone) -> str:
    if not tombstone.moderated:
        return ""
    values = {"xmlns": MODERATION, "by": tombstone.by or None}
    return markup.element("moderated", values, _occupant_id(tombstone))


def _occupant_id(tombstone: Tombstone) -> str:
    if not tombstone.by_occupant_id:
        return ""
    values = {"xmlns": OCCUPANT_ID, "id": tombstone.by_occupant_id}
    return markup.element("occupant-id", values)


def _reason(tombstone: Tombstone) -> str:
    if not tombstone.reason:
        return ""
    return markup.element("reason", {}, markup.text(tombstone.reason))
