"""Metrics and health over HTTP."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiohttp import ClientConnectorError, ClientSession
from prometheus_client.parser import text_string_to_metric_families

from devstack import conversation
from devstack.deployment import Deployment
from devstack.ports import free_port
from stanzalake.errors import SettingsError
from stanzalake.observability import health
from stanzalake.observability.metrics import ALL
from tests.support.processes import Run

NAMES = {metric._name for metric in ALL}  # noqa: SLF001  # it has no other way to ask


async def get(port: int, path: str) -> tuple[int, str]:
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def values(port: int) -> dict[str, float]:
    """Give the samples of a service, those of one name added up."""
    _, text = await get(port, "/metrics")
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


async def test_a_port_in_use_is_a_settings_error() -> None:
    port = free_port()
    async with health.serve_health([("127.0.0.1", port)]):
        assert (await get(port, "/healthz"))[0] == 200
        assert (await get(port, "/nonsense"))[0] == 404
        with pytest.raises(SettingsError, match=f"STANZALAKE_HTTP_ADDRESS=127.0.0.1:{port}"):
            async with health.serve_health([("127.0.0.1", port)]):
                pass


async def test_a_deployment_exports_its_activity(run: Run, tmp_path: Path) -> None:
    port = free_port()
    deployment = await run(
        Deployment(tmp_path, settings={"STANZALAKE_HTTP_ADDRESS": f"127.0.0.1:{port}"})
    )
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    await conversation.run(juliet, romeo)
    lines = len(conversation.LINES)
    await juliet.archive(3)
    shown = await values(port)
    assert shown["stanzalake_ingest_events_total"] == 2 * lines
    assert shown["stanzalake_processor_events_total"] == 2 * lines
    assert shown["stanzalake_stamp_to_queryable_seconds_count"] >= 1
    assert shown["prosody_archive_query_total"] == 3
    # Two more for the owners' states, which the tap asks for when they log in.
    assert shown["stanzalake_freshness_wait_seconds_count"] == 5
    assert shown["prosody_storage_operations_total"] > 3
    assert (await get(port, "/readyz"))[0] == 200
    await deployment.prosody.stop()
    async with asyncio.timeout(20):
        while (await get(port, "/readyz"))[0] != 503:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.05)
    assert (await get(port, "/healthz"))[0] == 200


async def test_every_metric_of_the_catalogue_is_exported() -> None:
    port = free_port()
    async with health.serve_health([("127.0.0.1", port)]):
        _, text = await get(port, "/metrics")
    families = {family.name for family in text_string_to_metric_families(text)}
    assert families >= NAMES


async def test_a_service_shows_a_part_that_never_works_and_counters_that_count_nothing(
    tmp_path: Path,
) -> None:
    port = free_port()
    deployment = Deployment(tmp_path, settings={"STANZALAKE_HTTP_ADDRESS": f"127.0.0.1:{port}"})
    try:
        await deployment.prepare()
        await deployment.services["stanzalake"].launch()
        async with asyncio.timeout(30):
            while await refused(port):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)
        status, text = await get(port, "/readyz")
        assert status == 503
        assert any(part.startswith("ingest.stanzalake at ") for part in json.loads(text))
        _, text = await get(port, "/metrics")
        assert re.search(r'\nstanzalake_up\{part="query.stanzalake at \S+"\} 0.0\n', text)
        assert 'stanzalake_ingest_events_total{outcome="rejected"} 0.0' in text
        assert 'prosody_archive_query_total{kind="search",outcome="forbidden"} 0.0' in text
    finally:
        await deployment.stop()


async def refused(port: int) -> bool:
    """Tell whether nobody listens on a port, or what does has no part yet."""
    try:
        return (await get(port, "/readyz"))[1] == "{}"
    except ClientConnectorError:
        return True
