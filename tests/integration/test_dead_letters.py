"""`stanzalake rejected`, on both logs, beside services that have the log open."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devstack.kafka import Kafka
from stanzalake.log import dead_letters
from stanzalake.log.base import EVENTS, REJECTED, Entry, Log
from stanzalake.log.sqlite import LocalLog
from tests.support.command import Command
from tests.support.events import JULIET, encoded
from tests.support.kafka_log import PARTITIONS, open_kafka, unique_prefix

GOOD = encoded(1)
FOREIGN = encoded(4, owner="romeo@montague.lit")
ENTRIES = [
    dead_letters.entry("capulet.lit", GOOD, "a bug", "tap of capulet.lit"),
    dead_letters.entry(JULIET, b"garbage \x1b[31m\xff", "malformed \x1b[31m", f"{EVENTS}/0/7"),
    dead_letters.entry(JULIET, encoded(2), "it does not fit", f"{EVENTS}/0/8"),
    dead_letters.entry("capulet.lit", FOREIGN, "another host's", "tap of capulet.lit"),
    dead_letters.entry(JULIET, encoded(3, stanza="<message>hello"), "no XML", f"{EVENTS}/0/9"),
    dead_letters.entry(JULIET, GOOD, "a bug", f"{EVENTS}/0/10"),
]


@pytest.fixture
def stanzalake(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture(params=["local", "kafka"])
def broker(request: pytest.FixtureRequest, stanzalake: Command) -> Kafka | None:
    """Give the broker of the log under test, if it has one, and let the commands know it."""
    if request.param == "local":
        return None
    kafka: Kafka = request.getfixturevalue("kafka")
    stanzalake.settings |= {
        "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS": kafka.address,
        "STANZALAKE_KAFKA_REPLICATION": "1",
        "STANZALAKE_KAFKA_PARTITIONS": str(PARTITIONS),
        "STANZALAKE_KAFKA_TOPIC_PREFIX": unique_prefix(),
        "STANZALAKE_LOG_RETENTION": "never",
    }
    return kafka


@pytest.fixture
async def log(broker: Kafka | None, stanzalake: Command, tmp_path: Path) -> AsyncIterator[Log]:
    """Give the log that the commands are to find, open as a running service has it."""
    log: Log
    if broker is None:
        (tmp_path / "data").mkdir()
        log = LocalLog(tmp_path / "data" / "log.sqlite")
    else:
        log = await open_kafka(broker, stanzalake.settings["STANZALAKE_KAFKA_TOPIC_PREFIX"])
    yield log
    await log.close()


async def fill(log: Log) -> None:
    for entry in ENTRIES:
        await log.append(REJECTED, [entry])


async def listed(stanzalake: Command, *options: str) -> list[dict[str, str]]:
    status, out, _ = await stanzalake.run("rejected", "list", "--json", *options)
    assert status == 0
    return [json.loads(line) for line in out.splitlines()]


async def ids(stanzalake: Command) -> dict[str, str]:
    """Give the ID of each source."""
    return {one["source"]: one["id"] for one in await listed(stanzalake)}


async def events(log: Log) -> list[tuple[str, bytes]]:
    return sorted([(record.key, record.value) async for record in log.scan(EVENTS)])


async def test_no_dead_letters_is_status_0(stanzalake: Command, log: Log) -> None:
    assert await events(log) == []
    assert await stanzalake.run("rejected", "list") == (0, "", "there are no dead letters\n")
    assert await stanzalake.run("rejected", "list", "--json", "--page", "2") == (
        0,
        "",
        "there is no page 2\n",
    )
    status, out, _ = await stanzalake.run("rejected", "replay", "--all")
    assert (status, out) == (0, "0 events replayed, 0 records stay as they are\n")


async def test_the_list_has_the_newest_last_and_pages(stanzalake: Command, log: Log) -> None:
    await fill(log)
    reasons = [dict(entry.headers)["reason"] for entry in ENTRIES]
    assert [one["reason"] for one in await listed(stanzalake)] == reasons
    pages = [await listed(stanzalake, "--limit", "4", "--page", str(n)) for n in (1, 2, 3)]
    assert [[one["reason"] for one in page] for page in pages] == [reasons[2:], reasons[:2], []]


async def test_content_is_not_printed_by_default(stanzalake: Command, log: Log) -> None:
    await fill(log)
    status, out, err = await stanzalake.run("rejected", "list")
    assert status == 0
    assert len(out.splitlines()) == len(ENTRIES)
    for place in (await ids(stanzalake)).values():
        status, shown, more = await stanzalake.run("rejected", "show", place)
        assert status == 0
        out += shown
        err += more
    assert "source: tap of capulet.lit" in out
    assert f"size: {len(GOOD)}" in out
    assert "hello" not in out + err
    assert "\x1b" not in out + err


async def test_the_original_bytes_are_printed_on_request(
    stanzalake: Command, log: Log, tmp_path: Path
) -> None:
    await fill(log)
    place = (await ids(stanzalake))[f"{EVENTS}/0/8"]
    assert (await stanzalake.run("rejected", "show", place, "--body"))[:2] == (
        0,
        encoded(2).decode(),
    )
    place = (await ids(stanzalake))[f"{EVENTS}/0/7"]
    file = tmp_path / "bytes"
    status, out, err = await stanzalake.run("rejected", "show", place, "--output", str(file))
    assert (status, file.read_bytes()) == (0, ENTRIES[1].value)
    assert "garbage" not in out
    access = json.loads(err)
    assert (access["owner"], access["action"]) == (ENTRIES[1].key, "rejected")
    assert (access["outcome"], access["messages"]) == ("done", 1)


async def test_a_valid_event_is_replayed_once(stanzalake: Command, log: Log) -> None:
    await fill(log)
    dry = await stanzalake.run("rejected", "replay", "--all", "--dry-run")
    assert dry[0] == 0
    assert "2 events would be replayed, 3 records stay as they are" in dry[1]
    assert await events(log) == []
    status, out, _ = await stanzalake.run("rejected", "replay", "--all")
    assert status == 0
    assert "2 events replayed, 3 records stay as they are" in out
    assert "not of the host" in out
    assert "hello" not in out
    assert await events(log) == sorted([(JULIET, GOOD), (JULIET, encoded(2))])
    assert len(await listed(stanzalake)) == len(ENTRIES)


async def test_selected_dead_letters_are_replayed(stanzalake: Command, log: Log) -> None:
    await fill(log)
    status, out, _ = await stanzalake.run("rejected", "replay", "--all", "--source", "tap of")
    assert status == 0
    assert "1 events replayed, 1 records stay as they are" in out
    place = (await ids(stanzalake))[f"{EVENTS}/0/8"]
    assert (await stanzalake.run("rejected", "replay", place))[0] == 0
    assert await events(log) == sorted([(JULIET, GOOD), (JULIET, encoded(2))])
    place = (await ids(stanzalake))[f"{EVENTS}/0/9"]
    status, _, err = await stanzalake.run("rejected", "replay", place)
    assert (status, len(err.splitlines())) == (1, 1)


async def test_a_running_consumer_receives_replayed_events(stanzalake: Command, log: Log) -> None:
    await log.append(REJECTED, [ENTRIES[0]])
    consumer = await log.consumer(EVENTS, "readers")
    await consumer.read(1, 0.1)
    assert (await stanzalake.run("rejected", "replay", "--all"))[0] == 0
    records: list[bytes] = []
    while not records:
        records += [record.value for record in await consumer.read(1, 1.0)]
    assert records == [GOOD]
    await log.append(EVENTS, [Entry(JULIET, encoded(9))])
    while len(records) < 2:
        records += [record.value for record in await consumer.read(1, 1.0)]
    assert records[1] == encoded(9)


@pytest.mark.parametrize("command", ["show", "replay"])
async def test_an_unknown_id_is_status_1(stanzalake: Command, log: Log, command: str) -> None:
    await fill(log)
    status, _, err = await stanzalake.run("rejected", command, "0/999")
    assert status == 1
    assert err.splitlines() == ["stanzalake: there is no rejected record 0/999"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["show"],
        ["show", "17"],
        ["show", "0/-1"],
        ["show", "0/1", "--output", "/dev/null/x"],
        ["replay"],
        ["replay", "0/1", "--all"],
        ["replay", "0/1", "--source", "tap"],
        ["list", "--limit", "0"],
        ["nonsense"],
    ],
)
async def test_invalid_arguments_of_rejected_are_status_2(
    stanzalake: Command, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "data").mkdir()
    log = LocalLog(tmp_path / "data" / "log.sqlite")
    await fill(log)
    await log.close()
    status, out, err = await stanzalake.run("rejected", *arguments)
    assert (status, out) == (2, "")
    assert "Traceback" not in err


async def test_a_missing_log_is_status_1(stanzalake: Command, tmp_path: Path) -> None:
    status, _, err = await stanzalake.run("rejected", "list")
    assert status == 1
    assert "STANZALAKE_DATA_DIR" in err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["list", "show", "replay"])
async def test_help_of_rejected_describes_the_command(stanzalake: Command, command: str) -> None:
    status, out, _ = await stanzalake.run("rejected", command, "--help")
    assert status == 0
    assert "dead letter" in out
