"""XEP-0227 files: any content is read in bounded memory or refused."""

import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bench import usage
from stanzalake.config.settings import DEFAULT_EXCLUSIONS
from stanzalake.errors import InvalidStanza, SourceUnavailable
from stanzalake.importer.pie import Pie
from stanzalake.importer.pie_parser import Context, parse
from stanzalake.importer.source import (
    ArchivedMessage,
    ArchivedPreferences,
    Foreign,
    Item,
    Selection,
    Unreadable,
)
from stanzalake.xmpp import stanza
from tests.support.stanzas import ODD, REFUSED

HOST = "capulet.lit"
JULIET = f"juliet@{HOST}"
CAPULET = Selection(hosts=frozenset({HOST}))
MEBIBYTE = 1024 * 1024


MESSAGE = (
    f"<message xmlns='jabber:client' from='romeo@montague.lit/o' to='{JULIET}'>"
    "<body>{}</body></message>"
)


def result(number: int = 1, stamp: str = "2026-01-31T10:00:00Z", body: str = "hello") -> str:
    return (
        f"<result xmlns='urn:xmpp:mam:2' id='old-{number}'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>"
        f"{MESSAGE.format(body)}</forwarded></result>"
    )


def archive(*results: str) -> str:
    return f"<archive xmlns='urn:xmpp:pie:0#mam'>{''.join(results)}</archive>"


def user(*content: str, name: str = "juliet") -> str:
    return f"<user name='{name}' password='secret'>{''.join(content)}</user>"


def document(*content: str, host: str = HOST) -> str:
    return (
        "<?xml version='1.0' encoding='UTF-8'?><server-data xmlns='urn:xmpp:pie:0' "
        f"xmlns:xi='http://www.w3.org/2001/XInclude'><host jid='{host}'>{''.join(content)}</host>"
        "</server-data>"
    )


def items(directory: Path, text: str | Iterable[str], selection: Selection = CAPULET) -> list[Item]:
    file = directory / "export.xml"
    with file.open("w") as output:
        output.writelines([text] if isinstance(text, str) else text)
    return list(Pie(file, selection).items())


def ids(found: Iterable[Item]) -> list[str]:
    return [item.id for item in found if isinstance(item, ArchivedMessage)]


def test_messages_are_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = items(
        tmp_path,
        document(
            user("<query xmlns='jabber:iq:roster'><item jid='a@b'/></query>", archive(result())),
            user(archive(result(2), result(3, "2026-01-31T10:00:00.25+02:00")), name="Nurse"),
        ),
    )
    assert [(x.owner, x.id, x.at) for x in found if isinstance(x, ArchivedMessage)] == [
        (JULIET, "old-1", 1769853600000),
        (f"nurse@{HOST}", "old-2", 1769853600000),
        (f"nurse@{HOST}", "old-3", 1769846400250),
    ]
    first = found[0]
    assert isinstance(first, ArchivedMessage)
    assert first.stanza == MESSAGE.format("hello")
    assert (first.form, first.peer) == ("xml", "")
    assert first.place == f"{tmp_path / 'export.xml'}, line 1"


def test_preferences_are_read_where_servers_put_them(tmp_path: Path) -> None:
    prefs = (
        "<prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>Romeo@Montague.lit</jid>"
        "</always><never><jid>tybalt@capulet.lit</jid><jid>b@c</jid></never></prefs>"
    )
    for content in (prefs, archive(prefs)):
        [preferences] = items(tmp_path, document(user(content)))
        assert isinstance(preferences, ArchivedPreferences)
        assert preferences[:4] == (
            JULIET,
            "roster",
            ("Romeo@Montague.lit",),
            ("tybalt@capulet.lit", "b@c"),
        )


def test_preferences_without_a_default_are_reported(tmp_path: Path) -> None:
    prefs = "<prefs xmlns='urn:xmpp:mam:2'/>"
    [invalid, message] = items(tmp_path, document(user(prefs, archive(result()))))
    assert isinstance(invalid, Unreadable)
    assert isinstance(message, ArchivedMessage)


def test_only_selected_owners_and_times_are_read(tmp_path: Path) -> None:
    text = document(user(archive(result(1), result(2, "2026-02-01T00:00:00Z"))), user(name="nurse"))
    assert ids(items(tmp_path, text, Selection(CAPULET.hosts, frozenset({f"nurse@{HOST}"})))) == []
    assert ids(items(tmp_path, text, Selection(CAPULET.hosts, frozenset({JULIET})))) != []
    assert ids(items(tmp_path, text, Selection(CAPULET.hosts, since=1769900000000))) == ["old-2"]


