"""What a real Prosody says of the tap to Prometheus, through its own mod_http_openmetrics."""

import re

from aiohttp import ClientSession

from devstack.ports import free_port
from tests.integration.conftest import StartServer
from tests.support.server import JULIET, ROMEO
from tests.support.wait import until

LIMIT = 65536
_SAMPLE = re.compile(r'^prosody_mod_stanzalake__(\w+)\{host="localhost"\} (\S+)$', re.MULTILINE)


async def scrape(port: int) -> dict[str, float]:
    """Give the tap's own samples."""
    async with ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as response:
        assert response.status == 200
        text = await response.text()
    return {
        name: float(value) for name, value in _SAMPLE.findall(text) if not name.endswith("_created")
    }


async def test_prometheus_sees_what_the_tap_does(start_server: StartServer) -> None:
    port = free_port()
    server = await start_server(
        f"stanzalake_journal_limit = {LIMIT}",
        modules=["stanzalake", "http_openmetrics"],
        extra_global=(
            'statistics = "internal"\nstatistics_interval = "manual"\n'
            f'http_ports = {{ {port} }}\nhttps_ports = {{}}\nhttp_interfaces = {{ "127.0.0.1" }}'
        ),
    )
    zeros = {"messages_total": 0, "dropped_total": 0, "unacknowledged_bytes": 0}
    assert await scrape(port) == {**zeros, "journal_limit_bytes": LIMIT}
    juliet = await server.client("juliet")
    juliet.say(ROMEO, "hi", "m1")
    juliet.say(JULIET, "kept", "m2")
    await juliet.message("m2")
    (segment,) = server.journal.glob("*.ndjson")
    samples = await scrape(port)
    assert samples["messages_total"] == 3
    assert samples["unacknowledged_bytes"] == segment.stat().st_size
    juliet.say(JULIET, "x" * LIMIT, "m3")
    await juliet.message("m3")
    samples = await scrape(port)
    assert (samples["messages_total"], samples["dropped_total"]) == (3, 1)
    ingest = await server.ingest()
    await ingest.arrival("kept", JULIET)
    await until(lambda: "taken by ingest again" in server.log)
    assert (await scrape(port))["unacknowledged_bytes"] == 0
