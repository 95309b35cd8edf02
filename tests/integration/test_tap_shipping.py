"""Shipping the journal to ingest, across crashes of either side, in a real Prosody."""

import json
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from stanzalake.model.event import decode
from tests.support.clients import RawClient, condition, parsed, stanza_ids
from tests.support.components import FakeIngest
from tests.support.journals import size
from tests.support.server import HOST, INGEST, JULIET, ROMEO, Server, StartServer
from tests.support.wait import until

WAITING = 3
"""Exit status of a tap that is not well."""
FAST = "stanzalake_ack_timeout = 0.3"


async def say_and_wait(juliet: RawClient, romeo: RawClient, *names: str) -> None:
    for name in names:
        juliet.say(ROMEO, name, name)
    for name in names:
        await romeo.message(name)


def bodies(ingest: FakeIngest, owner: str) -> list[str]:
    """Give the bodies of an owner's events in order of position, repeats dropped."""
    own = {e.position: e.stanza for e in ingest.events if e.owner == owner}
    found = [parsed(own[p]).findtext("{jabber:client}body") for p in sorted(own)]
    return [body or "" for body in found]


async def test_events_written_without_ingest_are_shipped_later(server: Server) -> None:
    await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await say_and_wait(juliet, romeo, "a", "b")
    assert stanza_ids(await romeo.message("a"))
    ingest = await server.ingest()
    await ingest.arrival("b", ROMEO)
    assert bodies(ingest, ROMEO) == bodies(ingest, JULIET) == ["a", "b"]
    assert len(ingest.batches) == 1


async def test_shipping_resumes_when_ingest_reconnects(server: Server) -> None:
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    first = await server.ingest()
    await say_and_wait(juliet, romeo, "a")
    await first.arrival("a", ROMEO)
    await first.stop()
    await say_and_wait(juliet, romeo, "b", "c")
    second = await server.ingest()
    await second.arrival("c", ROMEO)
    assert bodies(second, ROMEO) == ["b", "c"]
    await say_and_wait(juliet, romeo, "d")
    await second.arrival("d", ROMEO)
    assert server.log.count("Events wait in the journal") == 1
    assert server.log.count("taken by ingest again") == 1


@pytest.mark.parametrize("answer", ["silence", "wait", "cancel", "empty"])
async def test_an_unacknowledged_batch_is_sent_again(
    start_server: StartServer, answer: str
) -> None:
    server = await start_server(FAST)
    ingest, juliet = await server.ingest(), await server.client("juliet")
    ingest.answer = {
        "silence": lambda _: None,
        "wait": lambda iq: ingest.error(iq, "wait", "resource-constraint"),
        "cancel": lambda iq: ingest.error(iq, "cancel", "internal-server-error"),
        "empty": lambda iq: ingest.result(iq).replace("'result'", "'error'"),
    }[answer]
    juliet.say(ROMEO, "a", "a")
    await until(lambda: len(ingest.batches) >= 2)
    assert ingest.batches[0] == ingest.batches[1]
    ingest.answer = ingest.result
    juliet.say(ROMEO, "b", "b")
    await ingest.arrival("b", ROMEO)
    await until(lambda: "taken by ingest again" in server.log)
    assert server.log.count("Events wait in the journal") == 1


async def test_a_rejected_batch_is_not_sent_again(start_server: StartServer) -> None:
    server = await start_server(FAST)
    ingest, juliet = await server.ingest(), await server.client("juliet")
    ingest.answer = lambda iq: ingest.error(iq, "modify", "bad-request")
    juliet.say(ROMEO, "a", "a")
    await ingest.arrival("a", ROMEO)
    ingest.answer = ingest.result
    juliet.say(ROMEO, "b", "b")
    await ingest.arrival("b", ROMEO)
    assert bodies(ingest, ROMEO) == ["a", "b"]
    assert len(ingest.batches) == 2
    assert "stanzalake.rejected" in server.log


async def test_a_crash_repeats_only_unacknowledged_events(
    start_server: StartServer,
) -> None:
    server = await start_server(FAST)
    await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    first = await server.ingest()
    await say_and_wait(juliet, romeo, "a")
    (segment,), acked = server.journal.glob("*.ndjson"), server.journal / "acked"
    # Both archives' events: they may have gone in two batches.
    await until(
        lambda: acked.exists() and acked.read_text().startswith(f"{segment.stat().st_size} ")
    )
    await first.stop()
    names = [f"n{number}" for number in range(100)]
    await say_and_wait(juliet, romeo, *names)
    announced = {name: stanza_ids(await romeo.message(name)) for name in names}
    assert all(announced.values())
    await server.crash()
    ingest = await server.ingest()
    await ingest.arrival("n99", ROMEO)
    assert bodies(ingest, ROMEO) == bodies(ingest, JULIET) == names
    assert len(ingest.events) == 200


