"""Everything that reads what others wrote, given valid input that is a little damaged.

Arbitrary input (any text, any bytes) is tried beside each reader's own tests:

- events: test_event.py; a tap's batch: test_ingest_batch.py
- stanzas: test_stanza.py; the cache of histories: test_history_cache.py
- ids: test_position.py; dates: test_dates.py; RSM: test_rsm.py; forms: test_forms.py
- whole queries: test_mam.py; preferences: test_preferences.py

Here: the decoder of batches, the processor from records to rows, envelopes with all that they can
carry, dates, and the journal on disk. `make fuzz` runs them all for as long as one likes.
"""

import base64
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.prosody import MODULES
from ingest.batch import decode_batch
from processor.batch import Rules, assemble, decode_records
from processor.policy import Policy
from query import delegation, mam, protocol
from query.errors import StanzaError
from query.question import QueryContext
from query.request import Request
from query.state_publisher import StatePublisher
from stanzalake.config.settings import DEFAULT_EXCLUSIONS
from stanzalake.errors import InvalidEvent
from stanzalake.log.base import Record
from stanzalake.model.event import (
    VERSION,
    Activation,
    Erasure,
    Expiry,
    Message,
    Preferences,
    decode,
    encode,
)
from stanzalake.model.history import History, Timeline, merge
from stanzalake.xmpp import dates
from stanzalake.xmpp.namespaces import DELEGATION, FORWARD, MAM, RSM, tag
from stanzalake.xmpp.stanza import parse, strip
from tests.support.archives import HeardLog, MemoryArchive, rows, visible_id
from tests.support.events import JULIET, ROMEO, encoded, stanza, uncut
from tests.support.lua import environment
from tests.support.mutations import bent, damaged
from tests.support.queries import carried, envelope, field, form, forwarded, page, parsed, query

HOST = "capulet.lit"
ACTIVE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
EVENTS = [
    encoded(1),
    encoded(2**60, stanza=stanza("&lt;é🌹", ACTIVE), peer_resource=""),
    encode(
        Preferences(v=VERSION, owner=JULIET, position=3, default="never", always=(ROMEO,), never=())
    ),
    encode(Activation(v=VERSION, owner=JULIET, position=4)),
    encode(Erasure(v=VERSION, owner=JULIET, position=5, peer=ROMEO, start=1, end=3, by="me")),
    encode(Expiry(v=VERSION, owner=HOST, position=6)),
]
ARCHIVE = MemoryArchive(rows(15))
ID = visible_id(rows(15)[7])
ALWAYS = f"<always><jid>{ROMEO}</jid></always>"
PAYLOADS = [
    ("set", query(form(field("start", "2026-09-21T14:13:25Z")), page("<max>5</max>"))),
    ("set", query(form(field("with", ROMEO), field("ids", ID)), page(f"<after>{ID}</after>"))),
    ("set", query(page("<max>3</max><before/>"), "<flip-page/>")),
    ("get", query()),
    ("get", f"<metadata xmlns='{MAM}'/>"),
    ("get", f"<prefs xmlns='{MAM}'/>"),
    ("set", f"<prefs xmlns='{MAM}' default='roster'>{ALWAYS}<never/></prefs>"),
]
ENVELOPES = [
    lambda kind=kind, payload=payload: envelope(payload, kind) for kind, payload in PAYLOADS
]
FORWARDED = [
    base64.b64decode(forwarded(payload, kind, watermarks="3:12", state=True)[0].text or "")
    for kind, payload in [*PAYLOADS, ("", None)]
]
TAGS = [
    *(tag(MAM, name) for name in ("query", "prefs", "metadata", "always", "jid", "flip-page")),
    *(tag(RSM, name) for name in ("set", "max", "after", "before", "index")),
    *(tag("jabber:x:data", name) for name in ("x", "field", "value")),
    *(tag("jabber:client", name) for name in ("iq", "message")),
    *(tag(FORWARD, "forwarded"), tag(DELEGATION, "delegation"), "plain"),
]
TEXTS = ["", ID, "-1", "0", "9" * 30, "2026-09-21T14:13:25Z", JULIET, "romeo@", "set", "submit"]
DATES = [b"2026-09-21T14:13:25Z", b"2024-02-29T23:59:60.123456789+14:00", b"0001-01-01T00:00:00Z"]


