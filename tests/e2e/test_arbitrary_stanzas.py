"""Arbitrary stanzas between two clients: announced, archived and read back go together."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devstack.deployment import HOST, Deployment
from stanzalake.config.settings import DEFAULT_EXCLUSIONS, load
from stanzalake.log import opening
from stanzalake.log.base import REJECTED, Record
from stanzalake.xmpp.stanza import SEPARATOR
from tests.support.deployments import JULIET
from tests.support.plain_client import Element, PlainClient, Start, find, head, qualify, without
from tests.support.prosody_parser import ProsodyParser, prosody_parser
from tests.support.stanzas import ODD, UNSERIALISABLE

STANZA_ID = qualify("urn:xmpp:sid:0", "stanza-id")
RESULT = qualify("urn:xmpp:mam:2", "result")
FORWARDED = qualify("urn:xmpp:forward:0", "forwarded")
MESSAGE = qualify("jabber:client", "message")
ACTIVE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"

RSM = "http://jabber.org/protocol/rsm"
EXAMPLES = settings.default.max_examples // 10 if settings.default else 10
MAX_LENGTH = 120_000
"""Characters of a stanza's content: less than c2s_stanza_size_limit, 256 KiB."""

SENDABLE = {
    **{kind: markup for kind, markup in ODD.items() if len(markup) < MAX_LENGTH},
    "nesting of 5,000": "<a>" * 5_000 + "</a>" * 5_000,
    "an attribute of 100,000 characters": f"<x a='{'v' * 100_000}'/>",
    "a body of 100,000 apostrophes": f"<x>{chr(39) * 100_000}</x>",
}

CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from(
    "\t\n\r\x7f\x85&<>'\"]}{|\u2028\ufeff\N{PILE OF POO}"
)
TEXTS = st.text(CHARACTERS, max_size=20).filter(lambda text: not {"\ufffe", "\uffff"} & set(text))
NAMES = st.from_regex(r"[A-Za-z_éΩ中][\w.é中-]{0,8}", fullmatch=True) | st.just("n" * 60_000)
NAMESPACES = st.sampled_from(
    [
        "my app",
        "a}b",
        "http://exämple.com/",
        "jabber:client",
        "urn:x",
        'it\'s <&> "odd"',
        "x" * 5000,
    ]
) | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=9)


def written(text: str) -> str:
    return escape(text, {"'": "&apos;", "\r": "&#13;"})


@st.composite
def attributes(draw: st.DrawFn) -> str:
    """Draw attributes, some with namespaces."""
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    prefixed = [(f"p{n}", name, draw(st.none() | NAMESPACES)) for n, name in enumerate(names)]
    return "".join(
        f" {name}='{written(draw(TEXTS))}'"
        if namespace is None
        else f" xmlns:{prefix}='{written(namespace)}' {prefix}:{name}='{written(draw(TEXTS))}'"
        for prefix, name, namespace in prefixed
    )


@st.composite
def elements(draw: st.DrawFn, content: st.SearchStrategy[str]) -> str:
    """Draw an element in a namespace, by a prefix or without."""
    name, namespace = draw(NAMES), written(draw(NAMESPACES))
    tag, declared = draw(st.sampled_from([(name, "xmlns"), (f"p:{name}", "xmlns:p")]))
    inner = draw(content)
    begin = f"<{tag} {declared}='{namespace}'{draw(attributes())}"
    return f"{begin}>{inner}</{tag}>" if inner else f"{begin}/>"


CONTENT = st.recursive(
    TEXTS.map(written) | st.just(ACTIVE),
    lambda inner: st.lists(inner | elements(inner), max_size=4).map("".join),
    max_leaves=8,
)
NESTED = st.integers(100, 300).map(lambda depth: "<a>" * depth + "</a>" * depth)
BODIES = st.just("") | TEXTS.map(lambda text: f"<body>{written(text)}</body>")


MESSAGES = (
    st.tuples(BODIES, elements(CONTENT) | CONTENT | NESTED)
    .map("".join)
    .filter(lambda content: len(content) < MAX_LENGTH)
)


class Talk(NamedTuple):
    """Romeo writes to Juliet, who reads her archive."""

    parser: ProsodyParser
    deployment: Deployment
    runner: asyncio.Runner
    romeo: PlainClient
    juliet: PlainClient


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    deployment = Deployment(
        tmp_path_factory.mktemp("arbitrary"), settings={"PROSODY_ARCHIVE_POLICY": "true"}
    )

    async def connect(user: str) -> PlainClient:
        client = PlainClient(user, deployment.passwords[user], HOST, deployment.client_port)
        await client.open()
        await deployment.wait_known(user)
        return client

    with asyncio.Runner() as runner, prosody_parser() as parser:
        try:
            runner.run(deployment.start())
            romeo, juliet = [runner.run(connect(user)) for user in ("romeo", "juliet")]
            talk = Talk(parser, deployment, runner, romeo, juliet)
            yield talk
            runner.run(talk.romeo.close())
            runner.run(talk.juliet.close())
        finally:
            runner.run(deployment.stop())