async def test_a_torn_line_is_skipped_and_positions_increase(server: Server) -> None:
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await say_and_wait(juliet, romeo, "a")
    await server.prosody.kill()
    (segment,) = server.journal.glob("*.ndjson")
    with segment.open("ab") as file:
        file.write(b'{"type":"message","v":1,"position":9999999999')
    await server.prosody.start()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await say_and_wait(juliet, romeo, "b")
    ingest = await server.ingest()
    await ingest.arrival("b", ROMEO)
    assert bodies(ingest, ROMEO) == bodies(ingest, JULIET) == ["a", "b"]
    positions = [e.position for e in ingest.events]
    assert positions == sorted(set(positions))


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_vanished_segment_is_said_with_its_events_and_shipping_goes_on(
    start_server: StartServer, *, stopped: bool
) -> None:
    server = await start_server("stanzalake_segment_size = 65536\nstanzalake_batch_bytes = 8192")
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    for number in range(30):
        juliet.say(ROMEO, "x" * 9000, f"m{number}")
    await romeo.message("m29")
    if stopped:
        await server.prosody.stop()
    segment = sorted(server.journal.glob("*.ndjson"))[1]
    events = segment.read_bytes().count(b"\n")
    segment.unlink()
    if stopped:
        await server.prosody.start()
        juliet = await server.client("juliet")
    ingest = await server.ingest()
    juliet.say(ROMEO, "after", "after")
    await ingest.arrival("after", ROMEO)
    assert len(ingest.events) == 62 - events
    assert server.log.count(f"LOST: {events} events") == 1
    heartbeat = server.journal / "status"
    await until(lambda: json.loads(heartbeat.read_text())["lost"] == events)
    code, status = await server.prosody.control("mod_stanzalake", "status")
    assert code == WAITING
    assert f"{events} events vanished" in status


@pytest.mark.requirement("313-10", "313-146")
async def test_positions_increase_when_the_clock_steps_back(server: Server) -> None:
    await server.prosody.kill()
    future = 2**63 - 10_000
    line = f'{{"type":"message","v":1,"position":{future}}}\n'
    (server.journal / f"{0:020d}.ndjson").write_text(line)
    (server.journal / "acked").write_text(f"{len(line)} 0\n")
    await server.prosody.start()
    ingest, juliet = await server.ingest(), await server.client("juliet")
    juliet.say(ROMEO, "a", "a")
    await ingest.arrival("a", ROMEO)
    first, second = (e.position for e in ingest.events)
    assert future < first < second < 2**63


async def test_acknowledged_segments_are_deleted_except_the_newest(
    start_server: StartServer,
) -> None:
    server = await start_server("stanzalake_segment_size = 65536\nstanzalake_batch_bytes = 8192")
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    for number in range(30):
        juliet.say(ROMEO, "x" * 9000, f"m{number}")
    await romeo.message("m29")
    assert len(list(server.journal.glob("*.ndjson"))) > 3
    ingest = await server.ingest()
    await until(lambda: len(ingest.events) == 60)
    await until(lambda: len(list(server.journal.glob("*.ndjson"))) == 1)
    assert all(len(batch) == 1 for batch in ingest.batches)
    [segment] = server.journal.glob("*.ndjson")
    oldest = decode(segment.read_bytes().splitlines()[0]).position
    await ingest.stop()
    await server.crash()
    second = await server.ingest()
    juliet = await server.client("juliet")
    juliet.say(ROMEO, "after", "after")
    await second.arrival("after", ROMEO)
    assert min(e.position for e in second.events) >= oldest


async def test_a_full_journal_delivers_without_ids_until_there_is_room(
    start_server: StartServer,
) -> None:
    server = await start_server("stanzalake_journal_limit = 65536")
    await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    names = [f"m{number}" for number in range(12)]
    for name in names:
        juliet.say(ROMEO, "x" * 9000, name)
    ids = [stanza_ids(await romeo.message(name)) for name in names]
    assert ids[0]
    assert not ids[-1]
    assert server.log.count("delivered but not archived") == 1
    ingest = await server.ingest()
    acked = server.journal / "acked"
    await until(lambda: acked.exists() and not acked.read_text().startswith("0 "))
    await say_and_wait(juliet, romeo, "room")
    assert stanza_ids(await romeo.message("room"))
    await ingest.arrival("room", ROMEO)
    assert server.log.count("Messages are archived again") == 1


