"""The schema of a cluster, as far as a single engine can run it.

The engine's cluster has two shards, both itself: distribution is real, replication and
`ON CLUSTER` are not. A read from both shards returns rows twice, so a correct read of an archive
uses one. Replicated tables can be created with an in-memory Keeper, but not written.
"""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from devstack.clickhouse import ClickHouse
from stanzalake.errors import StoreRefused
from stanzalake.model.event import VERSION, Activation, Erasure
from stanzalake.model.page import Selection
from stanzalake.model.position import MAX_POSITION, from_milliseconds
from stanzalake.model.retention import FOREVER
from stanzalake.store import migrations, statistics
from stanzalake.store.aggregates import Aggregates
from stanzalake.store.archive_reader import ArchiveReader
from stanzalake.store.client import Store, cluster_settings
from stanzalake.store.erasures import Erasures
from stanzalake.store.histories import Histories
from stanzalake.store.messages import MessageRange, Messages
from stanzalake.store.migrations import Target
from stanzalake.store.partitions import Partitions
from stanzalake.store.search import SearchQuery, search
from tests.support.archives import EVERYTHING, SEALER, rows
from tests.support.clickhouse import PASSWORDS, USERS, dsn_of, load
from tests.support.events import JULIET
from tests.support.full_text import text_query
from tests.support.processes import Run

CLUSTER = "demo-1"
SHARD = """
<shard>
    <internal_replication>1</internal_replication>
    <replica><host>127.0.0.1</host><port>9000</port></replica>
</shard>
"""
CONFIG = f"""
<clickhouse>
    <macros><shard>1</shard><replica>one</replica></macros>
    <default_replica_path>/clickhouse/tables/{{uuid}}/{{shard}}</default_replica_path>
    <default_replica_name>{{replica}}</default_replica_name>
    <tcp_port>9000</tcp_port>
    <remote_servers><{CLUSTER}>{2 * SHARD}</{CLUSTER}></remote_servers>
</clickhouse>
"""
KEEPER = CONFIG.replace(
    "<macros>", "<zookeeper><implementation>testkeeper</implementation></zookeeper><macros>"
)
# The engine has no native port at which it could connect to itself.
OPTIONS = {"settings": {**cluster_settings(30), "prefer_localhost_replica": 1}}
MESSAGES = """\
CREATE TABLE IF NOT EXISTS messages_local ON CLUSTER 'demo-1' (
    owner String CODEC(ZSTD(1)),
    position UInt64 CODEC(Delta, ZSTD(1)),
    peer String CODEC(ZSTD(1)),
    peer_resource String CODEC(ZSTD(1)),
    direction Enum8('in' = 1, 'out' = 2),
    kind LowCardinality(String),
    stanza String CODEC(ZSTD(3)),
    legacy_id String CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') ALIAS
        fromUnixTimestamp64Milli(toInt64(bitShiftRight(position, 16)), 'UTC')
)
ENGINE = ReplicatedReplacingMergeTree
PARTITION BY toYear(fromUnixTimestamp64Milli(toInt64(bitShiftRight(position, 16)), 'UTC'))
ORDER BY (owner, position)
SETTINGS index_granularity = 512, fsync_after_insert = 1, fsync_part_directory = 1"""
SPREAD = """\
CREATE OR REPLACE TABLE messages ON CLUSTER 'demo-1' AS messages_local
ENGINE = Distributed('demo-1', currentDatabase(), 'messages_local', cityHash64(owner))"""
RECORD = """\
CREATE TABLE IF NOT EXISTS messages_migrations ON CLUSTER 'demo-1' (
    number UInt16, name String, applied_at DateTime('UTC') DEFAULT now('UTC'), version String
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{uuid}/all', '{shard}-{replica}')
ORDER BY number"""


