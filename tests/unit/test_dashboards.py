"""The dashboards fit Grafana's schema, as the models that Grafana generates from it have it."""

import json
import re
import typing
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from pydantic import ConfigDict, TypeAdapter, ValidationError

from tests.support.documents import ROOT

FILES = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
LAX = ConfigDict(arbitrary_types_allowed=True)

plugins.register_default_plugins()


def deviations(board: dict[str, Any]) -> list[str]:
    """Give what the schema does not know, or knows otherwise."""
    model = Dashboard.from_json(board)
    written = json.loads(JSONEncoder().encode(model))
    return [*unknown(board, written), *unfit(model, "dashboard")]


def unknown(given: object, written: object, path: str = "") -> Iterator[str]:
    """Give the paths of fields that a model has dropped."""
    if isinstance(given, dict) and isinstance(written, dict):
        for key, value in given.items():
            if key in written:
                yield from unknown(value, written[key], f"{path}/{key}")
            else:
                yield f"{path}/{key}"
    elif isinstance(given, list) and isinstance(written, list):
        for n, pair in enumerate(zip(given, written, strict=True)):
            yield from unknown(*pair, path=f"{path}/{n}")
    elif given != written:
        yield path


def unfit(model: object, path: str) -> Iterator[str]:
    """Give the paths of fields whose value is not of their type, such as an unknown choice."""
    if isinstance(model, list):
        for n, item in enumerate(model):
            yield from unfit(item, f"{path}/{n}")
    if not type(model).__module__.startswith("grafana_foundation_sdk.models"):
        return
    for name, hint in typing.get_type_hints(type(model)).items():
        value = getattr(model, name)
        try:
            TypeAdapter(hint, config=LAX).validate_python(value)
        except ValidationError:
            yield f"{path}/{name}"
        yield from unfit(value, f"{path}/{name}")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dashboard_fits_grafanas_schema(file: Any) -> None:
    assert deviations(json.loads(file.read_text())) == []


def drawn(panel: dict[str, Any]) -> Iterator[str]:
    """Give the fields that a panel draws by their names; Grafana draws nothing for another name."""
    options = panel["options"]
    yield from (options[name] for name in ("xField", "colorByField") if name in options)
    fields = options.get("reduceOptions", {}).get("fields", "")
    yield from re.findall(r"\w+", fields)


def test_a_panel_draws_columns_of_its_statement() -> None:
    board = json.loads((FILES[0].parent / "analytics.json").read_text())
    named = {}
    for panel in board["panels"]:
        [statement] = [target["rawSql"] for target in panel["targets"]]
        named[panel["title"]] = set(drawn(panel))
        assert named[panel["title"]] <= set(re.findall(r" AS (\w+)", statement)), panel["title"]
    assert named["Messages by encryption"] == {"total"}
    assert named["Messages by length"] == {"characters"}


def test_a_deviation_from_the_schema_is_found() -> None:
    board = json.loads((FILES[0]).read_text())
    [panel, *_] = [p for p in board["panels"] if "legend" in p.get("options", {})]
    for name, value in (("displayModes", "list"), ("displayMode", "lists"), ("showLegend", "no!")):
        changed = deepcopy(board)
        changed["panels"][board["panels"].index(panel)]["options"]["legend"][name] = value
        assert deviations(changed), name
