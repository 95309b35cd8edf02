"""A page that cannot wait for the processors says so, and the operator learns why."""

from unittest.mock import AsyncMock

import pytest
from prometheus_client import REGISTRY

from query.freshness import Freshness
from stanzalake.errors import LogRefused, LogUnavailable, StanzalakeError
from stanzalake.log.base import Log
from stanzalake.log.watermarks import NO_WATERMARKS

OWNER = "juliet@capulet.lit"


@pytest.mark.parametrize(
    ("error", "level"),
    [(LogRefused("Kafka refuses: no Describe"), "ERROR"), (LogUnavailable("away"), "WARNING")],
)
async def test_a_log_that_cannot_be_asked_is_logged_once_and_counted(
    error: StanzalakeError, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = AsyncMock(spec=Log)
    freshness = Freshness(log, 1.0)
    before = failures(error.code)
    log.wait_committed.side_effect = error
    for _ in range(3):
        assert not await freshness.reached(OWNER, NO_WATERMARKS)
    assert failures(error.code) - before == 3
    [record] = caplog.records
    assert (record.levelname, record.args) == (level, ("", f"pages are unstable: {error}"))
    log.wait_committed.side_effect = [True]
    caplog.set_level("INFO")
    assert await freshness.reached(OWNER, NO_WATERMARKS)
    assert caplog.records[-1].getMessage() == "working again"


def failures(code: str) -> float:
    name = "stanzalake_freshness_failures_total"
    return REGISTRY.get_sample_value(name, {"error": code}) or 0