async def test_a_message_too_large_for_an_event_is_delivered_without_an_id(
    start_server: StartServer,
) -> None:
    server = await start_server(extra_global="c2s_stanza_size_limit = 4 * 1024 * 1024")
    ingest = await server.ingest()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    for number in range(2):
        juliet.say(ROMEO, "'" * 200_000, f"large{number}")
        assert stanza_ids(await romeo.message(f"large{number}")) == []
        juliet.say(ROMEO, f"small{number}", f"small{number}")
        await ingest.arrival(f"small{number}", ROMEO)
    assert len(ingest.events) == 4
    # Said once, of whom, and not as the journal's trouble, which would come and go.
    assert server.log.count("is delivered but not archived: it is too large") == 1
    assert f"A message of {JULIET} is delivered" in server.log
    assert "archived again" not in server.log


async def test_batches_and_their_window_are_bounded(
    start_server: StartServer,
) -> None:
    server = await start_server("stanzalake_batch_bytes = 4096\nstanzalake_window = 2")
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    names = [f"m{number}" for number in range(60)]
    await say_and_wait(juliet, romeo, *names)
    ingest = await server.ingest()
    held = list[Element]()
    ingest.answer = held.append
    await until(lambda: len(held) == 2)
    assert all(1 < len(batch) < 20 for batch in ingest.batches)
    ingest.answer = ingest.result
    # The later one first: nothing is lost, nothing comes twice.
    for iq in reversed(held):
        ingest.send_raw(ingest.result(iq))
    await ingest.arrival("m59", ROMEO)
    assert bodies(ingest, ROMEO) == names
    assert len(ingest.events) == 120


async def test_several_ingest_components_take_turns(start_server: StartServer) -> None:
    other = "ingest-2.stanzalake"
    server = await start_server(ingest=[INGEST, other])
    one, two = await server.ingest(), await server.ingest(other)
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await say_and_wait(juliet, romeo, "a")
    await until(lambda: len(one.events) + len(two.events) == 2)
    await say_and_wait(juliet, romeo, "b")
    await until(lambda: len(one.events) + len(two.events) == 4)
    assert one.events
    assert two.events
    await two.stop()
    await say_and_wait(juliet, romeo, "e", "f")
    await one.arrival("f", ROMEO)


async def test_a_restart_repeats_no_acknowledged_event(server: Server) -> None:
    first = await server.ingest()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await say_and_wait(juliet, romeo, "a")
    await first.arrival("a", ROMEO)
    written = size(server.journal, "*.ndjson")
    await until((server.journal / "acked").exists)
    await until(lambda: (server.journal / "acked").read_text().startswith(f"{written} "))
    await first.stop()
    await server.prosody.stop()
    await server.prosody.start()
    second = await server.ingest()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await say_and_wait(juliet, romeo, "b")
    await second.arrival("b", ROMEO)
    assert bodies(second, ROMEO) == bodies(second, JULIET) == ["b"]


async def test_a_reload_loses_nothing(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "mod_reloader.lua").write_text(
        'local modulemanager = require "core.modulemanager";\n'
        'module:hook("message/host", function (event)\n'
        '\tmodulemanager.reload(module.host, "stanzalake");\n'
        "\treturn true;\n"
        "end, 10);\n"
    )
    server = await start_server(modules=["stanzalake", "reloader"], module_dirs=[tmp_path])
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    query = await server.query()
    query.answer = lambda _: ""
    await say_and_wait(juliet, romeo, "a")
    held = romeo.send_iq("set", "<query xmlns='urn:xmpp:mam:2'/>")
    await romeo.ask("get", "<ping xmlns='urn:xmpp:ping'/>")
    juliet.send_raw(f"<message to='{HOST}'/>")
    assert condition(await romeo.answer(held)) == "cancel/service-unavailable"
    await say_and_wait(juliet, romeo, "b")
    ingest = await server.ingest()
    await ingest.arrival("b", ROMEO)
    assert bodies(ingest, ROMEO) == bodies(ingest, JULIET) == ["a", "b"]
    query.answer = query.fin
    answer = await juliet.ask("set", "<query xmlns='urn:xmpp:mam:2'/>")
    assert answer.get("type") == "result"
    assert "raceback" not in server.log
