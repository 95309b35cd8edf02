"""The ingest service: a component connection to each Prosody."""

import asyncio

from ingest.component import IngestComponent
from ingest.taps import Taps
from stanzalake.config.settings import Settings
from stanzalake.log.base import Log
from stanzalake.observability import gc_tuning


async def run(settings: Settings, log: Log, stop: asyncio.Event) -> None:
    """Serve the taps of every Prosody until `stop` is set."""
    secret = settings.component_secret.get_secret_value()
    gc_tuning.tune()
    taps = Taps(settings.hosts)
    async with asyncio.TaskGroup() as group:
        for address in settings.prosody:
            component = IngestComponent(settings.ingest_jid, secret, address, log, taps)
            group.create_task(component.run(stop))
