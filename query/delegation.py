"""The envelopes in which a host hands over a user's request and takes the answer.

Requests and answers travel in XEP-0355's, result messages in XEP-0356's. Everything inside the
outer addresses is the user's own writing, and any user of any server can be its author: who may
read an archive is decided here.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from query.errors import StanzaError
from stanzalake.log import watermarks
from stanzalake.log.watermarks import NO_WATERMARKS, Watermarks
from stanzalake.model.position import MAX_POSITION
from stanzalake.xmpp import markup
from stanzalake.xmpp.namespaces import CLIENT, DELEGATION, FORWARD, PRIVILEGE, STAMP, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_POSITION = re.compile("[0-9]{1,20}")

REQUEST = tag(DELEGATION, "delegation")


@dataclass(frozen=True)
class Request:
    """A user's iq, and the iq that brought it.

    Attributes:
        outer: The iq that brought it.
        inner: The user's own: of type get or set, with id and from.
        stable: False if the host says that events older than the request may still be missing.
        position: The request's place among the owner's events; None if the host gives none.
        watermarks: Where the owner's messages in the log are before, as far as the host knows.
    """

    outer: "Element"
    inner: "Element"
    stable: bool
    position: int | None
    watermarks: Watermarks

    @property
    def kind(self) -> str:
        """Whether it is a get or a set."""
        return self.inner.get("type", "")

    @property
    def requester(self) -> str:
        """The full JID that asks."""
        return self.inner.get("from", "")

    @property
    def owner(self) -> str:
        """The bare JID that asks, whose archive is the only one it may read."""
        return self.requester.partition("/")[0]

    @property
    def asked(self) -> str:
        """The JID whose archive is asked for, which may be anybody's."""
        return self.inner.get("to", self.owner)

    def payload(self) -> "Element":
        """Give the one element of the request.

        Raises:
            StanzaError: forbidden if the archive is not the requester's, whether or not there is
                such an account (XEP-0355 §10); bad-request if there is not exactly one element.
        """
        if not self._is_own():
            raise StanzaError("forbidden")
        if len(self.inner) != 1:
            raise StanzaError("bad-request", "an iq has exactly one child")
        return self.inner[0]

    def _is_own(self) -> bool:
        _, slash, resource = self.requester.partition("/")
        local, at, domain = self.owner.partition("@")
        is_user = bool(local and at and slash and resource) and domain == self.outer.get("from")
        return is_user and self.asked == self.owner


def open_request(outer: "Element") -> Request:
    """Take a request out of its envelope.

    Raises:
        StanzaError: bad-request, for the outer iq: there is no request in it to be answered.
    """
    inner = outer.find(f"{REQUEST}/{tag(FORWARD, 'forwarded')}/{tag(CLIENT, 'iq')}")
    if (
        inner is None
        or inner.get("type") not in {"get", "set"}
        or not inner.get("id")
        or not inner.get("from")
    ):
        raise StanzaError("bad-request", "no forwarded iq of type get or set with id and from")
    stamp = outer.find(f"{REQUEST}/{tag(STAMP, 'stamp')}")
    if stamp is None:
        return Request(outer, inner, stable=True, position=None, watermarks=NO_WATERMARKS)
    stable = stamp.get("stable") != "false"
    return Request(outer, inner, stable, _position(stamp), _ends(stamp))


def _position(stamp: "Element") -> int:
    written = stamp.get("position", "")
    if not _POSITION.fullmatch(written) or int(written) > MAX_POSITION:
        raise StanzaError("bad-request", "the stamp has no position")
    return int(written)


def _ends(stamp: "Element") -> Watermarks:
    try:
        return watermarks.read(stamp.get("ends", ""))
    except ValueError:
        raise StanzaError("bad-request", "the stamp's ends are none") from None


def seal_answer(request: Request, kind: str, content: str) -> str:
    """Give the iq that answers a request.

    Args:
        request: What is answered.
        kind: "result" or "error", as the user is to see it: the host turns an outer error of
            any kind into service-unavailable.
        content: The answer's children, as markup.
    """
    attributes = {
        "xmlns": CLIENT,
        "type": kind,
        "id": request.inner.get("id"),
        "from": request.asked,
        "to": request.requester,
    }
    inner = markup.element("iq", attributes, content)
    envelope = markup.element("delegation", {"xmlns": DELEGATION}, _forwarded(inner))
    return markup.reply(request.outer, "result", envelope)


def seal_message(request: Request, content: str) -> str:
    """Give a message that the host sends to the requester in the owner's name.

    Args:
        request: What it belongs to.
        content: The message's children, as markup.
    """
    id_ = uuid4().hex
    addresses = {"from": request.owner, "to": request.requester}
    inner = markup.element("message", {"xmlns": CLIENT, "id": id_, **addresses}, content)
    envelope = markup.element("privilege", {"xmlns": PRIVILEGE}, _forwarded(inner))
    outer = {"id": id_, "from": request.outer.get("to"), "to": request.outer.get("from")}
    return markup.element("message", outer, envelope)


def _forwarded(stanza: str) -> str:
    return markup.element("forwarded", {"xmlns": FORWARD}, stanza)
