"""The processor as a service."""

import asyncio

from processor.batch import Rules
from processor.cleaner import Cleaner
from processor.gatherer import Limits
from processor.loop import Loop, run_both
from processor.policy import Policy
from processor.sink import Sink
from stanzalake.config.settings import Settings
from stanzalake.log.base import EVENTS, PROCESSOR_GROUP, Log
from stanzalake.observability import gc_tuning
from stanzalake.store.client import Store


async def run(settings: Settings, log: Log, store: Store, stop: asyncio.Event) -> None:
    """Archive events until `stop` is set."""
    sink = Sink(store)
    consumer = await log.consumer(EVENTS, PROCESSOR_GROUP, sink.invalidate)
    rules = Rules(Policy(settings.policy, settings.smart), settings.exclusions)
    limits = Limits(settings.batch_rows, settings.batch_seconds, settings.max_rejected)
    cleaner = Cleaner(settings, store)
    gc_tuning.tune()
    try:
        loop = Loop(log, consumer, sink, rules, limits=limits, cleaner=cleaner, stop=stop)
        await run_both(loop.run(), cleaner.run(stop))
    finally:
        await consumer.close()
