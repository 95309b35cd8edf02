"""Moving from mod_mam by the document, to the letter: clients notice nothing."""

import asyncio
import itertools
import shlex
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devstack.deployment import Deployment
from tests.support.clients import CLIENT, RawClient
from tests.support.deployments import JULIET, ROMEO, entries, session
from tests.support.documents import section
from tests.support.queries import page, query
from tests.support.wait import until

DATABASE = "/var/lib/prosody/prosody.sqlite"
DAY = "2026-01-31"
OLD = """\
storage = { archive = "sql", archive_prefs = "sql" }
sql = { driver = "SQLite3", database = "prosody.sqlite" }
default_archive_policy = true
"""
PREFS = (
    "<prefs xmlns='urn:xmpp:mam:2' default='always'><always/>"
    "<never><jid>tybalt@localhost</jid></never></prefs>"
)


def steps() -> list[str]:
    """Give the commands of the document's numbered steps."""
    return [line for block in section("docs/moving.md", "The move") for line in block.lines]


class Operator:
    """Follows the document.

    Args:
        deployment: Whose Prosody has mod_mam at first.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.log = deployment.directory / "up.log"
        lines = (f"{name}={value}\n" for name, value in deployment.settings.items())
        (deployment.directory / "stanzalake.env").write_text("".join(lines))
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        database = deployment.prosody.data_path / "prosody.sqlite"
        self._replaced: Mapping[str, str] = {DATABASE: str(database), DAY: str(yesterday)}
        self._up: asyncio.subprocess.Process | None = None

    async def follow(self, step: str) -> str:
        """Do what a step says, and give what its command says."""
        if step == "systemctl restart prosody":
            await self._switch()
            return ""
        for written, meant in self._replaced.items():
            step = step.replace(written, meant)
        words = shlex.split(step)
        if words[0] == "stanzalake":
            words[:1] = [sys.executable, "-m", "stanzalake"]
        if words[-1] == "up":
            await self._start(words)
            return ""
        return await self._run(words)

    async def stop(self) -> None:
        """End what was started."""
        if self._up is not None:
            self._up.terminate()
            assert await self._up.wait() == 0

    async def _switch(self) -> None:
        prosody = self.deployment.prosody
        await prosody.stop()
        prosody.modules, prosody.extra_host = ("stanzalake",), ""
        await prosody.start()

    async def _run(self, words: list[str]) -> str:
        process = await asyncio.create_subprocess_exec(
            *words,
            cwd=self.deployment.directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    async def _start(self, words: list[str]) -> None:
        with self.log.open("wb") as log:
            self._up = await asyncio.create_subprocess_exec(
                *words, cwd=self.deployment.directory, stdout=log, stderr=log
            )
        await until(lambda: self.log.read_text().count(": connected") == 2, 60)


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    deployment = Deployment(tmp_path, settings={"PROSODY_ARCHIVE_POLICY": "true"})
    prosody = deployment.prosody
    prosody.modules, prosody.extra_host = ("mam",), OLD
    prosody.write_config()
    for user in ("juliet", "romeo"):
        await deployment.register(user)
    await prosody.start()
    operator = Operator(deployment)
    yield operator
    await operator.stop()
    await prosody.stop()


class Talk:
    """Juliet and Romeo, who say one number after the other, and reconnect when they have to.

    Attributes:
        said: The numbers so far.
        heard: The ids that Juliet was told with each of Romeo's, by the number.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.said: list[str] = []
        self.heard: dict[str, str] = {}
        self._deployment = deployment
        self._numbers = map(str, itertools.count())

    async def go_on(self, number: int) -> list[bool]:
        """Say so many more, and give whether the id of each was announced."""
        announced = []
        juliet = await session(self._deployment, "juliet")
        romeo = await session(self._deployment, "romeo")
        for said in itertools.islice(self._numbers, number):
            one, other, to = (romeo, juliet, JULIET) if int(said) % 2 else (juliet, romeo, ROMEO)
            one.say(to, said, f"m{said}")
            message = await other.message(f"m{said}")
            self.said.append(said)
            stamp = message.find("{urn:xmpp:sid:0}stanza-id")
            announced.append(stamp is not None)
            if other is juliet and stamp is not None:
                self.heard[said] = stamp.get("id", "")
        await juliet.offline()
        await romeo.offline()
        return announced


async def held(client: RawClient) -> list[tuple[str, str]]:
    """Give ids and texts of an archive's last page."""
    return [
        (entry.id, entry.message.findtext(f"{CLIENT}body") or "") for entry in await entries(client)
    ]


async def paged(client: RawClient, after: str) -> list[str]:
    """Page through an archive from an id on, and give the texts."""
    texts: list[str] = []
    while True:
        before = len(client.received)
        answer = await client.ask("set", query(page(f"<max>2</max><after>{after}</after>")))
        fin = answer.find("{urn:xmpp:mam:2}fin")
        assert fin is not None, answer.attrib
        found = [x.findtext(f".//{CLIENT}body") for x in client.received[before:]]
        texts += [text for text in found if text]
        if fin.get("complete") == "true":
            return texts
        after = fin.findtext(".//{http://jabber.org/protocol/rsm}last") or ""


@pytest.mark.slow
async def test_moving_from_mod_mam_as_the_document_says(operator: Operator) -> None:
    migrate, log, load, switch, tail, up, look = steps()
    deployment = operator.deployment
    talk = Talk(deployment)
    assert all(await talk.go_on(6))
    juliet = await session(deployment, "juliet", "prefs")
    assert (await juliet.ask("set", PREFS)).get("type") == "result"

    await operator.follow(migrate)
    assert await operator.follow(log) == "wal\n"
    assert "12 messages imported" in await operator.follow(load)
    assert all(await talk.go_on(3))
    old = {user: await held(await session(deployment, user)) for user in ("juliet", "romeo")}
    assert [text for _, text in old["juliet"]] == talk.said

    await operator.follow(switch)
    assert not any(await talk.go_on(2))
    juliet = await session(deployment, "juliet", "early")
    assert (await juliet.ask("set", query())).get("type") == "error"
    assert "6 messages imported, 12 were there already" in await operator.follow(tail)
    await operator.follow(up)
    async with asyncio.timeout(60):
        while not all(await talk.go_on(3)):
            pass

    for user, before in old.items():
        client = await session(deployment, user, "late")
        after = await held(client)
        assert after[: len(before)] == before
        assert [text for _, text in after] == talk.said
        for place, (id_, _) in enumerate(after):
            assert await paged(client, id_) == talk.said[place + 1 :]
    juliet = await session(deployment, "juliet", "last")
    ids = {text: id_ for id_, text in await held(juliet)}
    assert {text: ids[text] for text in talk.heard} == talk.heard
    prefs = await juliet.ask("get", "<prefs xmlns='urn:xmpp:mam:2'/>")
    assert [jid.text for jid in prefs.iter("{urn:xmpp:mam:2}jid")] == ["tybalt@localhost"]
    assert (await operator.follow(look)).startswith("0 messages would be imported")
