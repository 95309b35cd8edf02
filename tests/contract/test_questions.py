"""The questions of docs/analytics.md, answered of known messages on both engines."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest

from stanzalake.model.position import from_milliseconds
from stanzalake.store import migrations
from stanzalake.store.client import Row, Store
from tests.support.aggregates import age, compute, compute_months
from tests.support.documents import panels, questions
from tests.support.events import stanza
from tests.support.settings import load

JULIET, ROMEO, NURSE, PARIS = (f"{n}@capulet.lit" for n in ("juliet", "romeo", "nurse", "paris"))
TABLE = "messages"
OMEMO = "<encrypted xmlns='eu.siacs.conversations.axolotl'/>"
GIVEN = [
    ("2026-08-10 12:00:00", JULIET, ROMEO, stanza("hello")),
    ("2026-09-20 23:59:50", ROMEO, JULIET, stanza("good night")),
    ("2026-09-21 00:00:20", JULIET, ROMEO, stanza("and you")),
    ("2026-09-21 09:00:00", JULIET, NURSE, stanza("note", OMEMO)),
    ("2026-09-21 09:40:00", PARIS, JULIET, stanza("marry me")),
    ("2026-09-21 09:41:00", PARIS, JULIET, stanza("please")),
]
HALL, GARDEN = (f"{room}@rooms.capulet.lit" for room in ("hall", "garden"))
IN_ROOMS = [
    ("2026-09-20 20:00:00", HALL, "Romeo", ROMEO),
    ("2026-09-20 20:01:00", HALL, "Juliet", JULIET),
    ("2026-09-21 20:00:00", HALL, "Romeo again", ROMEO),
    ("2026-09-21 20:02:00", HALL, "", ""),
    ("2026-09-21 20:03:00", GARDEN, "Romeo", ROMEO),
]
AUGUST, SEPTEMBER = date(2026, 8, 1), date(2026, 9, 1)
EVE, DAY = date(2026, 9, 20), date(2026, 9, 21)
QUESTIONS = questions()


def copies(moment: str, sender: str, recipient: str, text: str) -> Iterator[Row]:
    """Give a message in the archives of both."""
    position = position_at(moment)
    yield Row(sender, position, recipient, "", "out", "chat", text)
    yield Row(recipient, position, sender, "", "in", "chat", text)


def in_room(moment: str, room: str, nick: str, occupant: str) -> Row:
    """Give a message in the archive of a room."""
    position = position_at(moment)
    return Row(room, position, room, nick, "in", "groupchat", stanza(), "", occupant)


def position_at(moment: str) -> int:
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return from_milliseconds(int(at.timestamp()) * 1000)


@pytest.fixture(scope="module")
def store(dsn: str) -> Iterator[Store]:
    """Give a store with the messages, every row twice."""
    store = Store(dsn, TABLE)
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    store.command(f"TRUNCATE TABLE {TABLE}")
    for _ in range(2):
        store.insert([row for message in GIVEN for row in copies(*message)])
        store.insert([in_room(*message) for message in IN_ROOMS])
    yield store
    store.close()


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        (
            "Messages of each day and host",
            [(EVE, "capulet.lit", 1, 1), (DAY, "capulet.lit", 4, 4)],
        ),
        ("Response times, over midnight as well", [(DAY, 1, 30.0, 30.0)]),
        ("The busiest hours", [(9, 3), (0, 1), (23, 1)]),
        (
            "Retention by the month of the first message",
            [(AUGUST, 0, 1), (AUGUST, 1, 1), (SEPTEMBER, 0, 2)],
        ),
        ("How long messages are", [(4, 2, 50.0), (8, 2, 50.0)]),
        (
            "The share of encrypted messages",
            [(SEPTEMBER, "none", 4, 80.0), (SEPTEMBER, "omemo", 1, 20.0)],
        ),
    ],
)
def test_a_question_has_its_answer(
    store: Store, heading: str, expected: list[tuple[object, ...]]
) -> None:
    assert store.select(QUESTIONS[heading]) == expected


def test_active_users_are_those_who_wrote_within_the_days(store: Store) -> None:
    rows = store.select(QUESTIONS["Active users of a day, a week and a month"])
    active = {day: tuple(numbers) for day, *numbers in rows}
    assert active[date(2026, 9, 1)] == (0, 0, 1)
    assert date(2026, 9, 9) not in active
    assert active[EVE] == (1, 1, 1)
    assert active[DAY] == (2, 3, 3)
    assert active[date(2026, 9, 27)] == (0, 2, 3)
    assert max(active) == date(2026, 9, 30)


def test_conversations_are_counted_once_for_both_archives(store: Store) -> None:
    rows = store.select(QUESTIONS["The conversations with most messages"])
    assert [total for *_, total in rows] == [2, 2, 1]


def test_a_rooms_messages_are_counted_once_and_its_writers_by_account(store: Store) -> None:
    busiest = store.select(QUESTIONS["The rooms with most messages"])
    assert [tuple(numbers) for _, *numbers in busiest] == [(4, 2, 2), (1, 1, 1)]
    writers = store.select(QUESTIONS["How many write in a room within a month"])
    assert [tuple(numbers) for _, *numbers in writers] == [(SEPTEMBER, 4, 2), (SEPTEMBER, 1, 1)]
    assert [room for room, *_ in writers] == [room for room, *_ in busiest]


def test_who_is_never_answered_wrote_to_people_who_were_silent(store: Store) -> None:
    [(sender, *numbers)] = store.select(QUESTIONS["Who is never answered"])
    [(paris,)] = store.select(
        "SELECT DISTINCT peer_hash FROM messages_traffic WHERE body_length = 6 AND direction = 'in'"
    )
    assert (sender, numbers) == (paris, [2, 1])


def test_the_forecast_is_a_line_through_the_days(store: Store) -> None:
    points = {41: 1, 82: 1, 83: 4}
    x, y = sum(points) / 3, sum(points.values()) / 3
    slope = sum((a - x) * (b - y) for a, b in points.items()) / sum((a - x) ** 2 for a in points)
    expected = [max(0, round(y + slope * (92 + ahead - x))) for ahead in (30, 90, 180, 365)]
    rows = store.select(QUESTIONS["How messages will grow"])
    assert [day for day, _ in rows] == sorted(day for day, _ in rows)
    assert [messages for _, messages in rows] == expected


@pytest.mark.parametrize(
    ("title", "columns", "rows"),
    [
        ("Messages of each day", ["time", "host", "messages"], 2),
        ("Owners of each day", ["time", "owners", "writers"], 2),
        ("Seconds until owners answer", ["time", "p50", "p90"], 1),
        ("Messages by hour of the day", ["hour", "total"], 3),
        ("Messages by length", ["characters", "total"], 2),
        ("Messages by encryption", ["scheme", "total"], 2),
        ("Conversations with most messages", ["one", "other", "total"], 3),
        ("Servers that are written to", ["peer_host", "messages", "owners"], 1),
        ("Messages in rooms of each day", ["time", "messages", "rooms"], 2),
        ("Rooms with most messages", ["room", "total", "most_writers"], 2),
    ],
)
def test_a_panel_of_the_dashboard_has_its_columns(
    store: Store, title: str, columns: list[str], rows: int
) -> None:
    statement = panels()[title]
    assert "$" not in statement
    assert len(store.select(statement)) == rows
    assert [name for name, *_ in store.select(f"DESCRIBE ({statement})")] == columns


def test_every_panel_of_the_dashboard_is_asked() -> None:
    [asked] = [
        mark.args[1]
        for mark in test_a_panel_of_the_dashboard_has_its_columns.pytestmark  # type: ignore[attr-defined]  # pytest's own
    ]
    assert {title for title, *_ in asked} == set(panels())


def test_no_question_reads_a_message_of_a_computed_day(store: Store) -> None:
    """But for the one about texts."""
    asked = {**QUESTIONS, **panels()}
    before = {
        heading: store.select(statement)
        for heading, statement in asked.items()
        if "_bodies" not in statement
    }
    assert len(before) == len(asked) - 1
    age(store)
    compute(store)
    compute_months(store)
    store.command(f"CREATE TABLE emptied AS {TABLE}")
    store.command(f"EXCHANGE TABLES {TABLE} AND emptied")
    after = {heading: store.select(asked[heading]) for heading in before}
    store.command(f"EXCHANGE TABLES {TABLE} AND emptied")
    store.command("DROP TABLE emptied")
    for heading, rows in after.items():
        assert sorted(map(repr, rows)) == sorted(map(repr, before[heading])), heading
