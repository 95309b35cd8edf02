"""`stanzalake search`, as an operator uses it."""

import asyncio
import json
from pathlib import Path

import pytest

from devstack.clickhouse import ClickHouse
from stanzalake.config import settings
from stanzalake.store import migrations
from stanzalake.store.client import Store
from tests.support.archives import rows
from tests.support.command import Command
from tests.support.events import JULIET, ROMEO
from tests.support.processes import Run


@pytest.fixture
async def stanzalake(run: Run, tmp_path: Path) -> Command:
    """Give a command line whose store holds the messages "1" to "12"."""
    server = await run(ClickHouse(directory=tmp_path / "clickhouse"))
    command = Command(tmp_path)
    command.settings |= {
        "STANZALAKE_CLICKHOUSE_DSN": server.dsn(),
        "PROSODY_ARCHIVE_EXPIRES_AFTER": "never",
        "STANZALAKE_ACCESS_LOG": str(tmp_path / "access.log"),
    }
    await asyncio.to_thread(fill, settings.load(command.settings))
    return command


def fill(values: settings.Settings) -> None:
    store = Store.for_admin(values)
    migrations.apply(store, values)
    store.insert(rows(12))
    store.close()


async def test_a_search_is_recorded_without_its_text(stanzalake: Command, tmp_path: Path) -> None:
    start = ("--start", "2026-09-21T14:13:21Z")
    status, out, err = await stanzalake.run("search", "1*", "--with", ROMEO, *start)
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == f"2026-09-21T14:13:29.000Z {JULIET} <- {ROMEO}: 10"
    status, out, _ = await stanzalake.run("search", "12", "--owner", JULIET, "--json")
    assert json.loads(out)["excerpt"] == "12"
    assert (await stanzalake.run("search", "12", "--owner", ROMEO))[:2] == (0, "")
    lines = (tmp_path / "access.log").read_text().splitlines()
    first, second, third = map(json.loads, lines[1::2])  # the others say that they began
    assert first["by"].startswith("operator:")
    assert (first["action"], first["outcome"], first["messages"]) == ("search", "done", 3)
    assert (first["owner"], first["filtered"]) == ("", True)
    assert (second["owner"], second["filtered"], second["messages"]) == (JULIET, False, 1)
    assert third["messages"] == 0
    assert '"12"' not in "".join(lines)


async def test_an_empty_search_is_a_usage_error(tmp_path: Path) -> None:
    status, _, err = await Command(tmp_path).run("search", " ")
    assert status == 2
    assert "TEXT" in err


async def test_a_search_does_not_create_a_store(tmp_path: Path) -> None:
    status, _, err = await Command(tmp_path).run("search", "love")
    assert status == 1
    assert "STANZALAKE_DATA_DIR" in err
    assert not (tmp_path / "data").exists()
