"""Garbage: how often Python looks for it in the processes that handle events by the thousand."""

import gc

_ALLOCATIONS = 200_000
"""Objects that are made and not freed, after which it is looked for: those of a large batch."""


def tune() -> None:
    """Look for garbage in cycles seldom, and not in what is there by now: that stays.

    Events, records and rows refer to nothing that refers to them, and go without it. By default a
    quarter of the processor's time went there (decision 9).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)
