"""The command line as an operator meets it: help, refusals, exit statuses."""

import asyncio
import json
import re
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import click
import pytest

from devstack.deployment import Deployment
from devstack.ports import free_port
from stanzalake.cli.main import cli
from stanzalake.config.settings import variables
from stanzalake.store.migrations import all_migrations
from tests.support.command import Command
from tests.support.events import JULIET
from tests.support.wait import until

SOON = 30.0
SECRETS = ("STANZALAKE_COMPONENT_SECRET", "STANZALAKE_ID_KEYS")


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


async def test_help_lists_every_command_once_with_a_full_sentence(
    stanzalake: Command,
) -> None:
    status, out, _ = await stanzalake.run("--help")
    assert status == 0
    listed = re.findall(r"^  ([a-z][a-z-]*) {2,}[A-Z]", out, re.MULTILINE)
    assert sorted(listed) == cli.list_commands(click.Context(cli))
    assert "..." not in out.partition("Services:")[2]


async def test_settings_are_shown_and_secrets_masked(stanzalake: Command, tmp_path: Path) -> None:
    file = tmp_path / "stanzalake.env"
    file.write_text("PROSODY_ARCHIVE_EXPIRES_AFTER=90d\nSTANZALAKE_DATA_DIR=/nowhere\n")
    status, out, _ = await stanzalake.run("--env-file", str(file), "settings")
    assert status == 0
    lines = out.splitlines()
    assert [line.partition("=")[0] for line in lines] == [name for name, *_ in variables()]
    assert "PROSODY_ARCHIVE_EXPIRES_AFTER=90d" in lines
    assert f"STANZALAKE_DATA_DIR={stanzalake.settings['STANZALAKE_DATA_DIR']}" in lines
    assert "PROSODY_ARCHIVE_POLICY=roster" in lines
    stanzalake.settings["STANZALAKE_CLICKHOUSE_DSN"] = "clickhouse://juliet:nightingale@h/d"
    status, out, _ = await stanzalake.run("settings", "--json")
    assert json.loads(out)["STANZALAKE_CLICKHOUSE_DSN"] == "(set, and secret)"
    for secret in ("nightingale", *(stanzalake.settings[name] for name in SECRETS)):
        assert secret not in out
    status, out, _ = await stanzalake.run("settings", "--help")
    assert all(name in out for name, *_ in variables())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["delete", "juliet@elsewhere.lit", "--yes"], "'elsewhere.lit' is not among"),
        (["delete", JULIET, "--yes", "--end", "1969-01-01"], "--end has to be after --start"),
        (["export", JULIET, "--start", "2026-02-01", "--end", "2026-02-01"], "--end has to be"),
        (["search", "love", "--start", "2026-02-01", "--end", "2026-01-01"], "--end has to be"),
    ],
)
async def test_contradictory_arguments_are_status_2(
    stanzalake: Command, arguments: list[str], said: str
) -> None:
    status, _, err = await stanzalake.run(*arguments)
    assert (status, said in err) == (2, True), err


