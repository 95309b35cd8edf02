"""Alerts: each is tested by `promtool test rules` in tests/alerts, and explained in the runbook."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from query import mam, preferences
from query.errors import Condition
from stanzalake.observability.metrics import ALL
from tests.support.documents import anchors

ROOT = Path(__file__).parents[2]
ALERTS: list[dict[str, Any]] = [
    rule
    for file in (ROOT / "deploy/prometheus").glob("*alerts.yml")
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
NAMES = sorted(alert["alert"] for alert in ALERTS)
CASES = [
    case
    for file in (ROOT / "tests/alerts").glob("*.yml")
    for case in yaml.safe_load(file.read_text())["tests"]
]


def results(name: str) -> set[bool]:
    """Give whether an alert fires, of all moments at which it is looked at."""
    return {
        bool(look["exp_samples"])
        for case in CASES
        for look in case["promql_expr_test"]
        if f'alertname="{name}"' in look["expr"]
    }


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_is_shown_to_fire_and_to_be_silent(name: str) -> None:
    assert results(name) == ({True} if name == "StanzalakeWatchdog" else {True, False})


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_has_a_severity_and_a_section_of_the_runbook(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning", "none"}
    file, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert anchor == alert["alert"].lower()
    assert anchor in anchors(ROOT / file)
    assert alert["annotations"]["summary"]


def test_the_runbook_explains_no_other_alert() -> None:
    runbook = (ROOT / "docs/runbook.md").read_text()
    assert sorted(re.findall(r"^### (\w+)$", runbook, re.MULTILINE)) == NAMES
    for section in runbook.split("\n### ")[1:]:
        assert re.search(r"\*\*Means:\*\*.*\*\*Look at:\*\*.*\*\*Do:\*\*", section, re.DOTALL), (
            section
        )


def values_of(label: str, name: str) -> set[str]:
    """Give the values of a label that a metric begins with."""
    return {
        sample.labels[label]
        for metric in ALL
        for family in metric.collect()
        for sample in family.samples
        if family.name == name
    }


def test_every_counter_begins_at_zero_with_the_labels_that_are_used() -> None:
    """An alert sees an increase only from a value that was there before."""
    kinds = values_of("kind", "prosody_archive_query")
    questions = (*vars(mam).values(), *vars(preferences).values())
    assert {x.kind for x in questions if isinstance(getattr(x, "kind", None), str)} <= kinds
    assert set(get_args(Condition)) <= values_of("outcome", "prosody_archive_query")
    ingest = (ROOT / "ingest" / "component.py").read_text()
    taken = set(re.findall(r'EVENTS_TAKEN\.labels\("(\w+)"\)', ingest))
    assert taken == values_of("outcome", "stanzalake_ingest_events")
    meter = (ROOT / "processor" / "instrumentation.py").read_text()
    processed = set(re.findall(r'\("(\w+)", \w+', meter))
    assert processed == values_of("outcome", "stanzalake_processor_events")
