"""The access log: contents, omissions and file handling."""

import asyncio
import json
import os
import pwd
from collections.abc import AsyncIterator
from pathlib import Path
from signal import (
    SIG_DFL,
    SIG_IGN,
    SIGHUP,
    SIGKILL,
    SIGTERM,
    Signals,
    getsignal,
    raise_signal,
    signal,
)
from typing import Any
from xml.etree.ElementTree import tostring

import pytest

from stanzalake.errors import SettingsError, StoreUnavailable
from stanzalake.observability import access_log
from stanzalake.observability.access_log import Access, AccessLog, record_access
from tests.support.events import JULIET, ROMEO
from tests.support.queries import BALCONY, COMPONENT, envelope, field, form, query
from tests.support.settings import load
from tests.support.stage import Stage
from tests.support.wait import until


def commands(file: Path) -> list[dict[str, Any]]:
    """Return the last line of each command, once it has compared that with the first."""
    found = lines(file)
    begun, ended = found[::2], found[1::2]
    for first, last in zip(begun, ended, strict=True):
        assert (first["outcome"], first["messages"]) == ("begun", 0)
        same = ("at", "by", "uid", "owner", "action", "through", "filtered", "retracted")
        assert [first.get(name) for name in same] == [last.get(name) for name in same]
    return ended


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(access_log=str(tmp_path / "log"))
    stage.grant()
    yield stage
    stage.accesses.close()


async def test_a_page_is_logged_with_requester_action_and_size(
    stage: Stage, tmp_path: Path
) -> None:
    stage.ask(query())
    await stage.answers()
    [line] = lines(tmp_path / "log")
    assert (line["by"], line["owner"], line["through"]) == (BALCONY, JULIET, COMPONENT)
    assert (line["action"], line["outcome"], line["filtered"]) == ("search", "answered", False)
    assert line["messages"] == 3
    assert line["bytes"] > 300
    assert line["at"].endswith("Z")
    assert line["milliseconds"] >= 0


async def test_the_other_party_of_a_search_is_not_logged(stage: Stage, tmp_path: Path) -> None:
    stage.ask(query(form(field("with", ROMEO))))
    await stage.answers()
    [line] = lines(tmp_path / "log")
    assert line["filtered"]
    assert ROMEO not in str(line)
    assert "hello" not in str(line)


async def test_a_forbidden_request_is_logged_with_requester_and_owner(
    stage: Stage, tmp_path: Path
) -> None:
    stage.hear(tostring(envelope(query(), to="romeo@capulet.lit"), "unicode"))
    await stage.answers()
    [line] = lines(tmp_path / "log")
    assert (line["by"], line["owner"]) == (BALCONY, "romeo@capulet.lit")
    assert (line["outcome"], line["messages"]) == ("forbidden", 0)


async def test_an_interrupted_request_is_logged(stage: Stage, tmp_path: Path) -> None:
    stage.log.held.clear()
    stage.ask(query())
    await asyncio.sleep(0)
    stage.component.connection_lost(None)
    await until(lambda: lines(tmp_path / "log"))
    [line] = lines(tmp_path / "log")
    assert line["outcome"] == "interrupted"


def test_the_access_log_is_reopened_after_a_rename(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    access = Access(by=BALCONY, owner=JULIET, action="search", through=COMPONENT)
    log.write(access)
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.write(access)
    log.close()
    assert len(lines(tmp_path / "log")) == len(lines(tmp_path / "log.1")) == 1


def test_a_full_disk_is_reported_once_and_blocks_no_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = AccessLog("/dev/full")
    for _ in range(3):
        log.write(Access(by=BALCONY, owner=JULIET, action="search", through=COMPONENT))
    log.close()
    [said] = caplog.messages
    assert said == "the access log is not written: No space left on device"


def test_an_unwritable_access_log_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"STANZALAKE_ACCESS_LOG=.*No such file"):
        AccessLog(str(tmp_path / "none" / "log"))


def test_an_empty_path_writes_nothing() -> None:
    log = AccessLog("")
    log.write(Access(by=BALCONY, owner=JULIET, action="search", through=COMPONENT))
    log.close()


