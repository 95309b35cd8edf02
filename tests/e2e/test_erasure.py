"""Erasure: what an operator deletes, and what a removed account leaves, is gone from everywhere."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from devstack.deployment import HOST, Deployment, Distributed
from stanzalake.config import settings
from stanzalake.log import opening
from stanzalake.log.base import EVENTS, Entry
from stanzalake.model.position import from_milliseconds
from stanzalake.store.client import Row, Store
from tests.support.clients import RawClient
from tests.support.command import SOON, Command
from tests.support.deployments import JULIET, ROMEO, entries, session
from tests.support.events import encoded, stanza
from tests.support.processes import Run
from tests.support.queries import page, query
from tests.support.wait import until

OTHER = f"mercutio@{HOST}"
REGISTER = "jabber:iq:register"


@pytest.fixture(params=["embedded", "kafka"])
async def deployment(run: Run, request: pytest.FixtureRequest, tmp_path: Path) -> Deployment:
    wanted = {"PROSODY_ARCHIVE_POLICY": "true", "PROSODY_MAM_SMART_ENABLE": "false"}
    embedded = request.param == "embedded"
    deployment = (
        Deployment(tmp_path, settings=wanted)
        if embedded
        else Distributed(tmp_path, settings=wanted, number=1)
    )
    deployment.prosody.modules = ("stanzalake", "user_account_management")
    return await run(deployment)


def command(deployment: Deployment) -> Command:
    """Give the command line, with the settings of the services that run."""
    command = Command(deployment.directory)
    command.settings = dict(deployment.settings)
    return command


async def talk(juliet: RawClient, romeo: RawClient, *names: str) -> None:
    for name in names:
        juliet.say(ROMEO, f"secret {name}", name)
        await romeo.message(name)


async def ids(client: RawClient) -> list[str | None]:
    return [entry.message.get("id") for entry in await entries(client)]


async def nothing(client: RawClient) -> None:
    """Wait until an archive is empty."""
    async with asyncio.timeout(SOON):
        while await ids(client):
            pass


async def replay(deployment: Deployment) -> None:
    """Append everything that the log holds once more, as a replay of the topic would."""
    values = settings.load(deployment.settings)
    async with opening.open_log(values) as log:
        async with aclosing(log.scan(EVENTS)) as records:
            old = [Entry(record.key, record.value) async for record in records]
        await log.append(EVENTS, old)


@contextmanager
def opened(deployment: Deployment) -> Iterator[Store]:
    store = Store.for_admin(settings.load(deployment.settings))
    try:
        yield store
    finally:
        store.close()


def on_disk(deployment: Deployment) -> set[tuple[str, ...]]:
    """Give the parts of the messages' table, also those that are read no longer."""
    with opened(deployment) as store:
        rows = store.select("SELECT partition, name FROM system.parts WHERE table = 'messages'")
        return {tuple(row) for row in rows}


def stored(deployment: Deployment) -> int:
    """Give the number of messages on the disk."""
    with opened(deployment) as store:
        [(number,)] = store.select("SELECT uniq(owner, position) FROM messages")
        return int(number)


async def expire(stanzalake: Command, option: str) -> int:
    """Give how many messages the command is about."""
    status, out, err = await stanzalake.run("expire", option, "--json")
    assert status == 0, err
    return int(json.loads(out)["messages"])


async def test_a_delete_returns_once_no_reader_sees_the_messages(deployment: Deployment) -> None:
    """Their bytes are still there: no mutation runs meanwhile."""
    stanzalake = command(deployment)
    juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
    await talk(juliet, romeo, "one", "two")
    assert await ids(juliet) == ["one", "two"]
    with opened(deployment) as store:
        store.command("SYSTEM STOP MERGES messages")
    status, _, err = await stanzalake.run("delete", JULIET, "--yes")
    assert status == 0, err
    assert stored(deployment) == 4
    assert await ids(juliet) == []
    assert await ids(romeo) == ["one", "two"]
    status, _, err = await stanzalake.run("export", JULIET, "--output", "-")
    assert (status, "holds no such message" in err) == (1, True), err
    status, out, err = await stanzalake.run("search", "one", "--json")
    assert (status, [json.loads(line)["owner"] for line in out.splitlines()]) == (0, [ROMEO]), err
    status, out, err = await stanzalake.run("stats", "--json")
    assert (status, json.loads(out)["messages"]) == (0, 2), err
    assert stored(deployment) == 4
    with opened(deployment) as store:
        store.command("SYSTEM START MERGES messages")
    assert await expire(stanzalake, "--no-wait") == 0
    await until(lambda: stored(deployment) == 2, SOON)


@pytest.mark.slow
async def test_a_deleted_archive_stays_deleted(deployment: Deployment) -> None:
    stanzalake = command(deployment)
    juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
    await talk(juliet, romeo, "one", "two")
    assert await ids(juliet) == ["one", "two"]
    before = on_disk(deployment)

    status, out, _ = await stanzalake.run("delete", JULIET, "--dry-run", "--json")
    planned = {"owner": JULIET, "messages": 2, "presences": 0, "erased": False}
    assert (status, json.loads(out)) == (0, planned)
    assert await ids(juliet) == ["one", "two"]

    with opened(deployment) as store:
        store.command("ALTER TABLE messages MODIFY SETTING old_parts_lifetime = 1")
    late = Row(
        JULIET, from_milliseconds(int(1000 * time.time())), ROMEO, "", "in", "chat", stanza()
    )
    # The wait for the disk is half a minute, and the same for both.
    wait = [] if isinstance(deployment, Distributed) else ["--wait"]
    status, out, err = await stanzalake.run("delete", JULIET, "--yes", *wait, deadline=110)
    assert status == 0, err
    assert "erased: 2 messages" in out
    assert not (wait and before & on_disk(deployment))
    assert await ids(juliet) == []
    assert await ids(romeo) == ["one", "two"]

    await replay(deployment)
    with opened(deployment) as store:
        # As a processor that was given up before, and goes on now.
        store.insert([late])
    await talk(juliet, romeo, "three")
    assert await ids(juliet) == ["three"]
    assert await ids(romeo) == ["one", "two", "three"]


