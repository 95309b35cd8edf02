"""Requests as a host forwards them, and answers as the client reads them."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree.ElementTree import Element, fromstring

from query import mam
from query.delegation import open_request
from query.question import Answer, QueryContext
from query.request import Request
from query.state_publisher import StatePublisher
from stanzalake.model.page import Archive
from stanzalake.xmpp import frames
from stanzalake.xmpp.frames import Frame
from stanzalake.xmpp.namespaces import (
    CLIENT,
    DELAY,
    DELEGATION,
    FORWARD,
    MAM,
    QUERY,
    RSM,
    STANZAS,
    tag,
)
from tests.support.archives import HeardLog
from tests.support.events import JULIET

HOST = "capulet.lit"
COMPONENT = "query.stanzalake"
BALCONY = f"{JULIET}/balcony"

FORM_TYPE = f"<field var='FORM_TYPE' type='hidden'><value>{MAM}</value></field>"


def parsed(markup: str) -> Element:
    """Give an element of its markup."""
    return fromstring(markup)  # noqa: S314  # written by the tests or by the code under test


def envelope(payload: str, kind: str = "set", requester: str = BALCONY, to: str = "") -> Element:
    """Give the outer iq of a delegated request (XEP-0355).

    Args:
        payload: The inner iq's content, as markup.
        kind: The inner iq's type.
        requester: The inner iq's from.
        to: The inner iq's to; none if empty.
    """
    address = f" to='{to}'" if to else ""
    return parsed(
        f"<iq type='set' id='X1' from='{HOST}' to='{COMPONENT}'>"
        f"<delegation xmlns='{DELEGATION}'><forwarded xmlns='{FORWARD}'>"
        f"<iq xmlns='{CLIENT}' type='{kind}' id='q1' from='{requester}'{address}>{payload}</iq>"
        "</forwarded></delegation></iq>"
    )


def forwarded(
    payload: str | None,
    kind: str = "set",
    position: int = 7,
    iq: str = "",
    **header: object,
) -> Element:
    """Give the iq in which the module forwards a request.

    Args:
        payload: The user's iq's content, as markup; None for a request for the state alone.
        kind: The user's iq's type.
        position: The request's position.
        iq: The user's iq instead, as markup.
        header: More of the header, or other values.
    """
    values = {"owner": JULIET, "asker": BALCONY, **header}
    given = [
        Frame("state" if payload is None else "request", json.dumps(values).encode(), position)
    ]
    if payload is not None:
        written = f"<iq xmlns='{CLIENT}' type='{kind}' id='q1' from='{BALCONY}'>{payload}</iq>"
        given.append(Frame("iq", (iq or written).encode()))
    return carried(frames.write(given))


def carried(data: bytes) -> Element:
    """Give an iq of the module with these bytes for its request."""
    return parsed(
        f"<iq type='set' id='X1' from='{HOST}' to='{COMPONENT}'>"
        f"<request xmlns='{QUERY}'>{base64.b64encode(data).decode()}</request></iq>"
    )


def answered(stanzas: Iterable[Element]) -> Sequence[Frame]:
    """Give the frames of an answer, of the stanzas that carry its parts."""
    texts = [stanza[0].text or "" for stanza in stanzas]
    return frames.read(b"".join(base64.b64decode(text, validate=True) for text in texts))


def request(payload: str, kind: str = "set") -> Request:
    """Give a request of Juliet's to her own archive."""
    return open_request(envelope(payload, kind)).request


def field(name: str, *values: str) -> str:
    """Give a filled-in field of a form, as markup."""
    return f"<field var='{name}'>{''.join(f'<value>{value}</value>' for value in values)}</field>"


def form(*fields: str) -> str:
    """Give a submitted search form, as markup."""
    return f"<x xmlns='jabber:x:data' type='submit'>{FORM_TYPE}{''.join(fields)}</x>"


def page(content: str) -> str:
    """Give an RSM set, as markup."""
    return f"<set xmlns='{RSM}'>{content}</set>"


def query(*content: str, attributes: str = "queryid='f27'") -> str:
    """Give a search, as markup."""
    return f"<query xmlns='{MAM}' {attributes}>{''.join(content)}</query>"


class Result(NamedTuple):
    """One result as the client reads it."""

    id: str
    queryid: str | None
    stamp: str
    body: str


@dataclass
class Reply:
    """An answer to a search as the client reads it.

    Attributes:
        results: In the order in which they are sent.
        fin: The <fin/>.
    """

    results: Sequence[Result]
    fin: Element

    @property
    def bodies(self) -> list[str]:
        """The results' bodies."""
        return [result.body for result in self.results]

    @property
    def ids(self) -> list[str]:
        """The results' ids."""
        return [result.id for result in self.results]

    @property
    def complete(self) -> bool:
        """Whether the page says that it ends the set."""
        assert self.fin.get("complete") in {None, "true"}
        return self.fin.get("complete") == "true"

    def rsm(self, name: str) -> str | None:
        """Give the text of one of the set's children."""
        return self.fin.findtext(f"{tag(RSM, 'set')}/{tag(RSM, name)}")

    @property
    def count(self) -> int:
        """The size of the whole set."""
        return int(self.rsm("count") or "")

    @property
    def index(self) -> int | None:
        """The place of the page's first item, if it is told."""
        first = self.fin.find(f"{tag(RSM, 'set')}/{tag(RSM, 'first')}")
        index = None if first is None else first.get("index")
        return None if index is None else int(index)


async def answer(  # noqa: PLR0913  # what a question is answered from, each with a default
    archive: Archive,
    payload: str,
    kind: str = "set",
    limit: int = 250,
    *,
    stable: bool = True,
    publisher: StatePublisher | None = None,
) -> Answer:
    """Ask an archive, as its owner."""
    question = mam.question(request(payload, kind))
    silent = StatePublisher(JULIET, 0, "roster", HeardLog())
    return await question.answer(QueryContext(archive, limit, stable, publisher or silent))


async def search(
    archive: Archive, *content: str, attributes: str = "queryid='f27'", limit: int = 250
) -> Reply:
    """Search an archive, as its owner."""
    given = await answer(archive, query(*content, attributes=attributes), limit=limit)
    return Reply(
        [_result(parsed(result.content)) for result in given.results], parsed(given.payload)
    )


def condition(error: Element) -> tuple[str | None, str]:
    """Give the type and the condition of an <error/>."""
    [defined] = [child for child in error if child.tag != tag(STANZAS, "text")]
    assert defined.tag.startswith(tag(STANZAS, ""))
    return error.get("type"), defined.tag.partition("}")[2]


def _result(result: Element) -> Result:
    assert result.tag == tag(MAM, "result")
    [forwarded] = result
    delay, message = forwarded
    assert (forwarded.tag, delay.tag) == (tag(FORWARD, "forwarded"), tag(DELAY, "delay"))
    assert message.tag == tag(CLIENT, "message")
    body = message.findtext(tag(CLIENT, "body"), "")
    return Result(result.get("id", ""), result.get("queryid"), delay.get("stamp", ""), body)
