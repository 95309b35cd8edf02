"""Sources of an import, and the items that they yield."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from stanzalake.model.event import DefaultChoice

Form = Literal["xml", "json"]
"""Serialisation of a stanza: XML, or the JSON of Prosody's `util.stanza.preserialize`."""


class ArchivedMessage(NamedTuple):
    """An archived message.

    Attributes:
        owner: Bare JID of the archive's owner.
        id: Archive id, as clients know the message.
        at: Time of archiving, unix milliseconds.
        peer: Bare JID of the other party; empty to derive the peer from the stanza.
        form: Serialisation of the stanza.
        stanza: The stanza.
        place: Location in the source, for error messages.
    """

    owner: str
    id: str
    at: int
    peer: str
    form: Form
    stanza: str
    place: str


class ArchivedPreferences(NamedTuple):
    """Archiving preferences of an owner.

    Attributes:
        owner: Bare JID.
        default: Rule for peers in neither list.
        always: JIDs whose messages are always archived.
        never: JIDs whose messages are never archived.
        place: Location in the source, for error messages.
    """

    owner: str
    default: DefaultChoice
    always: tuple[str, ...]
    never: tuple[str, ...]
    place: str


class Unreadable(NamedTuple):
    """An invalid item: its location and a reason, which never quotes content."""

    place: str
    reason: str


class Foreign(NamedTuple):
    """A number of items that belong to other hosts or stores."""

    name: str
    number: int


Item = ArchivedMessage | ArchivedPreferences | Unreadable | Foreign


STORES = ("archive2", "archive", "muc_log")
"""Prosody's store names: accounts' archives under the old name and the current, and rooms'."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The part of a source to import.

    Attributes:
        hosts: The VirtualHosts.
        owners: Bare JIDs; empty for all owners of the hosts.
        since: Unix milliseconds; older messages are skipped.
        stores: Names of Prosody's stores, in ascending precedence.
    """

    hosts: frozenset[str]
    owners: frozenset[str] = frozenset()
    since: int = 0
    stores: tuple[str, ...] = STORES

    def includes(self, owner: str) -> bool:
        """Return whether an owner's archive is selected."""
        if self.owners:
            return owner in self.owners
        return owner.partition("@")[2] in self.hosts


class Source(Protocol):
    """Archives of another server."""

    def size(self) -> int:
        """Return the amount of work, in units of the source's choice.

        Raises:
            SourceUnavailable: The source cannot be read.
        """

    def done(self) -> int:
        """Return the amount of work done, in the same units."""

    def items(self) -> Iterator[Item]:
        """Yield the selected items, each owner's messages in the archive's order.

        Raises:
            SourceUnavailable: The source cannot be read any further.
        """
