"""Policy: whether an eligible message goes into its owner's archive.

A pure function of the message, the owner's earlier preferences and activations, and all erasures,
so neither the order of processing nor a replay changes the outcome. The module in Prosody follows
the same rules (verdict.lib.lua): an announced id promises the outcome of this function.
"""

from dataclasses import dataclass
from typing import Literal

from stanzalake.model.event import Message, Preferences
from stanzalake.model.history import Timeline

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

    def admits(self, message: Message, timeline: Timeline) -> bool:
        """Return whether a message is archived, given the timeline of its owner."""
        if timeline.erases(message):
            return False
        # The room decided in Prosody.
        if message.is_of_room:
            return True
        if self.smart and not timeline.is_active(message.position):
            return False
        preferences = timeline.preferences(message.position)
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
