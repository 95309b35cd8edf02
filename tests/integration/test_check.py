"""`stanzalake check` on set-ups that are broken, each in its own way, and on sound ones."""

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.protocol.admin import CreateAclsRequest

from devstack.clickhouse import ClickHouse
from devstack.kafka import Kafka
from devstack.ports import free_port
from devstack.prosody import Prosody
from stanzalake.config import settings
from stanzalake.doctor import checks
from stanzalake.doctor import store as store_check
from stanzalake.doctor.checks import Service
from stanzalake.doctor.finding import Finding, Outcome, failed
from stanzalake.log.base import AWAITED, EVENTS, PROCESSOR_GROUP, REJECTED, Entry
from stanzalake.model.position import from_milliseconds
from stanzalake.store import migrations
from stanzalake.store.client import Store
from tests.support.archives import row
from tests.support.clickhouse import PASSWORDS, USERS, dsn_of
from tests.support.command import Command
from tests.support.components import FakeIngest, FakeQuery
from tests.support.damage import damaged_log
from tests.support.kafka_log import PARTITIONS, PASSWORD, USER, open_kafka, unique_prefix
from tests.support.rooms import ROOMS
from tests.support.rooms import component as muc

HOST = "localhost"
KEY = "a key for tests that is long enough"
OTHER_KEY = "another key for tests of enough characters"
[FAKETIME] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")

StartProsody = Callable[..., Awaitable[Prosody]]


async def look(values: dict[str, str], service: Service = "up") -> list[Finding]:
    return [finding async for finding in checks.run(settings.load(values), service)]


def only_fault(findings: list[Finding]) -> Finding:
    faults = [one for one in findings if one.outcome is Outcome.FAULT]
    assert len(faults) == 1, faults
    assert faults[0].remedy
    return faults[0]


def named(findings: list[Finding], subject: str) -> Finding:
    [one] = [one for one in findings if one.subject == subject]
    return one


def faked(offset: str) -> dict[str, str]:
    """Give the environment of a process whose clock is wrong."""
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.fixture
async def start_prosody(tmp_path: Path) -> AsyncIterator[StartProsody]:
    """Give a function that starts a Prosody; it takes what Prosody takes."""
    servers: list[Prosody] = []

    async def start(**options: object) -> Prosody:
        given: dict[str, object] = {"host": HOST, "id_keys": [KEY], **options}
        server = Prosody(
            directory=tmp_path / f"prosody-{len(servers)}",
            client_port=free_port(),
            component_port=free_port(),
            **given,  # type: ignore[arg-type]  # the tests name them rightly
        )
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.stop()


def beside(prosody: Prosody, directory: Path, **changes: str) -> dict[str, str]:
    """Give the settings of an archive beside a Prosody, that has not been started yet."""
    return {
        "STANZALAKE_HOSTS": HOST,
        "STANZALAKE_COMPONENT_SECRET": prosody.component_secret,
        "STANZALAKE_ID_KEYS": KEY,
        "STANZALAKE_DATA_DIR": str(directory / "data"),
        "STANZALAKE_PROSODY": f"127.0.0.1:{prosody.component_port}",
        **changes,
    }


async def test_checking_a_healthy_deployment_changes_nothing(
    start_prosody: StartProsody, tmp_path: Path
) -> None:
    values = beside(await start_prosody(), tmp_path)
    findings = await look(values)
    assert {one.outcome for one in findings} == {Outcome.FINE}, findings
    assert not (tmp_path / "data").exists()
    assert "not connected just now" in named(findings, component(values, "ingest")).text


