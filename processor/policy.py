"""Policy: whether an eligible message goes into its owner's archive.

A pure function of the message, the owner's earlier preferences and activations, and all erasures,
so neither the order of processing nor a replay changes the outcome. The module in Prosody follows
the same rules (verdict.lib.lua): an announced id promises the outcome of this function.
"""

from dataclasses import dataclass
from typing import Literal

from stanzalake.model.event import Erasure, Message, Preferences
from stanzalake.model.history import History

Default = Literal["false", "roster", "true"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The server's policy.

    Attributes:
        default: Policy for owners without preferences. ``roster`` keeps messages of peers in the
            owner's roster, whatever the subscription (XEP-0441 §2.1.1).
        smart: Whether archiving starts only with the owner's first request for the archive.
    """

    default: Default
    smart: bool = False

    def admits(self, message: Message, history: History) -> bool:
        """Return whether a message is archived, given the history of its owner."""
        if any(isinstance(state, Erasure) and state.covers(message) for state in history):
            return False
        # The room decided in Prosody.
        if message.is_of_room:
            return True
        if not history:
            return not self.smart and self._by_default(message)
        states = (state for state in history if not isinstance(state, Erasure))
        earlier = [state for state in states if state.position < message.position]
        if self.smart and not earlier:
            return False
        preferences = next((s for s in reversed(earlier) if isinstance(s, Preferences)), None)
        if preferences is None:
            return self._by_default(message)
        return _by_preferences(preferences, message)

    def _by_default(self, message: Message) -> bool:
        return message.contact if self.default == "roster" else self.default == "true"


def _by_preferences(preferences: Preferences, message: Message) -> bool:
    """Match the full JID before the bare one (XEP-0441 §2.3), and never before always.

    The XEP leaves open the meaning of a JID in both lists.
    """
    full = f"{message.peer}/{message.peer_resource}"
    for jid in (full, message.peer):
        if jid in preferences.never:
            return False
        if jid in preferences.always:
            return True
    return message.contact if preferences.default == "roster" else preferences.default == "always"
