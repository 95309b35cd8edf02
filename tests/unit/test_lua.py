"""Runs the tests of the tap's pure parts, which are in Lua, under plain Lua."""

import json
import subprocess
from pathlib import Path

from devstack.prosody import MODULES
from tests.support.lua import environment

_SCRIPTS = Path(__file__).with_name("lua")
_IDS = Path(__file__).parents[1] / "support" / "ids.json"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _vectors(path: Path) -> Path:
    # Lua has no decimal literals over 2^63; its hexadecimal ones wrap around.
    rows = (
        f"{{ key = {_text(v['key'])}, owner = {_text(v['owner'])}, "
        f"position = {int(v['position']):#x}, id = {_text(v['id'])} }};"
        for v in json.loads(_IDS.read_text())
    )
    path.write_text("return {\n" + "\n".join(rows) + "\n}\n")
    return path


def test_the_parts_of_the_tap_hold_their_rules(tmp_path: Path) -> None:
    run("test_parts.lua", tmp_path, _vectors(tmp_path / "ids.lua"))


def test_the_tap_knows_the_state_of_archives() -> None:
    run("test_preferences.lua")


def test_requests_and_answers_travel_whole() -> None:
    run("test_wire.lua")


def test_an_inbox_takes_rooms_whose_component_lets_it() -> None:
    run("test_inbox_rooms.lua")


def test_a_session_gets_the_answers_to_its_own_requests_alone() -> None:
    run("test_sessions.lua")


def run(script: str, *arguments: Path) -> None:
    result = subprocess.run(  # noqa: S603  # fixed arguments
        ["lua5.4", _SCRIPTS / script, MODULES / "mod_stanzalake", *arguments],  # noqa: S607  # wherever it is installed
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
