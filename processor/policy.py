"""Policy: whether an eligible message goes into its owner's archive.

It depends on the message, on what its owner said before it and on what was erased, and on nothing
else: neither the order in which events are processed nor a second processing can change it.
"""

from dataclasses import dataclass
from typing import Literal

from stanzalake.model.event import Erasure, Message, Preferences
from stanzalake.model.history import ArchiveState, History

Default = Literal["false", "roster", "true"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The server's part of the decision.

    Attributes:
        default: What is archived of owners without preferences. ``roster`` keeps the talk with
            anybody who was in the owner's roster, whatever the subscription (XEP-0441 §2.1.1).
        smart: Whether nothing of an owner is archived before the first request for the archive.
    """

    default: Default
    smart: bool = False

    def admits(self, message: Message, history: History) -> bool:
        """Tell whether a message is archived, given all that was said of the archive."""
        if not history:
            return not self.smart and self._by_default(message)
        if any(isinstance(state, Erasure) and state.covers(message) for state in history):
            return False
        earlier = [s for s in history if s.position < message.position and _is_wish(s)]
        if self.smart and not earlier:
            return False
        chosen = next((s for s in reversed(earlier) if isinstance(s, Preferences)), None)
        if chosen is None:
            return self._by_default(message)
        return _chosen(chosen, message)

    def _by_default(self, message: Message) -> bool:
        return message.contact if self.default == "roster" else self.default == "true"


def _is_wish(state: ArchiveState) -> bool:
    return not isinstance(state, Erasure)


def _chosen(preferences: Preferences, message: Message) -> bool:
    """Apply an owner's own lists: the full JID before the bare one, never before always.

    XEP-0441 §2.3; it leaves open what a JID in both lists means.
    """
    full = f"{message.peer}/{message.peer_resource}"
    for jid in (full, message.peer):
        if jid in preferences.never:
            return False
        if jid in preferences.always:
            return True
    return message.contact if preferences.default == "roster" else preferences.default == "always"