def test_archives_of_other_hosts_and_rooms_are_counted(tmp_path: Path) -> None:
    room = f"<component xmlns='urn:x'>{archive(result(), result())}</component>"
    assert (
        items(tmp_path, document(room)) == [Foreign("archives of rooms and other services", 1)] * 2
    )
    assert items(tmp_path, document(user(archive(result())), host="montague.lit")) == [
        Foreign("host montague.lit", 1)
    ]


@pytest.mark.parametrize(
    "bad",
    [
        result(stamp="yesterday"),
        "<result xmlns='urn:xmpp:mam:2' id='x'/>",
        result().replace("jabber:client", "jabber:server"),
        result(body="x" * 5 * MEBIBYTE),
        result(body=f"<x y='{'z' * 1000}'/>" * 9000),
    ],
    ids=["stamp", "empty", "namespace", "long", "broad"],
)
def test_a_bad_message_does_not_stop_the_rest(tmp_path: Path, bad: str) -> None:
    [first, invalid, last] = items(tmp_path, document(user(archive(result(1), bad, result(2)))))
    assert isinstance(invalid, Unreadable)
    assert ids([first, last]) == ["old-1", "old-2"]


@pytest.mark.parametrize("kind", [*ODD, *REFUSED])
def test_a_message_that_parsers_disagree_about_costs_only_itself(tmp_path: Path, kind: str) -> None:
    content = f"b</body>{(ODD | REFUSED)[kind]}<body>"
    found = items(tmp_path, document(user(archive(result(1), result(2, body=content), result(3)))))
    first, odd, last = found
    assert ids([first, last]) == ["old-1", "old-3"]
    if kind in ODD:
        assert isinstance(odd, ArchivedMessage)
        assert odd.stanza == MESSAGE.format(content)
    if isinstance(odd, ArchivedMessage):
        refusal = pytest.raises(InvalidStanza) if kind in REFUSED else nullcontext()
        with refusal:
            stanza.strip(odd.stanza, DEFAULT_EXCLUSIONS)
    else:
        assert odd == Unreadable(f"{tmp_path / 'export.xml'}, line 1", "not well-formed")


def test_lines_are_counted_past_a_message_that_is_not_well_formed(tmp_path: Path) -> None:
    results = "\n".join((result(1), result(2, body="\n\x0b\n"), "", result(stamp="never")))
    _, broken, stamp = items(tmp_path, document(user(archive(results))))
    assert isinstance(broken, Unreadable)
    assert isinstance(stamp, Unreadable)
    assert [x.place.rpartition(" ")[2] for x in (broken, stamp)] == ["2", "6"]


def test_namespaces_declared_outside_of_a_message_come_along(tmp_path: Path) -> None:
    text = (
        "<p:server-data xmlns:p='urn:xmpp:pie:0' xmlns:c='jabber:client' xmlns:o='urn:o&amp;'>"
        f"<p:host jid='{HOST}'><p:user name='juliet'><archive xmlns='urn:xmpp:pie:0#mam'>"
        f"{result(0, body='&')}"
        "<result xmlns='urn:xmpp:mam:2' id='old-1'><f:forwarded xmlns:f='urn:xmpp:forward:0'>"
        "<delay xmlns='urn:xmpp:delay' stamp='2026-01-31T10:00:00Z'/>"
        "<c:message from='a@b'><c:body>a</c:body><o:x/></c:message><!-- c:x -->"
        "</f:forwarded></result></archive></p:user></p:host></p:server-data>"
    )
    broken, message = items(tmp_path, text)
    assert isinstance(broken, Unreadable)
    assert isinstance(message, ArchivedMessage)
    root, body, other = stanza.parse(message.stanza)
    names = ["jabber:client\1message", "jabber:client\1body", "urn:o&\1x"]
    assert [root.name, body.name, other.name] == names


@given(st.integers(1, 40), st.booleans())
def test_chunks_of_any_size_give_the_same(size: int, broken: bool) -> None:
    bodies = ["a &lt; b", "&" if broken else "c", "d\n" * 30]
    prefs = (
        "<prefs xmlns='urn:xmpp:mam:2' default='always'><never><jid>a@b</jid></never><always>"
        "<jid>c@d/&lt;<!-- -->e</jid></always></prefs>"
    )
    text = document(user(prefs, archive(*(result(n, body=b) for n, b in enumerate(bodies)))))
    raw = text.encode()
    chunks = [raw[n : n + size] for n in range(0, len(raw), size)]
    whole = list(parse([raw], Context()))
    assert list(parse(chunks, Context())) == whole
    assert len(whole) == 4


