"""Wishes: preferences of another archive, put before everything that their owner says to us."""

from typing import Final

import msgspec

from stanzalake.errors import InvalidEvent
from stanzalake.importer.source import Wished
from stanzalake.model.event import VERSION, Preferences
from stanzalake.model.history import History
from stanzalake.model.position import from_milliseconds

_BEFORE_ALL: Final = from_milliseconds(1)
"""Imported preferences have positions below this one, in the order of the imports."""


def read(wished: Wished) -> Preferences:
    """Give the event that a wish would have been, the first of all.

    Raises:
        InvalidEvent: A list is too long, or has what is no JID.
    """
    said = wished._asdict()
    del said["place"]
    try:
        return msgspec.convert(
            {"type": "preferences", "v": VERSION, "position": 1, **said}, Preferences
        )
    except msgspec.ValidationError as error:
        raise InvalidEvent(str(error)) from None


def following(history: History, wished: Preferences) -> Preferences | None:
    """Put a wish behind those that were imported, or give None if it is the last of them.

    Args:
        history: What its owner is known to have said, oldest first.
        wished: The wish.
    """
    imported = [state for state in history if state.position < _BEFORE_ALL]
    if not imported:
        return wished
    last = imported[-1].position
    if msgspec.structs.replace(wished, position=last) == imported[-1]:
        return None
    return msgspec.structs.replace(wished, position=last + 1)
