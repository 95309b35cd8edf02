"""`stanzalake check`: whether a set-up works, and for each fault what is wrong and how to mend it.

Reads only, and beside running services: nothing is made, migrated, committed or taken over.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Literal

from stanzalake.config.settings import Settings
from stanzalake.doctor import data_dir, embedded_log, http, kafka, prosody, store
from stanzalake.doctor.finding import Finding, Outcome, fault, fine
from stanzalake.errors import StanzalakeError

Service = Literal["up", "ingest", "processor", "query"]
"""The command whose needs are looked at."""

Check = Callable[[Settings], Awaitable[Sequence[Finding]]]

WITHIN = 20.0
"""Seconds after which a check has failed."""

_SILENCE = 5
"""Seconds that a ClickHouse server may be silent here."""


async def run(settings: Settings, service: Service) -> AsyncIterator[Finding]:
    """Look at everything that a service needs, at once, and tell of it in order.

    Args:
        settings: Those of the service.
        service: Which one it is.
    """
    yield fine("settings", "all can be used")
    brief = settings.model_copy(
        update={"clickhouse_timeout": min(settings.clickhouse_timeout, _SILENCE)}
    )
    checks = _checks(brief, service)
    running = [asyncio.ensure_future(_bounded(name, checks[name], brief)) for name in checks]
    for one in running:
        for finding in await one:
            yield finding


def invalid(error: StanzalakeError) -> list[Finding]:
    """Give what is wrong with settings that cannot be used: then nothing else can be looked at."""
    remedy = (
        "docs/settings.md lists every setting; set it right in the environment or the --env-file"
    )
    return [fault("settings", line, remedy) for line in str(error).splitlines()]


def failed(findings: Sequence[Finding]) -> bool:
    """Tell whether any of them is a fault."""
    return any(finding.outcome is Outcome.FAULT for finding in findings)


def _checks(settings: Settings, service: Service) -> Mapping[str, Check]:
    """Give the checks that apply, by the name of what they look at."""
    is_embedded = not settings.kafka_bootstrap_servers
    components = {"ingest": service in {"up", "ingest"}, "query": service in {"up", "query"}}
    names = {"ingest": settings.ingest_jid, "query": settings.query_jid}
    jids = [names[name] for name, wanted in components.items() if wanted]
    applying: dict[str, Check | None] = {
        "data directory": data_dir.check if settings.embedded_store or is_embedded else None,
        "log": embedded_log.check if is_embedded else kafka.checker(service),
        "store": store.checker(service) if service != "ingest" else None,
        "Prosody": prosody.checker(jids) if jids else None,
        "HTTP": http.check if settings.http else None,
    }
    return {name: check for name, check in applying.items() if check is not None}


async def _bounded(name: str, check: Check, settings: Settings) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(WITHIN):
            return await check(settings)
    except TimeoutError:
        return [
            fault(name, f"no answer within {WITHIN:.0f} seconds", "look at what it says in its log")
        ]
    except StanzalakeError as error:
        return [fault(name, str(error), "mend what it says, and check again")]
