"""Standard output that is full, closed or not UTF-8: one line at most, for every command."""

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from devstack.process import running
from stanzalake.config import settings
from stanzalake.log.base import EVENTS, REJECTED, Entry
from stanzalake.log.sqlite import LocalLog
from stanzalake.model.position import from_milliseconds
from stanzalake.store import migrations
from stanzalake.store.client import Store
from tests.support.archives import START, row
from tests.support.command import Command
from tests.support.events import JULIET, encoded, stanza

TO = "import os, sys; {}; os.execv(sys.argv[1], sys.argv[1:])"
FULL = (sys.executable, "-c", TO.format("os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"))
CLOSED = (sys.executable, "-c", TO.format("r, w = os.pipe(); os.close(r); os.dup2(w, 1)"))
SHUT = (sys.executable, "-c", TO.format("os.close(1)"))
FAULT = "check"
"""The command that finds faults: there is no Prosody."""

_names = (f"backup-{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def stanzalake(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """An archive with a message, an event and a dead letter."""
    directory = tmp_path_factory.mktemp("output")
    command = Command(directory)
    command.settings |= {
        "PROSODY_ARCHIVE_EXPIRES_AFTER": "50y",
        "STANZALAKE_ACCESS_LOG": str(directory / "access.log"),
    }
    values = settings.load(command.settings)
    with closing(Store.for_admin(values)) as store:
        migrations.apply(store, values)
        store.insert([row(from_milliseconds(START), stanza=stanza("hello \N{ROSE}"))])
    asyncio.run(fill(values.data_dir / "log.sqlite"))
    return command


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def beside_up(stanzalake: Command) -> AsyncIterator[Command]:
    """The same beside `up`, which starts a command in half the time."""
    async with running(stanzalake.up()):
        yield stanzalake


async def fill(file: Path) -> None:
    log = LocalLog(file)
    await log.append(EVENTS, [Entry(JULIET, encoded(2 << 16, stanza=stanza("\N{ROSE}")))])
    await log.append(REJECTED, [Entry(JULIET, b"nonsense", (("reason", "n\N{ROSE}"),))])
    await log.close()


COMMANDS = [
    "--help",
    "--version",
    "settings",
    "settings --help",
    "stats",
    "stats --json",
    "search hello",
    "search hello --json",
    f"export {JULIET}",
    f"export {JULIET} --format jsonl",
    f"delete {JULIET} --dry-run",
    f"delete {JULIET} --dry-run --json",
    "expire --dry-run",
    "events",
    "rejected list",
    "rejected show 0/2",
    "rejected show 0/2 --body",
    "rejected replay --all --dry-run",
    "backup NAME",
    "backup NAME --json",
    "backup list --json",
    "completion bash",
    "migrate --dry-run --json",
    FAULT,
    "check --json",
]


def arguments(command: str) -> list[str]:
    return command.replace("NAME", next(_names)).split()


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_full_disk_is_one_line(stanzalake: Command, command: str) -> None:
    status, _, err = await stanzalake.run(*arguments(command), within=FULL)
    said = "stanzalake: standard output cannot be written: No space left on device\n"
    assert (status, err) == (1, said)


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_closed_pipe_is_no_error(stanzalake: Command, command: str) -> None:
    status, _, err = await stanzalake.run(*arguments(command), within=CLOSED)
    assert (status, err) == (0, "")


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_locale_of_ascii_escapes_what_it_lacks_and_five_columns_are_enough(
    beside_up: Command, command: str
) -> None:
    terminal = {"PYTHONIOENCODING": "ascii", "COLUMNS": "5"}
    beside_up.settings |= terminal
    status, out, err = await beside_up.run(*arguments(command))
    for name in terminal:
        del beside_up.settings[name]
    assert (status, err) == (int(command.startswith(FAULT)), "")
    assert out
    if "json" in command:
        assert [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("command", ["stats", "export " + JULIET])
async def test_a_closed_descriptor_is_no_traceback(stanzalake: Command, command: str) -> None:
    _, _, err = await stanzalake.run(*arguments(command), within=SHUT)
    assert "Traceback" not in err
