"""`stanzalake export` and `stats`, as an operator uses them, beside a running `up` and without."""

import json
import signal
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]  # it ships no types
import pytest
import pytest_asyncio

from devstack.clickhouse import ClickHouse
from devstack.deployment import Deployment
from devstack.process import running
from stanzalake.config import data_dir, settings
from stanzalake.importer.pie import Pie
from stanzalake.importer.source import ArchivedMessage, ArchivedPreferences, Selection
from stanzalake.model.event import VERSION, OwnRetention, Tombstone
from stanzalake.model.position import from_milliseconds
from stanzalake.store import migrations
from stanzalake.store.chdb import sharing
from stanzalake.store.client import Row, Store
from stanzalake.store.own_retention import OwnRetentions
from stanzalake.store.tombstones import TombstoneRow, Tombstones
from stanzalake.xmpp.retraction import retracted
from tests.support.archives import SEALER, row, rows, visible_id
from tests.support.command import Command
from tests.support.deployments import JULIET as HER
from tests.support.deployments import ROMEO as HIM
from tests.support.deployments import deployed, entries, session
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.wait import until

HOST = "capulet.lit"


@pytest.fixture
def stanzalake(tmp_path: Path) -> Command:
    return keeping_all(tmp_path)


def keeping_all(directory: Path) -> Command:
    """Give the command line of an archive of which nothing expires."""
    command = Command(directory)
    command.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "never"
    return command


@contextmanager
def store(stanzalake: Command) -> Iterator[Store]:
    """Open the store that a command works on, with its tables."""
    values = settings.load(stanzalake.settings)
    with closing(Store.for_admin(values)) as opened:
        migrations.apply(opened, values)
        yield opened


def fill(stanzalake: Command, given: list[Row]) -> None:
    with store(stanzalake) as opened:
        opened.insert(given)
        opened.insert(given[::2])


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["embedded", "server", "beside up"]
)
async def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Command]:
    """Give the command line of an archive with ten messages, some of them stored twice.

    For commands that read only: the tests of the module share it.
    """
    directory = tmp_path_factory.mktemp("filled")
    stanzalake = keeping_all(directory)
    async with AsyncExitStack() as stack:
        if request.param == "server":
            server = ClickHouse(directory=directory / "clickhouse")
            await stack.enter_async_context(running(server))
            stanzalake.settings["STANZALAKE_CLICKHOUSE_DSN"] = server.dsn()
        elif request.param == "beside up":
            await stack.enter_async_context(running(stanzalake.up()))
        old = row(rows(1)[0].position - 1, legacy_id="old id")
        fill(stanzalake, [old, *rows(9), row(1, owner=ROMEO)])
        yield stanzalake


@asynccontextmanager
async def shared(stanzalake: Command) -> AsyncIterator[None]:
    """Share the store of a command, as `up` would: that starts a command in half the time."""
    values = settings.load(stanzalake.settings)
    assert values.store_dir is not None
    with data_dir.hold_data_dir(values.data_dir):
        async with sharing.share_store(values.data_dir, values.store_dir):
            yield


async def exported(stanzalake: Command, *arguments: str) -> list[dict[str, str]]:
    status, out, err = await stanzalake.run("export", *arguments, "--format", "jsonl")
    assert status == 0, err
    return [json.loads(line) for line in out.splitlines()]


async def test_an_archive_is_exported_once_and_in_order(filled: Command, tmp_path: Path) -> None:
    lines = await exported(filled, JULIET)
    assert [line["id"] for line in lines] == [
        "old id",
        *(SEALER.seal(JULIET, one.position) for one in rows(9)),
    ]
    assert [line["stanza"] for line in lines[1:]] == [one.stanza for one in rows(9)]

    file = tmp_path / "juliet.xml.zst"
    status, out, err = await filled.run("export", "Juliet@CAPULET.lit", "--output", str(file))
    assert (status, out) == (0, ""), err
    items = list(Pie(file, Selection(frozenset({HOST}))).items())
    assert [(one.owner, one.id) for one in items if isinstance(one, ArchivedMessage)] == [
        (JULIET, line["id"]) for line in lines
    ]


