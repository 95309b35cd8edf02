"""The text of bodies, and the analysts' views, with every row stored twice, on both engines."""

from collections.abc import Iterator
from contextlib import closing
from datetime import date
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stanzalake.importer.stanza import escape_attributes
from stanzalake.model.position import from_milliseconds
from stanzalake.store import dictionary, migrations
from stanzalake.store.client import Row, Store
from stanzalake.store.expressions import BODY, MUC_USER
from stanzalake.store.migrations import Target
from stanzalake.store.statement import select
from tests.support.archives import START
from tests.support.events import stanza
from tests.support.settings import load
from tests.support.stores import empty_store, migrated_store

DAY = date(2026, 9, 21)
JULIET, ROMEO, NURSE = (f"{name}@capulet.lit" for name in ("juliet", "romeo", "nurse"))
FAR = "benvolio@montague.lit"

TEXTS = st.text(
    st.sampled_from("ab<>&\"'; \n\t]/=\\é🌹")
    | st.characters(codec="utf-8", categories=["L", "P", "S"]),
    max_size=8,
)
NAMESPACES = st.sampled_from(
    ["", "jabber:client", "jabber:server", "http://www.w3.org/1999/xhtml", "jabber:client2"]
)
NAMES = st.sampled_from(["body", "html", "message", "forwarded", "bodyguard", "subject"])


@st.composite
def elements(draw: st.DrawFn, depth: int = 2) -> str:
    """Give an element as Prosody writes it."""
    name, namespace, value = draw(NAMES), draw(NAMESPACES), draw(TEXTS)
    xmlns = f" xmlns='{namespace}'" if namespace else ""
    attribute = f" to={quoteattr(value, {chr(10): '&#10;', chr(9): '&#9;'})}" if value else ""
    inner = draw(st.lists(elements(depth - 1), max_size=3)) if depth else []
    content = escape(draw(TEXTS), {"'": "&apos;", '"': "&quot;"}) + "".join(inner)
    if not content and draw(st.booleans()):
        return f"<{name}{attribute}{xmlns}/>"
    return f"<{name}{attribute}{xmlns}>{content}</{name}>"


@st.composite
def stanzas(draw: st.DrawFn) -> str:
    """Give a message as Prosody writes it, or as it is imported from what an XML library wrote."""
    children = "".join(draw(st.lists(elements(), max_size=4)))
    text = f"<message xmlns='jabber:client' from='a@b'>{children}</message>"
    return escape_attributes(ET.canonicalize(text)) if draw(st.booleans()) else text


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    with migrated_store(dsn, merges=False) as store:
        yield store


@pytest.mark.parametrize("dsn", ["chdb://:memory:"], scope="session")  # the engine is the same one
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(stanzas(), max_size=4))
@example(["<message xmlns='jabber:client'><body/><body>the second</body></message>"])
def test_bodies_agree_with_an_xml_parser(messages: Store, given: list[str]) -> None:
    statement = select(BODY, source="(SELECT arrayJoin({given:Array(String)}) AS stanza)")
    found = messages.select(statement, {"given": given})
    for text, [body] in zip(given, found, strict=True):
        parsed = ET.fromstring(text)  # noqa: S314  # our own
        assert body == (parsed.findtext("{jabber:client}body") or ""), text


def exchange(second: int, sender: str, recipient: str, archives: str) -> Iterator[Row]:
    """Give the copies of a message in its archives: s is the sender's, r the recipient's."""
    position = from_milliseconds(START + 1000 * second)
    text = stanza(f"{second}")
    if "s" in archives:
        yield Row(sender, position, recipient, "", "out", "chat", text)
    if "r" in archives:
        yield Row(recipient, position + 65536, sender, "", "in", "chat", text)


@pytest.fixture
def filled(store: Store) -> Store:
    """Give a store with known conversations, every row twice."""
    given = [
        *exchange(0, JULIET, ROMEO, "sr"),
        *exchange(1, JULIET, ROMEO, "sr"),
        *exchange(11, ROMEO, JULIET, "sr"),
        *exchange(20, JULIET, NURSE, "s"),
        *exchange(30, NURSE, JULIET, "r"),
        *exchange(40, FAR, JULIET, "r"),
    ]
    for _ in range(2):
        store.insert(given)
    assert store.select(f"SELECT count() FROM {store.table}") == [(2 * len(given),)]
    return store


def test_the_daily_view_counts_messages(filled: Store) -> None:
    assert filled.select(f"SELECT * EXCEPT as_of FROM {filled.table}_daily ORDER BY direction") == [
        (DAY, "capulet.lit", "chat", "in", 5),
        (DAY, "capulet.lit", "chat", "out", 4),
    ]


