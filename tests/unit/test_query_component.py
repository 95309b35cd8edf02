"""The query component on a stream without a socket."""

import asyncio
import json
import logging
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError, tostring

import pytest

import stanzalake.xmpp.component
from query import component as component_module
from query import protocol
from stanzalake.errors import LogUnavailable, StanzalakeError, StoreRefused, StoreUnavailable
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP
from stanzalake.log.watermarks import NO_WATERMARKS
from stanzalake.model.event import Activation, Preferences
from stanzalake.xmpp.namespaces import (
    CLIENT,
    DELEGATION,
    DISCO_INFO,
    DISCO_ITEMS,
    FORWARD,
    INBOX,
    MAM,
    PRIVILEGE,
    RSM,
    STANZAS,
    tag,
)
from tests.support import settings
from tests.support.archives import MemoryArchive, row, rows
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.queries import (
    BALCONY,
    COMPONENT,
    HOST,
    answered,
    condition,
    field,
    form,
    forwarded,
    page,
    parsed,
    query,
)
from tests.support.stage import ACCEPT, DELEGATED, SENDING, Stage
from tests.support.wait import until

NURSE = f"nurse@{HOST}"
ASKED_BY_NURSE = f"<iq xmlns='{CLIENT}' type='set' id='q1' from='{NURSE}/x'>{query()}</iq>"


@pytest.fixture
async def stage() -> Stage:
    return Stage()


@pytest.fixture
def granted(stage: Stage) -> Stage:
    stage.grant()
    return stage


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO):
        yield caplog


@pytest.mark.requirement(
    "313-27", "313-77", "313-86", "355-10", "356-04", "RFC-01", "RFC-08", "297-06"
)
async def test_results_and_then_the_answer_go_down_the_stream(granted: Stage) -> None:
    granted.ask(query())
    await granted.answers()
    assert [x.tag for x in granted.end.stanzas] == [tag(ACCEPT, "message")] * 3 + [
        tag(ACCEPT, "iq")
    ]
    for outer in granted.end.stanzas[:3]:
        [[[inner]]] = outer
        assert inner.attrib == {"id": outer.get("id"), "from": JULIET, "to": BALCONY}
        assert [child.tag for child in inner] == [tag(MAM, "result")]
    assert len({outer.get("id") for outer in granted.end.stanzas[:3]}) == 3
    inner = await granted.inner()
    assert (inner.get("type"), inner[0].tag, len(inner)) == ("result", tag(MAM, "fin"), 1)
    asked = [(EVENTS, PROCESSOR_GROUP, JULIET, NO_WATERMARKS)]
    assert (granted.owners, granted.log.asked) == ([JULIET], asked)


@pytest.mark.parametrize("paging", ["", page("<max>9</max>")], ids=["no max", "a larger max"])
async def test_a_page_is_no_larger_than_the_setting(paging: str) -> None:
    few = settings.load(PROSODY_ARCHIVE_MAX_QUERY_RESULTS="2")
    stage = Stage(few)
    stage.grant()
    stage.ask(query(paging))
    fin = (await stage.inner())[0]
    assert len(stage.end.stanzas) == 2 + 1
    assert fin.get("complete") is None


@pytest.mark.requirement("355-04", "356-02", "355-32", "355-33")
@pytest.mark.parametrize("announcements", [[], [DELEGATED], [SENDING]])
async def test_nothing_is_served_that_was_not_granted(
    stage: Stage, announcements: list[str]
) -> None:
    stage.grant(*announcements, "<body/>")
    stage.ask(query())
    [answer] = await stage.answers()
    assert condition(answer[0]) == ("cancel", "service-unavailable")
    assert not stage.owners


@pytest.mark.requirement("355-32", "355-33", "114-06")
@pytest.mark.parametrize(
    "sender", ["evil.example", f"{HOST}/x", BALCONY, f"x.{HOST}", "capulet.lit.", "CAPULET.LIT"]
)
async def test_only_the_host_itself_can_forward(granted: Stage, sender: str) -> None:
    granted.ask(query(), from_=sender)
    [answer] = await granted.answers()
    assert condition(answer[0]) == ("auth", "forbidden")
    assert (answer.get("from"), answer.get("to"), answer.get("id")) == (COMPONENT, sender, "X1")
    assert not granted.owners


@pytest.mark.requirement("114-08", "355-06")
async def test_a_new_connection_needs_new_grants(granted: Stage) -> None:
    granted.component.connection_lost(None)
    granted.connect()
    granted.ask(query())
    [answer] = await granted.answers()
    assert condition(answer[0]) == ("cancel", "service-unavailable")


