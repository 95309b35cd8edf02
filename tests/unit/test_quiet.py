"""Loggers of libraries."""

import subprocess
import sys

import pytest

KAFKA = "stanzalake.log.kafka.client"
MODULES = ("stanzalake.cli.main", "stanzalake.store.client", "stanzalake.xmpp.component", KAFKA)


def run(script: str) -> str:
    """Run a script in a process of its own; return its output and its log."""
    command = [sys.executable, "-c", f"import logging\nlogging.basicConfig()\n{script}"]
    return subprocess.run(  # noqa: S603  # our own
        command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout


@pytest.mark.parametrize("name", ["slixmpp.xmlstream", "clickhouse_connect.driver", "urllib3.util"])
def test_a_library_that_logs_bodies_is_silent(name: str) -> None:
    script = (
        "from stanzalake.observability.quiet import silence_libraries\n"
        "silence_libraries()\n"
        "import clickhouse_connect.driver.httputil, slixmpp\n"
        f"logging.getLogger({name!r}).critical('a body')\n"
        "logging.critical('ours')"
    )
    assert run(script) == "CRITICAL:root:ours\n"


def test_a_library_that_logs_every_attempt_is_limited() -> None:
    script = (
        "from stanzalake.observability.quiet import silence_libraries\n"
        "silence_libraries()\n"
        "silence_libraries()\n"
        "for attempt in range(9):\n"
        "    logging.getLogger('aiokafka.conn').error('attempt %d', attempt)"
    )
    line = "WARNING:stanzalake.observability.quiet:aiokafka.conn: attempt 0\n"
    assert run(script) == line


@pytest.mark.parametrize("module", MODULES)
def test_an_import_silences_nothing(module: str) -> None:
    names = ("slixmpp", "clickhouse_connect", "faust", "mode", "aiokafka")
    script = (
        f"import {module}\n"
        f"loggers = map(logging.getLogger, {names})\n"
        "print([(logger.level, logger.propagate) for logger in loggers])"
    )
    assert run(script).strip() == str([(0, True)] * len(names))
