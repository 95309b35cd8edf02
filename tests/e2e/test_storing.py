"""What an archive keeps of what real clients send, read back over MAM."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio

from devstack.deployment import HOST, Deployment
from stanzalake.config.settings import DEFAULT_EXCLUSIONS
from tests.support.clients import RawClient, parsed, stanza_ids
from tests.support.command import Command
from tests.support.deployments import JULIET, ROMEO, Entry, deployed, entries, session
from tests.support.queries import field, form
from tests.support.streams import manage, resume

pytestmark = pytest.mark.asyncio(loop_scope="module")

NURSE = f"nurse@{HOST}"
UNWANTED = "urn:example:unwanted"
CHAT_STATE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
STORE = "<store xmlns='urn:xmpp:hints'/>"
NO_STORE = "<no-store xmlns='urn:xmpp:hints'/>"
BODY = "<body>hello</body>"
COPY = "*/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
DELAY = "{urn:xmpp:delay}delay"


class Scene(NamedTuple):
    """Juliet and Romeo, a session each, and a nurse who comes and goes."""

    deployment: Deployment
    juliet: RawClient
    romeo: RawClient

    async def send(self, id_: str, content: str, kind: str = "chat") -> ET.Element:
        """Have Juliet send Romeo a message, and give it as he receives it."""
        self.juliet.send_raw(message(id_, content, kind))
        return await self.romeo.message(id_)

    async def kept(self, id_: str) -> list[list[Entry]]:
        """Give the entries of a message's id in Juliet's archive and in Romeo's."""
        return [
            [entry for entry in await entries(client) if entry.message.get("id") == id_]
            for client in (self.juliet, self.romeo)
        ]

    @asynccontextmanager
    async def more(self, *sessions: tuple[str, str]) -> AsyncIterator[list[RawClient]]:
        """Give more sessions for a while."""
        clients = [await session(self.deployment, *one) for one in sessions]
        yield clients
        for client in clients:
            await client.offline()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    exclusions = ",".join([*DEFAULT_EXCLUSIONS, UNWANTED])
    directory = tmp_path_factory.mktemp("storing")
    async with deployed(directory, PROSODY_ARCHIVE_EXCLUDE_NAMESPACES=exclusions) as deployment:
        await deployment.register("nurse")
        juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
        yield Scene(deployment, juliet, romeo)
        await juliet.offline()
        await romeo.offline()


def message(id_: str, content: str, kind: str = "chat", to: str = ROMEO) -> str:
    kind = f" type='{kind}'" if kind else ""
    return f"<message xmlns='jabber:client' to='{to}'{kind} id='{id_}'>{content}</message>"


def content(of: ET.Element) -> list[str]:
    """Give the children of a message, but for the ids that archives put there."""
    return [canonical(child) for child in of if not child.tag.endswith("}stanza-id")]


def canonical(element: ET.Element) -> str:
    """Give an element as text that does not depend on how it was written."""
    alone = copy(element)
    alone.tail = None
    return ET.canonicalize(ET.tostring(alone, "unicode"), rewrite_prefixes=True)


STORED = {
    "text": BODY + "<body xml:lang='it'>ciao</body><thread>t</thread>",
    "any-characters": "<body>\N{PILE OF POO} € e\u0301 \u202e &amp;&lt;&#9;</body>",
    "subject": "<subject>x</subject>",
    "store-hint": f"<x xmlns='urn:x'> <y>z</y> </x>{STORE}",
    "receipt": "<received xmlns='urn:xmpp:receipts' id='1'/>",
    "marker": "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
    "reaction": (
        f"<reactions id='1' xmlns='urn:xmpp:reactions:0'><reaction>♥</reaction></reactions>{STORE}"
    ),
    "fallback": f"{BODY}<fallback xmlns='urn:xmpp:fallback:0' for='x'><body/></fallback>",
    "encryption-named": "<x xmlns='urn:x'/><encryption xmlns='urn:xmpp:eme:0' namespace='urn:x'/>",
    "omemo": (
        "<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'><keys jid='a@b'><key rid='2'>"
        f"QQ==</key></keys></header><payload>\nQQ==\n</payload></encrypted>{STORE}"
    ),
    "direct-invitation": "<x xmlns='jabber:x:conference' jid='room@chat.lit' reason='r'/>",
    "mediated-invitation": (
        "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/><password>p</password>"
        "</x>"
    ),
    "call": f"<propose xmlns='urn:xmpp:jingle-message:1' id='1'/>{STORE}",
    "retraction": "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>",
}


