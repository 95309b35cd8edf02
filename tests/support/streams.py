"""Streams that are managed, lost and resumed (XEP-0198)."""

import asyncio

from devstack.raw import RawSession
from tests.support.clients import RawClient

_ENABLED = "{urn:xmpp:sm:3}enabled"


async def manage(client: RawClient, resume: str = "true") -> str:
    """Turn stream management on for a client that never acknowledges; give the stream's id."""
    client.send_raw(f"<enable xmlns='urn:xmpp:sm:3' resume='{resume}'/>")
    return (await client.expect(lambda x: x.tag == _ENABLED)).get("id", "")


async def resume(client: RawClient, port: int, stream: str, end: str = "</message>") -> str:
    """Resume a stream of which nothing had arrived.

    Args:
        client: The client whose connection is lost.
        port: Prosody's port for clients, on 127.0.0.1.
        stream: The stream's id.
        end: The text that comes again last.

    Returns:
        Everything that comes again, up to that text.
    """
    user, host = client.boundjid.user, client.boundjid.host
    session = RawSession(user, client.password, host, port)
    await session.authenticate()
    session.write(f"<resume xmlns='urn:xmpp:sm:3' h='0' previd='{stream}'/>")
    async with asyncio.timeout(10):
        received = await session.reader.readuntil(end.encode())
    await session.close()
    return received.decode()