@pytest.mark.slow
@pytest.mark.parametrize("deployment", ["embedded"], indirect=True)
async def test_an_erasure_under_live_traffic_holds_up_nobody_else(deployment: Deployment) -> None:
    """Archiving went on only once an erasure was carried out: 15 s for 2,500 messages."""
    await fill(deployment, 2500)
    juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
    expected: list[str | None] = []
    deleting = asyncio.create_task(
        command(deployment).run("delete", OTHER, "--yes", "--wait", "--json", deadline=240)
    )
    while not deleting.done() or len(expected) < 10:
        expected.append(f"m{len(expected)}")
        await talk(juliet, romeo, f"m{len(expected) - 1}")
        for client in (juliet, romeo):
            fin = await client.ask("set", query(page("<max>9</max><before/>")))
            assert fin[0].get("stable") is None, f"a page missed a message after {len(expected)}"
        assert await ids(juliet) == expected[-250:]
    status, out, err = await deleting
    assert status == 0, err
    assert json.loads(out)["messages"] == 2500


@pytest.mark.parametrize("deployment", ["embedded"], indirect=True)
async def test_with_nothing_to_remove_a_command_ends_at_once(deployment: Deployment) -> None:
    """They waited for parts that others had replaced: minutes."""
    juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
    await talk(juliet, romeo, "one")
    assert await ids(juliet) == ["one"]
    with opened(deployment) as store:
        store.command("OPTIMIZE TABLE messages FINAL")
    for line in (("delete", "nobody@localhost", "--yes", "--wait"), ("expire", "--wait")):
        began = time.monotonic()
        status, _, err = await command(deployment).run(*line)
        assert status == 0, err
        assert time.monotonic() - began < 20, "most of which is the start of a command"


async def fill(deployment: Deployment, messages: int) -> None:
    """Append messages of an archive, and wait until they are stored."""
    position = from_milliseconds(int(1000 * time.time()) - 86_400_000)
    events = [encoded(position + n, owner=OTHER, peer=JULIET) for n in range(messages)]
    async with opening.open_log(settings.load(deployment.settings)) as log:
        await log.append(EVENTS, [Entry(OTHER, event) for event in events])
    with opened(deployment) as store:
        await until(
            lambda: (
                store.select(f"SELECT uniq(position) FROM messages WHERE owner = '{OTHER}'")
                == [(messages,)]
            ),
            SOON,
        )


async def test_removing_an_account_erases_its_archive(deployment: Deployment) -> None:
    juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
    await talk(juliet, romeo, "one")
    assert await ids(juliet) == ["one"]
    await juliet.ask("set", f"<query xmlns='{REGISTER}'><remove/></query>", HOST)
    await deployment.prosody.register("juliet", deployment.passwords["juliet"])
    juliet = await session(deployment, "juliet", "two")
    assert await ids(juliet) == []
    await replay(deployment)
    await talk(juliet, romeo, "two")
    assert await ids(juliet) == ["two"]
    assert await ids(romeo) == ["one", "two"]


@pytest.mark.parametrize("deployment", ["embedded"], indirect=True)
async def test_delete_without_a_processor_is_applied_later(deployment: Deployment) -> None:
    stanzalake = command(deployment)
    juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
    await talk(juliet, romeo, "one")
    assert await ids(juliet) == ["one"]
    await deployment.stop_service()
    status, _, err = await stanzalake.run("delete", JULIET, "--yes", "--within", "0.1")
    assert status == 1
    assert "no processor has applied it" in err
    await deployment.start_service()
    await nothing(juliet)
    assert await ids(romeo) == ["one"]


@pytest.mark.parametrize("deployment", ["embedded"], indirect=True)
async def test_expire_removes_expired_messages(deployment: Deployment) -> None:
    stanzalake = command(deployment)
    juliet, romeo = [await session(deployment, name) for name in ("juliet", "romeo")]
    await talk(juliet, romeo, "one", "two")
    await ids(juliet)
    assert await expire(stanzalake, "--dry-run") == 0
    stanzalake.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "1"
    async with asyncio.timeout(SOON):
        while await expire(stanzalake, "--dry-run") < 4:
            pass
    status, _, err = await stanzalake.run("expire")
    assert status == 1
    assert "remove 4 messages that were kept before?" in err
    assert stored(deployment) == 4
    assert await ids(juliet) == ["one", "two"]
    # As does a start with the shorter retention.
    await deployment.stop_service()
    deployment.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "1"
    deployment.declare("stanzalake", "up")
    await deployment.start_service()
    await until(
        lambda: "4 messages are hidden, but not removed" in deployment.log.read_text(), SOON
    )
    assert stored(deployment) == 4
    assert await expire(stanzalake, "--yes") == 4
    await nothing(juliet)
    await until(lambda: stored(deployment) == 0, SOON)
