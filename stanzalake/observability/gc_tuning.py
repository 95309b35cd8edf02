"""Settings of Python's cyclic garbage collector for services that handle many events."""

import gc

_ALLOCATIONS = 200_000
"""Net allocations between collections: about those of a large batch."""


def tune() -> None:
    """Run the cyclic collector rarely, and freeze existing objects.

    Events, records and rows are in no reference cycles, and are freed without the collector, which
    used a quarter of the processor's time by default (decision 9).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)
