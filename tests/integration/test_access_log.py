"""The access log of a whole deployment, and the documented query over it."""

import asyncio
import json
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.support.deployments import JULIET, ROMEO, deployed, entries, session
from tests.support.documents import section


async def test_the_documented_query_finds_the_heaviest_readers(tmp_path: Path) -> None:
    [block] = section("docs/operating.md", "The access log")
    async with deployed(tmp_path, STANZALAKE_ACCESS_LOG=str(tmp_path / "access.log")) as deployment:
        juliet, romeo = await session(deployment, "juliet"), await session(deployment, "romeo")
        juliet.say(ROMEO, "wherefore", "m1")
        await romeo.message("m1")
        assert len(await entries(juliet)) == 1
        for _ in range(2):
            assert len(await entries(romeo)) == 1
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", block.text), cwd=tmp_path, stdout=PIPE
    )
    out, _ = await process.communicate()
    assert json.loads(out) == [
        {"by": f"{ROMEO}/one", "messages": 2},
        {"by": f"{JULIET}/one", "messages": 1},
    ]