@pytest.mark.requirement("114-08")
async def test_requests_of_a_lost_connection_are_not_answered_on_the_next(
    granted: Stage,
) -> None:
    granted.log.held.clear()
    granted.ask(query())
    await until(lambda: granted.log.asked)
    granted.component.connection_lost(None)
    granted.connect()
    granted.log.held.set()
    granted.grant()
    granted.ask(query(), id="X2")
    [answer] = await granted.answers()
    assert answer.get("id") == "X2"


@pytest.mark.requirement("313-103", "313-104")
async def test_a_page_that_did_not_wait_long_enough_says_so(granted: Stage) -> None:
    """A5: never that it is the last one, or its client would not ask for the rest."""
    granted.log.settle = lambda: False
    granted.ask(query())
    fin = (await granted.inner())[0]
    assert (fin.get("stable"), fin.get("complete")) == ("false", None)


@pytest.mark.requirement("313-103")
async def test_a_page_without_a_log_says_so(granted: Stage) -> None:
    def away() -> bool:
        raise LogUnavailable("away")

    granted.log.settle = away
    granted.ask(query())
    fin = (await granted.inner())[0]
    assert (fin.get("stable"), fin.get("complete")) == ("false", None)


@pytest.mark.parametrize(
    ("payload", "kind", "up_to"),
    [
        (query(), "set", {3: 1234}),
        (f"<metadata xmlns='{MAM}'/>", "get", {3: 1234}),
        (f"<prefs xmlns='{MAM}'/>", "get", {}),
    ],
)
async def test_only_preferences_wait_for_more_than_the_hosts_watermarks(
    granted: Stage, payload: str, kind: str, up_to: dict[int, int]
) -> None:
    """Preferences were appended by a query service, so that the host knows nothing of them."""
    granted.bring(forwarded(payload, kind, watermarks="3:1234"))
    await granted.answers()
    assert [asked[-1] for asked in granted.log.asked] == [up_to]


@pytest.mark.parametrize(
    ("payload", "kind", "is_current"),
    [
        (query(), "set", True),
        (query(), "get", False),
        (f"<prefs xmlns='{MAM}'/>", "get", False),
        (f"<prefs xmlns='{MAM}' default='never'/>", "set", False),
    ],
)
async def test_only_a_question_about_messages_has_waited_for_them(
    granted: Stage, payload: str, kind: str, is_current: bool
) -> None:
    """Pages were answered from what was read for preferences, before messages were stored."""
    granted.ask(payload, kind)
    await granted.inner()
    assert granted.current == [is_current]


async def test_the_form_waits_for_nothing(granted: Stage) -> None:
    granted.log.held.clear()
    granted.ask(query(), "get")
    assert (await granted.inner())[0].tag == tag(MAM, "query")


@pytest.mark.requirement("355-17", "355-18", "355-34", "313-29")
@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (query(page("<after>x</after>")), ("cancel", "item-not-found")),
        (query(page("<max>x</max>")), ("modify", "bad-request")),
        (query(form("<field var='x'/>")), ("cancel", "feature-not-implemented")),
        (query() + query(), ("modify", "bad-request")),
    ],
)
async def test_an_error_of_the_user_travels_inside(
    granted: Stage, payload: str, expected: tuple[str, str]
) -> None:
    granted.ask(payload)
    inner = await granted.inner()
    assert (inner.get("type"), condition(inner[0])) == ("error", expected)
    assert len(granted.end.stanzas) == 1


@pytest.mark.requirement("355-34", "355-31")
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StoreUnavailable("secret"), ("wait", "resource-constraint")),
        (TimeoutError("secret"), ("wait", "resource-constraint")),
        (StoreRefused("secret"), ("cancel", "internal-server-error")),
        (KeyError("secret"), ("cancel", "internal-server-error")),
    ],
)
async def test_a_failure_inside_is_answered_and_keeps_its_details(
    granted: Stage,
    said: pytest.LogCaptureFixture,
    error: Exception,
    expected: tuple[str, str],
) -> None:
    granted.failure = error
    granted.ask(query())
    inner = await granted.inner()
    assert condition(inner[0]) == expected
    assert "secret" not in tostring(inner, "unicode")
    assert len(said.records) == 1
    # The text of an error of ours is made for the operator; another one may hold anything.
    assert isinstance(error, StanzalakeError | TimeoutError) or "secret" not in said.text


