"""`stanzalake check` beside deployments that work, in both modes."""

from pathlib import Path

import pytest

from devstack.deployment import Deployment, Distributed
from tests.support.command import Command
from tests.support.processes import Run


@pytest.fixture(params=["embedded", "kafka"])
async def deployment(run: Run, request: pytest.FixtureRequest, tmp_path: Path) -> Deployment:
    embedded = request.param == "embedded"
    return await run(Deployment(tmp_path) if embedded else Distributed(tmp_path, number=1))


async def test_a_running_deployment_passes_every_check(
    deployment: Deployment, tmp_path: Path
) -> None:
    stanzalake = Command(tmp_path)
    stanzalake.settings = deployment.settings | {
        "STANZALAKE_INGEST_JID": deployment.prosody.ingest[0],
        "STANZALAKE_QUERY_JID": deployment.prosody.query[0],
    }
    for _ in range(2):
        status, out, err = await stanzalake.run("check")
        assert {line[0] for line in out.splitlines()} == {"✓"}, out
        assert (status, err) == (0, "")
        assert out.count("; connected just now") == 2
    log = deployment.prosody.log_path.read_text()
    names = [*deployment.prosody.ingest, *deployment.prosody.query]
    assert log.count("successfully authenticated") == len(names)
