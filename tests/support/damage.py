"""Damaged files for tests."""

import sqlite3
from contextlib import closing
from pathlib import Path

from stanzalake.log.base import EVENTS, Entry
from stanzalake.log.sqlite import LocalLog

_PAGE = 4096


async def damaged_log(path: Path, group: str) -> None:
    """Write a log of 2,000 events, 100 of them committed, with a damaged page in the middle."""
    log = LocalLog(path)
    for number in range(0, 2000, 100):
        values = [b"%d " % n * 50 for n in range(number, number + 100)]
        await log.append(EVENTS, [Entry("a@b", value) for value in values])
    await (await log.consumer(EVENTS, group)).commit({0: 101})
    await log.close()
    damage(path)


def damage(path: Path) -> None:
    """Overwrite a page of records in the middle of a log."""
    with closing(sqlite3.connect(path)) as connection:
        pages = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = 'records' AND pagetype = 'leaf' ORDER BY path"
        ).fetchall()
    [page] = pages[len(pages) // 2]
    with path.open("r+b") as file:
        file.seek((page - 1) * _PAGE)
        file.write(b"\xff" * _PAGE)
