"""What users want archived, set over MAM and in force for the next message."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from devstack.client import Client
from devstack.deployment import Deployment
from tests.support.processes import Run

MAM = "urn:xmpp:mam:2"
JULIET, ROMEO = "juliet@localhost", "romeo@localhost"


@pytest.fixture
async def deployment(run: Run, tmp_path: Path, request: pytest.FixtureRequest) -> Deployment:
    """A deployment with the settings that a test is marked with, its accounts no contacts."""
    return await run(Deployment(tmp_path, settings=getattr(request, "param", {})))


async def prefs(client: Client, default: str | None = None, **lists: str) -> ET.Element:
    """Set preferences, or get them if there is no default, and give what is answered."""
    asked = ET.Element(f"{{{MAM}}}prefs")
    for name, jid in lists.items():
        ET.SubElement(ET.SubElement(asked, f"{{{MAM}}}{name}"), f"{{{MAM}}}jid").text = jid
    if default is not None:
        asked.set("default", default)
    iq = client.make_iq(itype="get" if default is None else "set")
    iq.append(asked)
    answer: ET.Element | None = (await iq.send(timeout=20)).xml.find(f"{{{MAM}}}prefs")
    assert answer is not None
    return answer


async def say(sender: Client, receiver: Client, *bodies: str) -> None:
    before = len(receiver.live)
    for body in bodies:
        sender.say(receiver.boundjid.bare, body)
    await receiver.wait_received(before + len(bodies))


async def archived(client: Client) -> list[str]:
    return [message.body for message in await client.archive(50)]


@pytest.mark.behaviour(55)
@pytest.mark.requirement("441-09", "441-12", "441-17", "441-18", "441-21", "313-158")
async def test_wishes_are_in_force_for_the_next_message(deployment: Deployment) -> None:
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    await say(juliet, romeo, "no contacts, by the server's default")
    assert (await prefs(juliet)).get("default") == "roster"
    await prefs(juliet, "always")
    await say(juliet, romeo, "kept 1")
    await prefs(juliet, "always", never=ROMEO)
    await say(juliet, romeo, "not kept")
    await say(romeo, juliet, "not kept either")
    assert (await prefs(juliet)).findtext(f"{{{MAM}}}never/{{{MAM}}}jid") == ROMEO
    await prefs(juliet, "never", always=ROMEO)
    await say(romeo, juliet, "kept 2")
    await prefs(juliet, "roster")
    await say(romeo, juliet, "no contact")
    await juliet.add_contact(ROMEO)
    await say(romeo, juliet, "kept 3")
    phone = await deployment.client("romeo", "my phone")
    await prefs(juliet, "always", never=f"{ROMEO}/my phone")
    # The tap believes the answer; the archive has to have it, too.
    chosen = await prefs(juliet)
    assert chosen.findtext(f"{{{MAM}}}never/{{{MAM}}}jid") == f"{ROMEO}/my phone"
    await say(phone, juliet, "not kept, from one resource")
    await say(romeo, juliet, "kept 4")
    assert await archived(juliet) == ["kept 1", "kept 2", "kept 3", "kept 4"]
    assert await archived(romeo) == []


@pytest.mark.parametrize(
    "deployment",
    [{"PROSODY_MAM_SMART_ENABLE": "true", "PROSODY_ARCHIVE_POLICY": "true"}],
    indirect=True,
)
async def test_smart_archiving_begins_with_the_first_request(deployment: Deployment) -> None:
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    await say(juliet, romeo, "before anybody asks")
    assert await archived(juliet) == []
    await say(romeo, juliet, "juliet has asked")
    assert await archived(juliet) == ["juliet has asked"]
    assert await archived(romeo) == []
    await say(romeo, juliet, "both have asked")
    assert await archived(romeo) == ["both have asked"]


@pytest.mark.parametrize("deployment", [{"PROSODY_ARCHIVE_POLICY": "false"}], indirect=True)
async def test_nothing_is_kept_by_default_if_the_server_says_so(deployment: Deployment) -> None:
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    await juliet.add_contact(ROMEO)
    await say(juliet, romeo, "not kept")
    await prefs(juliet, "roster")
    await say(juliet, romeo, "kept")
    assert await archived(juliet) == ["kept"]
