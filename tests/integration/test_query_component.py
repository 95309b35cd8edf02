"""The query service behind a real Prosody, with stock modules and with ours."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

from archive import migrations, settings
from archive.local_log import LocalLog
from archive.position import Sealer, from_milliseconds
from archive.store import Row, Store
from query import service
from query.namespaces import DISCO_INFO, FORWARD, MAM, RSM, tag
from tests.integration.conftest import StartServer
from tests.support.archives import START
from tests.support.clients import CLIENT, RawClient, condition
from tests.support.queries import field, form, page, query
from tests.support.server import HOST, JULIET, KEY, QUERY, ROMEO, Server

SEALER = Sealer([KEY])
SECRET = "wherefore"
DELEGATION = f"""
delegations = {{ ["{MAM}"] = {{ jid = "{QUERY}" }} }}
privileged_entities = {{ ["{QUERY}"] = {{ message = "outgoing" }} }}
Component "{QUERY}"
component_secret = "{SECRET}"
modules_enabled = {{ "delegation", "privilege" }}
"""
_tables = (f"query_component_{n}" for n in itertools.count())


class Scene(NamedTuple):
    """Juliet with three messages in her archive, Romeo with none."""

    server: Server
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
    return Row(JULIET, position, ROMEO, "one", "in", "chat", text)


@asynccontextmanager
async def serving(server: Server, directory: Path) -> AsyncIterator[None]:
    """Run the query service over a store of three messages."""
    given = settings.load(
        {
            "STANZALAKE_HOSTS": HOST,
            "STANZALAKE_COMPONENT_SECRET": server.prosody.component_secret,
            "STANZALAKE_ID_KEYS": KEY,
            "STANZALAKE_PROSODY": f"127.0.0.1:{server.prosody.component_port}",
            "STANZALAKE_QUERY_JID": QUERY,
            "PROSODY_ARCHIVE_STORE": next(_tables),
            "PROSODY_ARCHIVE_EXPIRES_AFTER": "never",
        }
    )
    store, log = Store("chdb://:memory:", given.store), LocalLog(directory / "log.sqlite", None)
    migrations.apply(store, given)
    store.insert([row(n) for n in range(3)])
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(given, log, store, stop))
    try:
        yield
    finally:
        stop.set()
        await running
        await log.close()
        store.close()


@pytest.fixture(params=["stock", "ours"])
async def scene(
    request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path
) -> AsyncIterator[Scene]:
    if request.param == "ours":
        server = await start_server()
    else:
        server = await start_server(
            DELEGATION,
            modules=["delegation", "privilege"],
            query=[],
            ingest=[],
            component_secret=SECRET,
        )
    async with serving(server, tmp_path):
        juliet, romeo = await server.client("juliet"), await server.client("romeo")
        await delegated(juliet)
        yield Scene(server, juliet, romeo)


async def delegated(client: RawClient) -> None:
    """Wait until the host hands requests over."""
    async with asyncio.timeout(20):
        while (await client.ask("get", query())).get("type") == "error":
            pass


def canonical(text: str) -> str:
    return ET.canonicalize(text, rewrite_prefixes=True)


@pytest.mark.requirement(
    "313-13", "313-27", "313-77", "313-86", "355-01", "355-09", "355-11", "355-12", "356-09",
    "RFC-08", "297-05",
)  # fmt: skip
async def test_a_page_reaches_the_client_whole_and_in_order(scene: Scene) -> None:
    messages, answer = await scene.search()
    assert [m.tag for m in messages] == [f"{CLIENT}message"] * 3
    for number, message in enumerate(messages):
        assert (message.get("from"), message.get("to")) == (JULIET, f"{JULIET}/one")
        [result] = message
        assert (result.get("queryid"), result.get("id")) == (
            "f27",
            SEALER.seal(JULIET, row(number).position),
        )
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


@pytest.mark.requirement("355-18", "313-59", "313-76", "441-05")
@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (query(page("<after>x</after>")), "cancel/item-not-found"),
        (query(form(field("x", "y"))), "cancel/feature-not-implemented"),
        (query(form(field("start", "x"))), "modify/bad-request"),
        (query(attributes="node='n'"), "cancel/feature-not-implemented"),
    ],
)
async def test_an_error_reaches_the_client(scene: Scene, payload: str, expected: str) -> None:
    assert condition(await scene.juliet.ask("set", payload)) == expected


@pytest.mark.requirement("313-154", "355-31")
async def test_nobody_reads_the_archive_of_another(scene: Scene) -> None:
    refusals = {
        condition(await scene.romeo.ask("set", query(), to=to)) for to in (JULIET, f"nobody@{HOST}")
    }
    assert len(refusals) == 1
    assert not scene.romeo.found(lambda x: x.find(tag(MAM, "result")) is not None)


@pytest.mark.requirement("313-69", "313-110", "313-112")
async def test_the_form_and_the_metadata_reach_the_client(scene: Scene) -> None:
    served = await scene.juliet.ask("get", query())
    assert len(served.findall(".//*[@var]")) == 8
    metadata = await scene.juliet.ask("get", f"<metadata xmlns='{MAM}'/>")
    assert [end.get("id") for end in metadata[0]] == [
        SEALER.seal(JULIET, row(n).position) for n in (0, 2)
    ]
    nothing = await scene.romeo.ask("get", f"<metadata xmlns='{MAM}'/>")
    assert len(nothing[0]) == 0


@pytest.mark.requirement("313-149", "355-23", "355-29", "30-03")
async def test_the_account_shows_the_features_of_an_archive(scene: Scene) -> None:
    info = await scene.juliet.ask("get", f"<query xmlns='{DISCO_INFO}'/>", to=JULIET)
    features = {x.get("var") for x in info.iter(tag(DISCO_INFO, "feature"))}
    assert {MAM, f"{MAM}#extended", f"{MAM}#groupchat-field", "urn:xmpp:sid:0"} <= features


async def test_many_queries_at_once_are_all_answered(scene: Scene) -> None:
    ids = [scene.juliet.send_iq("set", query()) for _ in range(50)]
    for id_ in ids:
        assert (await scene.juliet.answer(id_)).get("type") == "result"
    results = scene.juliet.found(lambda x: x.find(tag(MAM, "result")) is not None)
    assert len(results) == 3 * len(ids)
