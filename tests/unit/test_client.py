"""The client of the development stack, over an archive that lags behind."""

import pytest

from devstack.client import Client, Page, ReceivedMessage


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
