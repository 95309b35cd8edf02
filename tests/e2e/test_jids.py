"""Peers with unusual JIDs are found, excluded and erased under the JID that Prosody delivers to."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from devstack.deployment import Deployment
from stanzalake.model import jid
from tests.support.clients import RawClient
from tests.support.command import Command
from tests.support.deployments import JULIET, deployed, entries, session
from tests.support.queries import field, form

MAM = "urn:xmpp:mam:2"
PEERS = [
    "room@elsewhere.lit/Romeo \N{ROSE}",
    "ẞ@elsewhere.lit",
    "benvolio@elsewhere.lit/ẞ",
    "Abraham@Elsewhere.lit.",
    "paris@[2001:DB8::1]",
]


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as deployment:
        yield deployment


def send(juliet: RawClient, text: str) -> None:
    """Send a message to each peer; as no server federates, a bounce comes back from each."""
    for peer in PEERS:
        to = quoteattr(peer)
        juliet.send_raw(f"<message to={to} type='chat'><body>{text} {peer}</body></message>")


async def bodies(juliet: RawClient, *peer: str) -> list[str | None]:
    filters = [form(field("with", one)) for one in peer]
    messages = [entry.message for entry in await entries(juliet, *filters)]
    return [m.findtext("{jabber:client}body") for m in messages if m.get("type") == "chat"]


async def test_a_peer_is_found_excluded_and_erased_by_any_spelling(deployment: Deployment) -> None:
    juliet = await session(deployment, "juliet")
    send(juliet, "one")
    assert await bodies(juliet) == [f"one {peer}" for peer in PEERS]
    for peer in PEERS:
        assert await bodies(juliet, peer) == [f"one {peer}"]
        assert await bodies(juliet, jid.parse(peer).bare) == [f"one {peer}"]

    never = "".join(f"<jid>{peer}</jid>" for peer in PEERS)
    await juliet.ask("set", f"<prefs xmlns='{MAM}' default='always'><never>{never}</never></prefs>")
    # In the store, too: the tap by itself knows what was answered.
    prefs = await juliet.ask("get", f"<prefs xmlns='{MAM}'/>")
    assert [x.text for x in prefs.iter(f"{{{MAM}}}jid")] == [str(jid.parse(p)) for p in PEERS]
    send(juliet, "two")
    assert await bodies(juliet) == [f"one {peer}" for peer in PEERS]

    stanzalake = Command(deployment.directory)
    stanzalake.settings = dict(deployment.settings)
    for peer in PEERS:
        bare = peer.partition("/")[0]
        arguments = ("delete", JULIET.upper(), "--with", bare, "--yes", "--no-wait", "--json")
        status, out, err = await stanzalake.run(*arguments)
        assert status == 0, err
        assert json.loads(out)["messages"] > 0, peer
    assert await entries(juliet) == []