def test_the_pairs_view_counts_a_message_in_two_archives_once(filled: Store) -> None:
    found = filled.select(f"SELECT messages FROM {filled.table}_pairs ORDER BY messages")
    assert [number for [number] in found] == [1, 1, 1, 1, 2]
    assert filled.select(f"SELECT uniqExact(sender, recipient) FROM {filled.table}_pairs") == [(5,)]


def test_the_active_view_counts_owners_and_writers(filled: Store) -> None:
    rows = filled.select(f"SELECT * EXCEPT as_of FROM {filled.table}_active")
    assert rows == [(DAY, "capulet.lit", 2, 2)]


def test_the_answers_view_measures_seconds_to_an_answer(filled: Store) -> None:
    rows = filled.select(
        f"SELECT responder, answers, p50, p99 FROM {filled.table}_answers ORDER BY responder"
    )
    assert rows == [
        ("owner", 1, pytest.approx(9.999), pytest.approx(9.999)),
        ("peer", 2, pytest.approx(10.001), pytest.approx(10.001, abs=0.01)),
    ]


def private(second: int, sender: str, recipient: str, archives: str, number: str = "") -> list[Row]:
    """Give the copies that archives have of a private message of a room's occupants."""
    at = from_milliseconds(START + 1000 * second)
    text, passed_on = (
        stanza("psst", mark).replace(" id='m'", f" id='{number}'" if number else "")
        for mark in ("", f"<x xmlns='{MUC_USER}'/>")
    )
    sent = Row(sender, at, HALL, "Somebody", "out", "chat", text)
    received = Row(recipient, at + 65536, HALL, "Else", "in", "chat", passed_on)
    return [{"s": sent, "r": received}[letter] for letter in archives]


def hashes(store: Store) -> dict[str, str]:
    """Return each owner's address and its hash."""
    rows = store.select(
        f"SELECT DISTINCT owner, lower(hex(sipHash64Keyed(key, owner))) FROM {store.table},"
        f" (SELECT key FROM {store.table}_secret LIMIT 1) AS secret"
    )
    return {hashed: owner for owner, hashed in rows}


def test_the_pairs_view_counts_a_private_message_in_a_room_once(store: Store) -> None:
    given = [
        *private(0, JULIET, ROMEO, "sr", "a"),
        *private(1, JULIET, ROMEO, "sr", "b"),
        *private(2, ROMEO, JULIET, "sr", "1"),
        *(*private(3, NURSE, JULIET, "sr", "1"), *private(4, NURSE, NURSE, "sr", "self")),
        *(*private(5, FAR, ROMEO, "r", "far"), *private(6, ROMEO, FAR, "s", "back")),
        *private(7, JULIET, NURSE, "sr"),  # no id tells that they are one
        in_room(HALL, 8),
        *exchange(9, JULIET, ROMEO, "sr"),
    ]
    for _ in range(2):
        store.insert(given)
    names = hashes(store)
    rows = store.select(f"SELECT sender, recipient, messages FROM {store.table}_pairs")
    assert {(names[sender], names[recipient]): number for sender, recipient, number in rows} == {
        (JULIET, ROMEO): 3,
        (ROMEO, JULIET): 1,
        (NURSE, JULIET): 1,
        (NURSE, NURSE): 1,
        (HALL, ROMEO): 1,
        (ROMEO, HALL): 1,
        (JULIET, HALL): 1,
        (HALL, NURSE): 1,
    }
    assert len(rows) == 8
    passed_on = store.select(f"SELECT count() FROM {store.table}_traffic WHERE from_occupant")
    assert passed_on == [(7,)]


HALL, GARDEN = (f"{room}@rooms.capulet.lit" for room in ("hall", "garden"))


def in_room(room: str, second: int, nick: str = "Romeo", occupant: str = ROMEO) -> Row:
    at = from_milliseconds(START + 1000 * second)
    return Row(room, at, room, nick, "in", "groupchat", stanza(), "", occupant)


def test_the_rooms_view_counts_messages_and_writers_and_the_others_do_not(filled: Store) -> None:
    views = ("active", "pairs", "answers")
    query = f"SELECT * EXCEPT as_of FROM {filled.table}_{{}} ORDER BY ALL"
    before = [filled.select(query.format(view)) for view in views]
    given = [
        *(in_room(HALL, 0), in_room(HALL, 1, "Romeo again"), in_room(HALL, 2, "Nurse", NURSE)),
        *(in_room(HALL, 3, "Imported", ""), in_room(HALL, 4, "", ""), in_room(GARDEN, 5)),
    ]
    joined = in_room(HALL, 6, "Paris", "paris@capulet.lit")._replace(kind="presence")
    for _ in range(2):
        filled.insert([*given, joined])
    assert [filled.select(query.format(view)) for view in views] == before
    rows = filled.select(
        f"SELECT * EXCEPT (as_of, room) FROM {filled.table}_rooms ORDER BY messages"
    )
    host = "rooms.capulet.lit"
    assert rows == [(DAY, host, 1, 1), (DAY, host, 5, 3)]
    daily = filled.select(
        f"SELECT direction, messages FROM {filled.table}_daily WHERE host = '{host}'"
    )
    assert daily == [("in", 6)]


