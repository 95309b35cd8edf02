"""A hostile user: odd XML, floods and large requests, sent all the time by several sessions."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from devstack.deployment import Deployment
from devstack.raw import RawSession

USER = "mercutio"
SESSIONS = 5

_INTERVAL = 0.1
_RECONNECT = 0.2
_PATIENCE = 10.0
_CHUNK = 65_536
_LARGE = 240_000
"""Bytes that fit the c2s stanza limit of Prosody's default, 256 KiB."""
_LARGEST = 120_000
"""Bytes that fit what mod_stanzalake takes of a request, 128 KiB."""
_MAM = "urn:xmpp:mam:2"

_numbers = itertools.count()


def _message(to: str, content: str) -> str:
    return f"<message to='{to}' type='chat'>{content}</message>"


def _iq(content: str, to: str = "") -> str:
    address = f" to='{to}'" if to else ""
    return f"<iq type='set' id='h{next(_numbers)}'{address}>{content}</iq>"


def _nested(depth: int) -> str:
    return "<a>" * depth + "</a>" * depth


NAMESPACES = {
    "a namespace that is no URI": "<x xmlns='my app'/>",
    "a namespace of other letters": "<x xmlns='http://exämple.com/'/>",
    "a namespace with a brace": "<x xmlns='a}b'/>",
}
PAYLOADS = {
    "a name of XML's fifth edition": "<\u0370 xmlns='urn:x'/>",
    "deep nesting": f"<x xmlns='urn:x'>{_nested(300)}</x>",
    "a long name": f"<{'n' * 60_000} xmlns='urn:x'/>",
    "a long attribute": f"<x xmlns='urn:x' a='{'v' * 12_000}'/>",
    "a body of apostrophes": f"<body>{chr(39) * 100_000}</body>",
    "a body of line feeds": "<body>" + "\n" * (_LARGE // 2) + "</body>",
}


def _query(size: int) -> str:
    return f"<query xmlns='{_MAM}'>{'<a/>' * (size // 4)}</query>"


def _preferences(jids: int, length: int) -> str:
    never = "".join(f"<jid>{n}{'j' * length}@x</jid>" for n in range(jids))
    return f"<prefs xmlns='{_MAM}' default='always'><never>{never}</never></prefs>"


REQUESTS = {
    "a large query": _query(_LARGE),
    "an odd query": f"<query xmlns='{_MAM}'>{NAMESPACES['a namespace with a brace']}</query>",
    "long preferences": _preferences(200, 1000),
}
FLOODS = {
    "queries": (256, _query(0)),
    "queries of the largest size": (24, _query(_LARGEST)),
    "preferences of the largest size": (20, _preferences(1000, 90)),
}
"""Numbers and contents of iqs that are sent at once."""
MESSAGES = 600
"""At once."""


def _presence(component: str) -> str:
    return f"<presence to='w{next(_numbers)}@{component}'/>"


def _flood(number: int, content: str) -> str:
    return "".join(_iq(content) for _ in range(number))


def _ways(deployment: Deployment, victim: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the name of each attack, and the function that writes its stanzas."""
    for name, (number, content) in FLOODS.items():
        yield f"a flood of {name}", partial(_flood, number, content)
    odd = _message(victim, NAMESPACES["a namespace that is no URI"] + "<body/>")
    yield "a flood of odd messages", lambda: odd * MESSAGES
    for name, content in REQUESTS.items():
        yield name, partial(_iq, content)
    for name, content in PAYLOADS.items():
        yield name, partial(_message, victim, content)
    for name, content in NAMESPACES.items():
        # Not to the victim, whose library may refuse markup that Prosody delivers.
        yield name, partial(_message, f"{USER}@{deployment.host}", f"{content}<body/>")
    for component in (*deployment.prosody.ingest, *deployment.prosody.query):
        yield f"presence to {component}", partial(_presence, component)
        yield f"a request to {component}", partial(_iq, REQUESTS["an odd query"], component)
        for name, content in NAMESPACES.items():
            yield f"{name} to {component}", partial(_message, component, content)


class Hostile:
    """Attacks a deployment, with new sessions whenever the server ends the old ones.

    Args:
        deployment: The target; the account USER is registered there.
        victim: Local part of the user who receives messages.
        chance: Source of the attacks' order.

    Attributes:
        attacks: Number of each attack.
    """

    def __init__(self, deployment: Deployment, victim: str, chance: random.Random) -> None:
        self.attacks: Counter[str] = Counter()
        self._deployment = deployment
        self._chance = chance
        self._ways = dict(_ways(deployment, f"{victim}@{deployment.host}"))

    async def run(self, stop: asyncio.Event) -> None:
        """Attack until `stop` is set."""
        await asyncio.gather(*(self._persist(stop) for _ in range(SESSIONS)))

    async def _persist(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                await self._attack(stop)
            await asyncio.sleep(_RECONNECT)

    async def _attack(self, stop: asyncio.Event) -> None:
        deployment = self._deployment
        session = RawSession(
            USER, deployment.passwords[USER], deployment.host, deployment.client_port
        )
        async with asyncio.timeout(_PATIENCE):
            await session.open()
        try:
            while not stop.is_set():
                name = self._chance.choice(list(self._ways))
                async with asyncio.timeout(_PATIENCE):
                    await _send(session, self._ways[name]())
                self.attacks[name] += 1
                await asyncio.sleep(_INTERVAL)
        finally:
            session.writer.transport.abort()


async def _send(session: RawSession, attack: str) -> None:
    """Send an attack, and wait until Prosody has read it.

    More at a time would test Prosody's own limits (mod_limits).
    """
    ping = f"ping-{next(_numbers)}"
    session.write(f"{attack}<iq type='get' id='{ping}'><ping xmlns='urn:xmpp:ping'/></iq>")
    received = b""
    while ping.encode() not in received:
        more = await session.reader.read(_CHUNK)
        if not more:
            raise ConnectionResetError
        received = received[-_CHUNK:] + more
