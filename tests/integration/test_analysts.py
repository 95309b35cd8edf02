"""Analysts on a ClickHouse server: the views they may read, and attempts to read more."""

import asyncio
import re
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from xml.etree import ElementTree as ET

import pytest

from devstack.clickhouse import ClickHouse
from stanzalake.errors import StanzalakeError
from stanzalake.model.retention import FOREVER
from stanzalake.store.aggregates import Aggregates
from stanzalake.store.client import Store
from stanzalake.store.dictionary import VIEWS_OF_DAYS, VIEWS_OF_MONTHS
from tests.support.analysts import ANSWERED, ASKED, BELOW, BODIES, ROWS, VIEWS
from tests.support.clickhouse import (
    PASSWORDS,
    USERS,
    dsn_of,
    for_the_engine,
    load,
    migrated,
)
from tests.support.documents import ROOT, panels, questions
from tests.support.events import JULIET, ROMEO

ANALYSTS = USERS.with_name("analysts.xml")
ANALYSTS_PASSWORDS = {
    "STANZALAKE_ANALYST_PASSWORD": "analyst",
    "STANZALAKE_ANALYST_BODIES_PASSWORD": "analyst of bodies",
}
GUIDE = Path(__file__).parents[2] / "docs" / "analytics.md"
DAY = date(2026, 9, 21)
ANSWERS: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = {
    "Messages of each day and host": (
        ["day", "host", "sent", "received"],
        [(DAY, "capulet.lit", 1, 1)],
    ),
    "Owners who wrote, as a share of those with messages": (
        ["day", "host", "owners", "share"],
        [(DAY, "capulet.lit", 1, 1.0)],
    ),
    "How long owners take to answer": (["day", "answers", "p50", "p90"], [(DAY, 1, 5.0, 5.0)]),
    "The conversations with most messages": (["one", "other", "total"], [(ANY, ANY, 2)]),
    "Which other servers are written to": (
        ["peer_host", "messages", "owners"],
        [("montague.lit", 1, 1)],
    ),
    "The words that are written most": (
        ["word", "times"],
        [("hello", 1), ("leave", 1), ("me", 1)],
    ),
}
"""The columns and rows of queries of the guide; tests/contract/test_questions.py has the others."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """Give a ClickHouse with all the users the project ships, and two messages."""
    directory, passwords = tmp_path_factory.mktemp("analysts"), PASSWORDS | ANALYSTS_PASSWORDS
    server = ClickHouse(directory=directory, users=USERS, environment=passwords)
    (directory / "users.d").mkdir(mode=0o700)
    (directory / "users.d" / ANALYSTS.name).write_text(for_the_engine(ANALYSTS.read_text()))
    (directory / "users.d" / "narrow.xml").write_text(users_of_one_view())
    with asyncio.Runner() as runner:
        runner.run(server.start())
        fill(server)
        yield server
        runner.run(server.stop())


def users_of_one_view() -> str:
    """Give users each of whom has the grants that the guide names for one view."""
    users = "".join(
        f"<only_{view}><password>{view}</password><networks><ip>::/0</ip></networks>"
        f"<profile>default</profile><quota>default</quota><grants>{grants}</grants></only_{view}>"
        for view, names in grants_of_one_view().items()
        for grants in [
            "".join(f"<query>GRANT SELECT ON stanzalake.messages_{n}</query>" for n in names)
        ]
    )
    return f"<clickhouse><users>{users}</users></clickhouse>"


def grants_of_one_view() -> dict[str, list[str]]:
    of_days = {view: [view, f"{view}_computed", "dirty", "dirty_traffic"] for view in VIEWS_OF_DAYS}
    of_months = {
        view: [
            *(view, f"{view}_computed", "dirty_months"),
            *of_days["owners" if view == "monthly_owners" else "pairs"],
        ]
        for view in VIEWS_OF_MONTHS
    }
    return {**of_days, **of_months, "traffic": ["traffic"]}


def fill(server: ClickHouse) -> None:
    store = migrated(dsn_of(server, "admin"))
    store.insert(ROWS)
    store.close()


def opened(server: ClickHouse, user: str) -> Store:
    password = ANALYSTS_PASSWORDS[f"STANZALAKE_{user.upper()}_PASSWORD"]
    return Store.of(load(server.dsn(f"stanzalake_{user}", password)))


@pytest.mark.parametrize("user", ["analyst", "analyst_bodies"])
async def test_analysts_read_the_views_without_addresses(guarded: ClickHouse, user: str) -> None:
    store = opened(guarded, user)
    for view in VIEWS:
        text = str(store.select(f"SELECT * FROM messages_{view}"))
        assert "2026" in text
        for secret in (JULIET, ROMEO, ASKED, ANSWERED):
            assert secret.partition("@")[0] not in text
    store.close()


async def test_a_user_of_one_view_needs_the_grants_that_the_guide_names(
    guarded: ClickHouse,
) -> None:
    for view in VIEWS:
        store = Store.of(load(guarded.dsn(f"only_{view}", view)))
        assert store.select(f"SELECT * FROM messages_{view}"), view
        with pytest.raises(StanzalakeError):
            store.select("SELECT stanza FROM messages")
        store.close()


@pytest.mark.parametrize("user", ["analyst", "analyst_bodies"])
async def test_analysts_cannot_read_below_the_views(guarded: ClickHouse, user: str) -> None:
    store = opened(guarded, user)
    for statement in BELOW:
        with pytest.raises(StanzalakeError) as caught:
            store.select(statement)
        assert not caught.value.retry, statement
    names = {name for [name] in store.select("SELECT DISTINCT table FROM system.columns")}
    assert not names.intersection({"messages", "messages_secret", "messages_preferences"})
    store.close()


async def test_only_the_bodies_analyst_reads_bodies(guarded: ClickHouse) -> None:
    without, bodies = opened(guarded, "analyst"), opened(guarded, "analyst_bodies")
    for statement in BODIES:
        with pytest.raises(StanzalakeError):
            without.select(statement)
    assert ASKED not in str(without.select("SELECT * FROM merge('stanzalake', 'messages')"))
    said = bodies.select("SELECT body FROM messages_bodies ORDER BY at")
    assert said == [(ASKED,), (ANSWERED,), ("hello",)]
    without.close()
    bodies.close()


async def test_the_queries_of_the_guide_return_the_documented_columns(guarded: ClickHouse) -> None:
    given = questions()
    for heading, (columns, expected) in ANSWERS.items():
        user = "analyst_bodies" if "_bodies" in given[heading] else "analyst"
        store = opened(guarded, user)
        assert store.select(given[heading]) == expected, heading
        described = store.select(f"DESCRIBE ({given[heading]})")
        assert [row[0] for row in described] == columns
        store.close()


async def test_an_analyst_may_ask_every_question_of_the_guide_and_the_dashboard(
    guarded: ClickHouse,
) -> None:
    store = opened(guarded, "analyst")
    for heading, statement in {**questions(), **panels()}.items():
        if "_bodies" not in statement:
            assert isinstance(store.select(statement), list), heading
    store.close()


async def test_a_processor_computes_days_and_months_with_its_own_grants(
    guarded: ClickHouse,
) -> None:
    store = Store.of(load(dsn_of(guarded, "processor")))
    found = Aggregates(store, "", FOREVER)
    [days] = found.batches([DAY, DAY - timedelta(days=1)])
    found.compute(days)
    found.compute_month(DAY.replace(day=1))
    assert found.due_months() == []
    for _ in range(2):
        found.read_recent((DAY - date(1970, 1, 1)).total_seconds())
    found.remove_former(time.time() + 7200)
    store.close()
    admin = Store.of(load(dsn_of(guarded, "admin")))
    assert admin.select("SELECT sum(messages) FROM messages_daily_rows") == [(3,)]
    assert admin.select("SELECT sum(messages) FROM messages_monthly_senders_rows") == [(2,)]
    assert admin.select("SELECT count() FROM messages_staged") == [(0,)]
    assert admin.select("SELECT count(), uniqExact(as_of) FROM messages_recent") == [(3, 1)]
    admin.close()


def test_the_guide_lists_the_grants_of_each_user() -> None:
    file = ET.parse(ANALYSTS)  # noqa: S314  # the project's own
    table = re.compile(r"^\| `(messages_\w+)` \| .+ \| (yes|no) \| yes \|$", re.MULTILINE)
    told = table.findall(GUIDE.read_text())
    for user in file.findall("users/*"):
        granted = {str(grant.text).rpartition(".")[2] for grant in user.findall("grants/query")}
        everything = user.tag == "stanzalake_analyst_bodies"
        assert {view for view, first in told if everything or first == "yes"} == {
            view
            for view in granted
            if not view.endswith(
                ("_local", "_computed", "_dirty", "_dirty_months", "_dirty_traffic")
            )
        }


async def test_no_plan_shows_the_key_of_the_hashes(guarded: ClickHouse) -> None:
    admin, analyst = Store.of(load(dsn_of(guarded, "admin"))), opened(guarded, "analyst")
    [halves] = admin.select("SELECT key.1, key.2 FROM messages_secret")
    for kind in ("PLAN actions = 1, indexes = 1", "QUERY TREE", "PIPELINE"):
        plan = str(analyst.select(f"EXPLAIN {kind} SELECT * FROM messages_traffic"))
        assert not any(str(half) in plan for half in halves), kind
    admin.close()
    analyst.close()


def test_analysts_are_read_only_and_bounded() -> None:
    """The engine of the tests knows the profile, and heeds it of its own user alone: see below."""
    file = ET.parse(ANALYSTS)  # noqa: S314  # the project's own
    [profile] = file.findall("profiles/*")
    assert profile.findtext("readonly") == "1"
    assert int(profile.findtext("max_memory_usage", "0")) > 0
    assert int(profile.findtext("max_execution_time", "0")) > 0
    constraints = profile.findall("constraints/*")
    assert all(x.find("changeable_in_readonly") is not None for x in constraints)
    for user in file.findall("users/*"):
        assert user.findtext("profile") == profile.tag
        for grant in user.findall("grants/query"):
            assert (grant.text or "").startswith("GRANT SELECT ON stanzalake.messages_")


ENGINE = """\
import sys