def test_a_jid_with_a_line_end_adds_no_line(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    log.write(Access(by="a@b/\n{}\u2028", owner="x" * 9999, action="search", through=COMPONENT))
    log.close()
    [line] = lines(tmp_path / "log")
    assert line["by"] == "a@b/\n{}\u2028"
    assert len(line["owner"]) == 3071


def test_a_command_is_logged_with_the_operators_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "laurence")
    values = load(STANZALAKE_ACCESS_LOG=str(tmp_path / "log"))
    with record_access(values, "export", JULIET, filtered=True, retracted=True) as access:
        access.messages = 7
    with pytest.raises(StoreUnavailable), record_access(values, "search"):
        raise StoreUnavailable("away")
    with pytest.raises(KeyboardInterrupt), record_access(values, "delete", JULIET):
        raise KeyboardInterrupt
    exported, searched, deleted = commands(tmp_path / "log")
    assert exported["by"] == "operator:laurence"
    assert exported["uid"] == os.getuid()
    assert (exported["owner"], exported["messages"], exported["outcome"]) == (JULIET, 7, "done")
    assert (searched["owner"], searched["outcome"]) == ("", "failed")
    assert deleted["outcome"] == "interrupted"


@pytest.mark.parametrize("number", [SIGTERM, SIGHUP])
def test_a_command_that_a_signal_ends_is_logged(tmp_path: Path, number: Signals) -> None:
    values = load(STANZALAKE_ACCESS_LOG=str(tmp_path / "log"))
    signal(number, SIG_DFL)  # whatever started the tests may ignore it
    with pytest.raises(KeyboardInterrupt), record_access(values, "export", JULIET):
        raise_signal(number)
    [line] = commands(tmp_path / "log")
    assert line["outcome"] == "interrupted"
    assert getsignal(number) is SIG_DFL


def test_a_command_under_nohup_outlasts_its_terminal(tmp_path: Path) -> None:
    before = signal(SIGHUP, SIG_IGN)
    with record_access(load(STANZALAKE_ACCESS_LOG=str(tmp_path / "log")), "export", JULIET):
        raise_signal(SIGHUP)
    signal(SIGHUP, before)
    [line] = commands(tmp_path / "log")
    assert line["outcome"] == "done"


@pytest.mark.parametrize(
    ("claimed", "logged"), [("\udcffx", "operator:\\udcffx"), (None, f"operator:{os.getuid()}")]
)
def test_a_command_is_logged_whatever_the_operators_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed: str | None, logged: str
) -> None:
    """In a container the user may have no name; the environment may hold any bytes."""
    for name in ("SUDO_USER", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def no_name(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", no_name)
    if claimed is not None:
        monkeypatch.setenv("SUDO_USER", claimed)
    with record_access(load(STANZALAKE_ACCESS_LOG=str(tmp_path / "log")), "export", JULIET):
        pass
    [line] = commands(tmp_path / "log")
    assert line["by"] == logged


def test_a_command_that_is_killed_has_been_logged(tmp_path: Path) -> None:
    values = load(STANZALAKE_ACCESS_LOG=str(tmp_path / "log"))
    if (child := os.fork()) == 0:
        with record_access(values, "export", JULIET, retracted=True):
            os.kill(os.getpid(), SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -SIGKILL
    [line] = lines(tmp_path / "log")
    assert (line["owner"], line["outcome"], line["retracted"]) == (JULIET, "begun", True)


def test_without_a_file_a_command_is_logged_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with record_access(load(), "search"):
        pass
    captured = capsys.readouterr()
    assert json.loads(captured.err)["through"] == "stanzalake search"
    assert captured.out == ""


@pytest.mark.parametrize("file", ["/", "/dev/full"])
def test_a_command_that_cannot_be_logged_does_nothing(file: str) -> None:
    with (
        pytest.raises(SettingsError, match=f"STANZALAKE_ACCESS_LOG={file} cannot be"),
        record_access(load(STANZALAKE_ACCESS_LOG=file), "search"),
    ):
        pytest.fail("it was done")


@pytest.mark.parametrize(
    ("kernel", "login"), [("1000\n", 1000), ("4294967295\n", None), (None, None)]
)
def test_a_command_is_logged_with_the_user_who_logged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str | None, login: int | None
) -> None:
    file = tmp_path / "loginuid"
    if kernel is not None:
        file.write_text(kernel)
    monkeypatch.setattr(access_log, "_LOGIN_ID", file)
    with record_access(load(STANZALAKE_ACCESS_LOG=str(tmp_path / "log")), "export", JULIET):
        pass
    [line] = commands(tmp_path / "log")
    assert line.get("login_uid") == login