async def test_rooms_are_checked_like_accounts_but_for_the_policy(
    start_prosody: StartProsody, tmp_path: Path
) -> None:
    options = f'stanzalake_id_keys = "{KEY}"\nmuc_log_expires_after = "2 weeks"'
    prosody = await start_prosody(extra_host=muc(options), policy="true")
    assert "muc_log_expires_after has no effect" in prosody.log_path.read_text()
    hosts = f"{HOST}, {ROOMS}"
    values = beside(prosody, tmp_path, STANZALAKE_HOSTS=hosts, PROSODY_ARCHIVE_POLICY="true")
    kept = named(await look(values), f"host {ROOMS}, retention")
    assert kept.outcome is Outcome.WARNING
    assert "muc_log_expires_after is 2 weeks and has no effect" in kept.text
    values["STANZALAKE_EXPIRE_HOSTS"] = f"{ROOMS}=14d"
    findings = await look(values)
    assert {one.outcome for one in findings} == {Outcome.FINE}, findings
    of_rooms = [one.subject for one in findings if ROOMS in one.subject]
    assert f"host {ROOMS}, policy" in of_rooms
    values["PROSODY_ARCHIVE_EXCLUDE_NAMESPACES"] = "urn:xmpp:receipts"
    [remedy] = [one.remedy for one in await look(values) if ROOMS in one.subject and one.remedy]
    assert f'Component "{ROOMS}" "muc"' in remedy


def component(values: dict[str, str], name: str) -> str:
    return f"component {name}.stanzalake at {values['STANZALAKE_PROSODY']}"


@pytest.mark.parametrize("policy", ["kick_new", "kick_old"])
async def test_running_services_stay_connected(
    start_prosody: StartProsody, tmp_path: Path, policy: str
) -> None:
    prosody = await start_prosody(extra_global=f'component_conflict_resolve = "{policy}"')
    ingest, query = [
        fake(jid, prosody.component_secret, prosody.component_port)
        for fake, jid in ((FakeIngest, "ingest.stanzalake"), (FakeQuery, "query.stanzalake"))
    ]
    await ingest.start()
    await query.start()
    values = beside(prosody, tmp_path)
    for _ in range(3):
        findings = await look(values)
    assert {one.outcome for one in findings} == {Outcome.FINE}, findings
    assert "; connected just now" in named(findings, component(values, "query")).text
    await ingest.stop()
    await query.stop()
    log = prosody.log_path.read_text()
    assert log.count("successfully authenticated") == 2
    assert "conflict" not in log


async def test_every_fault_of_prosody_is_found(start_prosody: StartProsody, tmp_path: Path) -> None:
    prosody = await start_prosody()

    async def fault(service: Service = "up", **changes: str) -> Finding:
        return only_fault(await look(beside(prosody, tmp_path, **changes), service))

    wrong = await fault("query", STANZALAKE_COMPONENT_SECRET="not the word")
    assert wrong.text == "Prosody refused the secret"
    assert "STANZALAKE_COMPONENT_SECRET equal component_secret" in wrong.remedy

    nameless = await fault(STANZALAKE_INGEST_JID="archive.example")
    assert nameless.text == 'Prosody\'s configuration has no Component "archive.example"'
    assert 'add Component "archive.example"' in nameless.remedy

    foreign = await fault(STANZALAKE_ID_KEYS=OTHER_KEY)
    assert foreign.subject == f"host {HOST}, id key"
    assert "stanzalake_id_keys" in foreign.remedy
    assert KEY not in str(foreign)
    assert OTHER_KEY not in str(foreign)

    away = await fault(STANZALAKE_PROSODY=f"127.0.0.1:{free_port()}")
    assert "cannot be reached" in away.text
    assert "start Prosody" in away.remedy

    clients = await fault("query", STANZALAKE_PROSODY=f"127.0.0.1:{prosody.client_port}")
    assert "component_ports" in clients.remedy

    stranger = await fault(STANZALAKE_HOSTS=f"{HOST}, capulet.lit")
    assert stranger.subject == "host capulet.lit"
    assert 'put "stanzalake" into modules_enabled' in stranger.remedy


async def test_a_rotated_id_key_is_accepted(start_prosody: StartProsody, tmp_path: Path) -> None:
    values = beside(await start_prosody(), tmp_path, STANZALAKE_ID_KEYS=f"{OTHER_KEY},{KEY}")
    assert not failed(await look(values))


