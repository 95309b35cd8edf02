"""What a real Prosody says of the tap to Prometheus, through its own mod_http_openmetrics."""

import re

from aiohttp import ClientSession

from devstack.ports import free_port
from tests.support.clients import condition
from tests.support.rooms import ROOM, ROOMS, affiliate, component, join
from tests.support.server import HOST, JULIET, KEY, ROMEO, Server, StartServer
from tests.support.wait import until

LIMIT = 65536
QUERY = "<query xmlns='urn:xmpp:mam:2'/>"
_SAMPLE = r'^prosody_mod_stanzalake__(\w+)\{{host="{}"\}} (\S+)$'


async def scrape(port: int, host: str = HOST) -> dict[str, float]:
    """Give the own samples of a host's tap."""
    async with ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as response:
        assert response.status == 200
        text = await response.text()
    found = re.findall(_SAMPLE.format(host), text, re.MULTILINE)
    samples = {name: float(value) for name, value in found}
    # The alerts rely on them: a counter that is young counts whole.
    created = {name for name in samples if name.endswith("_created")}
    assert created == {
        name.replace("_total", "_created") for name in samples if name.endswith("_total")
    }
    return {name: value for name, value in samples.items() if name not in created}


async def start_measured(start_server: StartServer, port: int, options: str = "") -> Server:
    """Start a Prosody that tells Prometheus all it counts."""
    return await start_server(
        options,
        modules=["stanzalake", "http_openmetrics"],
        extra_global=(
            'statistics = "internal"\nstatistics_interval = "manual"\n'
            f'http_ports = {{ {port} }}\nhttps_ports = {{}}\nhttp_interfaces = {{ "127.0.0.1" }}'
        ),
    )


async def test_prometheus_sees_what_the_tap_does(start_server: StartServer) -> None:
    port = free_port()
    server = await start_measured(start_server, port, f"stanzalake_journal_limit = {LIMIT}")
    counters = ("messages", "filtered", "dropped", "forbidden", "unreadable")
    zeros = {**{f"{name}_total": 0 for name in counters}, "unacknowledged_bytes": 0}
    assert await scrape(port) == {**zeros, "journal_limit_bytes": LIMIT}
    juliet = await server.client("juliet")
    juliet.say(ROMEO, "hi", "m1")
    juliet.send_raw(f"<message to='{ROMEO}'><propose xmlns='urn:xmpp:jingle-message:0'/></message>")
    juliet.say(JULIET, "kept", "m2")
    await juliet.message("m2")
    (segment,) = server.journal.glob("*.ndjson")
    samples = await scrape(port)
    assert (samples["messages_total"], samples["filtered_total"]) == (3, 2)
    assert samples["unacknowledged_bytes"] == segment.stat().st_size
    juliet.say(JULIET, "x" * LIMIT, "m3")
    await juliet.message("m3")
    samples = await scrape(port)
    assert (samples["messages_total"], samples["dropped_total"]) == (3, 1)
    ingest = await server.ingest()
    await ingest.arrival("kept", JULIET)
    await until(lambda: "taken by ingest again" in server.log)
    assert (await scrape(port))["unacknowledged_bytes"] == 0


async def test_events_that_vanish_from_the_journal_count_as_dropped(
    start_server: StartServer,
) -> None:
    port = free_port()
    server = await start_measured(start_server, port)
    juliet = await server.client("juliet")
    juliet.say(JULIET, "gone", "m1")
    await juliet.message("m1")
    (segment,) = server.journal.glob("*.ndjson")
    segment.unlink()
    await server.ingest()
    await until(lambda: "LOST: 1 events" in server.log)
    assert (await scrape(port))["dropped_total"] == 1


async def test_requests_for_rooms_that_may_not_be_read_are_counted_and_logged(
    start_server: StartServer,
) -> None:
    port = free_port()
    section = component(f'stanzalake_id_keys = "{KEY}"')
    server = await start_measured(start_server, port, section)
    await server.query()
    juliet, romeo = await server.client("juliet"), await server.client("romeo")
    await join(juliet, "Juliet")
    nowhere = f"nowhere@{ROOMS}"
    assert condition(await romeo.ask("set", QUERY, nowhere)) == "cancel/item-not-found"
    assert (await romeo.ask("set", QUERY, ROOM)).get("type") == "result"
    assert (await scrape(port, ROOMS))["forbidden_total"] == 0
    await affiliate(juliet, ROMEO, "outcast")
    assert condition(await romeo.ask("set", QUERY, ROOM)) == "auth/forbidden"
    assert (await scrape(port, ROOMS))["forbidden_total"] == 1
    assert server.log.count(f"{ROMEO}/one was refused the archive of {ROOM}") == 1


async def test_requests_for_the_archives_of_others_are_counted_and_logged(
    start_server: StartServer,
) -> None:
    port = free_port()
    server = await start_measured(start_server, port)
    await server.query()
    juliet = await server.client("juliet")
    for to in ("", JULIET):
        assert (await juliet.ask("set", QUERY, to)).get("type") == "result"
    assert (await scrape(port))["forbidden_total"] == 0
    for kind in ("set", "get"):
        assert (await juliet.ask(kind, QUERY, ROMEO)).get("type") == "error"
    assert (await scrape(port))["forbidden_total"] == 2
    assert server.log.count(f"{JULIET}/one was refused the archive of {ROMEO}") == 1