@given(st.lists(damaged(EVENTS), max_size=4), st.booleans())
def test_a_batch_ends_line_by_line_as_events_or_rejected(lines: list[bytes], ended: bool) -> None:
    raw = b"\n".join(lines) + b"\n" * ended
    result = decode_batch(base64.b64encode(raw).decode(), HOST)
    kept = [entry.value for entry in (*result.events, *result.rejected)]
    whole = raw.removesuffix(b"\n").split(b"\n") if raw else [b""]
    assert sorted(kept) == sorted(whole)
    for entry in result.events:
        assert decode(entry.value).owner == entry.key
        assert entry.key == HOST or entry.key.endswith(f"@{HOST}")


@given(damaged([base64.b64encode(event + b"\n") for event in EVENTS]))
def test_a_batch_whose_base64_is_damaged_is_not_lost(raw: bytes) -> None:
    text = raw.decode(errors="replace")
    result = decode_batch(text, HOST)
    assert result.events or result.rejected


def is_filtered(message: Message, history: History) -> bool:
    """Tell whether a message is to be left out: by its owner's wish, or as nothing of it stays."""
    if not Policy("true").admits(message, Timeline(history)):
        return True
    with suppress(InvalidEvent):
        return strip(message.stanza, DEFAULT_EXCLUSIONS) is None
    return False


@given(st.lists(st.one_of(damaged(EVENTS), damaged([encoded(5, stanza=stanza("x", ACTIVE))]))))
def test_every_record_becomes_a_row_a_state_a_dead_letter_or_is_filtered(
    values: list[bytes],
) -> None:
    records = [Record(0, offset, JULIET, value) for offset, value in enumerate(values)]
    decoded = decode_records(records)
    histories = {
        owner: merge((), [state for state in decoded.states if state.owner == owner])
        for owner in decoded.owners
    }
    batch = assemble(decoded, histories, Rules(Policy("true"), DEFAULT_EXCLUSIONS), uncut)
    assert batch.states == [one for one in decoded.states if one in histories[one.owner]]
    ends = len(batch.rows) + len(decoded.states) + len(batch.dead_letters) + batch.expiries
    filtered = [m for _, m in decoded.messages if is_filtered(m, histories[m.owner])]
    assert ends + len(filtered) == len(records)
    assert all(one.entry.value == values[one.record.offset] for one in batch.dead_letters)
    assert batch.offsets == ({0: len(records)} if records else {})
    for row in batch.rows:
        namespaces = {child.name.partition("\1")[0] for child in parse(row.stanza)}
        assert namespaces.isdisjoint(DEFAULT_EXCLUSIONS)


@given(damaged([stanza("x", ACTIVE).encode(), stanza("&amp;<b xmlns='y'>é</b>").encode()]))
def test_a_damaged_stanza_is_stored_unchanged_or_a_dead_letter(raw: bytes) -> None:
    text = raw.decode(errors="replace") or " "
    decoded = decode_records([Record(0, 0, JULIET, encoded(1, stanza=text))])
    batch = assemble(decoded, {JULIET: ()}, Rules(Policy("true"), frozenset()), uncut)
    assert len(batch.rows) + len(batch.dead_letters) <= 1
    assert all(row.stanza == text for row in batch.rows)


async def check_answer(request: Request, host: str | None) -> None:
    """Answer a request that made it through its envelope, with valid markup."""
    publisher = StatePublisher(JULIET, 9, "roster", HeardLog())
    question = mam.question(request)
    assert request.owner.endswith(f"@{host}")
    answer = await question.answer(QueryContext(ARCHIVE, 250, stable=True, publisher=publisher))
    for markup in (*(r.content for r in answer.results), *filter(None, [answer.payload])):
        parsed(markup)


@given(bent(ENVELOPES, TAGS, TEXTS))
async def test_no_envelope_does_worse_than_a_stanza_error(outer: Element) -> None:
    with suppress(StanzaError):
        await check_answer(delegation.open_request(outer).request, outer.get("from"))


