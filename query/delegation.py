"""The envelopes of XEP-0355 and XEP-0356, for hosts with stock modules and for other servers.

Requests and replies travel in XEP-0355's, result messages in XEP-0356's. Everything inside the
outer addresses is the user's own writing, and any user of any server can be its author: who may
read an archive is decided here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from query.errors import StanzaError
from query.request import Reply, Request
from stanzalake.xmpp import markup
from stanzalake.xmpp.namespaces import CLIENT, DELEGATION, FORWARD, PRIVILEGE, tag

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

REQUEST = tag(DELEGATION, "delegation")


@dataclass(frozen=True)
class Envelope:
    """A delegated request.

    Attributes:
        request: The forwarded request.
        outer: The carrying iq, without children.
    """

    request: Request
    outer: "Element"

    def seal(self, reply: Reply) -> Iterator[str]:
        """Give each result as a privileged message, then the reply as the iq's result.

        An error for the user travels inside too: hosts turn an outer error of any kind into
        service-unavailable.
        """
        for result in reply.results:
            yield self._message(result.content)
        attributes = {
            "xmlns": CLIENT,
            "type": reply.kind,
            "id": self.request.id,
            "from": self.request.asked,
            "to": self.request.requester,
        }
        inner = markup.element("iq", attributes, reply.payload)
        envelope = markup.element("delegation", {"xmlns": DELEGATION}, _forwarded(inner))
        yield markup.reply(self.outer, "result", envelope)

    def _message(self, content: str) -> str:
        """Wrap a message that the host sends to the requester in the owner's name."""
        id_ = uuid4().hex
        addresses = {"from": self.request.owner, "to": self.request.requester}
        inner = markup.element("message", {"xmlns": CLIENT, "id": id_, **addresses}, content)
        envelope = markup.element("privilege", {"xmlns": PRIVILEGE}, _forwarded(inner))
        outer = {"id": id_, "from": self.outer.get("to"), "to": self.outer.get("from")}
        return markup.element("message", outer, envelope)


def open_request(outer: "Element") -> Envelope:
    """Take a request out of its envelope.

    Raises:
        StanzaError: bad-request, for the outer iq: it holds no request that could be answered.
    """
    iq = outer.find(f"{REQUEST}/{tag(FORWARD, 'forwarded')}/{tag(CLIENT, 'iq')}")
    requester = "" if iq is None else iq.get("from", "")
    if iq is None or iq.get("type") not in {"get", "set"} or not iq.get("id") or not requester:
        raise StanzaError("bad-request", "no forwarded iq of type get or set with id and from")
    owner = requester.partition("/")[0]
    request = Request(outer.get("from", ""), owner, requester, iq)
    return Envelope(request, markup.childless(outer))


def _forwarded(stanza: str) -> str:
    return markup.element("forwarded", {"xmlns": FORWARD}, stanza)
