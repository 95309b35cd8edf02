"""Requests of users to archives, their replies, and the envelopes of both."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import msgspec

from query.errors import StanzaError
from stanzalake.log.watermarks import NO_WATERMARKS, Watermarks

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


class RoomRights(msgspec.Struct, frozen=True):
    """Rights of an asker in a room, as the room's server tells them with the request.

    Attributes:
        affiliation: Affiliation of the asker; the server refuses outcasts itself.
        whois: Who may see the occupants' real JIDs now.
        moderator: Whether the asker may moderate the room.
    """

    affiliation: Literal["owner", "admin", "member", "none"]
    whois: Literal["anyone", "moderators"]
    moderator: bool


class RoomEntry(msgspec.Struct, frozen=True):
    """A room in an account's inbox, as the room's server has put it together.

    Attributes:
        jid: The room.
        id: Archive id of its last message.
        position: Position of that message.
        unread: Number of unread messages.
    """

    jid: str
    id: str
    position: int
    unread: int


class RoomAnchor(msgspec.Struct, frozen=True):
    """A message of a room that an id in a requested page names.

    Attributes:
        jid: The room.
        position: Position of the message.
    """

    jid: str
    position: int


@dataclass(frozen=True)
class Request:
    """A forwarded request.

    Attributes:
        host: The forwarding VirtualHost or MUC component.
        owner: Bare JID whose archive the request is about.
        requester: JID of the asker, an account's session; the host itself for a state alone.
        iq: The user's iq of type get or set, with id; None if only the state is wanted.
        stable: False if events older than the request may still be missing from the log.
        position: Position among the owner's events; None if the host assigns none.
        watermarks: Log offsets that cover the owner's messages, as far as the host knows them.
        newest: Position of the owner's newest message; None if unknown to the host.
        wants_state: Whether the reply is to carry the owner's state.
        room: The asker's rights if the archive is a room's; None for an account's.
        server: Domain of the asker's server, if that is not the host's; else empty.
        displayed: By chat, the archive id up to which the asker has read (XEP-0490).
        rooms: Rooms that belong into the requested inbox.
        anchors: By id, messages of rooms that the requested page may begin or end at.
    """

    host: str
    owner: str
    requester: str
    iq: "Element | None"
    stable: bool = True
    position: int | None = None
    watermarks: Watermarks = field(default_factory=lambda: NO_WATERMARKS)
    newest: int | None = None
    wants_state: bool = False
    room: RoomRights | None = None
    server: str = ""
    displayed: Mapping[str, str] = field(default_factory=dict)
    rooms: Sequence[RoomEntry] = ()
    anchors: Mapping[str, RoomAnchor] = field(default_factory=dict)

    @property
    def account(self) -> str:
        """Bare JID of the account that asks."""
        return self.owner if self.room is None else self.requester.partition("/")[0]

    @property
    def share(self) -> str:
        """Name of the share of the service that the request takes.

        Each account has one. Another server has one for all its accounts, of which it may make as
        many as it likes.
        """
        return self.server or self.account

    @property
    def kind(self) -> str:
        """Type of the iq: get or set; empty without an iq."""
        return "" if self.iq is None else self.iq.get("type", "")

    @property
    def id(self) -> str:
        """The id of the iq; empty without an iq."""
        return "" if self.iq is None else self.iq.get("id", "")

    @property
    def asked(self) -> str:
        """JID of the addressed archive, which may be anybody's."""
        return self.owner if self.iq is None else self.iq.get("to", self.owner)

    def take_payload(self) -> "Element":
        """Detach the only child of the iq: a waiting request must not hold a user's tree.

        Raises:
            StanzaError: forbidden if the archive is neither the requester's, whether or not such
                an account exists (XEP-0355 §10), nor a room's that the requester may read;
                bad-request unless there is exactly one child.
        """
        if not (self._is_own() if self.room is None else self.asked == self.owner):
            raise StanzaError("forbidden")
        if self.iq is None or len(self.iq) != 1:
            raise StanzaError("bad-request", "an iq has exactly one child")
        payload = self.iq[0]
        self.iq.remove(payload)
        return payload

    def _is_own(self) -> bool:
        bare, slash, resource = self.requester.partition("/")
        local, at, domain = bare.partition("@")
        is_user = bool(local and at and slash and resource) and domain == self.host
        return is_user and self.asked == self.owner == bare


class Result(NamedTuple):
    """An archived message of a page.

    Attributes:
        position: Position in the archive.
        content: The ``<result/>`` element, as markup (XEP-0313 §4.2).
    """

    position: int
    content: str


class State(NamedTuple):
    """An owner's preferences and activation.

    Attributes:
        position: Position of the last change; 0 for none.
        content: A JSON object (docs/protocol.md).
    """

    position: int
    content: bytes


class Reply(NamedTuple):
    """The reply to a request.

    Attributes:
        kind: Type of the iq for the user: "result" or "error".
        payload: Children of that iq, as markup.
        results: Messages before the iq, in sending order.
        state: The owner's state; None if not requested or not known.
    """

    kind: str
    payload: str
    results: Sequence[Result] = ()
    state: State | None = None


class Envelope(Protocol):
    """The stanza in which a host forwarded a request."""

    @property
    def request(self) -> Request:
        """The forwarded request."""

    def seal(self, reply: Reply) -> Iterator[str]:
        """Give the stanzas that carry a reply back to the host, in sending order."""