@pytest.mark.behaviour(5, 6, 8)
@pytest.mark.requirement(
    "313-04", "313-05", "313-06", "313-115", "313-119", "313-120", "313-124", "313-142", "297-01",
    "297-03", "297-05", "334-05", "424-07", "IM-03", "IM-05", "IM-06", "IM-08", "IM-09",
)  # fmt: skip
@pytest.mark.parametrize("kind", ["chat", "normal", ""])
@pytest.mark.parametrize("name", STORED)
async def test_it_is_kept_whole_in_both_archives(scene: Scene, name: str, kind: str) -> None:
    id_ = f"{name}-{kind}"
    live = await scene.send(id_, STORED[name], kind)
    sent = parsed(message(id_, STORED[name], kind))
    kept = await scene.kept(id_)
    assert [len(found) for found in kept] == [1, 1]
    for [entry] in kept:
        assert content(entry.message) == content(sent) == content(live)
        assert entry.message.attrib == live.attrib
    assert {**sent.attrib, "from": f"{JULIET}/one"}.items() <= live.attrib.items()
    assert stanza_ids(live) == [(ROMEO, kept[1][0].id)]


NOT_STORED = {
    "no-store": BODY + NO_STORE,
    "no-permanent-store": f"{BODY}<no-permanent-store xmlns='urn:xmpp:hints'/>",
    "both-hints": BODY + STORE + NO_STORE,
    "chat-state": CHAT_STATE,
    "nothing-known": "<x xmlns='urn:x'/>",
    "excluded-call": "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>",
    "result": f"{BODY}<result xmlns='urn:xmpp:mam:2' id='1'/>",
}


@pytest.mark.behaviour(8)
@pytest.mark.requirement(
    "313-127", "313-159", "334-01", "334-02", "334-08", "IM-07", "297-02", "313-121"
)
@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "chat") for name in NOT_STORED), ("text", "headline")]
)
async def test_it_is_delivered_and_not_kept(scene: Scene, name: str, kind: str) -> None:
    children = {**NOT_STORED, **STORED}[name]
    live = await scene.send(f"not-{name}", children, kind)
    assert content(live) == content(parsed(message("", children)))
    # What is excluded is so behind the tap, which has announced it by then.
    assert stanza_ids(live) == [] or name == "excluded-call"
    assert await scene.kept(f"not-{name}") == [[], []]


@pytest.mark.requirement("297-02", "313-05")
@pytest.mark.parametrize(
    ("id_", "excluded"),
    [
        ("typing", CHAT_STATE),
        ("unwanted", f"<x xmlns='{UNWANTED}'><y/></x>"),
        ("ringing", NOT_STORED["excluded-call"]),
    ],
)
async def test_what_is_excluded_goes_from_what_is_kept(
    scene: Scene, id_: str, excluded: str
) -> None:
    live = await scene.send(id_, f"{excluded}{BODY}<thread>t</thread>{excluded}")
    assert len(content(live)) == 4
    for [entry] in await scene.kept(id_):
        assert content(entry.message) == content(parsed(message("", f"{BODY}<thread>t</thread>")))


@pytest.mark.requirement("IM-01", "IM-02", "359-11", "359-12", "359-13", "313-18")
async def test_a_correction_is_an_entry_of_its_own(scene: Scene) -> None:
    replace = "<replace xmlns='urn:xmpp:message-correct:0' id='wrong'/>"
    live = [await scene.send("wrong", BODY), await scene.send("right", BODY + replace)]
    for stanza in live:
        [stamp] = stanza.findall("{urn:xmpp:sid:0}stanza-id")
        assert stamp.attrib.keys() == {"by", "id"}
        assert (len(stamp), stamp.text) == (0, None)
    [[_, wrong], [_, right]] = [await scene.kept(id_) for id_ in ("wrong", "right")]
    assert [stanza_ids(stanza) for stanza in live] == [
        [(ROMEO, entry.id)] for [entry] in (wrong, right)
    ]
    assert content(wrong[0].message) == content(live[0])


