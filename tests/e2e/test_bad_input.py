"""What clients send by mistake or by malice: one answer each, the right one, and a quiet log."""

from collections.abc import AsyncIterator
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio

from devstack.deployment import HOST, INGEST, QUERY, Deployment
from tests.support.clients import CLIENT, RawClient, condition
from tests.support.components import privileged
from tests.support.deployments import JULIET, ROMEO, deployed, entries, session
from tests.support.queries import FORM_TYPE, field, form, page, query

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAM = "urn:xmpp:mam:2"
SECRET = "hush-hush"
BAD = "modify/bad-request"
UNKNOWN = "cancel/feature-not-implemented"
LOST = "cancel/item-not-found"
UNAVAILABLE = "cancel/service-unavailable"
DISCO = "http://jabber.org/protocol/disco#info"


class Scene(NamedTuple):
    """Juliet, who has a secret in her archive, and Romeo."""

    deployment: Deployment
    juliet: RawClient
    romeo: RawClient

    async def only_answer(self, kind: str, payload: str, to: str = "") -> ET.Element:
        """Give Juliet's answer to an iq, and hold that it is the only one."""
        id_ = self.juliet.send_iq(kind, payload, to)
        answer = await self.juliet.answer(id_)
        await self.juliet.ask("get", "<ping xmlns='urn:xmpp:ping'/>")
        assert len(self.juliet.found(lambda x: x.get("id") == id_)) == 1
        return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with deployed(tmp_path_factory.mktemp("bad-input")) as deployment:
        juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
        juliet.say(ROMEO, SECRET, "m1")
        await romeo.message("m1")
        yield Scene(deployment, juliet, romeo)
        await juliet.offline()
        await romeo.offline()
        log = deployment.log.read_text() + deployment.prosody.log_path.read_text()
        assert SECRET not in log
        assert "raceback" not in log
        assert "stack overflow" not in log


def submitted(*fields: str, kind: str = "submit", form_type: str = FORM_TYPE) -> str:
    return f"<x xmlns='jabber:x:data' type='{kind}'>{form_type}{''.join(fields)}</x>"


QUERIES = {
    "no FORM_TYPE": (submitted(field("with", ROMEO), form_type=""), BAD),
    "another FORM_TYPE": (submitted(form_type=field("FORM_TYPE", "urn:xmpp:mam:1")), BAD),
    "cancelled form": (submitted(kind="cancel"), BAD),
    "two forms": (form() + form(), BAD),
    "unknown field": (form(field("withtext", SECRET)), UNKNOWN),
    "field without a name": (form("<field><value>x</value></field>"), BAD),
    "field twice": (form(field("with", ROMEO), field("with", ROMEO)), BAD),
    "two values": (form(field("with", ROMEO, ROMEO)), BAD),
    "no value": (form(field("with")), BAD),
    "no JID": (form(field("with", f"@{SECRET}")), BAD),
    "two ats": (form(field("with", "a@b@c")), BAD),
    "long JID": (form(field("with", "x" * 1024 + "@y")), BAD),
    "no date": (form(field("start", SECRET)), BAD),
    "no zone": (form(field("end", "2026-01-01T00:00:00")), BAD),
    "no such day": (form(field("start", "2026-02-30T00:00:00Z")), BAD),
    "old date": (form(field("start", "20260101T00:00:00")), BAD),
    "no boolean": (form(field("include-groupchat", "maybe")), BAD),
    "negative max": (page("<max>-1</max>"), BAD),
    "max of words": (page("<max>ten</max>"), BAD),
    "broken max": (page("<max>1.5</max>"), BAD),
    "endless max": (page(f"<max>{'9' * 10_000}</max>"), BAD),
    "index of words": (page("<index>first</index>"), BAD),
    "index and anchor": (page("<index>1</index><before/>"), BAD),
    "two sets": (page("") + page(""), BAD),
    "lost after": (page(f"<after>{SECRET}</after>"), LOST),
    "lost before": (page(f"<before>{SECRET}</before>"), LOST),
    "lost after-id": (form(field("after-id", SECRET)), LOST),
    "lost before-id": (form(field("before-id", SECRET)), LOST),
    "lost ids": (form(field("ids", SECRET)), LOST),
    "long id": (page(f"<after>{'A' * 100_000}</after>"), LOST),
    "too many ids": (form(field("ids", *map(str, range(5000)))), BAD),
    "another order": ("<order xmlns='urn:xmpp:order-by:1' by='date'/>", UNKNOWN),
    "deep form": (submitted("<field var='with'>" * 5000 + "</field>" * 5000), BAD),
}