async def test_an_unconfirmed_delete_does_nothing(stanzalake: Command) -> None:
    assert (await stanzalake.run("migrate"))[0] == 0
    status, out, err = await stanzalake.run("delete", JULIET)
    assert (status, out.strip()) == (1, "")
    assert "Erase no messages" in err
    assert err.endswith("stanzalake: stopped\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROSODY_ARCHIVE_EXPIRES_AFTER", "a while"),
        ("STANZALAKE_ID_KEYS", ""),
        ("STANZALAKE_DATA_DIR", "/dev/null/x"),
        ("STANZALAKE_TYPO", "1"),
    ],
)
async def test_an_invalid_setting_is_one_line_and_status_2(
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


async def test_settings_are_read_from_the_env_file(stanzalake: Command, tmp_path: Path) -> None:
    file = tmp_path / "stanzalake.env"
    file.write_text("PROSODY_ARCHIVE_POLICY=perhaps\n")
    status, _, err = await stanzalake.run("--env-file", str(file), "up")
    assert status == 2
    assert "PROSODY_ARCHIVE_POLICY=perhaps" in err


async def test_a_second_migration_changes_nothing(stanzalake: Command) -> None:
    status, out, _ = await stanzalake.run("migrate")
    assert (status, out.splitlines()) == (0, [f"applied {m.name}" for m in all_migrations()])
    assert await stanzalake.run("migrate") == (0, "", "the schema is up to date\n")


async def test_a_dry_migration_names_what_is_pending_and_applies_nothing(
    stanzalake: Command, tmp_path: Path
) -> None:
    names = [m.name for m in all_migrations()]
    status, out, _ = await stanzalake.run("migrate", "--dry-run")
    assert (status, out.splitlines()) == (0, [f"would apply {name}" for name in names])
    assert not (tmp_path / "data").exists()
    status, out, _ = await stanzalake.run("migrate", "--json")
    assert json.loads(out) == {"applied": True, "changes": names}
    status, out, _ = await stanzalake.run("migrate", "--dry-run", "--json")
    assert json.loads(out) == {"applied": False, "changes": []}
    stanzalake.settings["PROSODY_ARCHIVE_COMPRESSION"] = "false"
    _, out, _ = await stanzalake.run("migrate", "--dry-run")
    assert "CODEC(NONE)" in out


async def test_a_migration_changes_the_partitions_of_a_small_archive(stanzalake: Command) -> None:
    assert (await stanzalake.run("migrate"))[0] == 0
    stanzalake.settings["STANZALAKE_PARTITION_BY"] = "quarter"
    status, out, _ = await stanzalake.run("migrate", "--dry-run")
    assert (status, out) == (0, "would apply partitions by quarter\n")
    assert (await stanzalake.run("migrate"))[:2] == (0, "applied partitions by quarter\n")
    assert await stanzalake.run("repartition") == (
        0,
        "messages is partitioned already by quarter\n",
        "",
    )


async def test_an_unreachable_store_is_status_1(stanzalake: Command) -> None:
    stanzalake.settings["STANZALAKE_CLICKHOUSE_DSN"] = f"clickhouse://127.0.0.1:{free_port()}/"
    status, _, err = await stanzalake.run("migrate")
    assert status == 1
    assert "Traceback" not in err
    assert "ClickHouse does not answer" in err


async def test_up_waits_for_prosody_and_logs_that_once(stanzalake: Command) -> None:
    process = await stanzalake.start("up")
    assert "cannot be reached" in await line_with(process, "ingest.stanzalake at")
    process.terminate()
    async with asyncio.timeout(SOON):
        _, err = await process.communicate()
    assert process.returncode == 0
    assert err.decode().count("ingest.stanzalake at") == 0


@pytest.mark.parametrize("service", ["ingest", "processor", "query", "up"])
async def test_a_service_that_waits_for_frozen_servers_stops_on_sigterm(
    stanzalake: Command, service: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        frozen.setblocking(False)
        host, port = frozen.getsockname()
        stanzalake.settings["STANZALAKE_KAFKA_BOOTSTRAP_SERVERS"] = f"{host}:{port}"
        stanzalake.settings["STANZALAKE_CLICKHOUSE_DSN"] = f"clickhouse://{host}:{port}/"
        process = await stanzalake.start(service)
        async with asyncio.timeout(SOON):
            connection, _ = await asyncio.get_running_loop().sock_accept(frozen)
        process.terminate()
        async with asyncio.timeout(2):
            _, err = await process.communicate()
        connection.close()
    assert process.returncode == 0
    assert "stopped by SIGTERM before the start was complete" in err.decode().splitlines()[-1]


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


async def test_a_wrong_secret_is_logged_once_and_retried(deployment: Deployment) -> None:
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
