"""Inboxes (XEP-0430): each conversation of an archive as its messages leave it."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stanzalake.model.page import Conversation

MAX_CONVERSATIONS = 10_000
"""Conversations of an archive that are looked at: the newest."""
_STATE_BYTES = 600
_POSITION_BYTES = 40


class ConversationState(NamedTuple):
    """A conversation as of a position; positions are 0 where there is no such message.

    Attributes:
        newest: Position of the last message that has words.
        own: Position of the owner's last such message, which reads all before.
        marker: Position of the owner's last displayed marker.
        marked: Position of the message that the marker names.
        counted: Positions of the messages received since `own` that may be unread, oldest first.
        others: Positions of other messages received since, such as corrections, oldest first.
    """

    newest: int = 0
    own: int = 0
    marker: int = 0
    marked: int = 0
    counted: Sequence[int] = ()
    others: Sequence[int] = ()

    def extend(self, later: "ConversationState") -> "ConversationState":
        """Return the state after later messages, of which the marker is not resolved yet."""
        own = later.own or self.own
        return ConversationState(
            newest=later.newest or self.newest,
            own=own,
            marker=later.marker or self.marker,
            marked=0 if later.marker else self.marked,
            counted=_behind(own, [*self.counted, *later.counted]),
            others=_behind(own, [*self.others, *later.others]),
        )

    def unread(self, read: int) -> int:
        """Return the number of unread messages.

        Args:
            read: A position up to which the owner has read in any case.
        """
        return len(_behind(max(self.own, self.marked, read), self.counted))


@dataclass(frozen=True)
class Inbox:
    """The conversations of an archive.

    Attributes:
        states: By peer.
        since: Position from which on messages are taken into account.
        up_to: Position up to which they are.
    """

    states: Mapping[str, ConversationState] = field(default_factory=dict)
    since: int = 0
    up_to: int = -1

    def extends_to(self, oldest: int) -> bool:
        """Tell whether all messages from a position on follow, or are taken into account."""
        return self.since <= oldest <= self.up_to + 1

    def conversations(self, displayed: Mapping[str, int], oldest: int) -> Sequence[Conversation]:
        """Return the conversations, the one with the newest message first.

        Args:
            displayed: By peer, a position up to which the owner has read.
            oldest: The lowest position that is not expired.
        """
        found = [
            Conversation(peer, state.newest, state.unread(max(displayed.get(peer, 0), oldest - 1)))
            for peer, state in self.states.items()
            if state.newest and state.newest >= oldest
        ]
        return sorted(found, key=lambda one: -one.newest)[:MAX_CONVERSATIONS]

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        positions = sum(len(s.counted) + len(s.others) for s in self.states.values())
        return len(self.states) * _STATE_BYTES + positions * _POSITION_BYTES


def _behind(position: int, positions: Sequence[int]) -> Sequence[int]:
    return positions[bisect_right(positions, position) :]
