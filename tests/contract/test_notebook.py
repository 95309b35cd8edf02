"""The notebook of docs/examples over exported rows: every cell runs, and every plot shows them."""

import contextlib
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from stanzalake.model.position import from_milliseconds
from stanzalake.store import analysis, migrations
from stanzalake.store.client import Row, Store
from tests.support.documents import ROOT
from tests.support.events import JULIET, ROMEO, stanza
from tests.support.settings import load

OMEMO = "<encrypted xmlns='urn:xmpp:omemo:2'/>"
BEGIN = int(datetime(2026, 9, 1, 8, tzinfo=UTC).timestamp()) * 1000
HOUR = 3_600_000
SILENT = 12
"""The day, from 0, without a message."""


def conversation() -> Iterator[Row]:
    """Give a month in which Juliet answers Romeo after a minute, each day but one an hour later."""
    for day in set(range(30)) - {SILENT}:
        for turn in range(day % 5 + 1):
            at = BEGIN + day * 24 * HOUR + (day % 12) * HOUR + turn * 600_000
            text = stanza("hello", OMEMO if day % 3 else "")
            for owner, peer, seconds, direction in (
                (ROMEO, JULIET, 0, "out"),
                (JULIET, ROMEO, 0, "in"),
                (JULIET, ROMEO, 60 + day, "out"),
                (ROMEO, JULIET, 60 + day, "in"),
            ):
                position = from_milliseconds(at + 1000 * seconds)
                yield Row(owner, position, peer, "", direction, "chat", text)


def cells() -> list[str]:
    notebook = json.loads((ROOT / "docs/examples/analytics.ipynb").read_text())
    assert notebook["nbformat"] == 4
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in code)
    return ["".join(cell["source"]) for cell in code]


@pytest.mark.parametrize("dsn", ["chdb://:memory:"], scope="session")  # the engine is the same one
def test_every_cell_of_the_notebook_runs_and_draws(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(dsn, "notebook")
    migrations.apply(store, load(PROSODY_ARCHIVE_EXPIRES_AFTER="never"))
    given = list(conversation())
    store.insert(given)
    month = date(2026, 9, 1)
    (tmp_path / "rows").mkdir()
    with (tmp_path / "rows" / "traffic-2026-09.parquet").open("wb") as file:
        analysis.write_parquet(store, "traffic", month, month, date(2026, 9, 30), file)
    store.close()
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    names: dict[str, Any] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for cell in cells():
            exec(cell, names)  # noqa: S102  # the notebook is the project's own
    assert f"{len(given)} rows, {len(given) // 2} messages of 2 people" in said.getvalue()
    assert "max      539.0" in said.getvalue()
    plots = names["plt"]
    assert len(plots.get_fignums()) == 4
    [messages, _] = plots.figure(1).axes
    [line] = messages.lines
    drawn = [int(y) for y in line.get_ydata()]
    assert [day for day, number in enumerate(drawn) if number == 0] == [SILENT]
    for number in plots.get_fignums():
        axes = plots.figure(number).axes
        assert all(axis.get_ylabel() or axis.get_legend() or number == 4 for axis in axes)
        assert axes[-1].get_xlabel()
        path = tmp_path / f"plot-{number}.png"
        plots.figure(number).savefig(path)
        assert path.stat().st_size > 5000
    plots.close("all")
