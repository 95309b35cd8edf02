"""The client of the development stack, over an archive that lags behind."""

import asyncio

import pytest

from devstack.client import Client, Page, ReceivedMessage
from devstack.raw import RawSession


def received(number: int) -> ReceivedMessage:
    return ReceivedMessage(f"id-{number}", "romeo@montague.lit", str(number))


async def test_a_walk_keeps_its_place_while_the_archive_lags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = [[received(0), received(1)], [], [received(2)]]
    asked: list[str] = []

    async def page(_client: Client, after: str = "", _size: int = 50) -> Page:
        asked.append(after)
        found = held[len(asked) - 1]
        is_last = len(asked) == len(held)
        return Page(found, found[-1].id if found else "", is_last, is_last)

    monkeypatch.setattr(Client, "page", page)
    client = Client("juliet@capulet.lit", "secret", 1)
    assert await client.archive(2) == [received(0), received(1), received(2)]
    assert asked == ["", "id-1", "id-1"]


async def test_a_session_that_cannot_log_in_leaves_no_connection() -> None:
    def end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(end, "127.0.0.1", 0)
    session = RawSession("juliet", "secret", "localhost", server.sockets[0].getsockname()[1])
    with pytest.raises(asyncio.IncompleteReadError):
        await session.open()
    assert session.writer.is_closing()
    server.close()
