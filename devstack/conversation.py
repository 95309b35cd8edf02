"""A short conversation, and the verification of both archives."""

import asyncio
from collections.abc import Iterator

from devstack.client import Client, ReceivedMessage

LINES = (
    ("juliet", "O Romeo, Romeo, wherefore art thou Romeo?"),
    ("romeo", "Shall I hear more, or shall I speak at this?"),
    ("juliet", "What's in a name? That which we call a rose…"),
    ("romeo", "Call me but love, and I'll be new baptized. 🌹"),
    ("juliet", "My ears have not yet drunk a hundred words <of> that tongue's & sound"),
    ("romeo", "Neither, fair saint, if either thee dislike."),
    ("juliet", "How camest thou hither, tell me, and wherefore?"),
)
PAGE = 3
_ANNOUNCED_WITHIN = 30.0


async def run(juliet: Client, romeo: Client) -> None:
    """Send the lines in turn, each after the previous has arrived."""
    await juliet.add_contact(romeo.boundjid.bare)
    await romeo.add_contact(juliet.boundjid.bare)
    speakers = {"juliet": juliet, "romeo": romeo}
    for name, line in LINES:
        speaker = speakers[name]
        listener = romeo if speaker is juliet else juliet
        before = len(listener.live)
        speaker.say(listener.boundjid.bare, line)
        await listener.wait_received(before + 1)


async def wait_announced(juliet: Client, romeo: Client) -> None:
    """Talk until both receive messages with ids, then forget what was received.

    Prosody asks for an account's preferences at its first log-in, and announces no id before it
    has the answer.

    Raises:
        TimeoutError: A message has no id after 30 seconds.
    """
    await juliet.add_contact(romeo.boundjid.bare)
    await romeo.add_contact(juliet.boundjid.bare)
    async with asyncio.timeout(_ANNOUNCED_WITHIN):
        for speaker, listener in ((juliet, romeo), (romeo, juliet)):
            while not (listener.live and listener.live[-1].id):
                before = len(listener.live)
                speaker.say(listener.boundjid.bare, "…")
                await listener.wait_received(before + 1)
            listener.live.clear()


def problems(reader: Client, archive: list[ReceivedMessage]) -> Iterator[str]:
    """Yield differences between an archive and the messages sent and received live."""
    tail = archive[-len(LINES) :]
    host = reader.boundjid.host
    if [(m.sender, m.body) for m in tail] != [(f"{name}@{host}", line) for name, line in LINES]:
        yield f"the archive of {reader.boundjid.bare} does not end with the conversation"
    if len({message.id for message in archive}) != len(archive):
        yield f"the archive of {reader.boundjid.bare} shows a message twice"
    archived = {message.id: message.body for message in archive}
    for message in reader.live:
        if archived.get(message.id) != message.body:
            yield f"{reader.boundjid.bare} saw id {message.id or 'none'}, which is not archived"