from stanzalake.store.chdb.engine import Engine, EngineError, Statement

engine = Engine(f"{sys.argv[1]}/store?config-file={sys.argv[1]}/config.xml")
for settings in sys.argv[2:]:
    try:
        engine.run(Statement(f"SELECT 1 SETTINGS {settings}".encode()))
        print("taken")
    except EngineError as error:
        print(error.code)
"""
DRIVERS = [
    "max_execution_time = 60",
    "max_result_rows = 200, result_overflow_mode = 'break', async_insert = 0",
    "extremes = 0, max_block_size = 8192, session_timezone = 'Europe/Rome'",
    "enable_http_compression = 1, http_zlib_compression_level = 3",
    "send_progress_in_http_headers = 1, http_headers_progress_interval_ms = 1000",
    "cancel_http_readonly_queries_on_client_close = 1",
]
BEYOND = ["max_execution_time = 3600", "max_result_rows = 100000000", "max_block_size = 1000000"]
READONLY, CONSTRAINED = "164", "452"


def configure(directory: Path, profile: str) -> None:
    """Write a configuration in which the engine's own user has the profile."""
    directory.mkdir()
    (directory / "config.xml").write_text(
        f"<clickhouse><users_config>{directory}/users.xml</users_config></clickhouse>"
    )
    (directory / "users.xml").write_text(
        "<clickhouse><users><default><password/><networks><ip>::/0</ip></networks>"
        "<profile>stanzalake_analysis</profile><quota>default</quota></default></users>"
        f"<profiles><default/>{profile}</profiles><quotas><default/></quotas></clickhouse>"
    )