def test_an_author_in_a_room_cannot_be_told_from_an_account_or_in_another_room(
    filled: Store,
) -> None:
    columns = f"SELECT DISTINCT occupant_hash FROM {filled.table}_traffic"
    assert filled.select(columns) == [("",)]
    filled.insert([in_room(HALL, 0), in_room(HALL, 1, "Other nick"), in_room(GARDEN, 2)])
    authors = {author for (author,) in filled.select(columns)} - {""}
    assert len(authors) == 2
    others = (
        f"SELECT arrayJoin([owner_hash, peer_hash, message_id_hash]) FROM {filled.table}_traffic"
    )
    assert not authors.intersection(value for (value,) in filled.select(others))


OOB = "<x xmlns='jabber:x:oob'><url>https://files.lit/a.jpg</url></x>"
SIMS = (
    "<reference begin='0' end='4' type='data' xmlns='urn:xmpp:reference:0'>"
    "<media-sharing xmlns='urn:xmpp:sims:1'/></reference>"
)
CONTENTS = {
    "&amp;é": ("", False, False, False, False, 2),
    f"https://files.lit/a.jpg</body>{OOB}<body>": ("", True, False, False, False, 23),
    "yes</body><reply to='a@b' id='x' xmlns='urn:xmpp:reply:0'/><body>": (
        *("", False, True, False, False, 3),
    ),
    "</body><reactions id='x' xmlns='urn:xmpp:reactions:0'/><body>": (
        *("", False, False, True, False, 0),
    ),
    "fixed</body><replace id='x' xmlns='urn:xmpp:message-correct:0'/><body>": (
        *("", False, False, False, True, 5),
    ),
    "note</body><encrypted xmlns='eu.siacs.conversations.axolotl'/><body>": (
        *("omemo", False, False, False, False, 4),
    ),
    "note</body><x xmlns='jabber:x:encrypted'>...</x><body>": (
        *("pgp", False, False, False, False, 4),
    ),
    "note</body><encrypted xmlns='urn:xmpp:omemo:2'/><body>": (
        *("omemo", False, False, False, False, 4),
    ),
    "</body><openpgp xmlns='urn:xmpp:openpgp:0'>...</openpgp><body>": (
        *("openpgp", False, False, False, False, 0),
    ),
    "?OTR:AAIC": ("otr", False, False, False, False, 9),
    "note</body><mls xmlns='urn:xmpp:mls:0'>...</mls><body>": (
        *("mls", False, False, False, False, 4),
    ),
    "note</body><encryption xmlns='urn:xmpp:eme:0' namespace='urn:new'/><body>": (
        *("other", False, False, False, False, 4),
    ),
    "</body><file-sharing xmlns='urn:xmpp:sfs:0' disposition='inline'/><body>": (
        *("", True, False, False, False, 0),
    ),
    f"a.jpg</body>{SIMS}<body>": ("", True, False, False, False, 5),
    "Anna</body><reference type='mention' xmlns='urn:xmpp:reference:0'/><body>": (
        *("", False, False, False, False, 4),
    ),
    "&gt; was?\nja</body><reply id='x' xmlns='urn:xmpp:reply:0'/>"
    "<fallback xmlns='urn:xmpp:fallback:0'><body end='7'/></fallback><body>": (
        *("", False, True, False, False, 9),
    ),
    f"a&lt;x xmlns='jabber:x:oob'/&gt;</body><y xmlns='y'>{OOB}</y><body>": (
        *("", False, False, False, False, 26),
    ),
}


def test_traffic_tells_the_kinds_of_content_without_the_texts(store: Store) -> None:
    texts = [stanza(content) for content in CONTENTS]
    store.insert(
        [
            Row(JULIET, from_milliseconds(START + n), ROMEO, "", "in", "chat", text)
            for n, text in enumerate(texts)
        ]
    )
    found = store.select(
        "SELECT encrypted, has_attachment, is_reply, is_reaction, is_correction, body_length, bytes"
        f" FROM {store.table}_traffic ORDER BY at"
    )
    assert found == [
        (*expected, len(text.encode()))
        for expected, text in zip(CONTENTS.values(), texts, strict=True)
    ]


