"""Sharing of the embedded engine with other processes of the same user."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from stanzalake.config import data_dir
from stanzalake.store.chdb import http
from stanzalake.store.chdb.engine import Engine, assign

_USER = "stanzalake"
_PASSWORD_BYTES = 32
LIMITS = {
    # Leave half of the CPUs to this process.
    "max_threads": max(1, (os.cpu_count() or 1) // 2),
    "max_memory_usage": 2_000_000_000,
    "max_result_bytes": 256 * 1024 * 1024,
}
"""Limits per statement of another process."""


@asynccontextmanager
async def share_store(directory: Path, path: Path) -> AsyncIterator[None]:
    """Serve the engine to other processes while the context is open; see `Store.of`.

    Listens on a free loopback port. The password is random and readable only by this user.

    Args:
        directory: The data directory, locked by this process.
        path: The engine's directory.
    """
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    engine = await asyncio.to_thread(Engine, str(path))
    runner = http.runner(engine, _log_in_with(password))
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


def _log_in_with(password: str) -> http.LogIn:
    preparation = assign(LIMITS)

    def log_in(user: str, given: str) -> Sequence[str]:
        if user != _USER or not secrets.compare_digest(given.encode(), password.encode()):
            raise http.authentication_failed(user)
        return preparation

    return log_in
