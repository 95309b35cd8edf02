"""What a real Prosody says of the tap to Prometheus, through its own mod_http_openmetrics."""

import re

from aiohttp import ClientSession

from devstack.ports import free_port
from tests.support.server import JULIET, ROMEO, Server, StartServer
from tests.support.wait import until

LIMIT = 65536
QUERY = "<query xmlns='urn:xmpp:mam:2'/>"
_SAMPLE = re.compile(r'^prosody_mod_stanzalake__(\w+)\{host="localhost"\} (\S+)$', re.MULTILINE)


async def scrape(port: int) -> dict[str, float]:
    """Give the tap's own samples."""
    async with ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as response:
        assert response.status == 200
        text = await response.text()
    samples = {name: float(value) for name, value in _SAMPLE.findall(text)}
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
