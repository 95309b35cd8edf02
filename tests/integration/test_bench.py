"""The benchmarks run: each part in its quick size, and says what it measured."""

import asyncio
import sys
from pathlib import Path
from signal import SIGINT

import pytest

from bench import report
from bench.__main__ import PARTS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("part", PARTS)
async def test_a_part_writes_its_figures(part: str, tmp_path: Path) -> None:
    # A process of its own: the engine serves one directory in each.
    command = (sys.executable, "-m", "bench", part, "--size", "quick", "--results", tmp_path)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    try:
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.send_signal(SIGINT)  # upon which it ends what it started
            await process.wait()
    [table] = report.load(tmp_path)
    assert table.part == part
    assert table.rows
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert (tmp_path / f"{part}.svg").read_bytes().startswith(b"<?xml")
