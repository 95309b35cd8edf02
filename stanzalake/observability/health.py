"""HTTP endpoint for Prometheus and for liveness and readiness probes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from stanzalake.observability import status_page
from stanzalake.observability.listening import listen
from stanzalake.observability.metrics import PART_UP
from stanzalake.observability.status import Reporter

log = logging.getLogger(__name__)

_parts: dict[str, bool] = {}
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def report(part: str, *, up: bool) -> None:
    """Set the state of a part of this process; readiness needs all reported parts up.

    Args:
        part: Display name, such as a component and its server.
        up: Whether the part works.
    """
    _parts[part] = up
    PART_UP.labels(part).set(up)


def ready() -> bool:
    """Return whether any part was reported and all are up."""
    return bool(_parts) and all(_parts.values())


@asynccontextmanager
async def serve_health(addresses: Sequence[tuple[str, int]]) -> AsyncIterator[Reporter]:
    """Serve the status page, /metrics, /healthz and /readyz while the context is open.

    Args:
        addresses: Hosts and ports to listen on.

    Raises:
        SettingsError: An address cannot be bound.
    """
    reporter = Reporter(_parts)
    runner = web.AppRunner(_application(reporter), access_log=None)
    await runner.setup()
    try:
        for address in addresses:
            await _listen(runner, *address)
        async with reporter.sampling():
            yield reporter
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    await listen(runner, host, port, "STANZALAKE_HTTP_ADDRESS")
    name = f"[{host}]" if ":" in host else host
    log.info("status, metrics and health on http://%s:%d/", name, port)


def _application(reporter: Reporter) -> web.Application:
    async def show_page(_: web.Request) -> web.Response:
        text = status_page.page(await reporter.report())
        return web.Response(text=text, content_type="text/html", headers=_PAGE_HEADERS)

    async def show_json(_: web.Request) -> web.Response:
        body = msgspec.json.encode(await reporter.report())
        return web.Response(body=body, content_type="application/json")

    application = web.Application()
    application.router.add_get("/", show_page)
    application.router.add_get("/status.json", show_json)
    application.router.add_get("/metrics", _metrics)
    application.router.add_get("/healthz", _healthz)
    application.router.add_get("/readyz", _readyz)
    return application


async def _metrics(_: web.Request) -> web.Response:
    body = await asyncio.to_thread(generate_latest)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _healthz(_: web.Request) -> web.Response:
    """Answer as long as the event loop runs, whatever the parts' state."""
    return web.json_response({"status": "ok"})


async def _readyz(_: web.Request) -> web.Response:
    return web.json_response(_parts, status=200 if ready() else 503)