async def test_statistics_agree_with_the_archive(filled: Command) -> None:
    status, out, err = await filled.run("stats", "--json", "--days", "3")
    assert status == 0, err
    found = json.loads(out)
    assert found["owners"] == 2
    assert found["messages"] >= 11
    assert found["disk"]["bytes_on_disk"] > 0
    assert {one["host"]: one["owners"] for one in found["hosts"]} == {HOST: 1, "montague.lit": 1}
    assert len(found["days"]) == 3
    status, out, _ = await filled.run("stats")
    assert status == 0
    assert HOST in out


async def test_an_export_is_filtered_by_peer_and_time(stanzalake: Command) -> None:
    day = 86_400_000
    given = [
        row(from_milliseconds(day * n), peer=f"{n}@x.lit", stanza=stanza(str(n))) for n in range(4)
    ]
    fill(stanzalake, given)
    async with shared(stanzalake):
        for arguments, expected in [
            (("--with", "2@X.lit"), given[2:3]),
            (("--start", "1970-01-02", "--end", "1970-01-04"), given[1:3]),
            (("--start", "1970-01-02T00:00:01Z"), given[2:]),
            (("--end", "1970-01-02T00:00:00Z"), given[:1]),
        ]:
            found = await exported(stanzalake, JULIET, *arguments)
            assert [one["id"] for one in found] == [visible_id(one) for one in expected]


async def test_expired_messages_are_not_exported(stanzalake: Command) -> None:
    now = int(time.time() * 1000)
    fill(stanzalake, [row(from_milliseconds(now - ago)) for ago in (86_401_000, 1000)])
    stanzalake.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = "1d"
    assert len(await exported(stanzalake, JULIET)) == 1


async def test_an_export_and_a_search_may_be_of_one_nick_in_a_room(stanzalake: Command) -> None:
    room = "hall@rooms.capulet.lit"
    nicks = ("Romeo", "romeo", "Romeo")
    private = [
        one._replace(peer=room, peer_resource=nick)
        for one, nick in zip(rows(3), nicks, strict=True)
    ]
    said = [
        one._replace(owner=room, direction="in", kind="groupchat", occupant=ROMEO)
        for one in private
    ]
    fill(stanzalake, [*private, *said])
    async with shared(stanzalake):
        for owner, given in ((JULIET, private), (room, said)):
            for jid, expected in ((room, given), (f"{room}/Romeo", given[::2])):
                found = await exported(stanzalake, owner, "--with", jid)
                assert [one["id"] for one in found] == [visible_id(one) for one in expected]
        status, out, err = await stanzalake.run("search", "1", "--with", f"{room}/Romeo", "--json")
        assert status == 0, err
        assert [json.loads(line)["owner"] for line in out.splitlines()] == [JULIET, room]
        assert (await stanzalake.run("search", "1", "--with", f"{room}/romeo"))[1] == ""


@pytest.mark.parametrize(
    ("retention", "own", "said", "counted"),
    [
        ("never", 0, "nothing expires: PROSODY_ARCHIVE_EXPIRES_AFTER=never, and no owner", 0),
        ("never", 60, "only owners' own retentions expire messages: PROSODY", 1),
        ("1h", 0, "", 1),
        ("1h", 60, "", 2),
    ],
)
async def test_expire_says_whose_messages_expire(
    stanzalake: Command, retention: str, own: int, said: str, counted: int
) -> None:
    now = int(time.time() * 1000)
    hers, his = (from_milliseconds(now - ago) for ago in (120_000, 7_200_000))
    fill(stanzalake, [row(hers), row(his, owner=ROMEO)])
    if own:
        choice = OwnRetention(v=VERSION, owner=JULIET, position=from_milliseconds(now), seconds=own)
        with store(stanzalake) as opened:
            OwnRetentions(opened).write([choice])
    stanzalake.settings["PROSODY_ARCHIVE_EXPIRES_AFTER"] = retention
    status, out, err = await stanzalake.run("expire", "--dry-run")
    assert status == 0, err
    assert out.startswith(f"would be removed: {counted} expired messages")
    assert err.startswith(said)
    assert bool(err) is bool(said)


@pytest.mark.parametrize("owner", ["nobody@capulet.lit", "juliet@capulet.lit.example"])
async def test_an_empty_archive_is_status_1_and_no_file(
    stanzalake: Command, tmp_path: Path, owner: str
) -> None:
    fill(stanzalake, rows(1))
    file = tmp_path / "out.xml"
    status, out, err = await stanzalake.run("export", owner, "--output", str(file))
    assert (status, out) == (1, "")
    assert owner in err
    assert not await exists(file)


