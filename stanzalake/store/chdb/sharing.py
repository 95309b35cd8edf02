"""The embedded store, shared by the process that holds it with others of the same user."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from stanzalake.config import data_dir
from stanzalake.store.chdb import http
from stanzalake.store.chdb.engine import Engine

_USER = "stanzalake"
_PASSWORD_BYTES = 32
_LIMITS = {
    # Half of the machine is for what goes on in this process besides.
    "max_threads": max(1, (os.cpu_count() or 1) // 2),
    "max_memory_usage": 2_000_000_000,
    "max_result_bytes": 256 * 1024 * 1024,
}
"""What one statement of another process may take."""


@asynccontextmanager
async def share_store(directory: Path, path: Path) -> AsyncIterator[None]:
    """Share the store while the context is open; `Store.of` of other processes finds it.

    It is on a port of loopback that the system chooses, with a password of this start that only
    this user can read.

    Args:
        directory: The data directory, which this process holds.
        path: Where the engine is.
    """
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    engine = await asyncio.to_thread(Engine, str(path))
    runner = http.runner(engine, _only(password))
    await runner.setup()
    try:
        await web.TCPSite(runner, http.HOST, 0).start()
        [(host, port)] = runner.addresses
        dsn = f"clickhouse://{_USER}:{password}@{host}:{port}/default"
        with data_dir.publish_store_dsn(directory, dsn):
            yield
    finally:
        await runner.cleanup()
        await asyncio.to_thread(engine.close)


def _only(password: str) -> http.LogIn:
    preparation = [f"SET {name} = {value}" for name, value in _LIMITS.items()]

    def log_in(user: str, given: str) -> Sequence[str]:
        if user != _USER or not secrets.compare_digest(given.encode(), password.encode()):
            raise http.unknown(user)
        return preparation

    return log_in
