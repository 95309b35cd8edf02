"""The query service behind a real Prosody, with stock modules and with ours."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import sha1
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

from query import service
from stanzalake.config import settings
from stanzalake.log.base import EVENTS
from stanzalake.log.sqlite import LocalLog
from stanzalake.model.event import Preferences, decode
from stanzalake.model.position import Sealer, from_milliseconds
from stanzalake.store.client import Row
from stanzalake.xmpp.component import Component
from stanzalake.xmpp.namespaces import DISCO_INFO, FORWARD, MAM, RSM, tag
from tests.support.archives import START
from tests.support.clients import CLIENT, RawClient, condition
from tests.support.queries import field, form, page, query
from tests.support.server import HOST, JULIET, KEY, QUERY, ROMEO, Server, StartServer
from tests.support.stores import migrated_store
from tests.support.wait import until

SEALER = Sealer([KEY])
SECRET = "wherefore"
DELEGATION = f"""
delegations = {{ ["{MAM}"] = {{ jid = "{QUERY}" }} }}
privileged_entities = {{ ["{QUERY}"] = {{ message = "outgoing" }} }}
Component "{QUERY}"
component_secret = "{SECRET}"
modules_enabled = {{ "delegation", "privilege" }}
"""
METADATA = f"<metadata xmlns='{MAM}'/>"


class Scene(NamedTuple):
    """Juliet with three messages in her archive, Romeo with none."""

    server: Server
    log: LocalLog
    juliet: RawClient
    romeo: RawClient

    async def search(self, *content: str) -> tuple[list[ET.Element], ET.Element]:
        """Give the messages that Juliet gets before the answer to a search, and the answer."""
        before = len(self.juliet.received)
        answer = await self.juliet.ask("set", query(*content))
        end = self.juliet.received.index(answer)
        return self.juliet.received[before:end], answer


def row(number: int) -> Row:
    text = (
        f"<message xmlns='jabber:client' from='{ROMEO}/one' to='{JULIET}' type='chat' "
        f"id='m{number}'><body>€ &amp; {number}</body><x xmlns='urn:other'/></message>"
    )
    position = from_milliseconds(START + number)
    legacy_id = "an imported <id>" if number == 1 else ""
    return Row(JULIET, position, ROMEO, "one", "in", "chat", text, legacy_id)


def id_of(number: int) -> str:
    """Give the id that clients see of a row."""
    return row(number).legacy_id or SEALER.seal(JULIET, row(number).position)


@asynccontextmanager
async def serving(server: Server, directory: Path, cache: int) -> AsyncIterator[LocalLog]:
    """Run the query service over a store of three messages."""
    log = LocalLog(directory / "log.sqlite", None)
    with migrated_store("chdb://:memory:") as store:
        store.insert([row(n) for n in range(3)])
        given = settings.load(
            {
                "STANZALAKE_HOSTS": HOST,
                "STANZALAKE_COMPONENT_SECRET": server.prosody.component_secret,
                "STANZALAKE_ID_KEYS": KEY,
                "STANZALAKE_PROSODY": f"127.0.0.1:{server.prosody.component_port}",
                "STANZALAKE_QUERY_JID": QUERY,
                "PROSODY_ARCHIVE_STORE": store.table,
                "PROSODY_ARCHIVE_EXPIRES_AFTER": "never",
                "STANZALAKE_ACCESS_LOG": str(directory / "access.log"),
                "STANZALAKE_PAGE_CACHE_BYTES": str(cache),
            }
        )
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(given, log, store, stop))
        try:
            yield log
        finally:
            stop.set()
            await running
            await log.close()


@pytest.fixture(params=["stock", "ours"])
async def scene(
    request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path
) -> AsyncIterator[Scene]:
    if request.param == "stock":
        server = await start_server(
            DELEGATION,
            modules=["delegation", "privilege"],
            query=[],
            ingest=[],
            component_secret=SECRET,
        )
    else:
        server = await start_server()
    cache = 0 if request.param == "uncached" else 2**26
    async with serving(server, tmp_path, cache) as log:
        juliet, romeo = await server.client("juliet"), await server.client("romeo")
        await delegated(juliet)
        yield Scene(server, log, juliet, romeo)


async def delegated(client: RawClient) -> None:
    """Wait until the host hands requests over."""
    async with asyncio.timeout(20):
        while (await client.ask("get", query())).get("type") == "error":
            pass


def canonical(text: str) -> str:
    return ET.canonicalize(text, rewrite_prefixes=True)


@pytest.mark.requirement(
    "313-13", "313-27", "313-77", "313-86", "355-01", "355-09", "355-11", "355-12", "356-09",
    "RFC-08", "297-05", "356-22", "114-01", "114-02", "313-82",
)  # fmt: skip
async def test_a_page_reaches_the_client_whole_and_in_order(scene: Scene) -> None:
    messages, answer = await scene.search()
    assert [m.tag for m in messages] == [f"{CLIENT}message"] * 3
    for number, message in enumerate(messages):
        assert (message.get("from"), message.get("to")) == (JULIET, f"{JULIET}/one")
        [result] = message
        assert (result.get("queryid"), result.get("id")) == ("f27", id_of(number))
        stored = result.find(f"{tag(FORWARD, 'forwarded')}/{CLIENT}message")
        assert stored is not None
        assert canonical(ET.tostring(stored, "unicode")) == canonical(row(number).stanza)
    assert answer.get("type") == "result"
    assert answer.get("from", JULIET) == JULIET
    assert answer[0].get("complete") == "true"
    assert answer[0].find(f"{tag(RSM, 'set')}/{tag(RSM, 'count')}") is not None


async def test_a_client_may_name_its_own_account(scene: Scene) -> None:
    answer = await scene.juliet.ask("set", query(), to=JULIET)
    assert (answer.get("type"), answer.get("from")) == ("result", JULIET)


@pytest.mark.requirement("355-18", "313-59", "313-76")
async def test_an_error_reaches_the_client(scene: Scene) -> None:
    for payload, expected in (
        (query(page("<after>x</after>")), "cancel/item-not-found"),
        (query(form(field("x", "y"))), "cancel/feature-not-implemented"),
        (query(form(field("start", "x"))), "modify/bad-request"),
        (query(attributes="node='n'"), "cancel/feature-not-implemented"),
    ):
        assert condition(await scene.juliet.ask("set", payload)) == expected, payload


@pytest.mark.behaviour(16)
@pytest.mark.requirement("313-114", "313-154", "313-155", "313-160", "355-31", "30-06")
async def test_foreign_and_unknown_archives_are_refused_alike(scene: Scene) -> None:
    for kind, payload in (
        ("set", query()),
        ("get", query()),
        ("get", METADATA),
        ("get", f"<prefs xmlns='{MAM}'/>"),
        ("set", f"<prefs xmlns='{MAM}' default='always'/>"),
    ):
        refusals = {
            condition(await scene.romeo.ask(kind, payload, to=to))
            for to in (JULIET, f"nobody@{HOST}", HOST)
        }
        assert len(refusals) == 1, payload
    assert not scene.romeo.found(lambda x: x.find(tag(MAM, "result")) is not None)


@pytest.mark.requirement("313-58", "313-148", "59-09")
async def test_an_imported_message_is_found_by_its_old_id(scene: Scene) -> None:
    old = "an imported &lt;id&gt;"
    found, _ = await scene.search(form(field("ids", old)))
    assert [message[0].get("id") for message in found] == [id_of(1)]
    newer, _ = await scene.search(page(f"<after>{old}</after>"))
    assert [message[0].get("id") for message in newer] == [id_of(2)]
    older, answer = await scene.search(form(field("before-id", old)), page("<before/>"))
    assert [message[0].get("id") for message in older] == [id_of(0)]
    assert answer.findtext(f".//{tag(RSM, 'last')}") == id_of(0)


@pytest.mark.behaviour(51)
@pytest.mark.requirement("441-03", "441-04", "441-06")
async def test_preferences_are_shown_set_and_heard(scene: Scene) -> None:
    shown = await scene.juliet.ask("get", f"<prefs xmlns='{MAM}'/>")
    assert (shown[0].get("default"), [child.tag for child in shown[0]]) == (
        "roster",
        [tag(MAM, "always"), tag(MAM, "never")],
    )
    never = f"<never><jid>{ROMEO}</jid></never>"
    echoed = await scene.juliet.ask("set", f"<prefs xmlns='{MAM}' default='always'>{never}</prefs>")
    assert echoed[0].get("default") == "always"
    assert [jid.text for jid in echoed.iter(tag(MAM, "jid"))] == [ROMEO]
    consumer = await scene.log.consumer(EVENTS, "test")
    [record] = await consumer.read(9, 10)
    await consumer.close()
    heard = decode(record.value)
    assert isinstance(heard, Preferences)
    assert (heard.owner, heard.never) == (JULIET, (ROMEO,))


@pytest.mark.requirement("313-69", "313-110", "313-112")
async def test_the_form_and_the_metadata_reach_the_client(scene: Scene) -> None:
    served = await scene.juliet.ask("get", query())
    assert len(served.findall(".//*[@var]")) == 9
    metadata = await scene.juliet.ask("get", METADATA)
    assert [end.get("id") for end in metadata[0]] == [id_of(0), id_of(2)]
    nothing = await scene.romeo.ask("get", METADATA)
    assert len(nothing[0]) == 0


@pytest.mark.behaviour(1)
@pytest.mark.requirement("313-149", "355-23", "355-29", "30-03", "355-24")
async def test_the_account_shows_the_features_of_an_archive(scene: Scene) -> None:
    info = await scene.juliet.ask("get", f"<query xmlns='{DISCO_INFO}'/>", to=JULIET)
    features = {x.get("var") for x in info.iter(tag(DISCO_INFO, "feature"))}
    assert {MAM, f"{MAM}#extended", f"{MAM}#groupchat-field", "urn:xmpp:sid:0"} <= features


@pytest.mark.requirement("30-01", "30-02", "355-21", "355-23")
@pytest.mark.parametrize("scene", ["stock"], indirect=True)
async def test_the_component_tells_of_itself(scene: Scene) -> None:
    info = await scene.juliet.ask("get", f"<query xmlns='{DISCO_INFO}'/>", to=QUERY)
    assert [x.get("type") for x in info.iter(tag(DISCO_INFO, "identity"))] == ["archive"]
    node = f"urn:xmpp:delegation:2:bare:{MAM}"
    nested = await scene.juliet.ask("get", f"<query xmlns='{DISCO_INFO}' node='{node}'/>", to=QUERY)
    assert nested[0].get("node") == node
    assert MAM in {x.get("var") for x in nested.iter(tag(DISCO_INFO, "feature"))}


@pytest.mark.requirement("313-27", "313-30", "313-85")
async def test_many_queries_at_once_are_all_answered_each_in_its_order(scene: Scene) -> None:
    ids = [scene.juliet.send_iq("set", query(attributes=f"queryid='{n}'")) for n in range(50)]
    answers = [await scene.juliet.answer(id_) for id_ in ids]
    assert {answer.get("type") for answer in answers} == {"result"}
    for number, answer in enumerate(answers):
        before = scene.juliet.received[: scene.juliet.received.index(answer)]
        results = [x.find(f"*[@queryid='{number}']") for x in before]
        assert [x.get("id") for x in results if x is not None] == [id_of(n) for n in range(3)]
    assert len(scene.juliet.found(lambda x: x.find(tag(MAM, "result")) is not None)) == 3 * 50


class Access(NamedTuple):
    """A request in the access log: the owner, and the milliseconds of its begin and end."""

    owner: str
    begin: float
    end: float


def accesses(directory: Path) -> list[Access]:
    """Give the searches in the access log."""
    lines = map(json.loads, (directory / "access.log").read_text().splitlines())
    times = [(x, 1000 * datetime.fromisoformat(x["at"]).timestamp()) for x in lines]
    return [
        Access(x["owner"], at, at + x["milliseconds"]) for x, at in times if x["action"] == "search"
    ]


@pytest.mark.parametrize("scene", ["uncached"], indirect=True)
async def test_pages_of_others_wait_for_few_of_a_flood(scene: Scene, tmp_path: Path) -> None:
    """E4: an account asks for 1,280 pages at once from five sessions."""
    sessions = [await scene.server.client("juliet", f"flood{n}") for n in range(5)]
    for client in sessions:
        for _ in range(256):
            client.send_iq("set", query())
    await until(lambda: len(accesses(tmp_path)) > 10)
    for _ in range(5):
        assert (await scene.romeo.ask("set", query())).get("type") == "result"
    found = accesses(tmp_path)
    flood = [access.end for access in found if access.owner == JULIET]
    own = [access for access in found if access.owner == ROMEO]
    assert len(own) == 5
    for access in own:
        assert sum(access.begin < end < access.end for end in flood) <= 10
    assert len(flood) < 514, "the flood was over before"


@pytest.mark.requirement("114-01", "114-02", "114-04")
async def test_only_the_handshake_is_sent_before_its_answer() -> None:
    said: list[str] = []
    answered = asyncio.Event()

    async def host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append((await reader.readuntil(b">")).decode())
        writer.write(
            b"<stream:stream xmlns='jabber:component:accept' id='a&amp;b' "
            b"xmlns:stream='http://etherx.jabber.org/streams' from='query.stanzalake'>"
        )
        said.append((await reader.readuntil(b"</handshake>")).decode())
        answered.set()
        writer.write(b"<handshake/>")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(host, "127.0.0.1", 0) as server:
        component = Component(QUERY, SECRET, server.sockets[0].getsockname())
        stop = asyncio.Event()
        running = asyncio.create_task(component.run(stop))
        async with asyncio.timeout(10):
            await component.ready()
        assert answered.is_set()
        stop.set()
        await running
    header, handshake = said
    assert 'xmlns="jabber:component:accept"' in header
    assert f'to="{QUERY}"' in header
    digest = sha1(f"a&b{SECRET}".encode(), usedforsecurity=False).hexdigest()
    assert ET.fromstring(handshake).text == digest  # noqa: S314  # what the test itself was sent
