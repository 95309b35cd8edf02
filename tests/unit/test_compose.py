"""The distributed deployment, as far as it can be checked without an engine."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from stanzalake.cli.main import cli
from stanzalake.config import settings
from stanzalake.observability.metrics import ALL

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PRODUCTION = yaml.safe_load((ROOT / "docker-compose.production.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "STANZALAKE_PROSODY" in str(service))
ENDS = ("total", "created")
TAPS_OWN = {
    f"prosody_mod_stanzalake__{name}"
    for name in (
        *(f"{name}_{end}" for name in ("messages", "dropped", "forbidden") for end in ENDS),
        *("unacknowledged_bytes", "journal_limit_bytes"),
    )
}
"""As tests/integration/test_prosody_metrics.py finds them."""
PROSODYS_OWN = {"prosody_archive_size_bytes", "prosody_archive_query_total"}


def test_every_service_is_there() -> None:
    assert set(SERVICES) == {
        *("prosody", "kafka", "clickhouse", "migrate", "ingest", "processor", "query"),
        *("prometheus", "alertmanager", "grafana"),
    }


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_is_bounded(name: str) -> None:
    assert re.fullmatch(r"\d+[mg]", SERVICES[name]["mem_limit"])
    assert SERVICES[name]["logging"]["options"] == {"max-size": "10m", "max-file": "5"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_ends_on_a_signal_and_reaps_its_processes(name: str) -> None:
    """As process 1, a shell or a command without handlers of its own ignores SIGTERM."""
    assert SERVICES[name]["init"] is True


def test_prosody_alone_is_open_to_other_machines() -> None:
    for name, service in SERVICES.items():
        ports = [str(port) for port in service.get("ports", ())]
        assert name == "prosody" or all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_is_pinned(name: str) -> None:
    assert re.search(r":v?\d+\.\d+", SERVICES[name]["image"])
    for file in (ROOT / "deploy").glob("*.Dockerfile"):
        assert re.search(r"^FROM \S+:\S*\d{2,}\S*$", file.read_text(), re.MULTILINE), file


@pytest.mark.parametrize("name", OURS)
def test_every_command_and_setting_of_ours_is_known(name: str) -> None:
    [command] = SERVICES[name]["command"]
    assert command in cli.list_commands(click.Context(cli))
    known = {variable for variable, _, _ in settings.variables()}
    assert set(SERVICES[name]["environment"]) <= known


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_compose_can_be_used(name: str) -> None:
    environment = {
        variable: re.sub(r"\$\{\w+(?::-([^}]*))?[^}]*\}", _substitute, str(value))
        for variable, value in SERVICES[name]["environment"].items()
    }
    assert settings.load(environment).hosts == ("localhost", "conference.localhost")


def _substitute(match: re.Match[str]) -> str:
    return "x" * 32 if match[1] is None else match[1]


def test_no_secret_is_in_the_files() -> None:
    for file in ("docker-compose.yml", "docker-compose.production.yml"):
        for line in (ROOT / file).read_text().splitlines():
            if re.search(r"(PASSWORD|SECRET|KEYS)\w*:|--sasl.password", line):
                assert re.search(r"\$\{\w+:\?", line), line
    for line in (ROOT / "deploy" / "compose.env").read_text().splitlines():
        assert not re.match(r"\w*(PASSWORD|SECRET|KEYS)=.", line)


def test_what_others_wait_for_has_a_health_check() -> None:
    for service in SERVICES.values():
        waits = service.get("depends_on", {})
        for name in waits if isinstance(waits, dict) else ():
            if waits[name]["condition"] == "service_healthy":
                assert "test" in SERVICES[name]["healthcheck"]


def test_files_that_are_mounted_are_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", volume).partition(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), volume


def test_what_the_images_copy_is_not_ignored() -> None:
    taken = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    for file in (ROOT / "deploy").glob("*.Dockerfile"):
        for line in re.findall(r"^COPY (.*) \S+$", file.read_text(), re.MULTILINE):
            for source in line.split():
                assert (ROOT / source).exists(), source
                assert any(Path(source).match(pattern) for pattern in taken), source


def test_production_adds_bounded_containers_and_known_settings() -> None:
    added = set(PRODUCTION["services"]) - set(SERVICES)
    assert added == {"kafka-2", "kafka-3", "kafka-exporter", "backup"}
    for name in added:
        assert re.fullmatch(r"\d+[mg]", PRODUCTION["services"][name]["mem_limit"])
        assert PRODUCTION["services"][name]["init"] is True
        assert PRODUCTION["services"][name]["logging"]["options"]["max-size"] == "10m"
        assert "ports" not in PRODUCTION["services"][name]
    known = {variable for variable, _, _ in settings.variables()}
    for name in OURS:
        assert set(PRODUCTION["services"][name]["environment"]) <= known


def test_production_scrapes_all_that_is_scraped_without_it() -> None:
    scraped = [
        yaml.safe_load((ROOT / "deploy/prometheus" / name).read_text())["scrape_configs"]
        for name in ("prometheus.yml", "production.yml")
    ]
    assert scraped[1][: len(scraped[0])] == scraped[0]


def names_in(query: str) -> set[str]:
    return set(re.findall(r"\b(?:stanzalake|prosody)_\w+", query))


def queries() -> Iterator[str]:
    board = json.loads((ROOT / "deploy/grafana/dashboards/stanzalake.json").read_text())
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    for group in alerts["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_the_analysts_dashboard_uses_the_provisioned_datasource() -> None:
    board = json.loads((ROOT / "deploy/grafana/dashboards/analytics.json").read_text())
    file = ROOT / "deploy/grafana/provisioning/datasources/clickhouse.yml"
    [source] = yaml.safe_load(file.read_text())["datasources"]
    wanted = {"type": source["type"], "uid": source["uid"]}
    places = [panel["gridPos"] for panel in board["panels"]]
    for panel in board["panels"]:
        assert panel["datasource"] == wanted
        assert all(target["datasource"] == wanted for target in panel["targets"])
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert len({(place["x"], place["y"]) for place in places}) == len(places)
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert source["jsonData"]["username"] == "stanzalake_analyst"
    [secure] = yaml.safe_load((ROOT / "deploy/grafana/clickhouse_tls.yml").read_text())[
        "datasources"
    ]
    assert secure["jsonData"].items() >= {**source["jsonData"], "port": 8443}.items()
    environment = COMPOSE["services"]["grafana"]["environment"]
    assert source["type"] in environment["GF_PLUGINS_PREINSTALL"]
    assert source["secureJsonData"]["password"].removeprefix("$") in environment


def test_dashboard_and_alerts_name_real_metrics() -> None:
    known = set(TAPS_OWN)
    for metric in ALL:
        for family in metric.collect():
            known.update(family.name + end for end in ("", "_total", "_bucket", "_sum", "_created"))
    asked = set().union(*(names_in(query) for query in queries()))
    assert asked <= known
    assert asked >= PROSODYS_OWN
