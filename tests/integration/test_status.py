"""The status of a running `stanzalake up`: in a browser, in a terminal, and as JSON."""

import asyncio
import json
import os
import sys
from itertools import product
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import pytest
from aiohttp import ClientSession

from devstack import conversation
from devstack.deployment import Deployment
from devstack.ports import free_port
from devstack.service import environment
from tests.support.browser import browser
from tests.support.command import Command
from tests.support.processes import Run

PHONE, SCREEN = (390, 844), (1280, 800)


@pytest.fixture
async def deployment(run: Run, tmp_path: Path) -> Deployment:
    deployment = Deployment(tmp_path)
    deployment.serve_http(free_port())
    await run(deployment)
    juliet, romeo = await deployment.client("juliet"), await deployment.client("romeo")
    await conversation.run(juliet, romeo)
    await juliet.archive(50)
    return deployment


def command(deployment: Deployment) -> Command:
    stanzalake = Command(deployment.directory)
    stanzalake.settings = dict(deployment.settings)
    return stanzalake


def url(deployment: Deployment) -> str:
    return f"http://{deployment.settings['STANZALAKE_HTTP_ADDRESS']}/"


async def test_the_page_shows_the_service_and_names_no_user(deployment: Deployment) -> None:
    async with ClientSession() as session, session.get(url(deployment)) as answer:
        text = await answer.text()
        assert answer.content_type == "text/html"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    for shown in ("Stanzalake is <span class='up'>", "query.stanzalake", "localhost", "14"):
        assert shown in text
    assert "juliet" not in text
    assert "romeo" not in text


async def test_the_terminal_shows_the_same(deployment: Deployment) -> None:
    stanzalake = command(deployment)
    status, out, err = await stanzalake.run("status", "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert report["facts"]["archive"]["messages"] == 2 * len(conversation.LINES)
    assert report["facts"]["archive"]["newest"] is not None
    assert report["facts"]["journals"][0]["waiting"] == 0
    assert (report["lag"], report["rejected"]) == (0, 0)
    assert report["received"] > 0
    assert report["facts"]["versions"].keys() == {"stanzalake", "ClickHouse"}
    status, out, _ = await stanzalake.run("status")
    assert status == 0
    for shown in ("Parts", "processor", "Archive", "newest", "Journals", "Versions"):
        assert shown in out


async def test_a_part_that_is_down_is_status_1(deployment: Deployment) -> None:
    await deployment.prosody.stop()
    stanzalake = command(deployment)

    async def down() -> bool:
        return (await stanzalake.run("status"))[0] == 1

    while not await down():
        pass
    _, out, _ = await stanzalake.run("status")
    assert "down" in out


async def test_without_a_service_the_status_is_one_line(tmp_path: Path) -> None:
    stanzalake = Command(tmp_path)
    status, _, err = await stanzalake.run("status")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "STANZALAKE_HTTP_ADDRESS is not set" in err
    stanzalake.settings["STANZALAKE_HTTP_ADDRESS"] = "127.0.0.1:1"
    status, _, err = await stanzalake.run("status")
    assert (status, len(err.splitlines())) == (1, 1)
    assert "no service answers at http://127.0.0.1:1/status.json: " in err


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
async def test_watching_shows_the_status_until_it_is_ended(
    deployment: Deployment, number: Signals
) -> None:
    terminal, end = os.openpty()
    watching = await asyncio.create_subprocess_exec(
        # A shell's background process ignores SIGINT, and so would its children.
        *("env", "--default-signal", sys.executable, "-m", "stanzalake", "status", "--watch"),
        env=environment({**deployment.settings, "TERM": "xterm"}),
        stdout=end,
        stderr=end,
    )
    shown = b""
    while shown.count(b"Traffic") < 2:
        shown += await asyncio.to_thread(os.read, terminal, 65536)
    watching.send_signal(number)
    assert await watching.wait() == 0
    os.close(terminal)
    os.close(end)


async def test_the_page_fits_a_phone_and_follows_the_colour_scheme(
    deployment: Deployment, tmp_path: Path
) -> None:
    for number, (screen, dark) in enumerate(product((PHONE, SCREEN), (False, True))):
        await assert_fitting(deployment, tmp_path / f"profile-{number}", screen, dark=dark)


async def assert_fitting(
    deployment: Deployment, profile: Path, screen: tuple[int, int], *, dark: bool
) -> None:
    async with browser(profile) as page:
        await page.open(url(deployment), *screen, dark=dark)
        assert await page.evaluate("document.documentElement.scrollWidth") <= screen[0]
        assert await page.evaluate("document.title") == "Stanzalake is up"
        columns = "getComputedStyle(document.querySelector('main')).gridTemplateColumns"
        number = len((await page.evaluate(columns)).split())
        assert (number == 1) == (screen == PHONE)
        # The canvas has the colour scheme's own background.
        colour = await page.evaluate("getComputedStyle(document.body).color")
        assert colour == ("rgb(255, 255, 255)" if dark else "rgb(0, 0, 0)")
        assert (await page.screenshot()).startswith(b"\x89PNG")
