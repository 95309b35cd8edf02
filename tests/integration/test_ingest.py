"""The ingest component behind a real Prosody: answers, refusals, dead letters."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from slixmpp.exceptions import IqError

from devstack.client import Client
from devstack.ports import free_port
from devstack.prosody import Prosody
from ingest import component
from ingest.batch import NAMESPACE
from ingest.component import IngestComponent
from ingest.taps import Taps
from stanzalake.errors import LogUnavailable
from stanzalake.log.base import EVENTS, REJECTED, Entry
from stanzalake.log.sqlite import LocalLog
from stanzalake.log.watermarks import Watermarks
from stanzalake.xmpp.component import Component
from tests.support.events import encoded

INGEST = "ingest.stanzalake"
TAP = "tap.example"
OWNER = f"juliet@{TAP}"
STRANGER = "stranger.example"
SOON = 20.0


class Scene(NamedTuple):
    """A Prosody, an ingest component, and components that act as taps.

    A real tap sends no garbage, so that a component under a host's name does.
    """

    tap: Component
    stranger: Component
    client: Client
    log: LocalLog


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    prosody = Prosody(
        directory=tmp_path / "prosody",
        client_port=free_port(),
        component_port=free_port(),
        modules=(),
        ingest=(INGEST, TAP, STRANGER),
        query=(),
    )
    prosody.write_config()
    await prosody.register("mercutio", "secret")
    await prosody.start()
    log = LocalLog(tmp_path / "log.sqlite")
    secret, address = prosody.component_secret, ("127.0.0.1", prosody.component_port)
    components = (
        IngestComponent(INGEST, secret, address, log, Taps({TAP})),
        Component(TAP, secret, address),
        Component(STRANGER, secret, address),
    )
    stop = asyncio.Event()
    runs = [asyncio.ensure_future(component.run(stop)) for component in components]
    client = Client("mercutio@localhost/x", "secret", prosody.client_port)
    try:
        async with asyncio.timeout(SOON):
            await asyncio.gather(*(component.ready() for component in components))
        await client.online()
        yield Scene(components[1], components[2], client, log)
    finally:
        await client.offline()
        stop.set()
        await asyncio.gather(*runs)
        await prosody.stop()
        await log.close()


async def send(sender: Component | Client, text: str, kind: Literal["get", "set"] = "set") -> str:
    """Send a batch and give "ok", or the type and condition of the error."""
    return (await exchange(sender, text, kind))[0]


async def exchange(
    sender: Component | Client, text: str, kind: Literal["get", "set"] = "set"
) -> tuple[str, str | None]:
    """Send a batch; give "ok", or the type and condition of the error, and its ends."""
    batch = ET.Element(f"{{{NAMESPACE}}}batch")
    batch.text = text
    iq = sender.make_iq(ito=INGEST, itype=kind)
    if isinstance(sender, Component):
        iq["from"] = sender.boundjid.bare
    iq.append(batch)
    try:
        answer, words = await iq.send(timeout=SOON), "ok"
    except IqError as caught:
        # As it was sent: on a component's stream slixmpp looks for errors of a client's.
        answer, error = caught.iq, caught.iq.xml.find(f"{{{sender.default_ns}}}error")
        words = f"{error.get('type')} {error[0].tag.partition('}')[2]}"
    taken = answer.xml.find(f"{{{NAMESPACE}}}batch")
    return words, None if taken is None else taken.get("ends")


def text_of(*lines: bytes) -> str:
    return base64.b64encode(b"".join(line + b"\n" for line in lines)).decode()


async def values(log: LocalLog, topic: str) -> list[bytes]:
    consumer = await log.consumer(topic, "test")
    return [record.value for record in await consumer.read(100, 0)]


async def test_acknowledged_events_are_in_the_log(scene: Scene) -> None:
    events = [encoded(number, owner=OWNER) for number in range(3)]
    assert await send(scene.tap, text_of(*events)) == "ok"
    assert await values(scene.log, EVENTS) == events
    assert await values(scene.log, REJECTED) == []


async def test_invalid_events_are_a_bad_request_and_become_dead_letters(scene: Scene) -> None:
    good = encoded(1, owner=OWNER)
    assert await send(scene.tap, text_of(b"garbage", good)) == "modify bad-request"
    assert await send(scene.tap, "no base64!") == "modify bad-request"
    assert await send(scene.tap, text_of(encoded(2))) == "modify bad-request"
    assert await send(scene.tap, text_of(good)) == "ok"
    assert await values(scene.log, EVENTS) == [good, good]
    assert await values(scene.log, REJECTED) == [b"garbage", b"no base64!", encoded(2)]


async def test_the_answer_carries_watermarks(scene: Scene) -> None:
    good = encoded(1, owner=OWNER)
    assert await exchange(scene.tap, text_of(good, good)) == ("ok", "0:3")
    assert await exchange(scene.tap, text_of(good, b"garbage")) == ("modify bad-request", "0:5")
    assert await exchange(scene.tap, text_of(b"garbage")) == ("modify bad-request", "")
    assert await exchange(scene.stranger, text_of(good)) == ("auth forbidden", None)


async def test_only_the_hosts_themselves_are_taps(scene: Scene) -> None:
    event = text_of(encoded(1, owner=OWNER))
    assert await send(scene.stranger, event) == "auth forbidden"
    assert await send(scene.client, event) == "auth forbidden"
    assert await send(scene.tap, event, "get") == "auth forbidden"
    assert await values(scene.log, EVENTS) == []
    assert await values(scene.log, REJECTED) == []


@pytest.mark.requirement("RFC-06")
async def test_other_requests_get_an_error(scene: Scene) -> None:
    iq = scene.client.make_iq_get("urn:example:other", ito=INGEST)
    with pytest.raises(IqError) as caught:
        await iq.send(timeout=SOON)
    assert caught.value.condition in ("service-unavailable", "feature-not-implemented")


async def test_a_failed_append_tells_the_tap_to_retry(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise LogUnavailable("full")

    monkeypatch.setattr(scene.log, "append", fail)
    event = text_of(encoded(1, owner=OWNER))
    assert await send(scene.tap, event) == "wait resource-constraint"
    monkeypatch.undo()
    assert await send(scene.tap, event) == "ok"


@pytest.mark.slow
async def test_pending_batches_beyond_the_bound_tell_the_tap_to_retry(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, blocked, full = scene.log.append, asyncio.Event(), asyncio.Event()

    async def wait(topic: str, entries: Sequence[Entry]) -> Watermarks:
        full.set()
        await blocked.wait()
        return await append(topic, entries)

    event = text_of(encoded(1, owner=OWNER))
    monkeypatch.setattr(scene.log, "append", wait)
    monkeypatch.setattr(component, "MAX_PENDING", len(event))
    first = asyncio.ensure_future(send(scene.tap, event))
    await full.wait()
    assert await send(scene.tap, event) == "wait resource-constraint"
    blocked.set()
    assert await first == "ok"
    assert await send(scene.tap, event) == "ok"
