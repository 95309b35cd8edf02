"""An ingest component that takes every batch at once, as if the archive were on another machine.

python -m bench.elsewhere JID PORT, with the component's secret in the environment as SECRET.
"""

import asyncio
import hashlib
import os
import re
import sys

_HEADER = (
    "<stream:stream xmlns='jabber:component:accept' to='{jid}' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
_STREAM = re.compile(rb"<stream:stream [^>]*\bid=[\"']([^\"']+)")
_IQ = re.compile(rb"<iq ([^>]*)>")
_ATTRIBUTE = re.compile(r"(id|from)=[\"']([^\"']+)")
_LONGEST = 1 << 24


async def _serve(jid: str, port: int, secret: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LONGEST)
    writer.write(_HEADER.format(jid=jid).encode())
    opened = b""
    while (found := _STREAM.search(opened)) is None:
        opened += await reader.readuntil(b">")
    # SHA-1 is what XEP-0114 asks for.
    digest = hashlib.sha1(found[1] + secret.encode(), usedforsecurity=False).hexdigest()
    writer.write(f"<handshake>{digest}</handshake>".encode())
    await reader.readuntil(b"<handshake/>")
    print("connected", flush=True)
    while True:
        batch = _IQ.search(await reader.readuntil(b"</iq>"))
        if batch is not None:
            asked = dict(_ATTRIBUTE.findall(batch[1].decode()))
            answer = f"<iq type='result' id='{asked['id']}' from='{jid}' to='{asked['from']}'/>"
            writer.write(answer.encode())


if __name__ == "__main__":
    try:
        asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), os.environ["SECRET"]))
    except (asyncio.IncompleteReadError, ConnectionError):
        print("Prosody closed the stream")
