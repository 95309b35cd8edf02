"""Signals that end a command."""

from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIG_DFL, SIGHUP, SIGTERM, default_int_handler, getsignal, signal


@contextmanager
def raise_interrupts() -> Iterator[None]:
    """Handle SIGTERM and the end of the terminal like Ctrl-C, so that the block can clean up.

    A signal that is ignored, as under nohup, stays so.
    """
    numbers = [number for number in (SIGTERM, SIGHUP) if getsignal(number) is SIG_DFL]
    for number in numbers:
        signal(number, default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal(number, SIG_DFL)
