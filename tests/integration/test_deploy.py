"""What the containers run, run here."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path

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


async def test_prosody_runs_on_the_configuration_of_its_container(tmp_path: Path) -> None:
    """Its ports and paths are the container's: only those are changed."""
    ports = {"c2s_ports": free_port(), "component_ports": free_port(), "http_ports": free_port()}
    config = (ROOT / "deploy" / "prosody.cfg.lua").read_text()
    config = config.replace("/var/lib/prosody", str(tmp_path)).replace(
        "/usr/local/lib/prosody/modules", str(ROOT / "prosody")
    )
    own = [f"{name} = {{ {port} }}" for name, port in ports.items()]
    own += [f'data_path = "{tmp_path}"', 'interfaces = { "127.0.0.1" }', "s2s_ports = { }"]
    own += ["https_ports = { }", "c2s_direct_tls_ports = { }", "s2s_direct_tls_ports = { }"]
    own += ["run_as_root = true"] if os.geteuid() == 0 else []
    head, mark, hosts = config.partition("VirtualHost(")
    (tmp_path / "prosody.cfg.lua").write_text("\n".join([head, *own, mark + hosts]))
    (tmp_path / "certs").mkdir()
    with (tmp_path / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *("prosody", "-F", "--config", str(tmp_path / "prosody.cfg.lua")),
            env={**os.environ, **SECRETS},
            stdout=output,
            stderr=output,
        )
    probe = ("lua5.4", str(ROOT / "deploy" / "probe.lua"), "127.0.0.1")
    try:
        async with asyncio.timeout(20):
            for port in ports.values():
                while await status(*probe, str(port)):
                    assert process.returncode is None, (tmp_path / "output").read_text()
    finally:
        process.terminate()
        await process.wait()
    said = (tmp_path / "output").read_text()
    assert "error" not in said.lower(), said


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