numbers = itertools.count(1)


class Archived(NamedTuple):
    """A message and its id in Juliet's archive, empty if none was announced."""

    id: str
    message: Element


async def say(talk: Talk, contents: Sequence[str]) -> list[Archived]:
    """Have Romeo say something; return what Juliet receives, and a last message."""
    marker = f"marker-{next(numbers)}"
    for content in contents:
        talk.romeo.write(f"<message to='{JULIET}' type='chat'>{content}</message>")
    talk.romeo.write(f"<message to='{JULIET}' type='chat' id='{marker}'><body/></message>")
    # expat from 2.6 on holds back a tag that came in pieces, until twice as much has come.
    talk.romeo.write(" " * max(map(len, ["", *contents])))
    received = await talk.juliet.receive_until(lambda tag: tag.get("id") == marker)
    return [announced(message) for message in received if head(message).name == MESSAGE]


def announced(message: Element) -> Archived:
    id_ = find(message, STANZA_ID)
    return Archived("" if id_ is None else head(id_).get("id"), stored(message))


def stored(message: Element) -> Element:
    """Return a message as it is to be archived."""
    return without(message, lambda tag: tag.name == STANZA_ID or is_excluded(tag))


def is_excluded(tag: Start) -> bool:
    return tag.name.partition(SEPARATOR)[0] in DEFAULT_EXCLUSIONS


async def read(client: PlainClient, place: str) -> list[Archived]:
    """Return a page of a client's archive."""
    id_ = f"page-{next(numbers)}"
    rsm = f"<set xmlns='{RSM}'><max>250</max>{place}</set>"
    client.write(f"<iq type='set' id='{id_}'><query xmlns='urn:xmpp:mam:2'>{rsm}</query></iq>")
    received = await client.receive_until(lambda tag: tag.get("id") == id_)
    results = [result for message in received if (result := find(message, RESULT)) is not None]
    return [archived(result) for result in results]


def archived(result: Element) -> Archived:
    message = find(result, FORWARDED, MESSAGE)
    assert message is not None
    return Archived(head(result).get("id"), message)


async def read_all(client: PlainClient, after: str) -> list[Archived]:
    """Return the pages of a client's archive after an id."""
    found: list[Archived] = []
    while page := await read(client, f"<after>{after}</after>"):
        found += page
        after = page[-1].id
    return found


@pytest.mark.requirement("313-04")
@given(st.lists(MESSAGES, min_size=1, max_size=12))
@settings(max_examples=EXAMPLES)
def test_a_message_is_archived_exactly_if_announced(talk: Talk, contents: list[str]) -> None:
    # Prosody decides: our own parser, if it were stricter, would keep its own faults out.
    sendable = [one for one in contents if talk.parser.parse(f"<message>{one}</message>")]
    [before] = talk.runner.run(say(talk, []))
    live = talk.runner.run(say(talk, sendable))
    found = talk.runner.run(read_all(talk.juliet, before.id))
    assert len(live) == len(sendable) + 1
    assert found == [message for message in live if message.id]


@pytest.mark.requirement("313-04")
@pytest.mark.parametrize("kind", SENDABLE)
def test_odd_markup_is_archived(talk: Talk, kind: str) -> None:
    [before] = talk.runner.run(say(talk, []))
    live = talk.runner.run(say(talk, [f"<body>odd</body>{SENDABLE[kind]}"]))
    assert all(message.id for message in live)
    assert talk.runner.run(read_all(talk.juliet, before.id)) == live


def test_a_flood_of_odd_markup_does_not_stop_the_archive(talk: Talk) -> None:
    """More than the dead letters in a row that would end the processor."""
    odd = [
        f"<body>{n}</body>{markup}" for n in range(250) for markup in list(SENDABLE.values())[:4]
    ]
    [before] = talk.runner.run(say(talk, []))
    live = talk.runner.run(say(talk, [*odd, *odd[:100]]))
    assert len(live) == 1101
    assert all(message.id for message in live)
    assert talk.runner.run(read_all(talk.juliet, before.id)) == live


@pytest.mark.parametrize("kind", UNSERIALISABLE)
def test_markup_that_prosody_cannot_write_is_not_archived(talk: Talk, kind: str) -> None:
    """From an archive it would end a client's stream, as it does live."""

    async def to_nobody() -> list[Archived]:
        content = f"<body>odd</body>{UNSERIALISABLE[kind]}"
        talk.romeo.write(f"<message to='nobody@{HOST}' type='chat'>{content}</message>")
        await talk.romeo.receive_until(lambda tag: tag.get("type") == "error")
        return await read_all(talk.romeo, last.id)

    [*_, last] = talk.runner.run(read(talk.romeo, "<before/>"))
    assert talk.runner.run(to_nobody()) == []
    assert talk.runner.run(dead_letters(talk.deployment)) == []


async def dead_letters(deployment: Deployment) -> list[Record]:
    async with opening.open_log(load(deployment.settings)) as log:
        return [record async for record in log.scan(REJECTED)]
