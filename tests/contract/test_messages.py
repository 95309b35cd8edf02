"""Export reads and statistics, on both engines."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from stanzalake.model.event import Activation, Erasure
from stanzalake.model.position import from_milliseconds
from stanzalake.model.retention import FOREVER, Retention
from stanzalake.store import messages as reading
from stanzalake.store import statistics
from stanzalake.store.client import Row, Store
from stanzalake.store.histories import Histories
from stanzalake.store.messages import MessageRange, Messages
from tests.support.archives import START, row
from tests.support.stores import ON_BOTH_STORES

pytestmark = ON_BOTH_STORES

DAY = 86_400_000

_owners = (f"reader{n}@montague.lit" for n in itertools.count())


@pytest.fixture
def owner() -> str:
    """Give an owner that no other test has."""
    return next(_owners)


def at(owner: str, number: int, **changes: str) -> Row:
    return row(from_milliseconds(START + number), owner=owner, **changes)


def test_an_export_reads_each_message_once_in_order(messages: Store, owner: str) -> None:
    kept = [at(owner, n, stanza=str(n)) for n in range(5)]
    messages.insert([kept[3], kept[1], kept[0]])
    messages.insert([kept[1], kept[2], kept[4], kept[0], at("nobody@montague.lit", 2)])
    found = Messages(messages)
    assert list(found.read(MessageRange(owner))) == kept
    assert found.count(MessageRange(owner)) == 5
    span = MessageRange(owner, low=kept[1].position, high=kept[3].position)
    assert list(found.read(span)) == kept[1:4]
    assert found.count(span) == 3


def test_an_export_may_be_limited_to_a_peer(messages: Store, owner: str) -> None:
    kept = [at(owner, n, peer=f"{n % 2}@'capulet.lit") for n in range(4)]
    messages.insert(kept)
    assert list(Messages(messages).read(MessageRange(owner, "1@'capulet.lit"))) == kept[1::2]


def test_an_export_reads_page_by_page(
    messages: Store, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_PAGE_ROWS", 3)
    kept = [at(owner, n, stanza=str(n)) for n in range(10)]
    for _ in range(3):  # so a page may be the repeats of one row
        messages.insert(kept)
    assert list(Messages(messages).read(MessageRange(owner))) == kept


def test_a_page_is_bounded_in_bytes(
    messages: Store, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_PAGE_BYTES", 10)
    kept = [at(owner, n, stanza="x" * size) for n, size in enumerate((4, 4, 4, 40, 1))]
    messages.insert(kept)
    assert list(Messages(messages).read(MessageRange(owner))) == kept


def test_an_empty_archive_exports_nothing(messages: Store, owner: str) -> None:
    assert list(Messages(messages).read(MessageRange(owner))) == []
    assert Messages(messages).count(MessageRange(owner)) == 0


def test_statistics_count_hosts_days_and_disk(messages: Store) -> None:
    host = "statistics.lit"
    begin = 1000 * DAY  # days of which no other test has messages
    moments = (begin, begin + 1, begin + DAY, begin + 3 * DAY)
    messages.insert([at(f"{n % 3}@{host}", moment) for n, moment in enumerate(moments)])
    now = (START + begin + 3 * DAY) / 1000
    found = statistics.read(messages, days=4, retention=FOREVER, now=now)
    [there] = [one for one in found.hosts if one.host == host]
    first = datetime.fromtimestamp((START + begin) / 1000, UTC)
    assert (there.messages, there.owners) == (4, 3)
    assert there.oldest == first
    assert (there.newest - first).days == 3
    assert [day.day for day in found.days][:: len(found.days) - 1] == [
        first.date(),
        first.date() + timedelta(3),
    ]
    assert found.disk.rows >= found.messages >= 4
    assert found.disk.ratio > 0

    later = statistics.read(messages, days=2, retention=Retention(DAY // 1000), now=now)
    [there] = [one for one in later.hosts if one.host == host]
    assert (there.messages, there.owners) == (1, 1)
    assert [day.messages for day in later.days] == [0, 1]


def test_owners_with_a_position_above_a_limit_are_listed(messages: Store, owner: str) -> None:
    host, limit = f"ahead-of-{owner.partition('@')[2]}", from_milliseconds(START + 1000)
    names = [f"{name}@{host}" for name in ("behind", "erased", "message", "preferences")]
    behind, erased, message, preferences = names
    messages.insert([at(behind, 0), at(message, 0), at(message, 2000), at(message, 2001)])
    erasure = Erasure(v=1, owner=erased, position=limit + 1, end=limit)
    Histories(messages).write([erasure])
    Histories(messages).write([Activation(v=1, owner=preferences, position=limit + 1)])
    found = [o for o in statistics.owners_ahead(messages, limit) if o.endswith(host)]
    assert found == [erased, message, preferences]
