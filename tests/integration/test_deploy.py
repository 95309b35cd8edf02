"""What the containers run, run here."""

import asyncio
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path

import pytest

from devstack.ports import free_port
from stanzalake.observability import health
from tests.support.settings import REQUIRED

ROOT = Path(__file__).parents[2]
SECRETS = {**REQUIRED, "STANZALAKE_HOSTS": "localhost"}


async def status(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    async with asyncio.timeout(20):
        return await process.wait()


async def test_the_probe_of_the_services() -> None:
    port = free_port()
    probe = (sys.executable, "-m", "stanzalake.probe", f"http://127.0.0.1:{port}/healthz")
    assert await status(*probe) == 1
    async with health.serve_health([("127.0.0.1", port)]):
        assert await status(*probe) == 0
        assert await status(*probe[:-1], f"http://127.0.0.1:{port}/nothing") == 1


ENGINE = """\
import sys

from stanzalake.store.chdb.engine import Engine, Statement

engine = Engine(f"{sys.argv[1]}/store?config-file={sys.argv[1]}/config.xml")
print(engine.run(Statement(b"SELECT currentUser()")).data)
"""
WITH_DEFAULT_USER = """\
<clickhouse>
    <users><default>
        <password></password>
        <networks><ip>::/0</ip></networks>
        <profile>default</profile>
        <quota>default</quota>
    </default></users>
    <profiles><default/></profiles>
    <quotas><default/></quotas>
</clickhouse>
"""


@pytest.mark.parametrize("removed", [False, True])
async def test_clickhouse_has_no_user_without_a_password(tmp_path: Path, removed: bool) -> None:
    """The engine reads users.d as a server does, and its own connection is the user default."""
    (tmp_path / "users.d").mkdir()
    (tmp_path / "users.xml").write_text(WITH_DEFAULT_USER)
    config = f"<clickhouse><users_config>{tmp_path}/users.xml</users_config></clickhouse>"
    (tmp_path / "config.xml").write_text(config)
    for name in ("users.xml", *(["no-default-user.xml"] if removed else [])):
        shutil.copy(ROOT / "deploy" / "clickhouse" / name, tmp_path / "users.d")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ENGINE, str(tmp_path)),
        env={f"STANZALAKE_{who}_PASSWORD": who for who in ("ADMIN", "PROCESSOR", "QUERY")},
        cwd=ROOT,
        stdout=PIPE,
        stderr=STDOUT,
    )
    out, _ = await process.communicate()
    assert (process.returncode != 0) == removed, out.decode()
    assert ("AUTHENTICATION_FAILED" if removed else "default") in out.decode()


async def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """The program is where docs/installing.md puts it, which is not here."""
    unit = (ROOT / "deploy" / "stanzalake.service").read_text()
    assert "/opt/stanzalake/venv/bin/stanzalake" in (ROOT / "docs" / "installing.md").read_text()
    file = tmp_path / "stanzalake.service"
    file.write_text(unit.replace("/opt/stanzalake/venv/bin/stanzalake", sys.executable))
    process = await asyncio.create_subprocess_exec(
        *("systemd-analyze", "verify", str(file)), stdout=PIPE, stderr=STDOUT
    )
    out, _ = await process.communicate()
    assert (process.returncode, out.decode()) == (0, "")
