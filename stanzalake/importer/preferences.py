"""Preferences of another archive, ordered before all preferences that their owner sets here."""

from typing import Final

import msgspec

from stanzalake.errors import InvalidEvent
from stanzalake.importer.source import ArchivedPreferences
from stanzalake.model.event import VERSION, Preferences
from stanzalake.model.history import History
from stanzalake.model.position import from_milliseconds

_BEFORE_ALL: Final = from_milliseconds(1)
"""Imported preferences have positions below this, in the order of the imports."""


def to_event(archived: ArchivedPreferences) -> Preferences:
    """Convert archived preferences to an event with the first of all positions.

    Raises:
        InvalidEvent: A list is too long, or has an entry that is not a JID.
    """
    fields = archived._asdict()
    del fields["place"]
    try:
        return msgspec.convert(
            {"type": "preferences", "v": VERSION, "position": 1, **fields}, Preferences
        )
    except msgspec.ValidationError as error:
        raise InvalidEvent(str(error)) from None


def append(history: History, imported: Preferences) -> Preferences | None:
    """Position preferences after those imported before.

    Args:
        history: The owner's preferences in the store, oldest first.
        imported: The preferences to import.

    Returns:
        None if the latest import had the same preferences.
    """
    earlier = [state for state in history if state.position < _BEFORE_ALL]
    if not earlier:
        return imported
    last = earlier[-1].position
    if msgspec.structs.replace(imported, position=last) == earlier[-1]:
        return None
    return msgspec.structs.replace(imported, position=last + 1)
