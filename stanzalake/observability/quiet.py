"""Loggers of libraries, silenced once by each entry point."""

import logging

_LIBRARIES = (
    # Log whole stanzas or values, bodies included, some at level error.
    "slixmpp",
    "clickhouse_connect",
    "urllib3",
    # Log the state of each component; errors that end the worker are raised by `processor.app`.
    "faust",
    "mode",
)


def silence_libraries() -> None:
    """Keep libraries from logging message bodies, and states that are no news to an operator.

    A level would not last: clickhouse_connect sets the level of urllib3 when it is imported.
    """
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
