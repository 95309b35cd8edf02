"""The protocol between mod_stanzalake and the query component, urn:stanzalake:query:1.

Everything that a user wrote travels as base64 text in both directions (docs/protocol.md): no
stanza of a user can break, delay or overflow the component's stream. A request has a single
answer, in parts that fit Prosody's default limit for a component's stanzas.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import msgspec

from query.errors import StanzaError
from query.request import Reply, Request, RoomAnchor, RoomEntry, RoomRights
from stanzalake.log import watermarks
from stanzalake.model.position import MAX_POSITION
from stanzalake.xmpp import frames, markup
from stanzalake.xmpp.frames import Frame
from stanzalake.xmpp.namespaces import CLIENT, QUERY, tag

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

REQUEST = tag(QUERY, "request")

MAX_REQUEST = 256 * 1024
"""Characters of a request at most; the module bounds the user's iq at 128 KiB."""
PART_BYTES = 64 * 1024
"""Bytes of an answer's part, which Prosody reads at once: docs/decisions/0012 says why no more."""
MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer at most, as the module takes; a page has at most MAX_PAGE of stanzas."""


class _Header(msgspec.Struct):
    """The JSON object in a request's first frame."""

    owner: str
    asker: str
    id: str = ""
    stable: bool = True
    watermarks: str = ""
    newest: int | None = None
    state: bool = False
    room: RoomRights | None = None
    server: str = ""
    displayed: dict[str, str] = {}
    rooms: list[RoomEntry] = []
    anchors: dict[str, RoomAnchor] = {}


_IQ = tag(CLIENT, "iq")
_decode_header = msgspec.json.Decoder(_Header).decode


@dataclass(frozen=True)
class Envelope:
    """A request of the module.

    Attributes:
        request: The forwarded request.
        id: Id of the carrying iq.
        component: The addressed component.
    """

    request: Request
    id: str
    component: str

    def seal(self, reply: Reply) -> Iterator[str]:
        """Give the answer: all parts but the last as messages, the last as the iq's result.

        An error for the user travels inside; without a user, the iq itself is.
        """
        if self.request.iq is None and reply.kind == "error":
            yield markup.element("iq", {"type": "error", **self._addresses()}, reply.payload)
            return
        parts = frames.write_parts(self._frames(reply), PART_BYTES)
        if sum(map(len, parts)) > MAX_ANSWER:
            parts = frames.write_parts(self._frames(_TOO_LARGE), PART_BYTES)
        for number, part in enumerate(parts, 1):
            yield self._part(part, number, len(parts))

    def _frames(self, reply: Reply) -> Iterator[Frame]:
        if reply.state is not None:
            yield Frame("state", reply.state.content, reply.state.position)
        begin = f"<message{markup.attributes(self._user_addresses())}>"
        for result in reply.results:
            content = f"{begin}{result.content}</message>".encode()
            yield Frame("message", content, result.position)
        if self.request.iq is not None:
            yield Frame("iq", self._iq(reply).encode())

    def _user_addresses(self) -> dict[str, str]:
        return {"from": self.request.owner, "to": self.request.requester}

    def _iq(self, reply: Reply) -> str:
        attributes = {
            "type": reply.kind,
            "id": self.request.id,
            "from": self.request.asked,
            "to": self.request.requester,
        }
        return markup.element("iq", attributes, reply.payload)

    def _part(self, data: bytes, part: int, of: int) -> str:
        attributes = {"xmlns": QUERY, "part": str(part), "of": str(of)}
        answer = markup.element("answer", attributes, base64.b64encode(data).decode())
        if part < of:
            return markup.element("message", self._addresses(), answer)
        return markup.element("iq", {"type": "result", **self._addresses()}, answer)

    def _addresses(self) -> dict[str, str]:
        return {"id": self.id, "from": self.component, "to": self.request.host}


_TOO_LARGE = Reply("error", StanzaError("resource-constraint", "ask for a smaller page").markup())


def open_request(outer: "Element") -> Envelope:
    """Take a request out of the module's iq.

    Raises:
        StanzaError: bad-request: the iq has no valid request, so there is no user to answer.
    """
    try:
        header, *rest = frames.read_base64(outer[0].text or "", MAX_REQUEST)
        request = _request(outer.get("from", ""), header, rest)
    except (ValueError, msgspec.DecodeError):
        raise StanzaError("bad-request", "no valid request") from None
    return Envelope(request, outer.get("id", ""), outer.get("to", ""))


def _request(host: str, frame: Frame, rest: "Sequence[Frame]") -> Request:
    header = _decode_header(frame.content)
    local, _, domain = header.owner.rpartition("@")
    if not local or domain != host or not 0 <= (header.newest or 0) <= MAX_POSITION:
        raise ValueError("another host's archive, or a position out of range")
    return Request(
        host=host,
        owner=header.owner,
        requester=header.asker,
        iq=_iq(rest, header) if frame.kind == "request" else None,
        stable=header.stable,
        position=frame.position,
        watermarks=watermarks.read(header.watermarks),
        newest=header.newest,
        wants_state=header.state or frame.kind == "state",
        room=header.room,
        server=header.server,
        displayed=header.displayed,
        rooms=header.rooms,
        anchors=header.anchors,
    )


def _iq(rest: "Sequence[Frame]", header: _Header) -> "Element":
    [frame] = rest
    # A stanza has no DTD (RFC 6120 §11.1), and Prosody writes none.
    if frame.kind != "iq" or b"<!" in frame.content:
        raise ValueError("no iq, or XML that XMPP forbids")
    try:
        iq = ET.fromstring(frame.content)  # noqa: S314  # without a DTD there are no entities
    except ET.ParseError:
        # Prosody takes more than ElementTree, such as a namespace with a brace. Without a payload
        # the request is refused, as any other that makes no sense.
        return ET.Element(_IQ, {"type": "get", "id": header.id, "from": header.asker})
    is_request = iq.tag == _IQ and iq.get("type") in {"get", "set"}
    if not is_request or iq.get("id") is None or iq.get("from") != header.asker:
        raise ValueError("no iq of the asker")
    return iq