async def outcomes(directory: Path, profile: str, *settings: str) -> list[str]:
    """Give what the engine makes of settings, when the profile is that of its own user."""
    configure(directory, profile)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ENGINE, str(directory), *settings), cwd=ROOT, stdout=PIPE
    )
    out, _ = await process.communicate()
    return out.decode().split()


async def test_what_drivers_send_is_taken_within_bounds(tmp_path: Path) -> None:
    """ClickHouse's own test is that changeable_in_readonly lifts the one of the other."""
    [profile] = re.findall(
        "<stanzalake_analysis>.*</stanzalake_analysis>",
        for_the_engine(ANALYSTS.read_text()),
        re.DOTALL,
    )
    bounded = profile.replace("<readonly>1</readonly>", "")
    found = await outcomes(tmp_path / "bounded", bounded, *DRIVERS, *BEYOND)
    assert found == ["taken"] * len(DRIVERS) + [CONSTRAINED] * len(BEYOND)
    named = set(re.findall(r"(\w+) =", " ".join(DRIVERS)))
    constraints = ET.parse(ANALYSTS).findall("profiles/*/constraints/*")  # noqa: S314  # as above
    assert named == {constraint.tag for constraint in constraints}
    unheard = "additional_table_filters = {'stanzalake.messages': 'stanza != 1'}"
    assert await outcomes(tmp_path / "readonly", profile, unheard) == [READONLY]
