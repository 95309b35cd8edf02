"""Real clients, a real Prosody, the whole pipeline: what was said is what both archives hold."""

from pathlib import Path

import pytest

from devstack import conversation
from devstack.client import Client
from devstack.debian import TRIXIE
from devstack.deployment import Deployment
from tests.support.bind2 import ids_in, login, success_of
from tests.support.processes import Run

Friends = tuple[Client, Client]


@pytest.mark.requirement("313-06", "313-16", "313-22", "313-85", "313-88", "359-01")
async def test_a_conversation_comes_back_from_both_archives(friends: Friends) -> None:
    juliet, romeo = friends
    await conversation.run(juliet, romeo)
    for reader in friends:
        assert list(conversation.problems(reader, await reader.archive(conversation.PAGE))) == []


@pytest.mark.requirement("386-02", "386-03")
async def test_a_conversation_comes_back_on_prosody_13_and_a_login_tells_its_end(
    run: Run, tmp_path: Path
) -> None:
    """`pytest --debian13` runs everything on it."""
    deployment = Deployment(tmp_path)
    deployment.prosody.root = TRIXIE
    deployment.prosody.modules = (*deployment.prosody.modules, "sasl2", "sasl2_bind2")
    await run(deployment)
    assert "13." in (await deployment.prosody.control("about"))[1]
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    await conversation.run(juliet, romeo)
    for reader in (juliet, romeo):
        assert list(conversation.problems(reader, await reader.archive(conversation.PAGE))) == []
    whole = await juliet.archive(conversation.PAGE)
    session, _ = await login(
        "juliet", deployment.passwords["juliet"], deployment.host, deployment.client_port
    )
    assert ids_in(await success_of(session)) == [whole[0].id, whole[-1].id]
    await session.close()
    for reader in (juliet, romeo):
        await reader.offline()


@pytest.mark.behaviour(7)
@pytest.mark.requirement("313-82", "313-125")
async def test_a_message_to_somebody_offline_is_archived_once_and_delivered_later(
    deployment: Deployment, friends: Friends
) -> None:
    juliet, romeo = friends
    await romeo.offline()
    for number in range(5):
        juliet.say("romeo@localhost", f"while you were away {number}")
    sent = [message.body for message in await juliet.archive(2)]
    romeo = await deployment.client("romeo", "back")
    await romeo.wait_received(5)
    archive = await romeo.archive(2)
    assert [message.body for message in archive] == sent
    assert [message.id for message in archive] == [message.id for message in romeo.live]
    romeo.say("juliet@localhost", "I am back")
    await juliet.wait_received(1)
    assert [m.body for m in await juliet.archive(50)] == [*sent, "I am back"]


@pytest.mark.requirement("313-07", "313-22")
async def test_what_is_asked_for_at_once_is_there(friends: Friends) -> None:
    """A query sees all that was announced before it (the design's sixth decision)."""
    juliet, romeo = friends
    for number in range(200):
        juliet.say("romeo@localhost", str(number))
    await romeo.wait_received(200)
    assert await romeo.archive(50) == romeo.live
    assert [message.body for message in await juliet.archive(70)] == [str(n) for n in range(200)]
