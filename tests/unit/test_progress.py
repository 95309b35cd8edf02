"""The display of progress: a rate and a remaining time that a person can rely on."""

import pytest

from stanzalake.cli.progress import RateColumn, progress

TOTAL = 200_000
PAGE = 2_000
"""Rows that are there at once; the next page takes ten seconds."""


def test_rate_and_remaining_time_are_steady_though_rows_come_in_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    display = progress()
    monkeypatch.setattr(display, "get_time", lambda: now)
    number = display.add_task("messages", total=TOTAL)
    [task] = display.tasks
    assert RateColumn().render(task).plain == ""
    for done in range(1, TOTAL + 1):
        now += 10 if done % PAGE == 1 else 0.00001
        display.update(number, completed=done)
        if done > 10 * PAGE and done % 500 == 0:
            assert task.time_remaining == pytest.approx((TOTAL - done) / 200, rel=0.2, abs=20)
            assert 160 < int(RateColumn().render(task).plain.removesuffix("/s")) < 240
