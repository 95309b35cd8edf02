"""`stanzalake check`: diagnoses a deployment and suggests repairs."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stanzalake.cli.output import encodable
from stanzalake.config import settings
from stanzalake.doctor.finding import Finding, Outcome, failed
from stanzalake.errors import SettingsError

if TYPE_CHECKING:
    from stanzalake.doctor.checks import Service

_SIGNS = {Outcome.FINE: "✓", Outcome.WARNING: "!", Outcome.FAULT: "✗", Outcome.UNKNOWN: "?"}
_PLAIN = {Outcome.FINE: "+", Outcome.WARNING: "!", Outcome.FAULT: "x", Outcome.UNKNOWN: "?"}
_FAILED = 1


@click.command(name="check")
@click.option(
    "--service",
    type=click.Choice(["up", "ingest", "processor", "query"]),
    default="up",
    show_default=True,
    help="The service that these settings are for; only its dependencies are checked.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(env_file: Path | None, service: "Service", *, as_json: bool) -> None:
    """Check whether a deployment works, and how to repair each fault.

    Every check runs, even if others fail. Nothing is changed; running services stay connected and
    keep their place in the log.

    \b
    settings        each can be used
    data directory  exists, is writable by this user, has free space; which process holds it
    log             the file opens; or Kafka: brokers, topics, their partitions, replicas,
                    cleanup.policy and retention.ms, rights to read and write, the lag
    store           ClickHouse answers, lets the user in, is new enough, has its clock right,
                    its disk free, its schema up to date and as the settings say; its rights
    Prosody         each component listener, the component's name and its secret
    hosts           mod_stanzalake is loaded, of a version that fits, without mod_mam; has the
                    same id key, its clock right, room in its journal, and uses the components
    HTTP            the address is free, or served by a service that is ready

    \b
    ✓  fine                  !  works, but needs attention
    ✗  does not work         ?  unknown until another fault is repaired

    Status 1 if anything does not work.
    """  # noqa: D301  # click's mark for text that keeps its lines
    findings = asyncio.run(_report(env_file, service, as_json=as_json))
    if failed(findings):
        sys.exit(_FAILED)


async def _report(env_file: Path | None, service: "Service", *, as_json: bool) -> list[Finding]:
    from stanzalake.doctor import checks  # noqa: PLC0415  # not needed for --help and completion

    try:
        values = settings.load(env_file=env_file)
    except SettingsError as error:
        findings = checks.invalid(error)
        for finding in findings:
            _print(finding, as_json=as_json)
        return findings
    findings = []
    async for finding in checks.run(values, service):
        _print(finding, as_json=as_json)
        findings.append(finding)
    return findings


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(finding._asdict()))
    else:
        for line in _lines(finding):
            click.echo(line)


def _lines(finding: Finding) -> Iterator[str]:
    sign = encodable(_SIGNS[finding.outcome], _PLAIN[finding.outcome])
    yield f"{sign} {finding.subject}: {finding.text}"
    if finding.remedy:
        yield f"    {encodable('→', '->')} {finding.remedy}"