@given(damaged(FORWARDED))
async def test_no_request_of_the_module_does_worse_than_a_stanza_error(data: bytes) -> None:
    with suppress(StanzaError):
        await check_answer(protocol.open_request(carried(data)).request, HOST)


@given(damaged(DATES), st.booleans())
def test_a_damaged_date_is_a_moment_or_a_value_error(raw: bytes, up: bool) -> None:
    with suppress(ValueError):
        assert isinstance(dates.parse(raw.decode(errors="replace"), up=up), int)


class Journals:
    """Asks one Lua process what the tap would read from a directory."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input: TextIO = process.stdin  # type: ignore[assignment]  # typeshed's IO[str]
        self._output: TextIO = process.stdout  # type: ignore[assignment]  # typeshed's IO[str]

    def examine(self, directory: Path, size: int) -> list[list[str]]:
        """Give what it says: words, a line each, the last one how it ended."""
        self._input.write(f"{size} {directory}\n")
        self._input.flush()
        said: list[list[str]] = []
        while not said or said[-1][0] not in {"done", "failed"}:
            line = self._output.readline()
            assert line, "the process ended"
            said.append(line.split())
        return said


@pytest.fixture(scope="module")
def journals() -> Iterator[Journals]:
    script = Path(__file__).with_name("lua") / "fuzz_journal.lua"
    with subprocess.Popen(  # noqa: S603  # fixed arguments
        ["lua5.4", script, MODULES / "mod_stanzalake"],  # noqa: S607  # wherever it is installed
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Journals(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


LINES = [b"one\n", b"two of them\n", b"\n", b"a longer line that is over the bytes of a read\n"]
SEGMENTS = st.dictionaries(
    st.one_of(st.integers(0, 120), st.integers(0, 2**62)),
    st.lists(st.one_of(st.sampled_from(LINES), st.binary(max_size=12))).map(b"".join),
    max_size=4,
)
ACKED = st.one_of(st.none(), st.binary(max_size=30), damaged([b"16 117650718720000001\n"]))
OTHERS = ["acked~", "5.ndjson", "99999999999999999999.ndjson", "notes.txt"]


@given(SEGMENTS, ACKED, st.sets(st.sampled_from(OTHERS)), st.integers(1, 60))
def test_a_damaged_journal_is_read_in_whole_lines_that_never_go_back(
    journals: Journals, segments: dict[int, bytes], acked: bytes | None, others: set[str], size: int
) -> None:
    with TemporaryDirectory() as name:
        directory = Path(name)
        for start, content in segments.items():
            (directory / f"{start:020}.ndjson").write_bytes(content)
        for other in others:
            (directory / other).write_bytes(b"garbage")
        if acked is not None:
            (directory / "acked").write_bytes(acked)
        said = journals.examine(directory, size)
    assert said[-1][0] == "done", said
    check(said)
    again = next(n for n, words in enumerate(said) if words[0] == "again")
    assert texts(said[again:]).endswith(b"a line of after\n")
    assert texts(said[again:]).removesuffix(b"a line of after\n") == texts(said[:again])


@given(st.lists(st.sampled_from(LINES), min_size=1), st.data(), st.integers(1, 60))
def test_a_journal_that_was_cut_short_keeps_every_whole_line(
    journals: Journals, lines: list[bytes], data: st.DataObject, size: int
) -> None:
    whole = b"".join(lines)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    with TemporaryDirectory() as name:
        (Path(name) / f"{0:020}.ndjson").write_bytes(cut)
        said = journals.examine(Path(name), size)
    check(said)
    first = said[: next(n for n, words in enumerate(said) if words[0] == "append")]
    assert texts(first) == cut[: cut.rfind(b"\n") + 1]


def texts(said: list[list[str]]) -> bytes:
    return b"".join(bytes.fromhex(words[3]) for words in said if words[0] == "read")


def check(said: list[list[str]]) -> None:
    """Hold what is so of any journal: whole lines, and places that only grow."""
    place = 0
    for words in said[:-1]:
        before, behind = int(words[1]), int(words[2])
        if words[0] != "read":
            assert before <= behind
            place = before
            continue
        text = bytes.fromhex(words[3])
        assert text.endswith(b"\n")
        assert before >= place
        assert behind >= before + len(text) > before
        place = behind
