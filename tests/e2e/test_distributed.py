"""Prosody, two of each service, Kafka with six partitions: one archive, also while parts die."""

import asyncio
from pathlib import Path

import pytest
from slixmpp.exceptions import IqError

from devstack import conversation
from devstack.client import Client
from devstack.deployment import Deployment, Distributed
from devstack.ports import free_port
from devstack.prosody import Prosody
from tests.support.processes import Run
from tests.support.wait import until

SECOND = "montague.localhost"
ALL = {"PROSODY_ARCHIVE_POLICY": "true"}


@pytest.fixture
async def deployment(run: Run, tmp_path: Path) -> Distributed:
    return await run(Distributed(tmp_path, settings=ALL))


async def spread(deployment: Deployment, command: str) -> list[int]:
    """Give how many partitions each process of a command reads, as they said last."""
    counts = []
    for service in deployment.services.values():
        if service.command == command:
            said = [x for x in service.log.read_text().splitlines() if "reading partitions" in x]
            listed = said[-1].rpartition(": ")[2]
            counts.append(0 if listed == "none" else len(listed.split(",")))
    return counts


@pytest.mark.slow
async def test_a_conversation_comes_back_whichever_part_dies(deployment: Distributed) -> None:
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    await conversation.run(juliet, romeo)
    for reader in (juliet, romeo):
        assert list(conversation.problems(reader, await reader.archive(conversation.PAGE))) == []
    assert sorted(await spread(deployment, "processor")) == [3, 3]

    sent = [message.body for message in await juliet.archive(50)]
    for name in list(deployment.services):
        await deployment.services[name].kill()
        for number in range(20):
            juliet.say("romeo@localhost", f"{name} is dead {number}")
            sent.append(f"{name} is dead {number}")
        await romeo.wait_received(len(sent) - len(conversation.LINES) // 2)
        await deployment.services[name].start()

    for reader in (juliet, romeo):
        archive = await reader.archive(70)
        assert [message.body for message in archive] == sent
        assert len({message.id for message in archive}) == len(sent)
    live = {message.id: message.body for message in romeo.live}
    archived = {message.id: message.body for message in await romeo.archive(200)}
    assert live.items() <= archived.items()


@pytest.mark.slow
async def test_a_query_service_that_dies_is_one_error_and_the_next_works(
    deployment: Distributed,
) -> None:
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    await conversation.run(juliet, romeo)
    expected = await juliet.archive(50)
    # Stopped processors hold queries back, so that one is in work when its service dies.
    for name in ("processor-1", "processor-2"):
        await deployment.services[name].stop()
    juliet.say("romeo@localhost", "one more")
    asking = [asyncio.ensure_future(juliet.page()), asyncio.ensure_future(romeo.page())]
    await asyncio.wait(asking, timeout=1)
    await deployment.services["query-1"].kill()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(errors) <= 1
    assert all(isinstance(error, IqError) for error in errors)
    for name in ("processor-1", "processor-2"):
        await deployment.services[name].start()
    archive = await juliet.archive(50)
    assert archive[:-1] == expected
    assert archive[-1].body == "one more"


async def test_one_process_serves_several_prosodys(run: Run, tmp_path: Path) -> None:
    ports = (free_port(), free_port())
    second = Prosody(
        directory=tmp_path / "second",
        host=SECOND,
        client_port=ports[0],
        component_port=ports[1],
        component_secret="",
        policy="true",
    )
    deployment = Deployment(tmp_path, settings=ALL)
    own = deployment.settings["STANZALAKE_PROSODY"]
    deployment.settings |= {
        "STANZALAKE_HOSTS": f"localhost,{SECOND}",
        "STANZALAKE_PROSODY": f"{own},127.0.0.1:{ports[1]}",
    }
    deployment.declare("stanzalake", "up")
    second.component_secret = deployment.prosody.component_secret
    second.id_keys = deployment.prosody.id_keys
    second.write_config()
    await second.register("nurse", "secret")
    await run(second)
    await run(deployment)
    juliet = await deployment.client("juliet")
    nurse = Client(f"nurse@{SECOND}/x", "secret", second.client_port)
    await nurse.online()
    await until(second.state_file("nurse").exists)
    juliet.say("juliet@localhost", "a note to myself")
    nurse.say(f"nurse@{SECOND}", "another one")
    await juliet.wait_received(1)
    await nurse.wait_received(1)
    assert await juliet.archive(10) == juliet.live
    assert await nurse.archive(10) == nurse.live
    await nurse.offline()
