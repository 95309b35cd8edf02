"""Property tests: random archives and searches against a model, a sorted list."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query import forms
from stanzalake.model.page import Archive
from stanzalake.model.position import from_milliseconds
from stanzalake.model.retention import FOREVER
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Row, Store
from stanzalake.xmpp import dates
from tests.support.archives import SEALER, START
from tests.support.events import JULIET, stanza
from tests.support.queries import Reply, field, form, page, search

NURSE = "nurse@capulet.lit"
PEERS = [JULIET, "romeo@montague.lit", "room@chat.lit"]
RESOURCES = ["", "a", "A"]
BODIES = ["", " a red, red rose", " RED Rosé"]
TEXTS = {"rose": BODIES[1:], "ROS*": BODIES[1:], '"a red"': BODIES[1:2], "red rosé a*": BODIES[1:2]}
"""Full-text queries, and the bodies that each matches."""
CAP = 4
SPAN = 4

_owners = (f"owner-{n}@capulet.lit" for n in itertools.count())

PLACES = st.builds(
    from_milliseconds,
    st.integers(START, START + SPAN),
    st.integers(0, 2) | st.just(65535),
)
MOMENTS = st.one_of(
    st.none(),
    st.integers(10 * (START - 1), 10 * (START + SPAN + 1)),
    st.sampled_from([-(10**12), 10**15]),
)
"""In tenths of a millisecond."""


@dataclass(frozen=True)
class Search:
    """A search with positions in place of ids. An empty anchor is 0."""

    peer: str | None
    resource: str
    start: int | None
    end: int | None
    after_id: int | None
    before_id: int | None
    picks: tuple[int, ...] | None
    groupchat: str | None
    text: str | None
    most: int | None
    after: int | None
    before: int | None
    index: int | None
    flipped: bool


@st.composite
def row_lists(draw: st.DrawFn) -> list[Row]:
    """Generate the rows of an archive, unique by position; owners are set later."""
    positions = draw(st.lists(PLACES, unique=True, max_size=12))
    return [
        Row(
            "",
            position,
            draw(st.sampled_from(PEERS)),
            draw(st.sampled_from(RESOURCES)),
            "in",
            draw(st.sampled_from(["chat", "groupchat"])),
            stanza(f"{position}{draw(st.sampled_from(BODIES))}"),
            draw(st.sampled_from(["", "", f"old-{position}"])),
        )
        for position in sorted(positions)
    ]


@st.composite
def searches(draw: st.DrawFn) -> Search:
    """Generate a valid search."""
    index = draw(st.none() | st.integers(0, 13))
    anchors = st.none() | st.just(0) | PLACES
    return Search(
        peer=draw(st.none() | st.sampled_from(PEERS)),
        resource=draw(st.sampled_from(RESOURCES)),
        start=draw(MOMENTS),
        end=draw(MOMENTS),
        after_id=draw(st.none() | PLACES),
        before_id=draw(st.none() | PLACES),
        picks=draw(st.none() | st.lists(st.integers(0, 11), min_size=1, max_size=6).map(tuple)),
        groupchat=draw(st.sampled_from([None, "true", "false"])),
        text=draw(st.none() | st.sampled_from(sorted(TEXTS))),
        most=draw(st.none() | st.integers(0, 6)),
        after=draw(anchors) if index is None else None,
        before=draw(anchors) if index is None else None,
        index=index,
        flipped=draw(st.booleans()),
    )


def selected(rows: list[Row], asked: Search) -> list[Row]:
    """Return the rows that the filters select."""
    named = None if asked.picks is None else {rows[n % len(rows)].position for n in asked.picks}
    return [
        r
        for r in rows
        if (asked.peer is None or r.peer == asked.peer)
        and (asked.peer is None or not asked.resource or r.peer_resource == asked.resource)
        and (asked.start is None or 10 * (r.position >> 16) >= asked.start)
        and (asked.end is None or 10 * (r.position >> 16) <= asked.end)
        and (asked.after_id is None or r.position > asked.after_id)
        and (asked.before_id is None or r.position < asked.before_id)
        and (named is None or r.position in named)
        and (asked.groupchat != "false" or r.kind != "groupchat")
        and (asked.text is None or any(f"{body}</body>" in r.stanza for body in TEXTS[asked.text]))
    ]


def shown(whole: list[Row], asked: Search) -> tuple[list[Row], bool]:
    """Return the expected page, oldest first, and whether it is complete."""
    left = [
        r
        for r in whole[asked.index or 0 :]
        if not (asked.after and r.position <= asked.after)
        and not (asked.before and r.position >= asked.before)
    ]
    size = CAP if asked.most is None else min(asked.most, CAP)
    backward = asked.before is not None and not asked.after
    page_ = left[len(left) - min(size, len(left)) :] if backward else left[:size]
    return page_, len(page_) == len(left)


def markup(rows: list[Row], owner: str, asked: Search) -> Iterator[str]:
    """Render a search as markup."""

    def id_of(position: int) -> str:
        legacy = {r.position: r.legacy_id for r in rows}
        return legacy.get(position) or SEALER.seal(owner, position)

    fields = []
    if asked.peer is not None:
        slash = "/" if asked.resource else ""
        fields.append(field("with", asked.peer + slash + asked.resource))
    for name, moment in (("start", asked.start), ("end", asked.end)):
        if moment is not None:
            whole, tenth = divmod(moment, 10)
            fields.append(field(name, dates.emit(whole).replace("Z", f"{tenth}Z")))
    for name, position in (("after-id", asked.after_id), ("before-id", asked.before_id)):
        if position is not None:
            fields.append(field(name, id_of(position)))
    if asked.picks is not None:
        fields.append(field("ids", *(id_of(rows[n % len(rows)].position) for n in asked.picks)))
    others = {"include-groupchat": asked.groupchat, forms.TEXT_FIELD: asked.text}
    fields += [field(name, str(value)) for name, value in others.items() if value is not None]
    yield form(*fields)
    yield page("".join(_paging(asked, id_of)))
    if asked.flipped:
        yield "<flip-page/>"


def _paging(asked: Search, id_of: Callable[[int], str]) -> Iterator[str]:
    if asked.most is not None:
        yield f"<max>{asked.most}</max>"
    if asked.index is not None:
        yield f"<index>{asked.index}</index>"
    for name, position in (("after", asked.after), ("before", asked.before)):
        if position is not None:
            yield f"<{name}>{id_of(position) if position else ''}</{name}>"


def agrees(reply: Reply, rows: list[Row], asked: Search) -> None:
    """Compare a reply with the model."""
    whole = selected(rows, asked)
    expected, complete = shown(whole, asked)
    positions = [str(r.position) for r in expected]
    bodies = [body.partition(" ")[0] for body in reply.bodies]
    assert bodies == (positions[::-1] if asked.flipped else positions)
    assert (reply.count, reply.complete) == (len(whole), complete)
    ids = reply.ids[::-1] if asked.flipped else reply.ids
    assert (reply.rsm("first"), reply.rsm("last")) == ((ids[0], ids[-1]) if ids else (None, None))
    begins_backward = asked.before is not None and not asked.after and not complete
    told = ids and not (begins_backward and expected[-1] == whole[-1])
    assert reply.index == (whole.index(expected[0]) if told else None)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


Keep = Callable[[list[Row]], tuple[str, Archive]]


@pytest.fixture(scope="module")
def keep(messages: Store, runner: asyncio.Runner) -> Iterator[Keep]:
    """Give a function that stores rows for a new owner, some twice, beside those of another."""
    # By months: pages are read in two windows then.
    reader = ArchiveReader(messages, SEALER, FOREVER, partition_by="month")

    def store(rows: list[Row]) -> tuple[str, Archive]:
        owner = next(_owners)
        own = [r._replace(owner=owner) for r in rows]
        messages.insert([*own[::-1], *(r._replace(owner=NURSE) for r in rows)])
        messages.insert(own[::2])
        return owner, reader.archive(owner)

    yield store
    runner.run(reader.close())


@pytest.mark.requirement(
    "313-08", "313-25", "313-39", "313-85", "313-90", "313-98", "313-99", "313-100", "313-107",
    "313-108", "431-05", "59-02", "59-05", "59-06", "59-07", "59-20", "59-26",
)  # fmt: skip
@settings(max_examples=25)
@given(rows=row_lists(), asked=st.lists(searches(), min_size=8, max_size=8))
def test_every_page_agrees_with_the_model(
    keep: Keep, runner: asyncio.Runner, rows: list[Row], asked: list[Search]
) -> None:
    owner, archive = keep(rows)
    for one in asked:
        if rows or one.picks is None:
            reply = runner.run(search(archive, *markup(rows, owner, one), limit=CAP))
            agrees(reply, rows, one)


@pytest.mark.requirement("59-11", "313-85", "313-92", "313-105")
@settings(max_examples=15)
@given(rows=row_lists(), size=st.integers(1, CAP), peer=st.sampled_from(PEERS))
def test_paging_in_either_direction_gives_every_item_once(
    keep: Keep, runner: asyncio.Runner, rows: list[Row], size: int, peer: str
) -> None:
    _, archive = keep(rows)
    expected = [str(r.position) for r in rows if r.peer == peer]
    asked = form(field("with", peer))
    assert runner.run(walk(archive, asked, size, "", "after", "last")) == expected
    backward = runner.run(
        walk(archive, f"{asked}<flip-page/>", size, "<before/>", "before", "first")
    )
    assert backward == expected[::-1]


async def walk(  # noqa: PLR0913, PLR0917  # where to start, and how to go on
    archive: Archive, asked: str, size: int, anchor: str, onwards: str, end: str
) -> list[str]:
    """Read pages until one is complete."""
    seen: list[str] = []
    complete = False
    while not complete:
        reply = await search(archive, asked, page(f"<max>{size}</max>{anchor}"), limit=CAP)
        assert reply.results or reply.complete
        seen += [body.partition(" ")[0] for body in reply.bodies]
        anchor = f"<{onwards}>{reply.rsm(end)}</{onwards}>"
        complete = reply.complete
    return seen
