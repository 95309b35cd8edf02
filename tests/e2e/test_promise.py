"""An id is announced exactly for what the archive keeps, whatever is sent and chosen."""

import json
import random
import re
from pathlib import Path

import pytest

from devstack.deployment import Deployment
from tests.support.clients import CLIENT, RawClient, stanza_ids
from tests.support.deployments import JULIET, ROMEO, entries, running, session
from tests.support.verdicts import TABLE

ACTIONS = 150
PING = "<ping xmlns='urn:xmpp:ping'/>"
STANZAS = json.loads(TABLE.read_text())["stanzas"]


class Actor:
    """A user with two sessions, of which the first acts.

    Args:
        chance: Decides.
        jid: The user's bare JID.
        other: The other user's.
        sessions: The user's sessions.
    """

    def __init__(
        self, chance: random.Random, jid: str, other: str, sessions: list[RawClient]
    ) -> None:
        self.jid = jid
        self.sessions = sessions
        self._chance = chance
        self._other = other

    async def act(self, number: int) -> None:
        """Do one thing, and wait until the server has done it."""
        deed = self._chance.choice([self._say] * 6 + [self._choose, self._meet])
        await deed(number)
        await self.sessions[0].ask("get", PING, "localhost")

    async def _say(self, number: int) -> None:
        stanza = self._chance.choice(STANZAS)
        to = self._chance.choice([self._other, self._other, f"{self._other}/two", self.jid])
        kind = f"type='{stanza['type']}'" if stanza["type"] else ""
        self.sessions[0].send_raw(
            f"<message to='{to}' {kind} id='m{number}'>{stanza['children']}</message>"
        )

    async def _choose(self, _: int) -> None:
        default = self._chance.choice(["always", "never", "roster"])
        lists = {name: self._listed() for name in ("always", "never")}
        answer = await self.sessions[0].ask(
            "set",
            f"<prefs xmlns='urn:xmpp:mam:2' default='{default}'>"
            f"<always>{lists['always']}</always><never>{lists['never']}</never></prefs>",
        )
        assert answer.get("type") == "result"

    def _listed(self) -> str:
        jids = [self._other, f"{self._other}/one", self.jid, "localhost"]
        return "".join(f"<jid>{jid}</jid>" for jid in jids if self._chance.random() < 0.2)

    async def _meet(self, _: int) -> None:
        subscription = self._chance.choice(["", " subscription='remove'"])
        item = f"<item jid='{self._other}'{subscription}/>"
        await self.sessions[0].ask("set", f"<query xmlns='jabber:iq:roster'>{item}</query>")

    def seen(self) -> set[str]:
        """Give every id of the own archive that a session got, on a message or in a carbon."""
        live = [x for one in self.sessions for x in one.received if not _is_result(x)]
        messages = [message for x in live for message in x.iter(f"{CLIENT}message")]
        return {id_ for message in messages for by, id_ in stanza_ids(message) if by == self.jid}


def _is_result(stanza: object) -> bool:
    return stanza.find("{urn:xmpp:mam:2}result") is not None  # type: ignore[attr-defined]


def herald(deployment: Deployment) -> None:
    """Have Prosody log each id that is announced, also of what no other session gets."""
    modules = deployment.directory / "modules"
    modules.mkdir()
    (modules / "mod_herald.lua").write_text(
        'module:hook("archive-message-added", function (event)\n'
        '\tmodule:log("info", "announced %s@%s %s", event.for_user, module.host, event.id);\n'
        "end);\n"
    )
    deployment.prosody.modules = ("stanzalake", "herald")
    deployment.prosody.module_dirs = [modules]


async def actors(deployment: Deployment, chance: random.Random) -> list[Actor]:
    names = {"juliet": (JULIET, ROMEO), "romeo": (ROMEO, JULIET)}
    return [
        Actor(chance, *jids, [await session(deployment, user, r) for r in ("one", "two")])
        for user, jids in names.items()
    ]


@pytest.mark.requirement("313-17", "313-20")
@pytest.mark.parametrize(
    "settings",
    [
        {"PROSODY_ARCHIVE_POLICY": "roster"},
        {"PROSODY_ARCHIVE_POLICY": "true", "PROSODY_MAM_SMART_ENABLE": "true"},
    ],
    ids=["roster", "smart"],
)
async def test_what_is_announced_is_what_is_kept(tmp_path: Path, settings: dict[str, str]) -> None:
    chance = random.Random(13)  # noqa: S311  # a seed, so that a failure comes again
    excluded = {"PROSODY_ARCHIVE_EXCLUDE_NAMESPACES": "urn:x:excluded"}
    deployment = Deployment(tmp_path, settings={**settings, **excluded})
    herald(deployment)
    async with running(deployment):
        people = await actors(deployment, chance)
        for actor in people:
            # The answer comes behind the tap's question for the same account.
            await actor.sessions[0].ask("get", "<metadata xmlns='urn:xmpp:mam:2'/>")
        for number in range(ACTIONS):
            await chance.choice(people).act(number)
        for actor in people:
            for one in actor.sessions:
                await one.ask("get", PING, "localhost")
        log = deployment.prosody.log_path.read_text()
        for actor in people:
            kept = {entry.id for entry in await entries(actor.sessions[0])}
            assert set(re.findall(rf"announced {actor.jid} (\S+)", log)) == kept
            assert actor.seen() <= kept
            assert len(kept) > ACTIONS / 10
            for one in actor.sessions:
                await one.offline()
