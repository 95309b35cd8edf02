"""Preferences of another archive, ordered before all preferences that their owner sets here."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from stanzalake.errors import InvalidEvent, InvalidJid
from stanzalake.importer.source import ArchivedPreferences
from stanzalake.model import jid
from stanzalake.model.event import VERSION, Preferences
from stanzalake.model.history import History
from stanzalake.model.position import from_milliseconds

_BEFORE_ALL: Final = from_milliseconds(1)
"""Imported preferences have positions below this, in the order of the imports."""


def to_event(archived: ArchivedPreferences, refuse: Callable[[str], None]) -> Preferences:
    """Convert archived preferences to an event with the first of all positions.

    Args:
        archived: The preferences.
        refuse: Called with the reason for each entry that is not a JID and is left out.

    Raises:
        InvalidEvent: A list is too long.
    """
    fields = {
        "type": "preferences",
        "v": VERSION,
        "owner": archived.owner,
        "position": 1,
        "default": archived.default,
        "always": tuple(_normalise(archived.always, refuse)),
        "never": tuple(_normalise(archived.never, refuse)),
    }
    try:
        return msgspec.convert(fields, Preferences)
    except msgspec.ValidationError as error:
        raise InvalidEvent(str(error)) from None


def _normalise(entries: Iterable[str], refuse: Callable[[str], None]) -> Iterator[str]:
    for entry in entries:
        try:
            yield str(jid.parse(entry))
        except InvalidJid as error:
            refuse(f"an entry of a list is left out: {error}")


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