async def exists(file: Path) -> bool:
    return file.exists()  # noqa: ASYNC240  # a test may wait for the disk


@pytest.mark.parametrize(
    "arguments",
    [
        (f"{JULIET}/balcony",),
        ("@",),
        (JULIET, "--format", "pdf"),
        (JULIET, "--start", "yesterday"),
        (JULIET, "--output", "/tmp"),  # noqa: S108  # nothing is written
    ],
)
async def test_bad_arguments_are_status_2(stanzalake: Command, arguments: tuple[str, ...]) -> None:
    assert (await stanzalake.run("export", *arguments))[0] == 2


@pytest.mark.parametrize("filled", ["beside up"], indirect=True)
async def test_ahead_lists_the_owners_with_messages_ahead_of_the_clock(filled: Command) -> None:
    status, out, err = await filled.run("ahead")
    assert (status, err) == (0, "")
    assert out == "owners 0\n"


@pytest.mark.parametrize("command", [("stats",), ("export", JULIET), ("ahead",)])
async def test_a_missing_store_is_reported_and_not_created(
    stanzalake: Command, tmp_path: Path, command: tuple[str, ...]
) -> None:
    status, _, err = await stanzalake.run(*command)
    assert status == 1
    assert "STANZALAKE_DATA_DIR" in err
    assert not await exists(tmp_path / "data")


async def test_sigterm_leaves_no_partial_file(stanzalake: Command, tmp_path: Path) -> None:
    large = "x" * 100_000
    fill(stanzalake, [one._replace(stanza=stanza(large)) for one in rows(1000)])
    out = tmp_path / "out"
    out.mkdir()
    process = await stanzalake.start("export", JULIET, "--output", str(out / "juliet.xml"))
    await until(lambda: any(out.iterdir()))
    process.send_signal(signal.SIGTERM)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"Traceback" not in err
    assert list(out.iterdir()) == []


async def test_a_reader_that_has_enough_is_no_failure(stanzalake: Command) -> None:
    fill(stanzalake, [one._replace(stanza=stanza("x" * 10_000)) for one in rows(500)])
    process = await stanzalake.start("export", JULIET)
    assert process.stdout is not None
    await process.stdout.read(10)
    process.stdout._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001  # asyncio has no other way
    _, err = await process.communicate()
    assert process.returncode == 0
    assert json.loads(err)["outcome"] == "interrupted"


async def test_a_conversation_is_exported_beside_a_deployment(tmp_path: Path) -> None:
    async with deployed(tmp_path) as deployment:
        juliet, romeo = await session(deployment, "juliet"), await session(deployment, "romeo")
        await juliet.ask(
            "set",
            "<prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never>"
            "<jid>nurse@localhost</jid></never></prefs>",
        )
        for number in range(20):
            juliet.say(HIM, "wherefore", f"m{number}")
        await romeo.message("m19")
        await entries(juliet)  # a query waits for what was announced before it
        file = tmp_path / "juliet.xml"
        await _run(deployment, "export", HER, "--output", str(file))
        items = list(Pie(file, Selection(frozenset({"localhost"}))).items())
        assert sum(isinstance(one, ArchivedMessage) for one in items) == 20
        [wished] = [one for one in items if isinstance(one, ArchivedPreferences)]
        assert (wished.default, wished.never) == ("always", ("nurse@localhost",))
        counted = json.loads(await _run(deployment, "stats", "--json"))
        assert (counted["messages"], counted["owners"]) == (40, 2)


async def _run(deployment: Deployment, *arguments: str) -> str:
    command = Command(deployment.directory)
    command.settings = dict(deployment.settings)
    status, out, err = await command.run(*arguments)
    assert status == 0, err
    return out


