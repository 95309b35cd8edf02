"""Events: what happened to one archive, as it travels in the public topic.

The types below are the format's only definition: they decode, check and describe it (the JSON
Schema in docs/event.schema.json is generated from them). docs/protocol.md explains it to readers
of the topic.
"""

import re
from typing import Annotated, Final, Literal

import msgspec

from stanzalake.errors import InvalidEvent
from stanzalake.model.position import MAX_POSITION

VERSION: Final = 1
MAX_STANZA = 1024 * 1024
MAX_JIDS = 1000
"""JIDs in one list of an owner's preferences."""
MAX_EVENT = 2 * MAX_STANZA
"""Bytes of one encoded event; twice the stanza, as JSON escapes a quote to two bytes."""

DefaultChoice = Literal["always", "never", "roster"]

Owner = Annotated[
    str,
    msgspec.Meta(
        description="Bare JID, normalised, whose archive it is",
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
        Annotated[str, msgspec.Meta(pattern=r"^[^\s]+$", max_length=3071)],
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
    gc=False,  # nothing in an event can refer to it
):
    """What every event has."""

    v: Literal[1]
    owner: Owner
    position: Position


class Message(EventBase, tag="message", frozen=True, kw_only=True):
    """One eligible message, seen from one owner. One stanza between local users makes two."""

    peer: Peer
    peer_resource: Annotated[
        str, msgspec.Meta(description="Empty if the peer's JID was bare", max_length=1023)
    ] = ""
    direction: Annotated[
        Literal["in", "out"], msgspec.Meta(description="in: the owner received it")
    ]
    kind: Annotated[
        Literal["chat", "normal", "groupchat", "headline", "error"],
        msgspec.Meta(description="The stanza's type; none is normal"),
    ]
    contact: Annotated[
        bool, msgspec.Meta(description="Whether the peer was in the owner's roster just then")
    ]
    stanza: Annotated[
        str,
        msgspec.Meta(
            description="The message element with xmlns='jabber:client', as it was routed",
            min_length=1,
            max_length=MAX_STANZA,
        ),
    ]


class Preferences(EventBase, tag="preferences", frozen=True, kw_only=True):
    """An owner's wishes (XEP-0441), in force for messages of greater positions until the next."""

    default: Annotated[
        DefaultChoice,
        msgspec.Meta(description="What is archived of a peer in neither list"),
    ]
    always: Jids
    never: Jids


class Activation(EventBase, tag="activation", frozen=True, kw_only=True):
    """An owner asked for the archive: under smart archiving, messages are kept from here on."""


class Erasure(EventBase, tag="erasure", frozen=True, kw_only=True):
    """Messages of an owner are to be forgotten, for good: also those that are processed later."""

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

    def covers(self, message: Message) -> bool:
        """Tell whether it is about a message."""
        return (
            self.start <= message.position < min(self.end, self.position)
            and self.owner == message.owner
            and self.peer in ("", message.peer)
        )


class Expiry(EventBase, tag="expiry", frozen=True, kw_only=True):
    """An operator of Prosody wants what has expired to be removed now, not at the next round."""

    owner: Annotated[
        str, msgspec.Meta(description="The VirtualHost", pattern=r"^[^@/\s]+$", max_length=1023)
    ]


Event = Message | Preferences | Activation | Erasure | Expiry

_POSITIONS = ("position", "start", "end")
# What was found where a name belongs may be anything, a body too: the reason leaves it out.
_UNQUOTED = re.compile(r"(enum value|unknown field) (['`]).*\2", re.DOTALL)
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


def decode(raw: bytes) -> Event:
    """Read one event.

    Args:
        raw: The UTF-8 JSON text of one event.

    Raises:
        InvalidEvent: It is not an event of this version; the reason names the field.
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
    return event


def decode_from_host(raw: bytes, host: str) -> Event:
    """Read one event that a host's tap sent.

    Args:
        raw: The UTF-8 JSON text of one event.
        host: The VirtualHost; no other host's archives may be written.

    Raises:
        InvalidEvent: It is not an event, or belongs to another host's archive.
    """
    event = decode(raw)
    if event.owner.rpartition("@")[2] != host:
        raise InvalidEvent("the owner is not of the host that sent it")
    return event


def encode(event: Event) -> bytes:
    """Give the UTF-8 JSON text of an event, without a line end."""
    return _encoder.encode(event)


def schema() -> dict[str, object]:
    """Give the format's JSON Schema (draft 2020-12)."""
    body = msgspec.json.schema(Event)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body}
