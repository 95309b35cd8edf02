"""A short form of the freshness check (`make freshness` is the long one)."""

from pathlib import Path

import pytest

from tests.faults.freshness import MODES, measure


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
async def test_a_page_right_behind_a_burst_holds_all_of_its_messages(
    tmp_path: Path, mode: str
) -> None:
    tally = await measure(tmp_path, mode, rounds=20, messages=200)
    print(f"mode {mode}, {tally}")  # noqa: T201  # the cost of freshness
    assert tally.misses == 0
