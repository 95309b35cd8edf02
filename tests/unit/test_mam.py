"""What requests to an archive mean."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query import mam
from query.errors import StanzaError
from stanzalake.model.page import Selection
from stanzalake.model.position import from_milliseconds
from stanzalake.store.client import Row
from stanzalake.xmpp.namespaces import MAM, RSM, tag
from tests.support.archives import SEALER, START, MemoryArchive, row, rows, visible_id
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.queries import Reply, answer, field, form, page, parsed, query, request, search

ROWS = rows(15)
ARCHIVE = MemoryArchive(ROWS)


def id_of(number: int) -> str:
    """Give the id of the row with that body."""
    return visible_id(ROWS[number - 1])


def stamp_of(number: int) -> str:
    return f"2026-09-21T14:13:{19 + number:02}.000Z"


def numbers(first: int, last: int) -> list[str]:
    step = 1 if first <= last else -1
    return [str(n) for n in range(first, last + step, step)]


def after(number: int) -> str:
    return f"<after>{id_of(number)}</after>"


def before(number: int) -> str:
    return f"<before>{id_of(number)}</before>"


async def refusal(payload: str, kind: str = "set", archive: MemoryArchive = ARCHIVE) -> str:
    with pytest.raises(StanzaError) as raised:
        await answer(archive, payload, kind)
    return raised.value.condition


@pytest.mark.requirement("313-24", "313-25", "313-26", "313-37", "313-45", "313-51", "313-53")
async def test_a_search_without_filters_gives_everything() -> None:
    reply = await search(ARCHIVE)
    assert reply.bodies == numbers(1, 15)
    assert reply.complete
    assert (reply.index, reply.count) == (0, 15)
    assert (reply.rsm("first"), reply.rsm("last")) == (id_of(1), id_of(15))


class UncountedArchive(MemoryArchive):
    async def count(self, selection: Selection, below: int) -> None:
        pass


@pytest.mark.requirement("59-08")
async def test_a_page_of_a_set_that_takes_long_to_count_has_neither_count_nor_index() -> None:
    reply = await search(UncountedArchive(ROWS), page(f"<max>2</max>{after(3)}"))
    assert reply.bodies == numbers(4, 5)
    assert (reply.rsm("first"), reply.rsm("last")) == (id_of(4), id_of(5))
    assert (reply.rsm("count"), reply.index, reply.complete) == (None, None, False)


@pytest.mark.requirement("313-79", "313-80", "313-28")
@pytest.mark.parametrize(
    ("attributes", "queryid"),
    [("", None), ("queryid=''", ""), ("queryid='&lt;&quot;&apos;&amp;&#10;&gt;'", "<\"'&\n>")],
)
async def test_the_queryid_is_echoed_as_it_came(attributes: str, queryid: str | None) -> None:
    reply = await search(ARCHIVE, attributes=attributes)
    assert {result.queryid for result in reply.results} == {queryid}


@pytest.mark.requirement(
    "313-77", "313-78", "313-82", "313-83", "313-84", "297-04", "297-05", "203-01", "203-03",
    "203-04",
)  # fmt: skip
async def test_a_result_has_the_stored_stanza_as_it_is() -> None:
    stored = stanza("&lt;€\N{PILE OF POO}&gt;", "<x xmlns='urn:x'> <y/> </x><!-- -->")
    [sent] = (await answer(MemoryArchive([row(START << 16, stanza=stored)]), query())).results
    assert sent.content == (
        f'<result xmlns="{MAM}" queryid="f27" id="{SEALER.seal(JULIET, START << 16)}">'
        '<forwarded xmlns="urn:xmpp:forward:0">'
        f'<delay xmlns="urn:xmpp:delay" stamp="{stamp_of(1)}"/>{stored}</forwarded></result>'
    )


@pytest.mark.requirement("313-11", "297-07")
async def test_a_message_that_was_taken_away_leaves_its_place() -> None:
    [sent] = (await answer(MemoryArchive([row(START << 16, stanza="")]), query())).results
    [[delay]] = parsed(sent.content)
    assert delay.get("stamp") == stamp_of(1)


@pytest.mark.requirement("313-12")
@pytest.mark.parametrize(
    "content",
    [
        page(f"<max>4</max>{after(6)}"),
        page(f"<max>4</max>{after(7)}"),
        page(f"<max>4</max>{before(8)}"),
        page(f"<max>4</max>{before(7)}"),
        form(field("ids", id_of(7), id_of(9))),
        form(field("after-id", id_of(7)), field("before-id", id_of(12))),
        form(field("with", ROMEO), field("start", stamp_of(6)), field("end", stamp_of(7))),
        page("<max>0</max>"),
    ],
)
async def test_a_removed_message_still_counts_and_anchors(content: str) -> None:
    gone = MemoryArchive(r if r is not ROWS[6] else r._replace(stanza="") for r in ROWS)
    whole, rest = [await answer(archive, query(content)) for archive in (ARCHIVE, gone)]
    assert whole.payload == rest.payload
    assert [parsed(result.content).get("id") for result in whole.results] == [
        parsed(result.content).get("id") for result in rest.results
    ]


@pytest.mark.requirement("313-38", "313-102", "59-13", "RFC-01")
@pytest.mark.parametrize(
    "content", ["", page("<before/>"), page("<max>5</max>"), page("<max>0</max>")]
)
async def test_an_empty_archive_is_complete(content: str) -> None:
    reply = await search(MemoryArchive([]), content)
    assert reply.results == []
    assert reply.complete
    assert [child.tag for child in reply.fin] == [tag(RSM, "set")]
    assert [child.tag for child in reply.fin[0]] == [tag(RSM, "count")]


@pytest.mark.behaviour(24, 25, 27, 28, 29, 31, 33, 38, 39, 40)
@pytest.mark.requirement(
    "59-01", "59-09", "59-14", "59-15", "59-17", "59-19", "59-20", "59-26", "313-85", "313-90",
    "313-96", "313-97", "313-98", "313-99", "313-105", "313-106", "313-93", "313-23", "313-87",
    "313-101", "59-03", "59-27",
)  # fmt: skip
@pytest.mark.parametrize(
    ("content", "first", "last", "complete"),
    [
        ("<max>5</max>", 1, 5, False),
        ("<max>15</max>", 1, 15, True),
        ("<max>14</max>", 1, 14, False),
        ("<max>1</max>", 1, 1, False),
        ("<before/><max>5</max>", 11, 15, False),
        ("<before/><max>15</max>", 1, 15, True),
        (before(10) + "<max>5</max>", 5, 9, False),
        (before(6) + "<max>5</max>", 1, 5, True),
        (before(5) + "<max>5</max>", 1, 4, True),
        (after(2) + "<max>5</max>", 3, 7, False),
        (after(9) + "<max>5</max>", 10, 14, False),
        (after(10) + "<max>5</max>", 11, 15, True),
        (after(11) + "<max>5</max>", 12, 15, True),
        ("<index>5</index><max>5</max>", 6, 10, False),
        ("<index>10</index><max>5</max>", 11, 15, True),
        ("<index>0</index><max>5</max>", 1, 5, False),
        (after(3) + before(9) + "<max>5</max>", 4, 8, True),
        (after(3) + before(9) + "<max>2</max>", 4, 5, False),
        (after(10) + "<before/><max>3</max>", 11, 13, False),
    ],
)
async def test_a_page(content: str, first: int, last: int, complete: bool) -> None:
    reply = await search(ARCHIVE, page(content))
    assert reply.bodies == numbers(first, last)
    assert (reply.rsm("first"), reply.rsm("last")) == (id_of(first), id_of(last))
    begins = "<before/>" in content and last == len(ROWS) and not complete
    assert (reply.index, reply.count) == (None if begins else first - 1, 15)
    assert reply.complete is complete


@pytest.mark.requirement("59-21", "313-102", "59-04")
@pytest.mark.parametrize(
    "content",
    [before(1), after(15), "<index>15</index>", "<index>999999999999999999</index>",
     after(9) + before(3), after(3) + before(3), after(3) + before(4)],
)  # fmt: skip
async def test_a_page_past_the_end_is_empty_and_complete(content: str) -> None:
    reply = await search(ARCHIVE, page(content + "<max>5</max>"))
    assert (reply.results, reply.index, reply.count) == ([], None, 15)
    assert reply.complete


@pytest.mark.behaviour(26, 41)
@pytest.mark.requirement("313-100", "59-23", "59-25", "59-24")
@pytest.mark.parametrize(
    ("content", "complete"),
    [
        ("", False),
        ("<before/>", False),
        (before(1), True),
        (before(2), False),
        (after(15), True),
        (after(14), False),
    ],
)
async def test_a_page_of_nothing_tells_the_count(content: str, complete: bool) -> None:
    reply = await search(ARCHIVE, page(content + "<max>0</max>"))
    assert (reply.results, reply.index, reply.count) == ([], None, 15)
    assert reply.complete is complete


@pytest.mark.behaviour(30)
@pytest.mark.behaviour(36)
@pytest.mark.requirement("313-96", "313-97", "313-98")
@pytest.mark.parametrize("size", range(7))
@pytest.mark.parametrize("anchor", ["", "<before/>"])
async def test_a_page_is_complete_from_the_size_of_the_set_on(size: int, anchor: str) -> None:
    reply = await search(MemoryArchive(ROWS[:5]), page(f"<max>{size}</max>{anchor}"))
    assert (len(reply.results), reply.complete) == (min(size, 5), size >= 5)


@pytest.mark.requirement("313-89")
@pytest.mark.parametrize("content", ["", page(""), page("<max>9</max>")])
async def test_the_server_caps_a_page(content: str) -> None:
    reply = await search(ARCHIVE, content, limit=4)
    assert reply.bodies == numbers(1, 4)
    assert not reply.complete


@pytest.mark.requirement("313-107", "313-108", "313-109")
@pytest.mark.parametrize(
    ("content", "first", "last"),
    [
        ("", 15, 1),
        (page("<max>5</max>"), 5, 1),
        (page("<max>5</max><before/>"), 15, 11),
        (page(f"<max>5</max>{before(10)}"), 9, 5),
        (page(f"<max>5</max>{after(2)}"), 7, 3),
    ],
)
async def test_a_flipped_page_differs_in_the_order_of_sending_only(
    content: str, first: int, last: int
) -> None:
    flipped = await search(ARCHIVE, content, "<flip-page/>")
    straight = await search(ARCHIVE, content)
    assert flipped.bodies == numbers(first, last)
    assert flipped.ids == straight.ids[::-1]
    assert (flipped.rsm("first"), flipped.index, flipped.count, flipped.complete) == (
        straight.rsm("first"),
        straight.index,
        straight.count,
        straight.complete,
    )


@pytest.mark.requirement("313-50", "313-52", "313-54", "313-55")
@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (stamp_of(3), stamp_of(5), numbers(3, 5)),
        (stamp_of(3), stamp_of(3), ["3"]),
        (stamp_of(3).replace("000Z", "0001Z"), stamp_of(5), numbers(4, 5)),
        (stamp_of(3), stamp_of(5).replace("000Z", "000999Z"), numbers(3, 5)),
        (stamp_of(5), stamp_of(3), []),
        ("0000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", []),
        ("99999-01-01T00:00:00Z", "999999-01-01T00:00:00Z", []),
        ("-9999-01-01T00:00:00Z", "999999-01-01T00:00:00Z", numbers(1, 15)),
    ],
)
async def test_a_span_of_time_includes_its_ends(start: str, end: str, expected: list[str]) -> None:
    reply = await search(ARCHIVE, form(field("start", start), field("end", end)))
    assert reply.bodies == expected
    assert (reply.count, reply.complete) == (len(expected), True)


@pytest.mark.requirement("313-54", "313-08")
async def test_the_emitted_stamp_finds_all_items_of_its_millisecond() -> None:
    tied = [row(from_milliseconds(START, n), stanza=stanza(str(n))) for n in (0, 1, 65535)]
    archive = MemoryArchive([*tied, *rows(3)[1:], row(from_milliseconds(START - 1, 65535))])
    stamp = stamp_of(1)
    reply = await search(archive, form(field("start", stamp), field("end", stamp)))
    assert reply.bodies == ["0", "1", "65535"]
    assert {result.stamp for result in reply.results} == {stamp}


@pytest.mark.behaviour(42, 43, 44, 45, 46)
@pytest.mark.requirement("313-56", "313-57", "313-64", "59-26")
@pytest.mark.parametrize(
    ("fields", "paging", "first", "last", "count"),
    [
        (field("after-id", id_of(4)), "<max>5</max>", 5, 9, 11),
        (field("after-id", id_of(4)), "<max>5</max><before/>", 11, 15, 11),
        (field("before-id", id_of(12)), "<max>10</max>", 1, 10, 11),
        (field("after-id", id_of(5)) + field("before-id", id_of(11)), "<before/>", 6, 10, 5),
        (field("after-id", id_of(5)) + field("before-id", id_of(11)), after(7), 8, 10, 5),
        (field("after-id", id_of(5)), after(2) + "<max>2</max>", 6, 7, 10),
        (field("before-id", id_of(5)), before(9) + "<max>2</max>", 3, 4, 4),
    ],
)
async def test_ids_bound_the_set(
    fields: str, paging: str, first: int, last: int, count: int
) -> None:
    reply = await search(ARCHIVE, form(fields), page(paging))
    assert reply.bodies == numbers(first, last)
    assert reply.count == count


@pytest.mark.requirement("313-58", "313-63")
async def test_named_ids_come_once_in_the_archives_order() -> None:
    named = field("ids", id_of(9), id_of(2), id_of(9), id_of(4))
    assert (await search(ARCHIVE, form(named))).bodies == ["2", "4", "9"]
    bounded = form(named, field("after-id", id_of(2)))
    assert (await search(ARCHIVE, bounded)).bodies == ["4", "9"]


def asking(where: str, id_: str) -> str:
    """Give a search that names an id in one of the places where ids can stand."""
    if where in {"before", "after"}:
        return query(page(f"<{where}>{id_}</{where}>"))
    return query(form(field(where, id_)))


@pytest.mark.requirement(
    "313-59", "313-61", "313-62", "313-94", "313-148", "59-16", "359-19", "313-29"
)
@pytest.mark.parametrize("where", ["before", "after", "before-id", "after-id", "ids"])
@pytest.mark.parametrize(
    "unknown",
    [
        "made-up",
        SEALER.seal(ROMEO, ROWS[0].position),
        SEALER.seal(JULIET, from_milliseconds(START - 10_001)),
        "A" * 22,
        "\N{PILE OF POO}",
        " ",
        "x" * 3000,
    ],
)
async def test_an_unknown_id_is_not_found(where: str, unknown: str) -> None:
    archive = MemoryArchive(ROWS, oldest=from_milliseconds(START - 10_000))
    assert await refusal(asking(where, unknown), archive=archive) == "item-not-found"


@pytest.mark.requirement("313-22", "313-60", "313-95")
@pytest.mark.parametrize("where", ["after", "after-id"])
async def test_a_place_need_not_hold_a_message_of_the_set(where: str) -> None:
    dropped = SEALER.seal(JULIET, ROWS[9].position + 1)
    reply = await search(ARCHIVE, asking(where, dropped).partition(">")[2].removesuffix("</query>"))
    assert reply.bodies == numbers(11, 15)
    romeos = form(field("with", "tybalt@capulet.lit"))
    assert (await search(ARCHIVE, romeos, page(after(10)))).count == 0


@pytest.mark.requirement("313-59")
async def test_an_id_that_holds_no_message_cannot_be_fetched() -> None:
    dropped = SEALER.seal(JULIET, ROWS[9].position + 1)
    assert await refusal(query(form(field("ids", id_of(1), dropped)))) == "item-not-found"


@pytest.mark.requirement("313-148")
async def test_an_imported_message_keeps_its_old_id() -> None:
    old = row(from_milliseconds(START + 2500), legacy_id="old<id>", stanza=stanza("old"))
    archive = MemoryArchive([*ROWS, old])
    named = await search(archive, form(field("ids", "old&lt;id&gt;")))
    assert (named.bodies, named.ids) == (["old"], ["old<id>"])
    assert named.rsm("first") == named.rsm("last") == "old<id>"
    paged = await search(archive, page("<after>old&lt;id&gt;</after><max>1</max>"))
    assert paged.bodies == ["4"]


def conversation() -> list[Row]:
    peers = [
        (ROMEO, "orchard", "chat"),
        (ROMEO, "", "chat"),
        (ROMEO, "Orchard", "chat"),
        ("nurse@capulet.lit", "kitchen", "chat"),
        (JULIET, "balcony", "chat"),
        ("room@chat.lit", "romeo", "groupchat"),
        ("capulet.lit", "", "normal"),
    ]
    return [
        row(
            from_milliseconds(START + n),
            peer=peer,
            peer_resource=resource,
            kind=kind,
            stanza=stanza(str(n)),
        )
        for n, (peer, resource, kind) in enumerate(peers)
    ]


@pytest.mark.requirement("313-40", "313-42", "313-43", "313-44", "313-47", "313-48", "313-45")
@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (ROMEO, ["0", "1", "2"]),
        ("ROMEO@Montague.LIT.", ["0", "1", "2"]),
        (f"{ROMEO}/orchard", ["0"]),
        (f"{ROMEO}/Orchard", ["2"]),
        (f"{ROMEO}/tomb", []),
        (JULIET, ["4"]),
        ("room@chat.lit", ["5"]),
        ("room@chat.lit/romeo", ["5"]),
        ("capulet.lit", ["6"]),
        ("stranger@montague.lit", []),
    ],
)
async def test_with_selects_the_other_party(peer: str, expected: list[str]) -> None:
    reply = await search(MemoryArchive(conversation()), form(field("with", peer)))
    assert (reply.bodies, reply.count, reply.complete) == (expected, len(expected), True)


@pytest.mark.requirement("313-65", "313-66", "313-123")
@pytest.mark.parametrize(("value", "included"), [("true", True), ("false", False), (None, True)])
async def test_groupchat_is_included_unless_refused(value: str | None, included: bool) -> None:
    fields = [] if value is None else [field("include-groupchat", value)]
    reply = await search(MemoryArchive(conversation()), form(*fields))
    assert ("5" in reply.bodies) is included


@pytest.mark.requirement("313-39", "4-03")
async def test_all_filters_apply_together() -> None:
    fields = [field("with", ROMEO), field("after-id", id_of(2)), field("end", stamp_of(9))]
    reply = await search(ARCHIVE, form(*fields), page("<max>3</max><before/>"))
    assert (reply.bodies, reply.count) == (numbers(7, 9), 7)


@pytest.mark.requirement("313-103", "313-104")
@pytest.mark.parametrize(("stable", "attribute"), [(True, None), (False, "false")])
async def test_a_page_that_may_miss_something_says_so(stable: bool, attribute: str | None) -> None:
    given = await answer(ARCHIVE, query(), stable=stable)
    assert parsed(given.payload).get("stable") == attribute


@pytest.mark.requirement("413-08")
async def test_another_order_is_not_implemented() -> None:
    order = "<order xmlns='urn:xmpp:order-by:1' by='date'/>"
    assert await refusal(query(order)) == "feature-not-implemented"


async def test_misplaced_elements_are_ignored() -> None:
    stray = "\n <after>x</after> <other xmlns='urn:other'/> "
    reply = await search(ARCHIVE, page("<max>2</max>"), stray, form())
    assert reply.bodies == ["1", "2"]


@pytest.mark.parametrize(
    "payload",
    [
        query(form(), form()),
        query(page(""), page("")),
        query(attributes=f"queryid='{'q' * 1025}'"),
        query(page("<max>-1</max>")),
    ],
)
async def test_an_invalid_query_is_a_bad_request(payload: str) -> None:
    assert await refusal(payload) == "bad-request"


@pytest.mark.requirement("313-69", "313-75", "313-24")
async def test_a_get_asks_for_the_form() -> None:
    given = await answer(ARCHIVE, query(form(field("with", "@"))), "get")
    served = parsed(given.payload)
    assert (given.results, served.tag) == ((), tag(MAM, "query"))
    assert [child.get("type") for child in served] == ["form"]


@pytest.mark.requirement("313-110", "313-111", "313-113")
async def test_the_metadata_name_the_first_and_last_item() -> None:
    given = await answer(ARCHIVE, f"<metadata xmlns='{MAM}'/>", "get")
    start, end = parsed(given.payload)
    assert (start.tag, end.tag) == (tag(MAM, "start"), tag(MAM, "end"))
    assert start.attrib == {"id": id_of(1), "timestamp": stamp_of(1)}
    assert end.attrib == {"id": id_of(15), "timestamp": stamp_of(15)}


@pytest.mark.requirement("313-112")
async def test_the_metadata_of_an_empty_archive_are_empty() -> None:
    given = await answer(MemoryArchive([]), f"<metadata xmlns='{MAM}'/>", "get")
    assert given.payload == f'<metadata xmlns="{MAM}"/>'


async def test_metadata_that_may_lack_the_last_message_are_not_told() -> None:
    with pytest.raises(StanzaError) as error:
        await answer(ARCHIVE, f"<metadata xmlns='{MAM}'/>", "get", stable=False)
    assert error.value.condition == "resource-constraint"


@pytest.mark.requirement("355-35", "313-143", "313-144", "RFC-06")
@pytest.mark.parametrize(
    ("kind", "payload", "condition"),
    [
        ("set", f"<metadata xmlns='{MAM}'/>", "feature-not-implemented"),
        ("get", f"<unknown xmlns='{MAM}'/>", "feature-not-implemented"),
        ("set", query(attributes="node='n'"), "feature-not-implemented"),
        ("get", query(attributes="node='n'"), "feature-not-implemented"),
        ("get", f"<metadata xmlns='{MAM}' node=''/>", "feature-not-implemented"),
        ("set", "<query xmlns='urn:xmpp:mam:1'/>", "service-unavailable"),
        ("set", f"<query xmlns='{MAM}x'/>", "service-unavailable"),
        ("set", "<query xmlns=''/>", "service-unavailable"),
    ],
)
async def test_everything_else_is_refused(kind: str, payload: str, condition: str) -> None:
    assert await refusal(payload, kind) == condition


@given(st.recursive(st.text(), lambda inner: st.lists(inner, max_size=4), max_leaves=12))
def test_no_query_does_worse_than_a_stanza_error(tree: object) -> None:
    names = ["x", "field", "value", "set", "max", "before", "flip-page", "node"]

    def build(node: object, parent: str) -> str:
        if isinstance(node, str):
            return "".join(c for c in node if c.isalnum())
        assert isinstance(node, list)
        name = names[len(node) * len(parent) % len(names)]
        xmlns = RSM if len(node) % 2 else "jabber:x:data"
        content = "".join(build(child, name) for child in node)
        return f"<{name} xmlns='{xmlns}' var='start'>{content}</{name}>"

    with suppress(StanzaError):
        mam.question(request(query(build(tree, "query"))))


@pytest.mark.requirement("59-11", "313-92", "313-85")
@pytest.mark.parametrize("size", [1, 4, 5, 15])
async def test_walking_either_way_gives_every_item_once(size: int) -> None:
    forward: list[str] = []
    reply = Reply([], parsed("<fin/>"))
    anchor = ""
    while not reply.complete:
        reply = await search(ARCHIVE, page(f"<max>{size}</max>{anchor}"))
        forward += reply.bodies
        anchor = f"<after>{reply.rsm('last')}</after>"
    backward: list[str] = []
    reply = Reply([], parsed("<fin/>"))
    anchor = "<before/>"
    while not reply.complete:
        reply = await search(ARCHIVE, page(f"<max>{size}</max>{anchor}"))
        backward = [*reply.bodies, *backward]
        anchor = f"<before>{reply.rsm('first')}</before>"
    assert forward == backward == numbers(1, 15)
