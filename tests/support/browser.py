"""Chromium without a window, driven by the DevTools protocol.

`python -m tests.support.browser URL FILE` takes a picture of a page.
"""

import asyncio
import base64
import itertools
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from devstack.process import WITH_PARENT

_START_SECONDS = 30.0


class Browser:
    """One page of a browser.

    Args:
        socket: The page's DevTools connection.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def open(self, url: str, width: int, height: int, *, dark: bool = False) -> None:
        """Load a page on a screen of a size, and wait until it is complete."""
        screen = {
            "width": width,
            "height": height,
            "deviceScaleFactor": 2,
            "mobile": width < height,
        }
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._call("Emulation.setDeviceMetricsOverride", **screen)
        await self._call("Emulation.setEmulatedMedia", features=[scheme])
        await self._call("Page.enable")
        await self._call("Page.navigate", url=url)
        while (await self._socket.receive_json()).get("method") != "Page.loadEventFired":
            pass

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = await self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"]["value"]

    async def screenshot(self) -> bytes:
        """Return a picture of the whole page, as PNG."""
        answer = await self._call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    async def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]


@asynccontextmanager
async def browser(directory: Path) -> AsyncIterator[Browser]:
    """Run a browser with a profile of its own for the block."""
    process = await asyncio.create_subprocess_exec(
        *(*WITH_PARENT, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu"),
        *("--remote-debugging-port=0", f"--user-data-dir={directory}", "about:blank"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as session:
            url = await _page(session, directory)
            async with session.ws_connect(url, max_msg_size=0) as socket:
                yield Browser(socket)
    finally:
        process.terminate()
        await process.wait()


async def _page(session: aiohttp.ClientSession, directory: Path) -> str:
    """Wait for the browser, and return the DevTools address of its page."""
    file = directory / "DevToolsActivePort"
    async with asyncio.timeout(_START_SECONDS):
        while not (file.exists() and file.read_text()):  # noqa: ASYNC110  # files set no event
            await asyncio.sleep(0.05)
        port = file.read_text().split()[0]
        async with session.get(f"http://127.0.0.1:{port}/json") as answer:
            pages = json.loads(await answer.text())
    return next(str(page["webSocketDebuggerUrl"]) for page in pages if page["type"] == "page")


async def _take_picture(url: str) -> bytes:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with browser(Path(profile)) as page:
            await page.open(url, 960, 560)
            return await page.screenshot()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(asyncio.run(_take_picture(sys.argv[1])))
