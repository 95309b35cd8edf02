"""Events of an archive, in the format of the public topic.

The types below are the only definition of the format: they decode and validate events, and
docs/event.schema.json is generated from them. docs/protocol.md explains the format to readers of
the topic.
"""

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from stanzalake.errors import InvalidEvent
from stanzalake.model.position import MAX_POSITION

VERSION: Final = 1
MAX_STANZA = 1024 * 1024
MAX_JIDS = 1000
"""JIDs in a list of an owner's preferences."""
MAX_EVENT = 2 * MAX_STANZA
"""Bytes of an encoded event; twice the stanza, as JSON escapes a quote to two bytes."""

DefaultChoice = Literal["always", "never", "roster"]

Owner = Annotated[
    str,
    msgspec.Meta(
        description="Bare JID, normalised, whose archive it is: an account's or a room's",
        pattern=r"^[^@/\s]+@[^@/\s]+$",
        max_length=2047,
    ),
]
Peer = Annotated[
    str,
    msgspec.Meta(
        description="Bare JID, normalised, of the other party",
        pattern=r"^[^/\s]+$",
        max_length=2047,
    ),
]
Position = Annotated[
    int,
    msgspec.Meta(
        description="unix milliseconds << 16 | sequence: over 2^53, so read it as a 64-bit integer",
        ge=0,
    ),
]


Jids = Annotated[
    tuple[
        Annotated[str, msgspec.Meta(pattern=r"^[^/]+(/[\s\S]+)?$", max_length=3071)],
        ...,
    ],
    msgspec.Meta(description="Bare or full JIDs, normalised", max_length=MAX_JIDS),
]


class EventBase(
    msgspec.Struct,
    tag_field="type",
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    gc=False,  # events cannot be part of a reference cycle
):
    """Fields common to all events."""

    v: Literal[1]
    owner: Owner
    position: Position


class Message(EventBase, tag="message", frozen=True, kw_only=True):
    """An eligible message in an owner's archive. A stanza between two local users makes two.

    A room's message is one, however many occupants get it. Its peer is the room itself. Where the
    room's host archives presences as well, these are events of kind ``presence``.
    """

    peer: Peer
    peer_resource: Annotated[
        str,
        msgspec.Meta(
            description="Empty if the peer's JID was bare; in a room the author's nick",
            max_length=1023,
        ),
    ] = ""
    occupant: (
        Annotated[
            str,
            msgspec.Meta(
                description="Only of a room's message: the author's real bare JID, which the room "
                "may hide; empty for the room itself",
                pattern=r"^[^/]*$",
                max_length=2047,
            ),
        ]
        | UnsetType
    ) = UNSET
    direction: Annotated[
        Literal["in", "out"], msgspec.Meta(description="in: the owner received it")
    ]
    kind: Annotated[
        Literal["chat", "normal", "groupchat", "headline", "error", "presence"],
        msgspec.Meta(
            description="The message's type; none is normal. presence: no message, an occupant "
            "joined or left the room"
        ),
    ]
    contact: Annotated[
        bool, msgspec.Meta(description="Whether the peer was in the owner's roster just then")
    ]
    stanza: Annotated[
        str,
        msgspec.Meta(
            description="The message element with xmlns='jabber:client', as it was routed; of "
            "kind presence the presence element",
            min_length=1,
            max_length=MAX_STANZA,
        ),
    ]

    @property
    def is_of_room(self) -> bool:
        """Whether the owner is a room: only the tap of a MUC component names an occupant."""
        return self.occupant is not UNSET

    @property
    def is_presence(self) -> bool:
        """Whether it tells of an occupant who joined or left, and no client reads it."""
        return self.kind == "presence"


class Preferences(EventBase, tag="preferences", frozen=True, kw_only=True):
    """An owner's preferences (XEP-0441), in force for later messages until the next change."""

    default: Annotated[
        DefaultChoice,
        msgspec.Meta(description="What is archived of a peer in neither list"),
    ]
    always: Jids
    never: Jids


class Activation(EventBase, tag="activation", frozen=True, kw_only=True):
    """First request for an archive: under smart archiving, later messages are kept."""


class Erasure(EventBase, tag="erasure", frozen=True, kw_only=True):
    """Permanent removal of an owner's messages, including any that are processed later."""

    peer: Annotated[
        str,
        msgspec.Meta(
            description="Bare JID whose messages are meant; empty for everybody's",
            pattern=r"^[^/\s]*$",
            max_length=2047,
        ),
    ] = ""
    start: Annotated[Position, msgspec.Meta(description="Their first position")] = 0
    end: Annotated[
        Position, msgspec.Meta(description="The first position behind them; not over `position`")
    ]
    account: Annotated[
        bool, msgspec.Meta(description="Whether the account is gone, and with it what it wanted")
    ] = False
    by: Annotated[
        str, msgspec.Meta(description="Who asked for it, for the record", max_length=255)
    ] = ""

    @property
    def behind(self) -> int:
        """The first position behind the covered ones."""
        return min(self.end, self.position)

    def covers(self, message: Message) -> bool:
        """Return whether the message is covered by the erasure."""
        return (
            self.start <= message.position < self.behind
            and self.owner == message.owner
            and self.peer in ("", message.peer)
        )