class OneServer(Store):
    """A store whose engine is the whole cluster, without replicas."""

    def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run an ON CLUSTER statement locally, on plain engines."""
        here = statement.replace(f" ON CLUSTER '{CLUSTER}'", "")
        plain = re.sub(r"Replicated(\w+)(\('[^']*', '[^']*'(, (\w+))?\))?", _plain_engine, here)
        super().command(plain, parameters)


def _plain_engine(replicated: re.Match[str]) -> str:
    version = replicated[4]
    return replicated[1] + (f"({version})" if version else "")


def words(statement: str) -> str:
    return re.sub(r"\s+", " ", statement).replace("( ", "(").replace(" )", ")").strip()


def statements() -> Iterator[str]:
    target = Target("messages", CLUSTER)
    yield from target.record()
    for migration in migrations.all_migrations():
        yield from target.statements(migration)
    yield target.alter("MODIFY COLUMN stanza CODEC(NONE)")


@pytest.fixture
async def cluster(run: Run, tmp_path: Path) -> ClickHouse:
    """Give a ClickHouse with a cluster of itself."""
    return await run(configured(tmp_path, CONFIG))


def configured(directory: Path, config: str, users: Path | None = None) -> ClickHouse:
    file = directory / "cluster.xml"
    file.write_text(config)
    return ClickHouse(
        directory=directory / "clickhouse", config=file, users=users, environment=PASSWORDS
    )


@pytest.fixture
async def store(cluster: ClickHouse) -> AsyncIterator[Store]:
    """Give the migrated store of the cluster."""
    values = load(cluster.dsn(), STANZALAKE_CLICKHOUSE_CLUSTER=CLUSTER)
    store = OneServer(cluster.dsn(), "messages", OPTIONS)
    assert migrations.apply(store, values)
    yield store
    store.close()


def test_a_cluster_gets_replicated_and_distributed_tables() -> None:
    record, _, messages, spread, *_ = statements()
    assert [words(record), words(messages), words(spread)] == [
        words(RECORD),
        words(MESSAGES),
        words(SPREAD),
    ]
    assert words(list(statements())[-1]) == (
        "ALTER TABLE messages_local ON CLUSTER 'demo-1' MODIFY COLUMN stanza CODEC(NONE)"
    )


def test_every_local_table_has_a_distributed_one() -> None:
    made = [m[1] for s in statements() if (m := re.search(r"TABLE (?:IF NOT EXISTS )?(\w+)", s))]
    local = {name for name in made if name.endswith("_local")}
    assert local
    assert {name.removesuffix("_local") for name in local} < set(made)


async def test_the_engine_parses_every_statement(cluster: ClickHouse) -> None:
    store = await asyncio.to_thread(Store.of, load(cluster.dsn()))
    for statement in statements():
        [(text,)] = store.select("SELECT formatQuery({sql:String})", {"sql": statement})
        assert "ON CLUSTER" in text or text.startswith("INSERT")
    store.close()


async def test_the_engine_creates_every_table(tmp_path: Path) -> None:
    server = configured(tmp_path, KEEPER)
    await server.start()
    store = await asyncio.to_thread(Store.of, load(server.dsn()))
    views = re.compile(
        "VIEW|_(bodies|traffic|retracted|own_horizons|hidden)_local"
    )  # need columns that are added by an ALTER
    for statement in filter(lambda text: "CREATE" in text and not views.search(text), statements()):
        # ON CLUSTER would give all servers the same one.
        place = f" UUID '{uuid.uuid4()}'" if "ENGINE = Replicated" in statement else ""
        store.command(statement.replace(f" ON CLUSTER '{CLUSTER}'", place))
    made = store.select("SELECT name, engine FROM system.tables WHERE name LIKE 'messages%'")
    assert ("messages_local", "ReplicatedReplacingMergeTree") in made
    assert ("messages_migrations", "ReplicatedMergeTree") in made
    assert ("messages", "Distributed") in made
    store.close()
    await server.kill()  # the Keeper in memory does not let it end


async def test_the_schema_of_a_cluster_follows_the_settings(
    cluster: ClickHouse, store: Store
) -> None:
    values = load(
        cluster.dsn(),
        STANZALAKE_CLICKHOUSE_CLUSTER=CLUSTER,
        PROSODY_ARCHIVE_EXPIRES_AFTER="90d",
        PROSODY_ARCHIVE_COMPRESSION="false",
    )
    assert migrations.apply(store, values) == []
    migrations.check(store)
    [(view,), (text,)] = store.select(
        "SELECT create_table_query FROM system.tables"
        " WHERE name IN ('messages_local', 'messages_bodies_local') ORDER BY name"
    )
    assert "`stanza` String CODEC(NONE)" in text
    assert "- 7776000, 0)" in view


async def test_an_archive_is_read_from_one_shard(store: Store) -> None:
    given = rows(5)
    store.insert(given)
    store.insert(given[:2])
    assert store.select("SELECT count() FROM messages") in ([(10,)], [(14,)])
    [(own,)] = store.select("SELECT count() FROM messages WHERE owner = {o:String}", {"o": JULIET})
    assert own in {5, 7}
    reader = ArchiveReader(store, SEALER, FOREVER, sharded=True)
    archive = reader.archive(JULIET)
    page = await archive.read(Selection(), 3)
    assert ([item.position for item in page.items], page.more) == (
        [row.position for row in given[:3]],
        True,
    )
    assert await archive.count(Selection(), MAX_POSITION) == (5, 5)
    await reader.close()


async def test_all_reads_of_an_archive_skip_unused_shards(
    cluster: ClickHouse, store: Store
) -> None:
    store.insert(rows(3))
    settings = {**OPTIONS["settings"], "force_optimize_skip_unused_shards": 1}
    forced = Store(cluster.dsn(), "messages", {"settings": settings})
    with pytest.raises(StoreRefused):
        forced.select("SELECT count() FROM messages")
    reader = ArchiveReader(forced, SEALER, FOREVER, sharded=True)
    archive = reader.archive(JULIET)
    assert len((await archive.read(Selection(), 9, backward=True)).items) == 3
    assert await archive.find(["made up"]) == {}
    assert await archive.stored([rows(1)[0].position]) == {rows(1)[0].position}
    await reader.close()
    forced.close()


async def test_partitions_change_on_every_shard(store: Store) -> None:
    given = rows(5)
    store.insert(given)
    changed = Partitions(store, Target("messages", CLUSTER, partition_by="month"))
    assert changed.is_due()
    changed.change()
    assert not changed.is_due()
    read = "SELECT DISTINCT position FROM messages ORDER BY position"
    assert [position for (position,) in store.select(read)] == [row.position for row in given]
    assert store.select("SELECT DISTINCT _partition_id FROM messages_local") == [("202609",)]
    assert store.select("SELECT name FROM system.tables WHERE name LIKE '%repart%'") == []
    store.insert(given)


async def test_analysts_views_read_every_shard(store: Store) -> None:
    store.insert(rows(3))
    read = "SELECT count(), uniqExact(at) FROM messages_traffic"
    assert store.select(read) == [(6, 3)]
    assert store.select("SELECT DISTINCT body FROM messages_bodies ORDER BY 1") == [
        ("1",),
        ("2",),
        ("3",),
    ]
    [(sent,)] = store.select("SELECT messages FROM messages_pairs")
    assert sent == 6


async def test_days_are_aggregated_over_all_shards(store: Store) -> None:
    store.insert(rows(3))
    found = Aggregates(store, CLUSTER, FOREVER)
    found.compute([date(2026, 9, 21)])
    found.compute_month(date(2026, 9, 1))
    assert store.select("SELECT messages FROM messages_daily_rows") == [(6,)]
    assert store.select("SELECT count() FROM messages_computed") == [(1,)]
    assert store.select("SELECT messages FROM messages_monthly_conversations_rows") == [(6,)]
    assert store.select("SELECT count() FROM messages_staged") == [(0,)]


async def test_readers_of_all_archives_leave_out_erased_messages(store: Store) -> None:
    given = rows(5)
    store.insert(given)
    gone = given[2].position
    Erasures(store).write([Erasure(v=VERSION, owner=JULIET, position=gone, end=gone)])
    left = [row.position for row in given[2:]]
    queries = [SearchQuery(text_query(str(n)), JULIET) for n in range(1, 6)]
    results = (result for query in queries for result in search(store, query, 99, EVERYTHING))
    found = [result.position for result in results]
    assert sorted(set(found)) == left
    assert statistics.read(store, 1, FOREVER).messages == 2 * len(left)  # once from each shard
    assert [row.position for row in Messages(store).read(MessageRange(JULIET))] == left
    reader = ArchiveReader(store, SEALER, FOREVER, sharded=True)
    page = await reader.archive(JULIET).read(Selection(), 9)
    assert [item.position for item in page.items] == left
    await reader.close()


async def test_histories_are_sharded_by_owner(store: Store) -> None:
    said = [
        Activation(v=VERSION, owner=f"{n}@capulet.lit", position=from_milliseconds(n))
        for n in range(20)
    ]
    histories = Histories(store)
    histories.write(said)
    for state in said:
        assert histories.read([state.owner]) == {state.owner: (state,)}


async def test_each_service_user_has_the_grants_it_needs_on_a_cluster(
    run: Run, tmp_path: Path
) -> None:
    server = await run(configured(tmp_path, CONFIG, USERS))
    admin, processor, query = (
        OneServer(dsn_of(server, user), "messages", OPTIONS)
        for user in ("admin", "processor", "query")
    )
    migrations.apply(admin, load(dsn_of(server, "admin"), STANZALAKE_CLICKHOUSE_CLUSTER=CLUSTER))
    processor.insert(rows(3))
    assert Histories(processor).read([JULIET]) == {JULIET: ()}
    reader = ArchiveReader(query, SEALER, FOREVER, sharded=True)
    assert await reader.archive(JULIET).count(Selection(), 0) == (3, 0)
    for store in (processor, query):
        migrations.check(store)
    await reader.close()
    for store in (admin, processor, query):
        store.close()
    assert await server.stop() == 0