@pytest.mark.behaviour(12)
@pytest.mark.requirement("424-03", "424-04", "424-05", "424-06", "424-07", "424-08", "424-12")
async def test_a_retraction_by_its_author_leaves_a_tombstone_in_both_archives(scene: Scene) -> None:
    secret = "<body>unsaid</body><x xmlns='urn:x'>unsaid</x>"
    live = await scene.send("said", secret)
    before = await scene.kept("said")
    retract = "<retract xmlns='urn:xmpp:message-retract:1' id='{}'/>"
    await scene.send("of-nothing", retract.format("never-said"))
    scene.romeo.send_raw(message("not-his", retract.format("said"), to=JULIET))
    await scene.juliet.message("not-his")
    for [old], [new] in zip(before, await scene.kept("said"), strict=True):
        assert content(old.message) == content(new.message) == content(live)

    await scene.send("own-retraction", retract.format("said") + BODY + STORE)
    after = await scene.kept("said")
    for [old], [new] in zip(before, after, strict=True):
        assert (old.id, old.stamp, old.message.attrib) == (new.id, new.stamp, new.message.attrib)
        [tombstone] = new.message
        assert tombstone.tag == "{urn:xmpp:message-retract:1}retracted"
        assert tombstone.get("stamp", "") > new.stamp
        assert (tombstone.get("id"), tombstone.get("by")) == ("own-retraction", JULIET)
    scene.juliet.send_raw(message("retracted-twice", retract.format("own-retraction") + STORE))
    await scene.romeo.message("retracted-twice")
    for id_ in ("own-retraction", "of-nothing", "not-his", "retracted-twice"):
        assert [len(found) for found in await scene.kept(id_)] == [1, 1]
    [[own], _] = await scene.kept("own-retraction")
    assert own.message.find("{urn:xmpp:message-retract:1}retract") is not None

    stanzalake = Command(scene.deployment.directory)
    stanzalake.settings = dict(scene.deployment.settings)
    for owner in (JULIET, ROMEO):
        status, exported, _ = await stanzalake.run("export", owner)
        assert (status, "unsaid" in exported, "id='said'" in exported) == (0, False, True)
    _, found, _ = await stanzalake.run("search", "unsaid")
    assert "unsaid" not in found


@pytest.mark.requirement("359-17")
async def test_an_origin_id_names_nothing(scene: Scene) -> None:
    for _ in range(2):
        await scene.send("twice", f"{BODY}<origin-id xmlns='urn:xmpp:sid:0' id='same'/>")
    kept = await scene.kept("twice")
    assert [len({entry.id for entry in found}) for found in kept] == [2, 2]


@pytest.mark.requirement("297-08", "334-09", "359-09")
async def test_what_is_forwarded_is_not_looked_into(scene: Scene) -> None:
    inner = message(
        "inner",
        f"{BODY}{NO_STORE}{CHAT_STATE}<stanza-id xmlns='urn:xmpp:sid:0' by='{ROMEO}' id='x'/>",
    )
    forwarded = f"<forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded>"
    await scene.send("around", BODY + forwarded)
    for [entry] in await scene.kept("around"):
        assert content(entry.message)[1] == canonical(parsed(forwarded))
    await scene.send("around-only", forwarded.replace(NO_STORE, STORE))
    assert await scene.kept("around-only") == [[], []]


@pytest.mark.requirement("IM-04")
async def test_nobody_answers_for_an_archived_request(scene: Scene) -> None:
    await scene.send("asking", f"{BODY}<request xmlns='urn:xmpp:receipts'/>")
    await scene.kept("asking")
    await scene.kept("asking")
    received = "{urn:xmpp:receipts}received"
    assert not scene.juliet.found(lambda x: x.find(received) is not None)


@pytest.mark.requirement("203-04", "203-05", "313-84")
async def test_the_archives_time_is_its_own(scene: Scene) -> None:
    old = f"<delay xmlns='urn:xmpp:delay' from='{HOST}' stamp='2001-01-01T00:00:00Z'/>"
    await scene.send("old", BODY + old)
    await scene.send("new", BODY)
    for [first], [second] in zip(await scene.kept("old"), await scene.kept("new"), strict=True):
        assert "2002" < first.stamp <= second.stamp


@pytest.mark.requirement("313-117")
async def test_a_blocked_message_is_not_its_victims(scene: Scene) -> None:
    block = "<{} xmlns='urn:xmpp:blocking'><item jid='" + JULIET + "'/></{}>"
    await scene.romeo.ask("set", block.format("block", "block"))
    scene.juliet.send_raw(message("blocked", BODY))
    # Prosody 0.12 bounces it, 13 drops it; either is done once it answers what came behind.
    await scene.juliet.ask("get", "<ping xmlns='urn:xmpp:ping'/>")
    await scene.romeo.ask("set", block.format("unblock", "unblock"))
    [sent, received] = await scene.kept("blocked")
    assert received == []
    assert content(sent[0].message) == content(parsed(message("", BODY)))


@pytest.mark.requirement("334-06")
async def test_an_error_is_kept_if_it_answers_a_session(scene: Scene) -> None:
    error = f"{BODY}{NO_STORE}<error type='wait'/>"
    scene.romeo.send_raw(message("to-nobody", error, "error", JULIET))
    scene.romeo.send_raw(message("to-one", error, "error", f"{JULIET}/one"))
    live = await scene.juliet.message("to-one")
    assert await scene.kept("to-nobody") == [[], []]
    for [entry] in await scene.kept("to-one"):
        assert content(entry.message) == content(live)