MAX_RETENTION = 100 * 366 * 86_400
"""Seconds of an owner's own retention at most."""


class OwnRetention(EventBase, tag="retention", frozen=True, kw_only=True):
    """For how long an owner wants messages kept: readers see no older ones from then on.

    Counts only where it is shorter than the retention of the owner's host. In force until the next
    change, or until the account is removed. What it has hidden does not come back.
    """

    seconds: Annotated[
        int,
        msgspec.Meta(
            description="The age of the oldest message; 0: as long as the host keeps them",
            ge=0,
            le=MAX_RETENTION,
        ),
    ]
    by: Annotated[
        str, msgspec.Meta(description="Who asked for it, for the record", max_length=3071)
    ] = ""


class Expiry(EventBase, tag="expiry", frozen=True, kw_only=True):
    """Request of Prosody's operator to remove expired messages now."""

    owner: Annotated[
        str, msgspec.Meta(description="The host", pattern=r"^[^@/\s]+$", max_length=1023)
    ]


MAX_ID = 1023
"""Characters of an id that a client chose."""
MAX_REASON = 2048

_LINE = r"^[^\x00-\x1f\ufffe\uffff]*$"
"""A line of characters that XML allows."""

MessageId = Annotated[str, msgspec.Meta(pattern=_LINE, max_length=MAX_ID)]
"""The id attribute of a message, or of one of its children."""


class Tombstone(EventBase, tag="tombstone", frozen=True, kw_only=True):
    """Retraction of an earlier message (XEP-0424, XEP-0425): nobody is shown its content again.

    Holds for whatever message it names, also for one that is processed later.
    """

    target: Annotated[
        Position, msgspec.Meta(description="The message's position, in a room; 0 elsewhere")
    ] = 0
    message_id: Annotated[
        MessageId, msgspec.Meta(description="The message's id or origin-id, outside of rooms")
    ] = ""
    peer: Annotated[Peer, msgspec.Meta(description="The message's peer")]
    peer_resource: Annotated[
        str,
        msgspec.Meta(
            description="Only of a private message in a room: its author's nick",
            pattern=_LINE,
            max_length=1023,
        ),
    ] = ""
    direction: Annotated[Literal["in", "out"], msgspec.Meta(description="The message's direction")]
    occupant_id: Annotated[
        MessageId,
        msgspec.Meta(description="The occupant-id (XEP-0421) that the message must have, if any"),
    ] = ""
    by: Annotated[
        str,
        msgspec.Meta(description="JID of who retracted it", pattern=_LINE, max_length=3071),
    ]
    by_occupant_id: Annotated[
        MessageId, msgspec.Meta(description="The occupant-id of who retracted it, in a room")
    ] = ""
    moderated: Annotated[
        bool, msgspec.Meta(description="Whether a moderator did, instead of the author")
    ] = False
    reason: Annotated[
        str, msgspec.Meta(description="Why, if given", pattern=_LINE, max_length=MAX_REASON)
    ] = ""
    retraction_id: Annotated[
        MessageId, msgspec.Meta(description="The id of the message that retracts")
    ] = ""


Event = Message | Preferences | Activation | Erasure | OwnRetention | Expiry | Tombstone

_POSITIONS = ("position", "start", "end", "target")
# A value found in place of a name may be a message body, which must not reach a log.
_UNQUOTED = re.compile(r"(enum value|unknown field) (['`]).*\2", re.DOTALL)
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


def decode(raw: bytes) -> Event:
    """Decode and validate an event.

    Args:
        raw: UTF-8 JSON text of an event.

    Raises:
        InvalidEvent: Not an event of this version; the reason names the field.
    """
    if len(raw) > MAX_EVENT:
        raise InvalidEvent(f"{len(raw)} bytes, over the limit of {MAX_EVENT}")
    try:
        event = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent(_UNQUOTED.sub(r"\1", str(error))) from None
    for name in _POSITIONS:
        if getattr(event, name, 0) > MAX_POSITION:
            raise InvalidEvent(f"Expected `int` <= 2^64 - 1 - at `$.{name}`")
    if isinstance(event, Tombstone) and bool(event.target) == bool(event.message_id):
        raise InvalidEvent("a tombstone names its message by `target` or by `message_id`")
    return event


def decode_from_host(raw: bytes, host: str) -> Event:
    """Decode and validate an event sent by a host's tap.

    Args:
        raw: UTF-8 JSON text of an event.
        host: The tap's VirtualHost or MUC component, whose archives alone it may write.

    Raises:
        InvalidEvent: Not an event, or an event of another host's archive.
    """
    event = decode(raw)
    if event.owner.rpartition("@")[2] != host:
        raise InvalidEvent("the owner is not of the host that sent it")
    return event


def encode(event: Event) -> bytes:
    """Return the UTF-8 JSON text of an event, without a line end."""
    return _encoder.encode(event)


def schema() -> dict[str, object]:
    """Return the JSON Schema (draft 2020-12) of the format."""
    body = msgspec.json.schema(Event)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body}
