"""An XMPP client that parses with expat as Prosody does, and compares markup exactly."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from xml.parsers import expat

from devstack.raw import RawSession
from stanzalake.xmpp.stanza import SEPARATOR

_DEADLINE = 30.0
_HEADER = b"<s:s xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>"
_BIND = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq><presence/>"


class Start(NamedTuple):
    """A start tag; names have the form of `stanzalake.xmpp.stanza`."""

    name: str
    attributes: frozenset[tuple[str, str]]

    def get(self, name: str) -> str:
        """Return an attribute's value; empty if there is none."""
        return dict(self.attributes).get(name, "")


class End(NamedTuple):
    """An end tag."""


Element = Sequence[Start | End | str]
"""Tokens of an element, adjacent text merged: equal if the elements are, however written."""


def qualify(namespace: str, local: str) -> str:
    """Return the name of an element or an attribute in a namespace."""
    return f"{namespace}{SEPARATOR}{local}"


def head(element: Element) -> Start:
    """Return the start tag of an element."""
    assert isinstance(element[0], Start)
    return element[0]


def children(element: Element) -> Iterator[Element]:
    """Yield the child elements of an element."""
    depth = begun = 0
    for position, token in enumerate(element):
        if isinstance(token, Start):
            depth += 1
            begun = position if depth == 2 else begun
        elif isinstance(token, End):
            depth -= 1
            if depth == 1:
                yield element[begun : position + 1]


def find(element: Element, *names: str) -> Element | None:
    """Return the first element at a path of names, if there is one."""
    if not names:
        return element
    found = (find(c, *names[1:]) for c in children(element) if head(c).name == names[0])
    return next((c for c in found if c is not None), None)


def without(element: Element, removed: Callable[[Start], bool]) -> Element:
    """Return an element without some of its children."""
    tokens: list[Start | End | str] = []
    depth = skipped = 0
    for token in element:
        depth += isinstance(token, Start)
        if depth == 2 and isinstance(token, Start) and removed(token):
            skipped = True
        if not skipped:
            _append(tokens, token)
        if isinstance(token, End):
            skipped = skipped and depth != 2
            depth -= 1
    return tokens


class PlainClient(RawSession):
    """A session that parses what it receives; arguments as for `RawSession`."""

    def __init__(self, user: str, password: str, host: str, port: int) -> None:
        super().__init__(user, password, host, port)
        self._received: list[Element] = []
        self._open: list[Start | End | str] = []
        self._depth = 0
        self._parser = expat.ParserCreate(None, SEPARATOR)
        self._parser.StartElementHandler = self._on_start
        self._parser.EndElementHandler = self._on_end
        self._parser.CharacterDataHandler = self._on_text
        self._parser.Parse(_HEADER)

    async def open(self) -> None:
        """Log in, bind and become available."""
        await self.authenticate()
        self.write(_BIND)
        await self.receive_until(lambda tag: tag.name == qualify("jabber:client", "presence"))

    async def receive(self) -> Element:
        """Return the next stanza or other element of the stream.

        Raises:
            expat.ExpatError: The server's XML is not well-formed.
            EOFError: The server closed the stream.
        """
        async with asyncio.timeout(_DEADLINE):
            while not self._received:
                data = await self.reader.read(2**16)
                if not data:
                    raise EOFError
                self._parser.Parse(data)
        return self._received.pop(0)

    async def receive_until(self, wanted: Callable[[Start], bool]) -> list[Element]:
        """Return the next elements, up to the first with a certain start tag."""
        received = [await self.receive()]
        while not wanted(head(received[-1])):
            received.append(await self.receive())
        return received

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        if self._depth:
            self._open.append(Start(name, frozenset(attributes.items())))
        self._depth += 1

    def _on_end(self, _: str) -> None:
        self._depth -= 1
        self._open.append(End())
        if self._depth == 1:
            self._received.append(self._open)
            self._open = []

    def _on_text(self, text: str) -> None:
        if self._depth > 1:
            _append(self._open, text)


def _append(tokens: list[Start | End | str], token: Start | End | str) -> None:
    if isinstance(token, str) and tokens and isinstance(tokens[-1], str):
        tokens[-1] += token
    else:
        tokens.append(token)
