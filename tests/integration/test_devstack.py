"""The development stack leaves nothing behind."""

import asyncio
import os
import re
import socket
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from devstack.debian import TRIXIE
from devstack.ports import free_port
from devstack.process import WITH_PARENT, ProgramFailed
from devstack.prosody import Prosody
from tests.support.documents import ROOT
from tests.support.wait import until

START = """\
import asyncio, sys
from pathlib import Path
from devstack.ports import free_port
from devstack.prosody import Prosody

async def main(directory, root):
    server = Prosody(
        directory=Path(directory), client_port=free_port(), component_port=free_port(),
        root=Path(root) if root else None,
    )
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("root", ["", str(TRIXIE)], ids=["own", "debian13"])
async def test_prosody_ends_with_the_process_that_started_it(tmp_path: Path, root: str) -> None:
    starter = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", START, str(tmp_path), root), stdout=PIPE
    )
    assert starter.stdout is not None
    pid = int(await starter.stdout.readline())
    os.kill(pid, 0)
    starter.kill()
    await starter.wait()
    await until(lambda: not Path(f"/proc/{pid}/exe").exists(), 10)


async def test_a_prosody_whose_port_another_has_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        taken = other.getsockname()[1]
        prosody = Prosody(directory=tmp_path, client_port=taken, component_port=free_port())
        try:
            with pytest.raises(ProgramFailed, match=f"Failed to open server port {taken}"):
                await prosody.start()
        finally:
            await prosody.stop()


@pytest.mark.slow
async def test_all_that_make_up_prints_works(tmp_path: Path) -> None:
    up = await asyncio.create_subprocess_exec(
        *(*WITH_PARENT, sys.executable, "-m", "devstack", "up", "--directory", str(tmp_path)),
        stdout=PIPE,
        cwd=ROOT,
    )
    assert up.stdout is not None
    text = (await up.stdout.readuntil(b"Ctrl-C ends it; the archive stays.")).decode()
    settings = re.findall("with the settings in (\\S+)", text)[0]
    commands = re.findall(f"^  (\\S+/stanzalake --env-file {settings} .*)$", text, re.MULTILINE)
    assert len(commands) == 3
    [status] = re.findall(r"status   (http://\S+) and /metrics", text)
    [analysts] = re.findall(r"analysts (http://\S+)", text)
    once = [command.replace(" --watch", "") for command in commands]
    count = "SELECT sum(messages) FROM messages_daily"
    pages = [f"curl -sf {status}", f"curl -sf {status}metrics"]
    for command in (*once, *pages, f"curl -sf {analysts} --data '{count}'"):
        process = await asyncio.create_subprocess_exec("sh", "-c", command, stdout=PIPE)
        out, _ = await process.communicate()
        assert (process.returncode, out != b"") == (0, True), command
    assert out == b"14\n"
    up.terminate()
    assert await up.wait() == 0
