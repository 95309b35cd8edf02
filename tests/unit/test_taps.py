"""Two Prosodys that serve one VirtualHost are noticed by the batches that they send in turns."""

import pytest

from ingest.taps import Taps
from stanzalake.observability.metrics import WRITER_CONFLICTS

HOST = "capulet.lit"
MINUTE = 60
PAUSES = {" ": 60 * MINUTE, ".": 9 * MINUTE}
MANY = "bcdefghijklmnop"


@pytest.mark.parametrize(
    ("batches", "conflict"),
    [
        ("aaa", False),
        ("aab", False),
        ("aaba", True),
        ("ab a", False),
        ("ab.a", True),
        ("abc", False),
        ("abcb", True),
        ("a-b-a", True),
        ("a---", False),
        ("a-a", False),
        (f"a{MANY}a", True),
        (f"a{MANY}qa", False),
    ],
    ids=[
        "one",
        "another takes over",
        "two in turns",
        "one comes back after an hour",
        "one comes back after nine minutes",
        "a chain of hand-overs",
        "two of three in turns",
        "two in turns, and batches of an older module",
        "an older module",
        "one, and batches of an older module",
        "as many as are remembered",
        "more than are remembered",
    ],
)
def test_instances_in_turns_are_a_conflict(
    batches: str, conflict: bool, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    taps = Taps([HOST], lambda: now)
    for instance in batches:
        now += PAUSES.get(instance, 1)
        taps.note(HOST, instance.strip(" .-"))
    assert ("two Prosodys write the archives of capulet.lit" in caplog.text) == conflict


def test_a_conflict_is_logged_once_for_each_pair(caplog: pytest.LogCaptureFixture) -> None:
    taps, before = Taps([HOST, "montague.lit"]), conflicts()
    for _ in range(10):
        for instance in "ab":
            taps.note(HOST, instance)
            taps.note("montague.lit", "c")
    assert len(caplog.records) == 1
    assert "instances a and b" in caplog.text
    assert conflicts() - before == 18


def conflicts() -> float:
    [metric] = WRITER_CONFLICTS.collect()
    return next(one.value for one in metric.samples if one.name.endswith("_total"))
