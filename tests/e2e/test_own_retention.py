"""Users choose for how long their own archive is kept, and nobody chooses for another."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from devstack.deployment import HOST, Deployment
from stanzalake.config import settings
from stanzalake.model.position import from_milliseconds
from stanzalake.store.client import Row, Store
from tests.support.clients import RawClient
from tests.support.command import SOON, Command
from tests.support.deployments import JULIET, ROMEO, entries, session
from tests.support.events import stanza
from tests.support.processes import Run
from tests.support.wait import until

DAY = 86_400
NODE = "urn:stanzalake:retention"
COMMANDS = "http://jabber.org/protocol/commands"
DATA = "{jabber:x:data}"
ERROR = "{jabber:client}error"


@pytest.fixture
async def deployment(run: Run, tmp_path: Path) -> Deployment:
    wanted = {"PROSODY_ARCHIVE_POLICY": "true", "PROSODY_ARCHIVE_EXPIRES_AFTER": "200d"}
    deployment = Deployment(tmp_path, settings=wanted)
    deployment.prosody.modules = ("stanzalake", "user_account_management")
    return await run(deployment)


@pytest.fixture
def stanzalake(deployment: Deployment) -> Command:
    command = Command(deployment.directory)
    command.settings = dict(deployment.settings)
    return command


def insert(deployment: Deployment, *days: int) -> None:
    """Give both archives messages of some ages."""
    now = time.time()
    rows = [
        Row(owner, from_milliseconds(int(1000 * (now - age * DAY))), peer, "", "in", "chat", text)
        for owner, peer in ((JULIET, ROMEO), (ROMEO, JULIET))
        for age in days
        for text in [stanza(f"{age} days")]
    ]
    with closing(Store.for_admin(settings.load(deployment.settings))) as store:
        store.insert(rows)


def on_disk(deployment: Deployment) -> dict[str, int]:
    """Give the number of messages of each archive that the store has."""
    with closing(Store.for_admin(settings.load(deployment.settings))) as store:
        rows = store.select("SELECT owner, uniqExact(position) FROM messages GROUP BY owner")
    return {owner: number for owner, number in rows}  # noqa: C416  # rows are no pairs to mypy


async def bodies(client: RawClient) -> list[str | None]:
    found = await entries(client)
    return [entry.message.findtext("{jabber:client}body") for entry in found]


async def execute(client: RawClient, form: str = "", to: str = HOST) -> ET.Element:
    """Execute the command (XEP-0050 §2.4), with a form that was filled in."""
    command = f"<command xmlns='{COMMANDS}' node='{NODE}' action='execute'>{form}</command>"
    return await client.ask("set", command, to=to)


def form(days: str, more: str = "") -> str:
    return (
        "<x xmlns='jabber:x:data' type='submit'>"
        f"<field var='FORM_TYPE'><value>{NODE}</value></field>"
        f"<field var='days'><value>{days}</value></field>{more}</x>"
    )


async def choices(client: RawClient) -> tuple[Sequence[str | None], str | None]:
    """Give what the form offers, and which of it is in force."""
    answer = await execute(client)
    field = next(f for f in answer.iter(f"{DATA}field") if f.get("var") == "days")
    offered = [value.text for value in field.iterfind(f"{DATA}option/{DATA}value")]
    return offered, field.findtext(f"{DATA}value")


async def own_days(stanzalake: Command, owner: str) -> float | None:
    status, out, err = await stanzalake.run("retention", owner, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["host_seconds"] == 200 * DAY
    own: int | None = found["own_seconds"]
    return own / DAY if own else None


async def test_a_user_chooses_for_the_own_archive_alone(
    deployment: Deployment, stanzalake: Command
) -> None:
    juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
    insert(deployment, 100, 40, 3)
    assert await bodies(juliet) == ["100 days", "40 days", "3 days"]
    items = f"<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>"
    offered = await juliet.ask("get", items, to=HOST)
    assert NODE in [item.get("node") for item in offered[0]]

    assert await choices(juliet) == (["server", "1", "7", "30", "90", "180"], "server")
    completed = await execute(juliet, form("90"))
    assert completed[0].get("status") == "completed"
    assert await bodies(juliet) == ["40 days", "3 days"]
    assert await bodies(romeo) == ["100 days", "40 days", "3 days"]
    assert (await choices(juliet))[1] == "90"
    cancelled = await execute(juliet, form("7").replace("submit", "cancel"))
    assert cancelled[0].get("status") == "canceled"
    assert (await choices(juliet))[1] == "90"

    named = f"<field var='owner'><value>{JULIET}</value></field>"
    assert (await execute(romeo, form("7", named)))[0].get("status") == "completed"
    assert (await execute(romeo, form("7"), to=JULIET)).find(ERROR) is not None
    for bad in ("3", "-1", "server ", "1e3"):
        refused = await execute(juliet, form(bad))
        assert refused.find(ERROR) is not None
    assert await bodies(romeo) == ["3 days"]
    assert await bodies(juliet) == ["40 days", "3 days"]
    assert [await own_days(stanzalake, owner) for owner in (JULIET, ROMEO)] == [90, 7]

    assert (await execute(juliet, form("server")))[0].get("status") == "completed"
    assert await bodies(juliet) == ["40 days", "3 days"]
    status, _, err = await stanzalake.run("expire")
    assert status == 0, err
    await until(lambda: on_disk(deployment) == {JULIET: 2, ROMEO: 1}, SOON)


async def test_an_operator_chooses_for_an_account_until_it_is_removed(
    deployment: Deployment, stanzalake: Command
) -> None:
    juliet = await session(deployment, "juliet")
    insert(deployment, 100, 3)
    assert await bodies(juliet) == ["100 days", "3 days"]
    status, out, err = await stanzalake.run("retention", JULIET, "10d", "--yes")
    assert (status, out) == (0, f"{JULIET}: 10d, host 200d\n"), err
    assert '"action":"retention"' in err
    assert await bodies(juliet) == ["3 days"]
    assert await choices(juliet) == (["server", "1", "7", "30", "90", "180", "same"], "same")
    assert (await execute(juliet, form("same")))[0].get("status") == "completed"
    assert await own_days(stanzalake, JULIET) == 10

    remove = "<query xmlns='jabber:iq:register'><remove/></query>"
    assert (await juliet.ask("set", remove)).get("type") == "result"

    async with asyncio.timeout(SOON):
        while await own_days(stanzalake, JULIET) is not None:
            pass
