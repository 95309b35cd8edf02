"""`stanzalake schema`, as an analyst uses it."""

import json
from pathlib import Path

from tests.support.command import Command


async def test_the_data_dictionary_names_every_column_of_the_views(tmp_path: Path) -> None:
    command = Command(tmp_path)
    assert (await command.run("migrate"))[0] == 0
    status, out, _ = await command.run("schema", "--json")
    views = {view["view"]: view for view in json.loads(out)}
    assert status == 0
    assert list(views)[-2:] == ["messages_traffic", "messages_bodies"]
    columns = {column["name"]: column for column in views["messages_traffic"]["columns"]}
    assert columns["is_reply"]["type"] == "Bool"
    assert all(column["comment"] for column in columns.values())
    status, out, _ = await command.run("schema")
    assert status == 0
    assert "is_reply" in out
    assert "Bytes of the stanza" in out