async def test_rules_that_differ_between_prosody_and_the_services(
    start_prosody: StartProsody, tmp_path: Path
) -> None:
    prosody = await start_prosody(policy="true", smart=True, excluded=["urn:b", "urn:a"])
    same = {
        "PROSODY_ARCHIVE_POLICY": "true",
        "PROSODY_MAM_SMART_ENABLE": "true",
        "PROSODY_ARCHIVE_EXCLUDE_NAMESPACES": "urn:a,urn:b",
    }
    assert not failed(await look(beside(prosody, tmp_path, **same)))
    for name in same:
        others = {other: value for other, value in same.items() if other != name}
        found = only_fault(await look(beside(prosody, tmp_path, **others)))
        assert found.subject == f"host {HOST}, policy"
        assert [other for other in same if other in found.text] == [name]
        assert f'VirtualHost "{HOST}"' in found.remedy


async def test_a_host_without_mod_stanzalake_is_a_fault(
    start_prosody: StartProsody, tmp_path: Path
) -> None:
    values = beside(await start_prosody(modules=()), tmp_path)
    findings = await look(values)
    found = only_fault(findings)
    assert found.subject == f"host {HOST}"
    assert 'in place of "mam"' in found.remedy
    assert named(findings, component(values, "ingest")).outcome is Outcome.UNKNOWN


async def test_mod_mam_beside_mod_stanzalake_is_a_fault(
    start_prosody: StartProsody, tmp_path: Path
) -> None:
    late = tmp_path / "modules" / "mod_late.lua"
    late.parent.mkdir()
    late.write_text(
        'module:hook_global("server-started", function ()\n'
        '\trequire "core.modulemanager".load(module.host, "mam");\nend);\n'
    )
    prosody = await start_prosody(modules=("stanzalake", "late"), module_dirs=[late.parent])
    found = only_fault(await look(beside(prosody, tmp_path)))
    assert "mod_mam is loaded besides" in found.text
    assert 'take "mam" out' in found.remedy


@pytest.mark.parametrize("option", ["component_stanza_size_limit", "s2s_stanza_size_limit"])
async def test_a_stanza_limit_under_a_pages_parts_is_a_fault(
    start_prosody: StartProsody, tmp_path: Path, option: str
) -> None:
    """B7: the stream would be cut at every large page."""
    prosody = await start_prosody(extra_global=f"{option} = 64 * 1024")
    found = only_fault(await look(beside(prosody, tmp_path)))
    assert "65,536 bytes" in found.text
    assert "component_stanza_size_limit" in found.remedy


async def test_clock_skew_of_prosody_is_a_fault(
    start_prosody: StartProsody, tmp_path: Path
) -> None:
    prosody = await start_prosody(environment=faked("-90"))
    found = only_fault(await look(beside(prosody, tmp_path)))
    assert found.subject == f"host {HOST}, clock"
    assert found.text.startswith(("89.", "90."))
    assert "NTP" in found.remedy


async def test_positions_far_ahead_of_the_clock_are_a_fault(
    start_prosody: StartProsody, tmp_path: Path
) -> None:
    prosody = await start_prosody()
    await prosody.stop()
    ahead = from_milliseconds(1000 * int(time.time() + 2 * 3600))
    (prosody.data_path / HOST / "stanzalake" / "acked").write_text(f"0 {ahead}\n")
    await prosody.start()
    found = only_fault(await look(beside(prosody, tmp_path)))
    assert found.subject == f"host {HOST}, positions"
    assert found.text.startswith("the last one is 2.0 hours ahead")


async def test_components_that_no_host_uses_are_a_fault(
    start_prosody: StartProsody, tmp_path: Path
) -> None:
    unused = 'Component "query.stanzalake"\ncomponent_secret = "wherefore"'
    prosody = await start_prosody(
        query=["other.stanzalake"], component_secret="wherefore", extra_host=unused
    )
    found = only_fault(await look(beside(prosody, tmp_path)))
    assert found.text == "it does not use the component query.stanzalake"
    assert "stanzalake_query" in found.remedy