@pytest.mark.behaviour(11)
@pytest.mark.requirement("280-06", "313-20", "313-125")
async def test_copies_carry_the_id_and_are_no_entries(scene: Scene) -> None:
    async with scene.more(("juliet", "two"), ("romeo", "two")) as others:
        scene.juliet.send_raw(message("copied", BODY, to=f"{ROMEO}/one"))
        copies = [
            (await other.expect(lambda x: x.find(f"{COPY}[@id='copied']") is not None)).find(COPY)
            for other in others
        ]
        kept = await scene.kept("copied")
    assert [len(found) for found in kept] == [1, 1]
    for owner, [entry], carbon in zip((JULIET, ROMEO), kept, copies, strict=True):
        assert carbon is not None
        assert stanza_ids(carbon) == [(owner, entry.id)]


@pytest.mark.behaviour(5)
@pytest.mark.requirement("313-125", "313-44")
async def test_a_message_to_oneself_is_one_entry(scene: Scene) -> None:
    async with scene.more(("juliet", "two")) as [other]:
        scene.juliet.send_raw(message("note", BODY, to=JULIET))
        live = await other.message("note")
    own = await entries(scene.juliet, form(field("with", JULIET)))
    assert [entry.message.get("id") for entry in own] == ["note"]
    assert stanza_ids(live) == [(JULIET, own[0].id)]


@pytest.mark.behaviour(7)
@pytest.mark.requirement("313-125")
async def test_a_message_to_somebody_away_is_one_entry(scene: Scene) -> None:
    async with scene.more(("nurse", "before")):
        pass
    scene.juliet.send_raw(message("later", BODY, to=NURSE))
    await entries(scene.juliet)
    async with scene.more(("nurse", "one")) as [nurse]:
        live = await nurse.message("later")
        [entry] = await entries(nurse)
    assert stanza_ids(live) == [(NURSE, entry.id)]
    assert (entry.message.find(DELAY), live.find(DELAY) is None) == (None, False)


@pytest.mark.behaviour(9)
async def test_results_are_never_archived_again(scene: Scene) -> None:
    await scene.send("once", BODY)
    before = [entry.id for entry in await entries(scene.romeo)]
    assert before == [entry.id for entry in await entries(scene.romeo)]


@pytest.mark.behaviour(20)
@pytest.mark.requirement("313-41", "313-42", "313-43")
async def test_with_finds_what_was_sent_and_what_was_received(scene: Scene) -> None:
    await scene.send("there", BODY)
    scene.romeo.send_raw(message("back", BODY, to=f"{JULIET}/one"))
    await scene.juliet.message("back")
    bare = await entries(scene.juliet, form(field("with", ROMEO.upper())))
    assert [entry.message.get("id") for entry in bare][-2:] == ["there", "back"]
    full = await entries(scene.juliet, form(field("with", f"{ROMEO}/one")))
    found = [entry.message.get("id") for entry in full]
    assert found[-1] == "back"
    assert "there" not in found


@pytest.mark.behaviour(10)
@pytest.mark.requirement("313-125")
async def test_what_a_resumed_session_gets_again_is_one_entry(scene: Scene) -> None:
    async with scene.more(("romeo", "two")) as [two]:
        id_ = await manage(two)
        scene.juliet.send_raw(message("resumed", BODY, to=f"{ROMEO}/two"))
        live = await two.message("resumed")
        two.abort()
    [(owner, archived)] = stanza_ids(live)
    again = await resume(two, scene.deployment.client_port, id_)
    assert archived in again
    [[_], [entry]] = await scene.kept("resumed")
    assert (owner, archived) == (ROMEO, entry.id)


@pytest.mark.behaviour(10)
@pytest.mark.requirement("313-125")
async def test_what_a_lost_session_did_not_acknowledge_is_one_entry(scene: Scene) -> None:
    async with scene.more(("nurse", "lost")) as [lost]:
        await manage(lost, resume="false")
        scene.juliet.send_raw(message("unacknowledged", BODY, to=f"{NURSE}/lost"))
        live = await lost.message("unacknowledged")
        lost.abort()
    async with scene.more(("nurse", "next")) as [nurse]:
        again = await nurse.message("unacknowledged")
        kept = [e.id for e in await entries(nurse) if e.message.get("id") == "unacknowledged"]
    assert stanza_ids(live) == stanza_ids(again) == [(NURSE, id_) for id_ in kept]