def test_threads_and_message_ids_are_hashed(store: Store) -> None:
    texts = [
        stanza("1", "<thread>t1</thread>"),
        stanza("2", "<thread parent='t0'>t1</thread>"),
        stanza("3", "<x xmlns='y'><thread>t1</thread></x>").replace(" id='m'", ""),
    ]
    store.insert(
        [
            Row(JULIET, from_milliseconds(START + n), ROMEO, "", "in", "chat", text)
            for n, text in enumerate(texts)
        ]
    )
    columns = f"thread_hash, message_id_hash FROM {store.table}_traffic ORDER BY at"
    first, second, third = store.select(f"SELECT {columns}")
    assert first == second
    assert all(first)
    assert third == ("", "")
    assert len(set(first)) == 2


def test_an_address_sent_as_an_id_or_thread_does_not_show_its_hash(store: Store) -> None:
    text = stanza("1", f"<thread>{JULIET}</thread>").replace(" id='m'", f" id='{JULIET}'")
    store.insert([Row(JULIET, from_milliseconds(START), JULIET, "", "in", "chat", text)])
    columns = "owner_hash, peer_hash, thread_hash, message_id_hash"
    [hashes] = store.select(f"SELECT {columns} FROM {store.table}_traffic")
    assert len(set(hashes)) == 3


def test_local_hours_follow_the_time_zone_of_the_settings(store: Store) -> None:
    store.insert([Row(JULIET, from_milliseconds(START), ROMEO, "", "in", "chat", stanza())])
    hours = f"SELECT DISTINCT local_hour FROM {store.table}_traffic"
    assert store.select(hours) == [(14,)]
    migrations.apply(
        store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never", STANZALAKE_TIME_ZONE="Asia/Kathmandu")
    )
    assert store.select(hours) == [(19,)]


def test_local_hours_follow_summer_time(store: Store) -> None:
    migrations.apply(
        store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never", STANZALAKE_TIME_ZONE="Europe/Berlin")
    )
    # 2026-10-25 has the hour from 2 to 3 twice.
    hour = 3_600_000
    first = 1_792_886_400_000 - hour
    store.insert(
        [
            Row(JULIET, from_milliseconds(first + n * hour), ROMEO, "", "in", "chat", stanza())
            for n in range(3)
        ]
    )
    found = store.select(f"SELECT local_hour FROM {store.table}_traffic ORDER BY at")
    assert found == [(1,), (2,), (2,)]


def test_every_column_has_its_meaning_in_the_data_dictionary(store: Store) -> None:
    views = dictionary.read(store)
    assert [view.name.removeprefix(f"{store.table}_") for view in views] == list(dictionary.VIEWS)
    for view in views:
        assert view.comment
        assert all(column.comment for column in view.columns), view.name


def test_hashes_are_stable_per_address_and_differ_between_deployments(
    filled: Store, dsn: str
) -> None:
    hashes = f"SELECT DISTINCT owner_hash FROM {filled.table}_traffic"
    assert len(filled.select(hashes)) == 2
    with closing(empty_store(dsn)) as other:
        migrations.apply(other, load())
        other.insert([*exchange(0, JULIET, ROMEO, "sr")])
        others = set(other.select(f"SELECT owner_hash FROM {other.table}_traffic"))
        assert not others.intersection(filled.select(hashes))


def test_migrating_again_keeps_the_hash_key(filled: Store) -> None:
    hashes = f"SELECT DISTINCT owner_hash FROM {filled.table}_traffic ORDER BY 1"
    before = filled.select(hashes)
    target = Target.of(filled, load())
    [views] = [one for one in migrations.all_migrations() if one.name == "views"]
    for statement in filter(lambda text: "_secret" in text, target.statements(views)):
        if "VIEW" not in statement:
            filled.command(statement)
    assert filled.select(hashes) == before


def test_analysts_do_not_see_expired_messages_still_on_disk(store: Store) -> None:
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="1d"))
    [(now,)] = store.select("SELECT toUnixTimestamp(now())")
    for age in (2 * 86_400, 3600):
        position = from_milliseconds((now - age) * 1000)
        store.insert([Row(JULIET, position, ROMEO, "", "in", "chat", stanza(f"{age}"))])
    assert store.select(f"SELECT body FROM {store.table}_bodies") == [("3600",)]


def test_a_query_for_a_day_prunes_partitions(filled: Store) -> None:
    [(older,)] = filled.select("SELECT toUnixTimestamp('2020-01-01 00:00:00', 'UTC')")
    filled.insert([Row(JULIET, from_milliseconds(older * 1000), ROMEO, "", "in", "chat", stanza())])
    for view in ("daily", "answers", "bodies"):
        plan = filled.select(
            f"EXPLAIN indexes = 1 SELECT * FROM {filled.table}_{view} WHERE day = '2026-09-21'"
        )
        assert "Parts: 2/3" in str(plan), view
