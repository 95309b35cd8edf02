"""Runs the checks that a service depends on.

Read-only and safe beside running services: creates, migrates, commits and takes over nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Literal

from stanzalake.config.settings import Settings
from stanzalake.doctor import data_dir, embedded_log, http, prosody, store
from stanzalake.doctor.finding import Finding, fault, fine
from stanzalake.errors import StanzalakeError

Service = Literal["up", "ingest", "processor", "query"]
"""The command whose dependencies are checked."""

Check = Callable[[Settings], Awaitable[Sequence[Finding]]]

TIMEOUT = 20.0
"""Seconds that a check may take."""

_CLICKHOUSE_TIMEOUT = 5
"""Seconds that a ClickHouse server may be silent here."""


async def run(settings: Settings, service: Service) -> AsyncIterator[Finding]:
    """Run all checks of a service concurrently, and yield their findings in a fixed order.

    Args:
        settings: The service's settings.
        service: The command that runs the service.
    """
    yield fine("settings", "all can be used")
    brief = settings.model_copy(
        update={"clickhouse_timeout": min(settings.clickhouse_timeout, _CLICKHOUSE_TIMEOUT)}
    )
    checks = _checks(brief, service)
    running = [asyncio.ensure_future(_bounded(name, checks[name], brief)) for name in checks]
    for task in running:
        for finding in await task:
            yield finding


def invalid(error: StanzalakeError) -> list[Finding]:
    """Turn invalid settings, which prevent all other checks, into findings."""
    remedy = (
        "docs/settings.md lists every setting; set it right in the environment or the --env-file"
    )
    return [fault("settings", line, remedy) for line in str(error).splitlines()]


def _checks(settings: Settings, service: Service) -> Mapping[str, Check]:
    """Return the applicable checks by subject."""
    is_embedded = not settings.kafka_bootstrap_servers
    components = {"ingest": service in {"up", "ingest"}, "query": service in {"up", "query"}}
    names = {"ingest": settings.ingest_jid, "query": settings.query_jid}
    jids = [names[name] for name, needed in components.items() if needed]
    applicable: dict[str, Check | None] = {
        "data directory": data_dir.check if settings.embedded_store or is_embedded else None,
        "log": embedded_log.check if is_embedded else _kafka_check(service),
        "store": store.checker(service) if service != "ingest" else None,
        "Prosody": prosody.checker(jids) if jids else None,
        "HTTP": http.check if settings.http else None,
    }
    return {name: check for name, check in applicable.items() if check is not None}


def _kafka_check(service: Service) -> Check:
    # aiokafka takes longer to load than most commands take to run.
    from stanzalake.doctor import kafka  # noqa: PLC0415

    return kafka.checker(service)


async def _bounded(name: str, check: Check, settings: Settings) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(TIMEOUT):
            return await check(settings)
    except TimeoutError:
        return [fault(name, f"no answer within {TIMEOUT:.0f} seconds", "look at its log")]
    except StanzalakeError as error:
        return [fault(name, str(error), "repair this fault, and check again")]