@pytest.mark.behaviour(19, 20, 21, 34, 37, 47, 48)
@pytest.mark.requirement(
    "313-49", "313-59", "313-62", "313-76", "313-94", "59-29", "4-08", "4-10", "RFC-01", "RFC-03",
    "RFC-04", "RFC-05",
)  # fmt: skip
@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_that_makes_no_sense_has_one_answer(scene: Scene, name: str) -> None:
    content, expected = QUERIES[name]
    answer = await scene.only_answer("set", query(content))
    assert condition(answer) == expected
    assert SECRET not in ET.tostring(answer, "unicode")


HARMLESS = {
    "greatest max": page("<max>9223372036854775807</max>"),
    "greatest index": page("<index>18446744073709551615</index>"),
    "empty set": page(""),
    "stray elements": "\n <after>x</after><with>y</with> text ",
    "deep elsewhere": "<a>" * 10_000 + "</a>" * 10_000,
    "many children": "<a/>" * 30_000,
    "large": f"<a b='{'c' * 120_000}'/>",
    "years ago": form(field("start", "-9999-01-01T00:00:00Z")),
}


@pytest.mark.behaviour(17, 18, 30, 37)
@pytest.mark.parametrize("name", HARMLESS)
async def test_what_does_no_harm_is_answered(scene: Scene, name: str) -> None:
    answer = await scene.only_answer("set", query(HARMLESS[name]))
    assert answer.get("type") == "result"
    assert answer[0].get("complete") == "true"


@pytest.mark.parametrize(
    ("id_", "expected"),
    [
        ("", "result"),
        ("i" * 60_000, "result"),
        ("\\" * 40_000, "result"),
        ("i" * 100_000, "error"),
        ("\\" * 100_000, "error"),
    ],
    ids=["empty", "long", "of backslashes", "too long", "too long, of backslashes"],
)
async def test_an_iq_is_answered_by_its_id(scene: Scene, id_: str, expected: str) -> None:
    scene.juliet.send_raw(f"<iq type='set' id='{id_}'>{query()}</iq>")
    answer = await scene.juliet.answer(id_)
    assert answer.get("type") == expected
    if expected == "error":
        assert condition(answer) == "modify/policy-violation"


REQUESTS = {
    "two payloads": ("set", query() + query(), BAD),
    "node": ("set", query(attributes="node='n'"), UNKNOWN),
    "long queryid": ("set", query(attributes=f"queryid='{'q' * 100_000}'"), BAD),
    "a brace in a namespace": ("set", query("<x xmlns='a}b'/>"), BAD),
    "too many bytes": ("set", query("<a/>" * 40_000), "modify/policy-violation"),
    "metadata set": ("set", f"<metadata xmlns='{MAM}'/>", UNKNOWN),
    "no default": ("set", f"<prefs xmlns='{MAM}'/>", BAD),
    "another default": ("set", f"<prefs xmlns='{MAM}' default='{SECRET}'/>", BAD),
    "no JID listed": (
        "set",
        f"<prefs xmlns='{MAM}' default='always'><never><jid>@{SECRET}</jid></never></prefs>",
        BAD,
    ),
    "too many JIDs": (
        "set",
        f"<prefs xmlns='{MAM}' default='always'><never>"
        + "".join(f"<jid>u{n}@x</jid>" for n in range(1001))
        + "</never></prefs>",
        "modify/policy-violation",
    ),
}


@pytest.mark.requirement("313-144", "441-08", "441-20", "RFC-01", "RFC-02", "RFC-05")
@pytest.mark.parametrize("name", REQUESTS)
async def test_another_request_that_makes_no_sense_has_one_answer(scene: Scene, name: str) -> None:
    kind, payload, expected = REQUESTS[name]
    assert condition(await scene.only_answer(kind, payload)) == expected


FOREIGN = {
    "query": ("set", query()),
    "form": ("get", query()),
    "metadata": ("get", f"<metadata xmlns='{MAM}'/>"),
    "prefs": ("get", f"<prefs xmlns='{MAM}'/>"),
    "wishes": ("set", f"<prefs xmlns='{MAM}' default='never'/>"),
    "disco": ("get", f"<query xmlns='{DISCO}'/>"),
}