async def test_an_unauthenticated_client_learns_nothing(start_prosody: StartProsody) -> None:
    prosody = await start_prosody()
    for text in ("wrong", "", "<check/>"):
        reader, writer = await asyncio.open_connection("127.0.0.1", prosody.component_port)
        writer.write(
            b"<stream:stream xmlns='jabber:component:accept' to='query.stanzalake' "
            b"xmlns:stream='http://etherx.jabber.org/streams'>"
            b"<check xmlns='urn:stanzalake:check:1' to='localhost'>%s</check>" % text.encode()
        )
        answer = await reader.read()
        assert b"not-authorized" in answer
        assert b"checked" not in answer
        writer.close()


async def test_a_silent_listener_does_not_delay_the_check(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        prosody = Prosody(directory=tmp_path, client_port=1, component_port=silent.getsockname()[1])
        begun = time.monotonic()
        found = only_fault(await look(beside(prosody, tmp_path)))
        assert "no answer within" in found.text
        assert time.monotonic() - begun < checks.TIMEOUT


async def test_all_invalid_settings_are_reported_together(tmp_path: Path) -> None:
    stanzalake = Command(tmp_path)
    stanzalake.settings |= {
        "PROSODY_ARCHIVE_EXPIRES_AFTER": "a while",
        "PROSODY_ARCHIVE_POLICY": "perhaps",
        "STANZALAKE_TYPO": "1",
    }
    del stanzalake.settings["STANZALAKE_HOSTS"]
    status, out, _ = await stanzalake.run("check")
    assert status == 1
    for name in (*stanzalake.settings, "STANZALAKE_HOSTS"):
        told = f"✗ settings: {name}" in out
        assert told == (name not in Command(tmp_path).settings or name == "STANZALAKE_HOSTS"), name
    assert out.count("    → ") == 4
    assert "wherefore" not in out


async def test_the_command_reports_every_fault_and_fails(tmp_path: Path) -> None:
    stanzalake = Command(tmp_path)
    stanzalake.settings["STANZALAKE_DATA_DIR"] = "/dev/null/x"
    status, out, _ = await stanzalake.run("check")
    assert status == 1
    assert "✗ data directory: /dev/null/x does not exist, and " in out
    assert "    → make it: install --directory" in out
    assert f"✗ Prosody {stanzalake.settings['STANZALAKE_PROSODY']}: cannot be reached" in out
    assert "? host capulet.lit" in out
    status, out, _ = await stanzalake.run("check", "--json", "--service", "ingest")
    assert status == 1
    found = [json.loads(line) for line in out.splitlines()]
    assert {one["outcome"] for one in found} == {"fine", "fault", "unknown"}
    assert not any(one["subject"].startswith("store") for one in found)


async def test_help_lists_the_checks(tmp_path: Path) -> None:
    status, out, _ = await Command(tmp_path).run("check", "--help")
    assert status == 0
    for word in ("data directory", "Kafka", "mod_mam", "id key", "Status 1"):
        assert word in out


async def test_an_unwritable_data_directory_is_a_fault(tmp_path: Path) -> None:
    stanzalake = Command(tmp_path)
    (tmp_path / "data").mkdir(mode=0o500)
    # Root may write everywhere, unless it is without that right.
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    status, out, _ = await stanzalake.run("check", within=without)
    assert status == 1
    assert f"✗ data directory: {tmp_path}/data belongs to" in out
    assert "may not write there" in out
    assert "chown" in out


async def test_a_damaged_log_is_a_fault(tmp_path: Path) -> None:
    stanzalake = Command(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "log.sqlite").write_text("this is no database, and long enough " * 30)
    _, out, _ = await stanzalake.run("check", "--service", "ingest")
    assert "✗ log: the log" in out
    assert "Lost and damaged records" in out


async def test_a_damaged_page_of_the_log_is_a_fault(tmp_path: Path) -> None:
    stanzalake = Command(tmp_path)
    file = tmp_path / "data" / "log.sqlite"
    file.parent.mkdir()
    await damaged_log(file, PROCESSOR_GROUP)
    status, out, _ = await stanzalake.run("check", "--service", "up")
    assert status == 1
    assert f"✗ log: {file} is damaged: " in out
    assert "Lost and damaged records" in out


async def test_the_http_address_is_checked(tmp_path: Path) -> None:
    prosody = Prosody(directory=tmp_path, client_port=1, component_port=free_port())
    port = free_port()
    values = beside(prosody, tmp_path, STANZALAKE_HTTP_ADDRESS=f"127.0.0.1:{port}")
    subject = f"HTTP 127.0.0.1:{port}"
    assert named(await look(values), subject).outcome is Outcome.FINE
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    found = named(await look(values), subject)
    assert found.outcome is Outcome.FAULT
    assert "another program" in found.text
    server.close()
    values["STANZALAKE_HTTP_ADDRESS"] = "192.0.2.1:9410"
    assert named(await look(values), "HTTP 192.0.2.1:9410").outcome is Outcome.FAULT


def of_kafka(address: str, prefix: str, **changes: str) -> dict[str, str]:
    """Give the settings of a processor, whose only part that exists is Kafka."""
    return {
        "STANZALAKE_HOSTS": HOST,
        "STANZALAKE_COMPONENT_SECRET": "wherefore",
        "STANZALAKE_ID_KEYS": KEY,
        "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS": address,
        "STANZALAKE_KAFKA_REPLICATION": "1",
        "STANZALAKE_KAFKA_PARTITIONS": str(PARTITIONS),
        "STANZALAKE_KAFKA_TOPIC_PREFIX": prefix,
        "STANZALAKE_LOG_RETENTION": "never",
        "STANZALAKE_CLICKHOUSE_DSN": f"clickhouse://127.0.0.1:{free_port()}/",
        **changes,
    }


def of_topics(findings: list[Finding]) -> list[Finding]:
    return [one for one in findings if one.subject.startswith(("Kafka", "topic", "group"))]


async def test_a_healthy_kafka_is_reported_with_the_lag(kafka: Kafka) -> None:
    prefix = unique_prefix()
    values = of_kafka(kafka.address, prefix)
    missing = of_topics(await look(values, "processor"))
    assert [one.outcome for one in missing] == ["fine", "warning", "warning", "fine", "warning"]
    log = await open_kafka(kafka, prefix)
    await log.append(EVENTS, [Entry(f"{n}@capulet.lit", b"{}") for n in range(20)])
    findings = of_topics(await look(values, "processor"))
    assert {one.outcome for one in findings} == {Outcome.FINE}, findings
    group = f"group {prefix}{PROCESSOR_GROUP}"
    assert named(findings, group).text == "20 records to be archived"
    consumer = await log.consumer(EVENTS, PROCESSOR_GROUP)
    ends: dict[int, int] = {}
    while sum(ends.values()) < 20:
        ends |= {one.partition: one.offset + 1 for one in await consumer.read(100, 1.0)}
    await consumer.commit(ends)
    assert named(await look(values, "processor"), group).text == "0 records to be archived"
    assert sorted([record.value async for record in log.scan(EVENTS)]) == [b"{}"] * 20
    await log.close()


async def test_records_that_kafka_deleted_unread_are_a_fault(kafka: Kafka) -> None:
    prefix = unique_prefix()
    values = of_kafka(kafka.address, prefix)
    log = await open_kafka(kafka, prefix)
    for number in range(5):
        await log.append(EVENTS, [Entry("juliet@capulet.lit", b"%d" % number)])
    consumer = await log.consumer(EVENTS, PROCESSOR_GROUP)
    [first, *_] = await consumer.read(5, 20.0)
    await consumer.commit({first.partition: 1})
    place = TopicPartition(prefix + EVENTS, first.partition)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.delete_records({place: RecordsToDelete(before_offset=3)})
    await admin.close()
    group = f"group {prefix}{PROCESSOR_GROUP}"
    lost, lag = [one for one in await look(values, "processor") if one.subject == group]
    assert lost.outcome is Outcome.FAULT
    assert f"deleted 2 records of partition {first.partition}" in lost.text
    assert lag.text == "2 records to be archived"
    await log.close()


async def test_topics_with_other_settings_are_reported(kafka: Kafka) -> None:
    prefix = unique_prefix()
    options = {"cleanup.policy": "compact", "retention.ms": "1000", "max.message.bytes": "1000"}
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics(
        [
            NewTopic(prefix + EVENTS, 1, 1, topic_configs=options),
            NewTopic(prefix + REJECTED, PARTITIONS + 1, 1, topic_configs={"retention.ms": "-1"}),
        ]
    )
    await admin.close()
    findings = of_topics(await look(of_kafka(kafka.address, prefix), "processor"))
    told = {(one.outcome, one.subject, one.text.split(":")[0]) for one in findings}
    events = f"topic {prefix}{EVENTS}"
    setting = f"STANZALAKE_KAFKA_PARTITIONS={PARTITIONS}"
    assert told >= {
        ("fault", events, f"has 1 partitions, not {setting}"),
        ("fault", events, "has cleanup.policy=compact, not delete"),
        ("fault", events, "has retention.ms=1000, not -1"),
        ("fault", events, "has max.message.bytes=1000"),
        ("warning", f"topic {prefix}{REJECTED}", f"has {PARTITIONS + 1} partitions, not {setting}"),
    }
    assert all(one.remedy for one in findings if one.outcome is not Outcome.FINE)


async def test_an_unreachable_or_too_small_kafka_is_a_fault(kafka: Kafka) -> None:
    values = of_kafka(f"127.0.0.1:{free_port()}", unique_prefix())
    [found] = of_topics(await look(values, "processor"))
    assert "Kafka does not answer" in found.text
    assert "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS" in found.remedy
    values = of_kafka(kafka.address, unique_prefix(), STANZALAKE_KAFKA_REPLICATION="3")
    found = named([f for f in await look(values, "processor") if f.outcome == "fault"], "Kafka")
    assert "there are only 1 brokers" in found.text


async def test_a_refused_kafka_login_is_a_fault(kafka: Kafka) -> None:
    values = of_kafka(
        f"127.0.0.1:{kafka.sasl_port}",
        unique_prefix(),
        STANZALAKE_KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        STANZALAKE_KAFKA_SASL_MECHANISM="PLAIN",
        STANZALAKE_KAFKA_USERNAME=USER,
        STANZALAKE_KAFKA_PASSWORD="not the word",
    )
    [found] = of_topics(await look(values, "processor"))
    assert "log-in" in found.remedy
    values["STANZALAKE_KAFKA_PASSWORD"] = PASSWORD
    assert of_topics(await look(values, "processor"))[0].outcome is Outcome.FINE


async def allow(kafka: Kafka, topic: str, *operations: int) -> None:
    """Let the user do only this with a topic, by the numbers of Kafka's AclOperation."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    for operation in operations:
        rule = CreateAclsRequest(2, topic, 3, f"User:{USER}", "*", operation, 3)
        answer: Any = await admin._send_request(rule)  # noqa: SLF001  # it has no other way
        assert [code for code, _ in answer.creation_responses] == [0]
    await admin.close()


async def test_missing_kafka_rights_are_a_fault(kafka: Kafka) -> None:
    prefix = unique_prefix()
    await (await open_kafka(kafka, prefix)).close()
    read, write, describe, describe_configs = 3, 4, 8, 10
    await allow(kafka, prefix + EVENTS, describe, describe_configs)
    await allow(kafka, prefix + REJECTED, describe, describe_configs, read)
    values = of_kafka(
        f"127.0.0.1:{kafka.sasl_port}",
        prefix,
        STANZALAKE_KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        STANZALAKE_KAFKA_SASL_MECHANISM="PLAIN",
        STANZALAKE_KAFKA_USERNAME=USER,
        STANZALAKE_KAFKA_PASSWORD=PASSWORD,
    )
    services: dict[Service, list[str]] = {
        "ingest": [f"{EVENTS}: the user lacks Write", f"{REJECTED}: the user lacks Write"],
        "processor": [f"{EVENTS}: the user lacks Read", f"{REJECTED}: the user lacks Write"],
        "query": [f"{EVENTS}: the user lacks Write"],
    }
    for service, lacking in services.items():
        faults = [f for f in of_topics(await look(values, service)) if f.outcome == "fault"]
        told = [f"{one.subject.removeprefix('topic ' + prefix)}: {one.text}" for one in faults]
        assert told == lacking, service
        assert all("kafka-acls.sh" in one.remedy for one in faults)
    awaited = prefix + AWAITED
    await allow(kafka, awaited, describe_configs)  # none that lets the user know of the topic
    pages: tuple[Service, ...] = ("processor", "query")
    for service in pages:
        warnings = [f for f in await look(values, service) if f.subject == f"topic {awaited}"]
        assert [f.outcome for f in warnings] == [Outcome.WARNING] * 2
        for right, one in zip(("Read", "Write"), warnings, strict=True):
            assert one.text.startswith(f"the user lacks {right}: pages wait")
            assert f"--operation {right} --topic {awaited}" in one.remedy
    assert not [f for f in await look(values, "ingest") if AWAITED in f.subject]
    await allow(kafka, awaited, read)
    for service in pages:
        found = named(await look(values, service), f"topic {awaited}")
        assert found.text.startswith("the user lacks Write")
    await allow(kafka, awaited, write)
    for service in pages:
        assert named(await look(values, service), f"topic {awaited}").outcome is Outcome.FINE
    log = await open_kafka(kafka, prefix)
    assert [record async for record in log.scan(EVENTS)] == []
    await log.close()


@pytest.fixture
async def clickhouse(tmp_path: Path) -> AsyncIterator[ClickHouse]:
    """Give a ClickHouse with the users that the project ships."""
    server = ClickHouse(directory=tmp_path / "clickhouse", users=USERS, environment=PASSWORDS)
    await server.start()
    yield server
    await server.stop()


def of_store(server: ClickHouse, user: str, **changes: str) -> dict[str, str]:
    """Give the settings of a service, of which only the store matters."""
    return {
        "STANZALAKE_HOSTS": HOST,
        "STANZALAKE_COMPONENT_SECRET": "wherefore",
        "STANZALAKE_ID_KEYS": KEY,
        "STANZALAKE_PROSODY": f"127.0.0.1:{free_port()}",
        "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "STANZALAKE_CLICKHOUSE_DSN": dsn_of(server, user),
        **changes,
    }


async def of_the_store(values: dict[str, str], service: Service) -> list[Finding]:
    return [one for one in await look(values, service) if one.subject.startswith("store")]


def migrate(values: dict[str, str]) -> None:
    loaded = settings.load(values)
    store = Store.for_admin(loaded)
    migrations.apply(store, loaded)
    store.close()


async def test_every_fault_of_clickhouse_is_found(clickhouse: ClickHouse) -> None:
    behind = only_fault(await of_the_store(of_store(clickhouse, "query"), "query"))
    assert "lacks 001 messages" in behind.text
    assert "stanzalake migrate" in behind.remedy

    admin = {"STANZALAKE_CLICKHOUSE_ADMIN_DSN": dsn_of(clickhouse, "admin")}
    await asyncio.to_thread(migrate, of_store(clickhouse, "processor", **admin))
    services: tuple[Service, Service] = ("processor", "query")
    for user in services:
        findings = await of_the_store(of_store(clickhouse, user), user)
        assert {one.outcome for one in findings} == {Outcome.FINE}, findings

    lacking = only_fault(await of_the_store(of_store(clickhouse, "query"), "processor"))
    assert lacking.text == (
        "stanzalake_query lacks INSERT ON messages, INSERT ON messages_preferences, "
        "INSERT ON messages_tombstones, INSERT ON messages_retention, "
        "ALTER DELETE ON messages, ALTER DELETE ON messages_preferences, "
        "ALTER DELETE ON messages_tombstones, ALTER UPDATE(stanza) ON messages"
    )
    assert "GRANT INSERT ON messages TO stanzalake_query" in lacking.remedy

    both = await of_the_store(of_store(clickhouse, "query", **admin), "up")
    assert [one.subject for one in both if one.outcome == "fault"] == ["store, rights"]

    shorter = {"PROSODY_ARCHIVE_EXPIRES_AFTER": "30d"}
    findings = await of_the_store(of_store(clickhouse, "query", **shorter), "query")
    due = [one for one in findings if one.outcome is Outcome.WARNING]
    assert any("view" in one.text for one in due)
    assert all("stanzalake migrate" in one.remedy for one in due)

    with closing(Store(dsn_of(clickhouse, "processor"), "messages")) as store:
        store.insert([row(from_milliseconds(1000 * (int(time.time()) - 60 * 86_400)))])
    findings = await of_the_store(of_store(clickhouse, "query", **shorter), "query")
    [waiting] = [one for one in findings if one.subject == "store, retention"]
    assert waiting.text == "it was shortened: 1 messages are hidden, but not removed"
    assert "stanzalake expire" in waiting.remedy

    monthly = of_store(clickhouse, "query", STANZALAKE_PARTITION_BY="month")
    findings = await of_the_store(monthly, "query")
    [other] = [one for one in findings if one.subject == "store, partitions"]
    assert "is partitioned by year" in other.text
    assert "stanzalake repartition" in other.remedy

    values = of_store(clickhouse, "query")
    values["STANZALAKE_CLICKHOUSE_DSN"] = clickhouse.dsn("stanzalake_query", "not the word")
    refused = only_fault(await of_the_store(values, "query"))
    assert "'stanzalake_query'" in refused.text
    assert "password" in refused.remedy
    assert "not the word" not in str(refused)

    values["STANZALAKE_CLICKHOUSE_DSN"] = f"clickhouse://127.0.0.1:{free_port()}/stanzalake"
    away = only_fault(await of_the_store(values, "query"))
    assert "ClickHouse does not answer" in away.text
    assert "start ClickHouse" in away.remedy


async def test_clock_skew_of_clickhouse_is_a_fault(clickhouse: ClickHouse, tmp_path: Path) -> None:
    stanzalake = Command(tmp_path)
    admin = {"STANZALAKE_CLICKHOUSE_ADMIN_DSN": dsn_of(clickhouse, "admin")}
    await asyncio.to_thread(migrate, of_store(clickhouse, "processor", **admin))
    # The engine asks the kernel for the time: it is this machine that is wrong.
    stanzalake.settings |= of_store(clickhouse, "query") | faked("-1h")
    status, out, _ = await stanzalake.run("check", "--service", "query")
    assert status == 1
    assert "✗ store, clock: 3600.0 s ahead of this machine's" in out


async def test_a_check_does_not_create_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's directory is where the settings say, however the DSN is written."""
    monkeypatch.chdir(tmp_path)
    values = settings.load(Command(tmp_path).settings | {"STANZALAKE_CLICKHOUSE_DSN": "chdb://new"})
    [finding] = await store_check.checker("up")(values)
    assert f"{tmp_path / 'new'} is not there yet" in finding.text
    assert not (tmp_path / "new").exists()
