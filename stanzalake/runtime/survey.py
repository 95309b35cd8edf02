"""Facts for the status page: the archive's contents, the journals of the taps, and versions."""

import asyncio
from collections.abc import Sequence
from functools import partial

from stanzalake.config.settings import Settings
from stanzalake.doctor import tap
from stanzalake.observability.status import Archive, Facts, Journal, Survey
from stanzalake.store import server_info, statistics
from stanzalake.store.client import Store


def surveyor(settings: Settings, store: Store | None = None, jid: str = "") -> Survey:
    """Return the survey of a service.

    Args:
        settings: The service's settings.
        store: The store, if the service has one.
        jid: Domain of the service's component, if there is one, to query the taps with.
    """
    return partial(_survey, settings, store, jid)


async def _survey(settings: Settings, store: Store | None, jid: str) -> Facts:
    journals = await _journals(settings, jid) if jid else ()
    if store is None:
        return Facts(journals=journals)
    archive, clickhouse = await asyncio.to_thread(_archive, settings, store)
    return Facts(archive, journals, {"ClickHouse": clickhouse})


def _archive(settings: Settings, store: Store) -> tuple[Archive, str]:
    extent = statistics.extent(store, settings.retention)
    return Archive(*extent, store.size()), server_info.read(store).version


async def _journals(settings: Settings, jid: str) -> Sequence[Journal]:
    return await asyncio.gather(*(_journal(settings, jid, host) for host in settings.hosts))


async def _journal(settings: Settings, jid: str, host: str) -> Journal:
    """Query the first tap of a host that answers."""
    secret = settings.component_secret.get_secret_value()
    for address in settings.prosody:
        try:
            answer = await tap.query(address, jid, secret, host)
        except (tap.Unreachable, tap.Refused):
            continue
        return Journal(host, answer.waiting, answer.limit)
    return Journal(host, None, 0)
