"""Health: what is up, on a small HTTP port for Prometheus and for whoever restarts services."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from stanzalake.errors import SettingsError
from stanzalake.observability.metrics import PART_UP

log = logging.getLogger(__name__)

_parts: dict[str, bool] = {}


def report(part: str, *, up: bool) -> None:
    """Say whether a part of this process is up; once said, it counts for readiness.

    Args:
        part: A component and its server, or another name for people.
        up: Whether it works just now.
    """
    _parts[part] = up
    PART_UP.labels(part).set(up)


def ready() -> bool:
    """Tell whether there are parts and all of them are up."""
    return bool(_parts) and all(_parts.values())


@asynccontextmanager
async def serve_health(addresses: Sequence[tuple[str, int]]) -> AsyncIterator[None]:
    """Serve /metrics, /healthz and /readyz while the context is open.

    Args:
        addresses: Hosts and ports; none serves nothing.

    Raises:
        SettingsError: The port cannot be had.
    """
    runner = web.AppRunner(_application(), access_log=None)
    await runner.setup()
    try:
        for address in addresses:
            await _listen(runner, *address)
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(
            f"STANZALAKE_HTTP_ADDRESS={host}:{port} cannot be used: {reason}"
        ) from None
    log.info("metrics and health on http://%s:%d", host, port)


def _application() -> web.Application:
    application = web.Application()
    application.router.add_get("/metrics", _metrics)
    application.router.add_get("/healthz", _healthz)
    application.router.add_get("/readyz", _readyz)
    return application


async def _metrics(_: web.Request) -> web.Response:
    body = await asyncio.to_thread(generate_latest)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _healthz(_: web.Request) -> web.Response:
    """The process runs and its loop turns; it says no more."""
    return web.json_response({"status": "ok"})


async def _readyz(_: web.Request) -> web.Response:
    return web.json_response(_parts, status=200 if ready() else 503)
