"""The command line as an operator meets it: help, refusals, exit statuses."""

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from archive.migrations import all_migrations
from stanzalake.local.deployment import Deployment
from stanzalake.local.ports import free_port
from tests.support.command import Command
from tests.support.wait import until

SOON = 30.0


@pytest.fixture
def stanzalake(tmp_path: Path) -> Command:
    return Command(tmp_path)


async def line_with(process: Process, text: str) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(SOON):
        async for line in process.stderr:
            if text in line.decode():
                return line.decode()
    raise AssertionError(f"{text!r} was never said")


async def test_the_help_names_commands_and_settings(stanzalake: Command) -> None:
    status, out, _ = await stanzalake.run("--help")
    assert status == 0
    for word in ("up", "migrate", "PROSODY_ARCHIVE_EXPIRES_AFTER", "STANZALAKE_ID_KEYS"):
        assert word in out


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROSODY_ARCHIVE_EXPIRES_AFTER", "12h"),
        ("STANZALAKE_ID_KEYS", ""),
        ("STANZALAKE_DATA_DIR", "/dev/null/x"),
        ("STANZALAKE_TYPO", "1"),
    ],
)
async def test_a_setting_that_cannot_be_used_is_one_line_and_status_2(
    stanzalake: Command, name: str, value: str
) -> None:
    stanzalake.settings[name] = value
    status, out, err = await stanzalake.run("up")
    assert (status, out) == (2, "")
    [line] = err.splitlines()
    assert name in line


@pytest.mark.parametrize("arguments", [["nonsense"], ["up", "--nonsense"], ["--env-file"]])
async def test_bad_arguments_are_status_2(stanzalake: Command, arguments: list[str]) -> None:
    status, _, err = await stanzalake.run(*arguments)
    assert status == 2
    assert "Traceback" not in err


async def test_settings_come_from_a_file(stanzalake: Command, tmp_path: Path) -> None:
    file = tmp_path / "stanzalake.env"
    file.write_text("PROSODY_ARCHIVE_POLICY=perhaps\n")
    status, _, err = await stanzalake.run("--env-file", str(file), "up")
    assert status == 2
    assert "PROSODY_ARCHIVE_POLICY=perhaps" in err


async def test_migrating_twice_changes_nothing(stanzalake: Command) -> None:
    status, out, _ = await stanzalake.run("migrate")
    assert (status, out.splitlines()) == (0, [f"applied {m.name}" for m in all_migrations()])
    assert (await stanzalake.run("migrate"))[:2] == (0, "")


async def test_a_store_that_cannot_be_opened_is_status_1(stanzalake: Command) -> None:
    stanzalake.settings["STANZALAKE_CLICKHOUSE_DSN"] = f"clickhouse://127.0.0.1:{free_port()}/"
    status, _, err = await stanzalake.run("migrate")
    assert status == 1
    assert "Traceback" not in err
    assert "ClickHouse does not answer" in err


async def test_up_waits_for_prosody_says_so_once_and_stops(stanzalake: Command) -> None:
    process = await stanzalake.start("up")
    assert "cannot be reached" in await line_with(process, "ingest.stanzalake at")
    process.terminate()
    async with asyncio.timeout(SOON):
        _, err = await process.communicate()
    assert process.returncode == 0
    assert err.decode().count("ingest.stanzalake at") == 0


async def test_a_second_up_on_a_directory_is_refused(stanzalake: Command) -> None:
    first = await stanzalake.start("up")
    await line_with(first, "connecting to Prosody")
    status, _, err = await stanzalake.run("up")
    assert status == 1
    [line] = err.splitlines()
    assert "in use by another" in line
    first.terminate()
    async with asyncio.timeout(SOON):
        await first.communicate()


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    deployment = Deployment(tmp_path)
    try:
        yield deployment
    finally:
        await deployment.stop()


async def test_a_wrong_secret_is_said_once_and_tried_again(deployment: Deployment) -> None:
    right = deployment.prosody.component_secret
    deployment.prosody.component_secret = "something else"
    starting = asyncio.ensure_future(deployment.start())
    refused = "Prosody refused the secret: STANZALAKE_COMPONENT_SECRET must equal"
    await until(lambda: deployment.log.exists() and deployment.log.read_text().count(refused) == 2)
    await deployment.prosody.stop()
    deployment.prosody.component_secret = right
    await deployment.prosody.start()
    await starting
    assert deployment.log.read_text().count(refused) == 2
    assert "Traceback" not in deployment.log.read_text()
