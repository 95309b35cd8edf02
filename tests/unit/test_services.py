"""Services as processes: how they stop."""

import subprocess
import sys
import time

_BLOCKED = """
import asyncio, os, signal, threading, time
from contextlib import nullcontext
from stanzalake.runtime import services

async def work(_, stop):
    os.kill(os.getpid(), signal.SIGTERM)
    await stop.wait()
    await asyncio.to_thread(time.sleep, 60)

class Resources:
    async def __aenter__(self): ...
    async def __aexit__(self, *_): ...

asyncio.run(services.until_stopped(Resources(), work, 0.2))
"""


def test_a_service_stops_in_time_though_a_server_does_not_answer() -> None:
    """A thread waits for a frozen ClickHouse for STANZALAKE_CLICKHOUSE_TIMEOUT, up to 600 s."""
    before = time.monotonic()
    run = subprocess.run(  # noqa: S603  # the text above
        [sys.executable, "-c", _BLOCKED], check=False, capture_output=True, timeout=50
    )
    assert (run.returncode, run.stdout) == (0, b"")
    assert b"without waiting any longer" in run.stderr
    assert time.monotonic() - before < 30