@pytest.mark.behaviour(3, 16)
@pytest.mark.requirement(
    "313-114", "313-154", "313-155", "313-160", "355-31", "30-04", "30-06", "313-15"
)
@pytest.mark.parametrize("name", FOREIGN)
async def test_an_archive_of_others_is_no_other_than_one_of_nobody(scene: Scene, name: str) -> None:
    kind, payload = FOREIGN[name]
    of_romeo = await scene.only_answer(kind, payload, ROMEO)
    of_nobody = await scene.only_answer(kind, payload, f"nobody@{HOST}")
    assert condition(of_romeo) == condition(of_nobody) == "cancel/service-unavailable"
    assert [ET.tostring(child) for child in of_romeo] == [ET.tostring(child) for child in of_nobody]
    assert of_romeo.attrib.keys() == of_nobody.attrib.keys()


@pytest.mark.requirement("313-61")
async def test_an_id_of_others_is_no_other_than_a_made_up_one(scene: Scene) -> None:
    [*_, last] = await entries(scene.romeo)
    of_romeo = await scene.only_answer("set", query(page(f"<after>{last.id}</after>")))
    made_up = await scene.only_answer("set", query(page("<after>made-up</after>")))
    assert ET.tostring(of_romeo[0]) == ET.tostring(made_up[0])


def delegated(requester: str) -> str:
    return (
        "<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<iq xmlns='jabber:client' type='set' id='q1' from='{requester}'>{query()}</iq>"
        "</forwarded></delegation>"
    )


async def test_a_body_that_grows_six_times_on_its_way_is_readable(scene: Scene) -> None:
    """B7: Prosody writes an apostrophe in six bytes, and takes 512 KiB of a component's stanza."""
    scene.juliet.say(ROMEO, "'" * 100_000, "apostrophes")
    await scene.romeo.message("apostrophes")
    [*_, last] = await entries(scene.romeo)
    assert last.message.findtext("{jabber:client}body") == "'" * 100_000


SPOOFS = {
    "a request to query": (QUERY, delegated(f"{ROMEO}/one"), UNAVAILABLE),
    "a request of one's own": (QUERY, delegated(f"{JULIET}/one"), UNAVAILABLE),
    "a query to query": (QUERY, query(), UNAVAILABLE),
    "a request to the host": (HOST, delegated(f"{ROMEO}/one"), UNAVAILABLE),
    "a batch": (INGEST, "<batch xmlns='urn:stanzalake:batch:1'>e30K</batch>", UNAVAILABLE),
}


@pytest.mark.requirement("355-32", "355-33", "RFC-06")
@pytest.mark.parametrize("name", SPOOFS)
async def test_a_client_is_no_host(scene: Scene, name: str) -> None:
    to, payload, expected = SPOOFS[name]
    assert condition(await scene.only_answer("set", payload, to)) == expected


@pytest.mark.requirement("356-03", "356-06", "356-21")
async def test_a_client_can_neither_grant_nor_send_results(scene: Scene) -> None:
    revoked = "<delegation xmlns='urn:xmpp:delegation:2'/><privilege xmlns='urn:xmpp:privilege:2'/>"
    for to in (QUERY, HOST):
        scene.juliet.send_raw(f"<message to='{to}' id='revoked'>{revoked}</message>")
    result = privileged(f"{JULIET}/one", HOST, ROMEO, f"{ROMEO}/one", "forged")
    scene.juliet.send_raw(result)
    refused = await scene.juliet.expect(lambda x: x.get("id") == "outer-forged")
    assert condition(refused) == UNAVAILABLE
    direct = f"<result xmlns='{MAM}' id='x'><forwarded xmlns='urn:xmpp:forward:0'/></result>"
    scene.juliet.send_raw(f"<message to='{ROMEO}/one' id='direct'>{direct}</message>")
    live = await scene.romeo.message("direct")
    assert live.get("from") == f"{JULIET}/one"
    assert not scene.romeo.found(lambda x: x.get("id") == "forged")
    assert "direct" not in [entry.message.get("id") for entry in await entries(scene.romeo)]


@pytest.mark.requirement("RFC-01")
async def test_an_answer_is_not_answered(scene: Scene) -> None:
    for kind in ("result", "error"):
        for to in (QUERY, INGEST, HOST, JULIET):
            scene.juliet.send_raw(f"<iq type='{kind}' to='{to}' id='unasked'>{query()}</iq>")
    await scene.only_answer("set", query(page("<max>0</max>")))
    assert not scene.juliet.found(lambda x: x.get("id") == "unasked")


async def test_large_messages_come_back(scene: Scene) -> None:
    body = f"{SECRET} " + "\N{PILE OF POO}" * 55_000
    for number in range(3):
        scene.romeo.say(JULIET, body, f"large-{number}")
        await scene.juliet.message(f"large-{number}")
    found = (await entries(scene.juliet))[-3:]
    assert [entry.message.findtext(f"{CLIENT}body") for entry in found] == [body] * 3