async def test_retracted_content_is_exported_only_where_it_is_kept_and_on_record(
    stanzalake: Command, tmp_path: Path
) -> None:
    [said] = rows(1)
    fill(stanzalake, [said])
    tombstone = Tombstone(
        v=VERSION,
        owner=JULIET,
        position=said.position + 1,
        peer=ROMEO,
        direction="in",
        message_id="m",
        by=ROMEO,
    )
    with store(stanzalake) as opened:
        Tombstones(opened).write([TombstoneRow.of(tombstone, retracted(tombstone))])
    log = tmp_path / "access.log"
    stanzalake.settings["STANZALAKE_ACCESS_LOG"] = str(log)

    status, out, err = await stanzalake.run("export", JULIET, "--with-retracted")
    assert (status, out) == (2, "")
    assert "STANZALAKE_KEEP_RETRACTED" in err
    stanzalake.settings["STANZALAKE_KEEP_RETRACTED"] = "true"
    status, _, err = await stanzalake.run("expire")
    assert status == 0, err
    [hidden] = await exported(stanzalake, JULIET)
    [shown] = await exported(stanzalake, JULIET, "--with-retracted")
    assert retracted(tombstone) in hidden["stanza"]
    assert "<body>" not in hidden["stanza"]
    assert (shown["id"], shown["stanza"]) == (hidden["id"], said.stanza)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["outcome"], line.get("retracted")) for line in lines] == [
        *(("begun", None), ("done", None)),
        *(("begun", True), ("done", True)),
    ]


@pytest.mark.slow
async def test_analysts_rows_are_exported_as_parquet_by_month(
    filled: Command, tmp_path: Path
) -> None:
    directory = tmp_path / "rows"
    arguments = ("export", "--format", "parquet", "--output", str(directory))
    status, out, err = await filled.run(*arguments)
    assert (status, out) == (0, ""), err
    names = {path.name for path in directory.iterdir()}
    assert names == {"traffic-1970-01.parquet", "traffic-2026-09.parquet"}
    path = directory / "traffic-2026-09.parquet"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    table = pd.read_parquet(path)
    assert "is_reply" in table.columns
    assert "body" not in table.columns
    assert len(table) == 10
    assert "juliet" not in table.to_csv()
    status, _, err = await filled.run(*arguments, "--with-texts", "--end", "2026-09-22")
    assert status == 0, err
    bodies = pd.read_parquet(directory / "bodies-2026-09.parquet")
    assert len(bodies) == len(table)
    assert set(bodies["owner_hash"]) == set(table["owner_hash"])
    assert all(bodies["body"])
    assert (await filled.run(*arguments, "--start", "2027-01-01"))[0] == 1


async def test_a_month_of_any_size_is_exported_beside_up(
    stanzalake: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month of a million messages is over the bound of what other processes may read."""
    large = stanza("x" * 1_000_000)
    fill(stanzalake, [one._replace(stanza=large) for one in rows(9)])
    monkeypatch.setitem(sharing.LIMITS, "max_result_bytes", 4_000_000)
    async with shared(stanzalake):
        arguments = ("export", "--format", "parquet", "--output", str(tmp_path / "rows"))
        status, _, err = await stanzalake.run(*arguments, "--with-texts")
    assert status == 0, err
    [path] = (tmp_path / "rows").iterdir()
    assert len(pd.read_parquet(path)) == 9


async def test_a_directory_that_cannot_be_made_is_named(
    stanzalake: Command, tmp_path: Path
) -> None:
    fill(stanzalake, rows(1))
    (tmp_path / "rows").touch()
    arguments = ("export", "--format", "parquet", "--output", str(tmp_path / "rows"))
    status, _, err = await stanzalake.run(*arguments)
    assert status == 1
    said = err.splitlines()[-1]
    assert said == f"stanzalake: {tmp_path / 'rows'} cannot be made: File exists"


@pytest.mark.parametrize("filled", ["server"], indirect=True)
async def test_no_moment_is_too_late_for_an_export(filled: Command, tmp_path: Path) -> None:
    arguments = ("export", "--format", "parquet", "--output", str(tmp_path / "rows"))
    latest = "9999-12-31T23:59-14:00"
    status, _, err = await filled.run(*arguments, "--start", latest)
    assert (status, err.splitlines()[-1]) == (1, "stanzalake: there is no such message")


@pytest.mark.parametrize(
    "arguments",
    [
        ("export",),
        ("export", "--format", "parquet"),
        ("export", "--format", "parquet", "--output", "x", "juliet@capulet.lit"),
        ("export", "--with-texts", "juliet@capulet.lit"),
    ],
)
async def test_options_of_another_format_are_usage_errors(
    stanzalake: Command, arguments: tuple[str, ...]
) -> None:
    assert (await stanzalake.run(*arguments))[0] == 2
