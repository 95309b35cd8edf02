"""The query service: one component for each Prosody, one store, one log."""

import asyncio

from archive.log import Log
from archive.position import Sealer
from archive.settings import Settings
from archive.store import Store
from query.component import Component
from query.freshness import Freshness
from query.repository import Repository
from query.voice import Voices


async def run(settings: Settings, log: Log, store: Store, stop: asyncio.Event) -> None:
    """Answer requests until told to stop.

    Args:
        settings: All settings.
        log: Where it is asked how far the processor is; stays open.
        store: Where the archives are, used from one thread of the service's own; stays open.
        stop: Set to end the service; what is in work is finished first.
    """
    sealer = Sealer(settings.id_key_list)
    repository = Repository(store, sealer, settings.expires_after)
    freshness = Freshness(log, settings.freshness_timeout)
    voices = Voices(log, settings.policy, settings.smart)
    try:
        async with asyncio.TaskGroup() as group:
            for address in settings.prosody:
                component = Component(settings, address, repository.archive, freshness, voices)
                group.create_task(component.run(stop))
    finally:
        repository.close()
