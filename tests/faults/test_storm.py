"""A short form of the fault storm (`make faults` is the long one)."""

import random
from pathlib import Path

import pytest

from tests.faults.storm import run_storm


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("mode", "rounds"), [("embedded", 6), ("kafka", 8)])
async def test_no_message_is_lost_or_doubled_in_a_fault_storm(
    tmp_path: Path, mode: str, rounds: int
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    outcome = await run_storm(tmp_path, mode, rounds, seed, longest=1.5)
    print(f"mode {mode}, seed {seed}: {outcome.faults}\n{outcome}")  # noqa: T201  # a failure is repeated by it
    assert outcome.findings.problems == []
    assert all(talk.received > 50 for talk in outcome.talks)
    assert all(len(talk.delivered) > 10 for talk in outcome.talks)
    assert outcome.attacks.total() > 10
