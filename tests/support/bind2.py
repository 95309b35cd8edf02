"""Logins by SASL 2 with Bind 2 (XEP-0388, XEP-0386), which no library of the tests knows."""

import asyncio
import base64
from xml.etree import ElementTree as ET

from devstack.raw import RawSession
from stanzalake.xmpp.namespaces import MAM, tag
from tests.support.clients import parsed

SASL2, BIND2 = "urn:xmpp:sasl:2", "urn:xmpp:bind:0"
BOUND = tag(BIND2, "bound")
METADATA = f"{BOUND}/{tag(MAM, 'metadata')}"


async def login(user: str, password: str, host: str, port: int) -> tuple[RawSession, str]:
    """Give a session that asks for a login with a resource, and the features."""
    session = RawSession(user, password, host, port)
    features = await session.connect()
    token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    session.write(
        f"<authenticate xmlns='{SASL2}' mechanism='PLAIN'>"
        f"<initial-response>{token}</initial-response>"
        f"<bind xmlns='{BIND2}'><tag>Test</tag><enable xmlns='urn:xmpp:carbons:2'/></bind>"
        "</authenticate>"
    )
    return session, features


async def success_of(session: RawSession) -> ET.Element:
    """Give the success of a login, which nothing comes before."""
    async with asyncio.timeout(10):
        text = await session.reader.readuntil(b"</success>")
    assert text.startswith(b"<success")
    return parsed(text.decode())


def ids_in(success: ET.Element) -> list[str | None]:
    """Give the ids of the first and the last message that a login names."""
    return [end.get("id") for end in success.findall(f"{METADATA}/*")]