def test_compressed_and_included_files_are_read(tmp_path: Path) -> None:
    compressed = tmp_path / "export.xml.zst"
    text = document(user(archive(*map(result, range(100))))).encode()
    compressed.write_bytes(zstandard.compress(text[:999]) + zstandard.compress(text[999:]))
    assert len(ids(Pie(compressed, CAPULET).items())) == 100

    (tmp_path / HOST).mkdir()
    spaces = "xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude'"
    (tmp_path / HOST / "juliet.xml").write_text(
        user(archive(result())).replace("<user ", f"<user {spaces} ")
    )
    (tmp_path / f"{HOST}.xml").write_text(
        f"<host {spaces} jid='{HOST}'><xi:include href='{HOST}/juliet.xml'/></host>"
    )
    main = f"<server-data {spaces}><xi:include href='{HOST}.xml'/></server-data>"
    [message] = items(tmp_path, main)
    assert isinstance(message, ArchivedMessage)
    assert message.owner == JULIET


@pytest.mark.parametrize(
    "text",
    [
        "",
        "this is no XML",
        document(user(archive(result()))).removesuffix("</server-data>"),
        "<!DOCTYPE x [<!ENTITY a 'b'>]>" + document().partition("?>")[2],
        "<!DOCTYPE x SYSTEM 'file:///etc/passwd'>" + document().partition("?>")[2],
        document("<xi:include href='../export.xml'/>"),
        document("<xi:include href='/etc/passwd'/>"),
        document("<xi:include href='export.xml'/>"),
        document("<xi:include href='missing.xml'/>"),
        document("<a>" * 300_000 + "</a>" * 300_000),
        document().replace("UTF-8", "ISO-8859-1"),
        document(user(archive(result(), "\x0b"))),
        document(user(archive(result().removesuffix("</result>")))),
    ],
)
def test_a_hostile_or_truncated_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceUnavailable):
        items(tmp_path, text)


@pytest.mark.parametrize("begin", ["<!--", "<?x ", "<result xmlns='urn:xmpp:mam:2' id='"])
def test_an_endless_tag_is_refused_early(tmp_path: Path, begin: str) -> None:
    file = tmp_path / "bomb.xml.zst"
    with zstandard.open(file, "wt") as output:
        output.write(document("SPLIT").partition("SPLIT")[0] + begin)
        for _ in range(200):
            output.write("x" * MEBIBYTE)
    with pytest.raises(SourceUnavailable, match="without end"):
        list(Pie(file, CAPULET).items())


def test_a_missing_or_damaged_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="No such file"):
        Pie(tmp_path / "missing.xml", CAPULET)
    damaged = tmp_path / "damaged.zst"
    damaged.write_bytes(b"no zstd at all")
    with pytest.raises(SourceUnavailable):
        list(Pie(damaged, CAPULET).items())


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    content = archive(*[result(n, body="x" * 1000) for n in range(1000)])
    file = tmp_path / "large.xml.zst"
    junk = "<vCard xmlns='vcard-temp'>" + "<x>y</x>" * 1000 + "</vCard>"
    with zstandard.open(file, "wt") as output:
        output.write(document("SPLIT").partition("SPLIT")[0])
        for number in range(60):
            output.write(user(junk, content, name=f"user{number}"))
        output.write(document("SPLIT").partition("SPLIT")[2])
    usage.forget_peak(os.getpid())
    before = usage.peak(os.getpid())
    assert sum(1 for _ in Pie(file, CAPULET).items()) == 60_000
    assert usage.peak(os.getpid()) - before < 40


@given(st.binary(max_size=80), st.integers(0, 600))
def test_damage_is_reported_or_refused(
    tmp_path_factory: pytest.TempPathFactory, damage: bytes, place: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.xml"
    text = document(user(archive(result(1), result(2)))).encode()
    file.write_bytes(text[:place] + damage + text[place + len(damage) :])
    try:
        found = list(Pie(file, CAPULET).items())
    except SourceUnavailable:
        return
    assert all(isinstance(item, ArchivedMessage | Foreign | Unreadable) for item in found)
