"""Analysts beside a running `up`: its views over HTTP, read-only and without texts."""

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from devstack.ports import free_port
from stanzalake.config import settings
from stanzalake.errors import StanzalakeError
from stanzalake.store.client import Store
from stanzalake.store.dictionary import VIEWS_OF_DAYS, VIEWS_OF_MONTHS
from tests.support.analysts import ASKED, BELOW, BODIES, ROWS, VIEWS
from tests.support.command import Command
from tests.support.documents import ROOT, questions
from tests.support.events import JULIET, ROMEO
from tests.support.processes import Run

PASSWORD = "the password of analysts"
ROUNDABOUT = [
    "SET ROLE ALL",
    "SET readonly = 0",
    "SELECT 1; SELECT stanza FROM messages",
    "SET ROLE ALL; SELECT stanza FROM messages",
    "SELECT 1 SETTINGS max_memory_usage = 0, readonly = 0",
    "SELECT 1 INTO OUTFILE '{out}'",
    "SELECT 1 /* ' */ INTO/**/OUTFILE '{out}' TRUNCATE",
    "INSERT INTO FUNCTION file('{out}') SELECT 1",
    "KILL QUERY WHERE true",
    "SYSTEM STOP MERGES",
    "SHOW PROCESSLIST",
    "USE system",
    "SELECT * FROM Python(form)",
    "SELECT file('/etc/hostname')",
    "SELECT `file`('/etc/hostname')",
    "SELECT * APPLY(file) FROM (SELECT '/etc/hostname' AS path)",
    "SELECT * APPLY file FROM (SELECT '/etc/hostname' AS path)",
    "SELECT 1 AS `'`, file('/etc/hostname') AS `'`",
    """SELECT 1 AS "'", FILE('/etc/hostname'), file('/etc/hostname') AS "'" """,
    r"SELECT '\'', file('/etc/hostname'), '\''",
    "SELECT '''', file('/etc/hostname'), ''''",
    "SELECT $$'$$, file('/etc/hostname'), $$'$$",
    "SELECT * FROM eval('SELECT file(''/etc/hostname'')')",
    "SELECT joinGet('messages_erased', 'known', toUInt64(0))",
    "SELECT * FROM filesystem('/etc')",
    "DESCRIBE TABLE file('/etc/hostname', 'LineAsString')",
    "BACKUP TABLE messages TO File('{out}')",
    "EXPLAIN SELECT * FROM messages_traffic",
    "SELECT sleepEachRow(3) FROM numbers(10000000) SETTINGS max_execution_time = 3600",
]


@pytest.fixture
async def port(run: Run, tmp_path: Path) -> int:
    """Give the analysts' port of a running `up` with a few messages."""
    command, port = Command(tmp_path), free_port()
    command.settings |= {
        "PROSODY_ARCHIVE_EXPIRES_AFTER": "never",
        "STANZALAKE_ANALYSTS_ADDRESS": f"127.0.0.1:{port}",
        "STANZALAKE_ANALYST_PASSWORD": PASSWORD,
    }
    await run(command.up())
    with closing(Store.of(settings.load(command.settings))) as operator:
        operator.insert(ROWS)
        assert operator.select("SELECT count() FROM messages") == [(len(ROWS),)]
        assert operator.select("SELECT count() > 0 FROM system.processes") == [(True,)]
    return port


@pytest.fixture
def analyst(port: int) -> Iterator[Store]:
    """Give an analyst's connection."""
    dsn = f"clickhouse://stanzalake_analyst:{quote(PASSWORD)}@127.0.0.1:{port}/default"
    with closing(Store(dsn, "messages")) as store:
        yield store


async def test_analysts_beside_up_read_the_views_and_nothing_else(
    analyst: Store, tmp_path: Path
) -> None:
    for view in VIEWS:
        text = str(analyst.select(f"SELECT * FROM messages_{view}"))
        assert "2026" in text
        assert not any(secret.partition("@")[0] in text for secret in (JULIET, ROMEO, ASKED))
    for statement in questions().values():
        if "messages_bodies" not in statement:
            analyst.select(statement)
    out = tmp_path / "out"
    for statement in (*BELOW, *BODIES, *ROUNDABOUT):
        with pytest.raises(StanzalakeError):
            analyst.select(statement.format(out=out) if "{out}" in statement else statement)
    assert not out.exists()
    assert analyst.select("SELECT count() FROM system.processes") == [(0,)]
    assert ASKED not in str(analyst.select("SELECT * FROM merge('default', '.*') LIMIT 9"))
    assert analyst.select("SELECT 'INTO OUTFILE', {x:UInt8}", {"x": 1}) == [("INTO OUTFILE", 1)]


async def test_a_jdbc_driver_logs_in_browses_and_queries(port: int) -> None:
    """By the calls of which DBeaver makes its tree."""
    url = f"jdbc:clickhouse://127.0.0.1:{port}/default?compress=false"
    statement = (
        "SELECT host, sum(messages) AS total FROM messages_daily GROUP BY host ORDER BY host"
    )
    process = await asyncio.create_subprocess_exec(
        *("java", "-cp", f"{ROOT}/.cache/jdbc/*", ROOT / "tests/support/jdbc/Query.java"),
        *(url, "stanzalake_analyst", PASSWORD, "messages_daily", statement, "SELECT 1 WHERE false"),
        stdout=PIPE,
        stderr=STDOUT,
    )
    out, _ = await process.communicate()
    product, schema, *shown = out.decode().splitlines()
    assert (product, schema) == ("ClickHouse", "default")
    views = [line.removesuffix("\tVIEW") for line in shown if line.endswith("\tVIEW")]
    assert {f"messages_{view}" for view in (*VIEWS_OF_DAYS, *VIEWS_OF_MONTHS, "traffic")} <= {
        *views
    }
    assert not {"messages", "messages_bodies", "messages_recent", "messages_secret"} & {*views}
    columns, rows = shown[len(views) : -2], shown[-2:]
    assert [line.split("\t")[0] for line in columns] == [
        *("day", "host", "kind", "direction", "messages", "as_of")
    ]
    assert columns[0] == "day\tDate\tDay in UTC"
    assert rows == ["capulet.lit\t2", "rooms.capulet.lit\t1"]
