"""A source: where archives are imported from, and what it gives."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from stanzalake.model.event import DefaultChoice

Form = Literal["xml", "json"]
"""How a stanza is written: as XML, or as Prosody's util.stanza preserialises it into JSON."""


class Archived(NamedTuple):
    """One archived message.

    Attributes:
        owner: Bare JID whose archive it is in.
        id: What clients know it by.
        at: When it was archived, unix milliseconds.
        peer: Bare JID of the other party; empty if the source leaves it to the stanza.
        form: How the stanza is written.
        stanza: The stanza.
        place: Where it is in the source, for a person.
    """

    owner: str
    id: str
    at: int
    peer: str
    form: Form
    stanza: str
    place: str


class Wished(NamedTuple):
    """What an owner wants archived.

    Attributes:
        owner: Bare JID.
        default: What is archived of peers in neither list.
        always: Peers whose messages are kept.
        never: Peers whose messages are not.
        place: Where it is in the source, for a person.
    """

    owner: str
    default: DefaultChoice
    always: tuple[str, ...]
    never: tuple[str, ...]
    place: str


class Unreadable(NamedTuple):
    """Something that is damaged: where, and the reason, without anything of its content."""

    place: str
    reason: str


class Foreign(NamedTuple):
    """Messages that belong to no archive of ours."""

    what: str
    number: int


Item = Archived | Wished | Unreadable | Foreign


STORES = ("archive2", "archive")
"""Prosody's names for users' archives: that of old installations, and today's."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a source is wanted.

    Attributes:
        hosts: The VirtualHosts.
        owners: Bare JIDs; empty for all of the hosts.
        since: Unix milliseconds before which nothing is read.
        stores: Names of Prosody's stores, the one that counts last.
    """

    hosts: frozenset[str]
    owners: frozenset[str] = frozenset()
    since: int = 0
    stores: tuple[str, ...] = STORES

    def wants(self, owner: str) -> bool:
        """Tell whether an archive is meant."""
        if self.owners:
            return owner in self.owners
        return owner.partition("@")[2] in self.hosts


class Source(Protocol):
    """Archives of another server."""

    def size(self) -> int:
        """Give how much there is, in units of its own.

        Raises:
            SourceUnavailable: It cannot be read.
        """

    def done(self) -> int:
        """Give how much of it was read, in the same units."""

    def items(self) -> Iterator[Item]:
        """Give what is wanted of it. An owner's messages come in the archive's order.

        Raises:
            SourceUnavailable: It cannot be read any further.
        """
