"""The development stack leaves nothing behind."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from devstack.debian import TRIXIE
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
