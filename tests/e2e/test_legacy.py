"""Which table an archive is in is the operator's choice, and others stay as they are."""

from pathlib import Path

import pytest

from tests.support.clients import CLIENT
from tests.support.deployments import ROMEO, deployed, entries, session


async def said_and_kept(directory: Path, store: str, body: str) -> list[str | None]:
    """Have Juliet say something while a store is in use, and give what it then holds."""
    async with deployed(directory, PROSODY_ARCHIVE_STORE=store) as deployment:
        juliet = await session(deployment, "juliet")
        juliet.say(ROMEO, body, body)
        kept = await entries(juliet)
        await juliet.offline()
    return [entry.message.findtext(f"{CLIENT}body") for entry in kept]


@pytest.mark.requirement("313-92")
@pytest.mark.slow
async def test_two_stores_of_one_directory_are_apart(tmp_path: Path) -> None:
    assert await said_and_kept(tmp_path, "first", "one") == ["one"]
    assert await said_and_kept(tmp_path, "second", "two") == ["two"]
    assert await said_and_kept(tmp_path, "first", "three") == ["one", "three"]
