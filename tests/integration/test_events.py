"""The log's events for other programs: the command, and the example in the documents."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from devstack.kafka import Kafka
from stanzalake.log.base import EVENTS, Entry, Log
from stanzalake.log.sqlite import LocalLog
from tests.support.command import Command
from tests.support.events import JULIET, encoded
from tests.support.kafka_log import open_kafka, unique_prefix

CONSUMER = Path(__file__).parents[2] / "docs" / "examples" / "consumer.py"
NURSE = "nurse@capulet.lit"
VALUES = [
    encoded(1),
    b"garbage",
    b'{"v": 2, "type": "message"}',
    b'{"v": 1, "type": "to come", "owner": "x", "position": 5}',
    b"[]",
    encoded(2),
    encoded(1),
    encoded(3, owner=NURSE),
]
ENTRIES = [Entry(json.loads(v)["owner"] if b"capulet" in v else JULIET, v) for v in VALUES]


async def test_the_example_reads_what_was_produced_and_goes_on_where_it_stopped(
    kafka: Kafka,
) -> None:
    prefix = unique_prefix()
    log = await open_kafka(kafka, prefix)
    await log.append(EVENTS, ENTRIES)
    lines, skipped = await consumed(kafka, prefix, 3)
    assert sorted(event["position"] for event in lines) == [1, 2, 3]
    assert skipped == 4
    await log.append(EVENTS, [Entry(JULIET, encoded(4))])
    lines, skipped = await consumed(kafka, prefix, 1)
    assert ([event["position"] for event in lines], skipped) == ([4], 0)
    await log.close()


async def consumed(kafka: Kafka, prefix: str, number: int) -> tuple[list[dict[str, int]], int]:
    """Run the example until it has printed so many events; give them, and how many it skipped."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, CONSUMER, kafka.address, f"{prefix}analysts", f"{prefix}{EVENTS}"),
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout
    async with asyncio.timeout(60):
        lines = [json.loads(await process.stdout.readline()) for _ in range(number)]
        process.terminate()
        out, err = await process.communicate()
    assert (process.returncode, out) == (0, b"")
    return lines, err.count(b"skipped")


async def follow(stanzalake: Command, log: Log, *arguments: str) -> None:
    """Read two events, append a third, read that, and end the command."""
    process = await stanzalake.start("events", "--follow", *arguments)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        lines = [json.loads(await process.stdout.readline()) for _ in range(2)]
        await log.append(EVENTS, [Entry(NURSE, encoded(4, owner=NURSE)), Entry(JULIET, encoded(5))])
        lines.append(json.loads(await process.stdout.readline()))
        process.terminate()
        out, err = await process.communicate()
    assert [event["position"] for event in lines] == [2, 1, 5]
    assert (process.returncode, out) == (0, b"")
    access = json.loads(err.splitlines()[-1])
    assert (access["messages"], access["outcome"]) == (3, "done")


async def test_the_events_of_the_embedded_log_are_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    log = LocalLog(tmp_path / "data" / "log.sqlite")
    await log.append(EVENTS, ENTRIES[5:])
    await follow(Command(tmp_path), log, "--owner", JULIET)
    await log.close()


async def test_the_events_of_kafka_are_followed(kafka: Kafka, tmp_path: Path) -> None:
    prefix = unique_prefix()
    log = await open_kafka(kafka, prefix)
    await log.append(EVENTS, ENTRIES[5:])
    stanzalake = Command(tmp_path)
    stanzalake.settings |= {
        "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS": kafka.address,
        "STANZALAKE_KAFKA_TOPIC_PREFIX": prefix,
        "STANZALAKE_KAFKA_REPLICATION": "1",
    }
    await follow(stanzalake, log, "--owner", JULIET)
    await log.close()


async def test_events_from_a_time_on(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    log = LocalLog(tmp_path / "data" / "log.sqlite")
    await log.append(EVENTS, [Entry(JULIET, encoded(n << 16)) for n in (999, 1000)])
    await log.close()
    stanzalake = Command(tmp_path)
    status, out, _ = await stanzalake.run("events", "--since", "1970-01-01T00:00:01Z")
    assert (status, json.loads(out)["position"]) == (0, 1000 << 16)
    status, out, err = await stanzalake.run("events", "--since", "1980-01-01")
    assert (status, out) == (0, "")
    assert err.startswith("there are no such events\n")


@pytest.mark.parametrize("owner", ["", NURSE])
async def test_the_events_of_the_embedded_log_are_printed(tmp_path: Path, owner: str) -> None:
    (tmp_path / "data").mkdir()
    log = LocalLog(tmp_path / "data" / "log.sqlite")
    await log.append(EVENTS, ENTRIES)
    stanzalake = Command(tmp_path)
    status, out, err = await stanzalake.run("events", *(["--owner", owner] if owner else []))
    await log.close()
    expected = [1, 2, 1, 3] if not owner else [3]
    assert [json.loads(line)["position"] for line in out.splitlines()] == expected
    assert (status, json.loads(err)["messages"]) == (0, len(expected))
    assert json.loads(err)["owner"] == owner