@pytest.mark.parametrize("error", [RuntimeError("secret"), ParseError("secret")])
async def test_a_request_that_fails_before_it_is_opened_ends_no_stream(
    stage: Stage,
    said: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fail(_: Element) -> None:
        raise error

    with monkeypatch.context() as failing:
        failing.setattr(protocol, "open_request", fail)
        stage.bring(forwarded(query()))
    stage.bring(forwarded(query()), id="X2")
    first, second = await stage.answers(2)
    assert condition(first[-1]) == ("cancel", "internal-server-error")
    assert (second.get("id"), second.get("type")) == ("X2", "result")
    assert "a request failed" in said.text
    assert "secret" not in said.text


@pytest.mark.parametrize("error", [StoreUnavailable("the store is away"), TimeoutError()])
async def test_requests_that_are_put_off_are_told_once_with_the_reason(
    granted: Stage, said: pytest.LogCaptureFixture, error: Exception
) -> None:
    """E5: a line each, without a reason, hid what was wrong."""
    granted.failure = error
    for number in range(3):
        granted.ask(query(), id=f"X{number}")
    await granted.answers(3)
    granted.failure = None
    granted.ask(query(), id="X3")
    await granted.answers(4)
    begun, ended = (record.message for record in said.records)
    assert begun.endswith(f"put off: {str(error) or 'no answer in time'}")
    assert ended.endswith("working again")


async def hang(*_: object, **__: object) -> None:
    await asyncio.Event().wait()


@pytest.mark.requirement("355-34")
async def test_a_store_that_does_not_answer_is_not_waited_for(
    granted: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(granted.stored, "read", hang)
    monkeypatch.setattr(component_module, "ANSWER_WITHIN", 0.01)
    granted.ask(query())
    assert condition((await granted.inner())[0]) == ("wait", "resource-constraint")


@pytest.mark.requirement("355-34")
async def test_too_many_requests_are_told_to_come_again(
    granted: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(component_module, "MAX_REQUESTS", 2)
    granted.log.held.clear()
    for n in range(3):
        granted.ask(query(), id=f"X{n}")
    [refused] = await granted.answers()
    [[[inner]]] = refused
    assert (refused.get("id"), condition(inner[0])) == ("X2", ("wait", "resource-constraint"))
    granted.log.held.set()
    answers = await granted.answers(3)
    assert sorted(answer.get("id", "") for answer in answers) == ["X0", "X1", "X2"]
    granted.ask(query(), id="X3")
    await granted.answers(4)


async def nurse_is_answered_beside_one_page(stage: Stage) -> None:
    """Have nurse ask once the others' pages hang, of which the embedded store has one at work."""
    await until(lambda: len(stage.owners) == 1)
    stage.stored = MemoryArchive([], owner=NURSE)
    stage.bring(forwarded(query(), owner=NURSE, asker=f"{NURSE}/x", iq=ASKED_BY_NURSE), id="N")
    [answer] = await stage.answers()
    assert answer.get("id") == "N"
    assert stage.owners == [JULIET, NURSE], "one share has one page at work"


async def test_an_owner_with_many_slow_pages_holds_up_no_other_owner(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E4, at the component: as several hosts ask it."""
    monkeypatch.setattr(stage.stored, "read", hang)
    for number in range(50):
        stage.bring(forwarded(query()), id=f"X{number}")
    await nurse_is_answered_beside_one_page(stage)


async def test_the_accounts_of_another_server_hold_up_no_account(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.stored, "read", hang)
    rights = {"affiliation": "none", "whois": "anyone", "moderator": False}
    for number in range(50):
        asker = f"user{number}@other.example/x"
        iq = ASKED_BY_NURSE.replace(f"{NURSE}/x", asker)
        asked = forwarded(query(), asker=asker, iq=iq, room=rights, server="other.example")
        stage.bring(asked, id=f"X{number}")
    await nurse_is_answered_beside_one_page(stage)


async def test_the_searches_of_many_accounts_hold_up_no_page(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.stored, "read", hang)
    search = query(form(field("{urn:xmpp:fulltext:0}fulltext", "word")))
    for number in range(component_module.PAGES_AT_ONCE):
        owner = f"user{number}@{HOST}"
        iq = f"<iq xmlns='{CLIENT}' type='set' id='q1' from='{owner}/x'>{search}</iq>"
        stage.bring(forwarded(search, owner=owner, asker=f"{owner}/x", iq=iq), id=f"X{number}")
    await until(lambda: len(stage.owners) == component_module.SEARCHES_AT_ONCE)
    stage.stored = MemoryArchive([], owner=NURSE)
    stage.bring(forwarded(query(), owner=NURSE, asker=f"{NURSE}/x", iq=ASKED_BY_NURSE), id="N")
    [answer] = await stage.answers()
    assert answer.get("id") == "N"


async def test_a_snapshot_is_prepared_for_what_is_asked(stage: Stage) -> None:
    stage.grant()
    stage.ask(query())
    stage.ask("<inbox xmlns='urn:xmpp:inbox:1'/>", "get", id="I")
    await until(lambda: len(stage.prepared) == 2)
    assert sorted(stage.prepared) == [(JULIET, False), (JULIET, True)]


async def test_more_owners_wait_for_their_snapshots_together_than_have_pages_in_memory(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.stored, "read", hang)
    for number in range(component_module.LOADS_AT_ONCE + 1):
        owner = f"user{number}@capulet.lit"
        asker = f"{owner}/x"
        iq = ASKED_BY_NURSE.replace(NURSE, owner)
        stage.bring(forwarded(query(), owner=owner, asker=asker, iq=iq), id=f"X{number}")
    await until(lambda: len(stage.prepared) == component_module.LOADS_AT_ONCE)
    assert len(stage.owners) == component_module.PAGES_AT_ONCE


async def test_an_owner_has_so_many_requests_at_a_component(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(component_module, "MAX_ACCOUNT_REQUESTS", 2)
    stage.log.held.clear()
    for number in range(3):
        stage.bring(forwarded(query()), id=f"X{number}")
    stage.bring(forwarded(query(), owner=NURSE, asker=f"{NURSE}/x", iq=ASKED_BY_NURSE), id="N")
    [refused] = await stage.answers()
    assert refused.get("id") == "X2"
    assert b"resource-constraint" in answered([refused])[0].content
    stage.log.held.set()
    await stage.answers(4)


async def test_a_full_stream_holds_pages_back(granted: Stage) -> None:
    granted.component.pause_writing()
    granted.ask(query())
    granted.ask(query(), id="X2")
    await until(lambda: granted.owners)
    assert granted.end.stanzas == []
    granted.component.resume_writing()
    await granted.answers(2)
    assert len(granted.owners) == 2
    kinds = [x.tag.partition("}")[2] for x in granted.end.stanzas]
    assert kinds == ["message", "message", "message", "iq"] * 2


@pytest.mark.requirement("RFC-01", "RFC-03", "RFC-06", "RFC-02", "30-05", "30-07")
@pytest.mark.parametrize(
    ("attributes", "payload", "expected"),
    [
        ("type='get'", "<ping xmlns='urn:xmpp:ping'/>", ("cancel", "service-unavailable")),
        ("type='set'", "<ping xmlns='urn:xmpp:ping'/>", ("cancel", "service-unavailable")),
        ("type='get'", f"<query xmlns='{MAM}'/>", ("cancel", "service-unavailable")),
        ("type='set'", f"<query xmlns='{DISCO_INFO}'/>", ("cancel", "service-unavailable")),
        ("type='get'", f"<query xmlns='{DISCO_INFO}' node='x'/>", ("cancel", "item-not-found")),
        ("type='get'", "", ("modify", "bad-request")),
        ("type='get'", "<a/><b/>", ("modify", "bad-request")),
        ("type='set'", f"<delegation xmlns='{DELEGATION}'/>", ("modify", "bad-request")),
    ],
)
async def test_every_other_iq_gets_one_error(
    granted: Stage, attributes: str, payload: str, expected: tuple[str, str]
) -> None:
    granted.hear(f"<iq {attributes} id='i&quot;1' from='{HOST}' to='{COMPONENT}'>{payload}</iq>")
    [answer] = await granted.answers()
    assert (answer.get("id"), answer.get("to")) == ('i"1', HOST)
    assert condition(answer[0]) == expected


async def test_other_addresses_of_the_components_domain_are_unavailable(granted: Stage) -> None:
    granted.hear(
        f"<iq type='get' id='1' from='{HOST}' to='x@{COMPONENT}'><query xmlns='{DISCO_INFO}'/></iq>"
    )
    granted.ask(query(), to=f"x@{COMPONENT}")
    for answer in await granted.answers(2):
        assert condition(answer[0]) == ("cancel", "service-unavailable")
        assert answer.get("from") == f"x@{COMPONENT}"


@pytest.mark.requirement("RFC-01", "RFC-03")
async def test_answers_presence_and_messages_are_not_answered(granted: Stage) -> None:
    for kind in ("result", "error"):
        granted.hear(f"<iq type='{kind}' id='1' from='{HOST}' to='{COMPONENT}'/>")
    for kind in ("subscribe", "probe", "unavailable"):
        granted.hear(f"<presence type='{kind}' from='{JULIET}' to='{COMPONENT}'/>")
    granted.hear(f"<message from='{JULIET}' to='{COMPONENT}'><body>hello</body></message>")
    granted.ask(query())
    await granted.answers()
    assert len(granted.end.stanzas) == 4


@pytest.mark.requirement("30-01", "30-02", "355-29")
@pytest.mark.parametrize("namespace", [DISCO_INFO, DISCO_ITEMS])
async def test_disco_is_answered_at_once(stage: Stage, namespace: str) -> None:
    node = f"{DELEGATION}:bare:{MAM}"
    stage.hear(
        f"<iq type='get' id='d1' from='{HOST}' to='{COMPONENT}'>"
        f"<query xmlns='{namespace}' node='{node}'/></iq>"
    )
    [answer] = stage.iqs
    assert (answer.get("type"), answer[0].get("node")) == ("result", node)


async def test_a_bounced_result_is_told_once_and_without_its_content(
    granted: Stage, said: pytest.LogCaptureFixture
) -> None:
    for sender in ("evil.example", HOST, HOST):
        granted.hear(
            f"<message type='error' id='1' from='{sender}' to='{COMPONENT}'>"
            f"<privilege xmlns='{PRIVILEGE}'><forwarded xmlns='{FORWARD}'>"
            f"<message xmlns='{CLIENT}'><body>secret</body></message></forwarded></privilege>"
            f"<error type='auth'><forbidden xmlns='{STANZAS}'/></error></message>"
        )
    [record] = said.records
    assert HOST in record.message
    assert "forbidden" in record.message
    assert "secret" not in said.text


@pytest.mark.requirement("355-34")
async def test_stopping_finishes_requests_at_work_and_refuses_new_ones(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stay(_: object, stop: asyncio.Event) -> None:
        await stop.wait()

    monkeypatch.setattr(stanzalake.xmpp.component.Component, "run", stay)
    stop = asyncio.Event()
    running = asyncio.create_task(stage.component.run(stop))
    stage.grant()
    stage.log.held.clear()
    stage.ask(query(page("<max>0</max>")))
    await until(lambda: stage.log.asked)
    stop.set()
    await until(lambda: stage.component.closing)
    stage.ask(query(), id="X2")
    [refused] = await stage.answers()
    assert refused.get("id") == "X2"
    assert not running.done()
    stage.log.held.set()
    await running
    assert [x.get("id") for x in stage.iqs] == ["X2", "X1"]
    assert stage.iqs[1].find(f".//{tag(RSM, 'count')}") is not None


PREFS = f"<prefs xmlns='{MAM}' default='never'><always><jid>{ROMEO}</jid></always></prefs>"


@pytest.mark.requirement("441-02", "441-06")
async def test_preferences_go_into_the_log_under_the_requests_position(granted: Stage) -> None:
    granted.bring(forwarded(PREFS, position=77))
    await granted.answers()
    [said] = granted.log.heard
    assert isinstance(said, Preferences)
    assert (said.owner, said.position, said.always) == (JULIET, 77, (ROMEO,))


async def test_without_positions_of_the_host_they_still_increase(granted: Stage) -> None:
    for number in range(1, 4):
        granted.ask(PREFS, id=f"X{number}")
        await granted.answers(number)
    positions = [said.position for said in granted.log.heard]
    assert positions == sorted(set(positions))


@pytest.mark.parametrize(
    ("payload", "kind", "activates"),
    [
        (query(), "set", True),
        (f"<query xmlns='{MAM}'/>", "get", True),
        (f"<prefs xmlns='{MAM}'/>", "get", True),
        (f"<inbox xmlns='{INBOX}'/>", "get", True),
        (f"<metadata xmlns='{MAM}'/>", "get", False),
    ],
)
async def test_smart_archiving_begins_with_the_first_request(
    payload: str, kind: str, activates: bool
) -> None:
    stage = Stage(smart=True)
    stage.grant()
    stage.ask(payload, kind)
    await stage.answers()
    assert [type(said) for said in stage.log.heard] == [Activation] * activates


async def test_without_smart_archiving_nothing_has_to_begin(granted: Stage) -> None:
    granted.ask(query())
    await granted.answers()
    assert granted.log.heard == []


async def test_a_begun_archive_is_not_begun_again() -> None:
    stage = Stage(smart=True)
    stage.stored = MemoryArchive(rows(3), said=(Activation(v=1, owner=JULIET, position=1),))
    stage.grant()
    stage.ask(query())
    await stage.answers()
    assert stage.log.heard == []


async def test_a_log_that_does_not_hear_means_try_again(granted: Stage) -> None:
    granted.log.failure = LogUnavailable("full")
    granted.ask(PREFS)
    inner = await granted.inner()
    assert condition(inner[0]) == ("wait", "resource-constraint")


async def test_a_request_of_the_module_needs_no_grant_and_is_one_answer(stage: Stage) -> None:
    stage.bring(forwarded(query()))
    [outer] = await stage.answers()
    addresses = [outer.get(name) for name in ("type", "id", "from", "to")]
    assert addresses == ["result", "X1", COMPONENT, HOST]
    assert stage.end.stanzas == [outer]
    *messages, iq = answered([outer])
    assert [(m.kind, m.position) for m in messages] == [("message", r.position) for r in rows(3)]
    for message in messages:
        shown = parsed(message.content.decode())
        assert (shown.get("from"), shown.get("to")) == (JULIET, BALCONY)
        assert [child.tag for child in shown] == [tag(MAM, "result")]
    fin = parsed(iq.content.decode())
    assert (fin.get("type"), fin.get("id"), fin.get("to")) == ("result", "q1", BALCONY)


@pytest.mark.parametrize("sender", ["evil.example", f"{HOST}/x", BALCONY, ""])
async def test_only_the_hosts_module_is_heard(stage: Stage, sender: str) -> None:
    stage.bring(forwarded(query()), from_=sender)
    [answer] = await stage.answers()
    assert condition(answer[0]) == ("auth", "forbidden")
    assert not stage.owners


async def test_a_large_page_travels_in_parts_that_fit_prosodys_default_limit(stage: Stage) -> None:
    large = [row(r.position, stanza=stanza("'" * 400_000)) for r in rows(3)]
    stage.stored = MemoryArchive(large)
    stage.bring(forwarded(query()))
    await stage.answers()
    *parts, last = stage.end.stanzas
    assert [part.tag for part in parts] == [tag(ACCEPT, "message")] * len(parts)
    numbers = [part[0].get("part") for part in stage.end.stanzas]
    assert numbers == [str(n) for n in range(1, len(parts) + 2)]
    assert {part[0].get("of") for part in stage.end.stanzas} == {str(len(parts) + 1)}
    assert {part.get("id") for part in parts} == {"X1"}
    assert max(len(tostring(part)) for part in stage.end.stanzas) < 300 * 1024
    *messages, _ = answered([*parts, last])
    assert len(messages) == 3


STATES = [
    ((), {"activated": False, "always": [], "never": []}, 0),
    ((Activation(v=1, owner=JULIET, position=5),), {"activated": True}, 5),
]


@pytest.mark.parametrize(("said", "expected", "position"), STATES)
async def test_a_host_is_told_an_owners_state(
    stage: Stage, said: tuple[Activation, ...], expected: dict[str, object], position: int
) -> None:
    stage.stored = MemoryArchive([], said=said)
    stage.bring(forwarded(None))
    [frame] = answered(await stage.answers())
    assert (frame.kind, frame.position) == ("state", position)
    assert json.loads(frame.content).items() >= expected.items()


async def test_a_state_that_may_be_out_of_date_is_not_told(stage: Stage) -> None:
    stage.log.settle = lambda: False
    stage.bring(forwarded(None))
    [answer] = await stage.answers()
    assert (answer.get("type"), condition(answer[0])) == ("error", ("wait", "resource-constraint"))


async def test_set_preferences_come_back_as_the_state_in_force(stage: Stage) -> None:
    stage.bring(forwarded(PREFS, position=9, state=True))
    state, iq = answered(await stage.answers())
    assert (state.kind, state.position, iq.kind) == ("state", 9, "iq")
    assert json.loads(state.content) == {
        "activated": True,
        "always": [ROMEO],
        "default": "never",
        "never": [],
    }


async def test_an_activation_comes_back_as_the_state_in_force() -> None:
    stage = Stage(smart=True)
    stage.bring(forwarded(query(page("<max>0</max>")), position=9, state=True))
    state, _ = answered(await stage.answers())
    assert (state.kind, state.position) == ("state", 9)
    assert json.loads(state.content)["activated"] is True
