"""A real browser, through its DevTools protocol: what a reader sees, and what a page requests."""

from __future__ import annotations

import asyncio
import base64
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.cluster.packages import SEARCHED, ensure_packages

#: Its Debian package, and the names that it has elsewhere.
CHROMIUM = {"chromium": "chromium"}
OTHER_NAMES = ("google-chrome", "chromium-browser")
#: A browser of its own: no profile, no requests but those of the page.
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--no-proxy-server", "--hide-scrollbars"),
    "--remote-debugging-port=0",
)
#: How long the browser may take to start, and to answer.
START_SECONDS = 60.0
ANSWER_SECONDS = 30.0


@dataclass
class Page:
    """One page that is open, with everything that it has logged and requested."""

    socket: aiohttp.ClientWebSocketResponse
    session: str = ""
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _number: int = 0
    _loaded: bool = False

    async def call(self, method: str, **params: Any) -> Mapping[str, Any]:
        """Call a method of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        await self.socket.send_json(message | ({"sessionId": self.session} if self.session else {}))
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                found = await self.socket.receive_json()
                if found.get("id") == self._number:
                    assert "error" not in found, found
                    result: Mapping[str, Any] = found["result"]
                    return result
                self._see(found)

    def _see(self, event: Mapping[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.complaints.append(str(params))

    async def open(self, path: Path, *, width: int = 1000, dark: bool = False) -> None:
        """Open a file in a window of this width, and wait until it is shown."""
        await self.go(path.as_uri(), width=width, dark=dark)

    async def go(
        self, url: str, *, width: int = 1000, height: int = 900, dark: bool = False
    ) -> None:
        """Open a page in a window of this size, and wait until it is loaded."""
        self.complaints.clear()
        self.requests.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded = False
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(ANSWER_SECONDS):
            while not self._loaded:
                self._see(await self.socket.receive_json())

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def text(self) -> str:
        """Return the text that a reader sees."""
        return str(await self.evaluate("document.body.innerText"))

    async def screenshot(self, file: Path) -> None:
        """Write a picture of the whole page, in the format of the file's name: png, webp."""
        kind = file.suffix.removeprefix(".")
        options = {"format": kind, "captureBeyondViewport": True}
        if kind != "png":
            options["quality"] = 90
        found = await self.call("Page.captureScreenshot", **options)
        file.write_bytes(base64.b64decode(found["data"]))


@asynccontextmanager
async def page() -> AsyncIterator[Page]:
    """Start a browser with an empty page; install it where it is missing.

    Raises
    ------
    Missing
        There is no Chromium, and it cannot be installed.
    """
    program = await asyncio.to_thread(_program)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            program,
            *_OPTIONS,
            f"--user-data-dir={profile}",
            env={"PATH": SEARCHED, "HOME": profile},
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            address = await _address(process)
            async with (
                aiohttp.ClientSession() as client,
                client.ws_connect(address, max_msg_size=0) as socket,
            ):
                yield await _attached(Page(socket))
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()


def _program() -> str:
    for name in ("chromium", *OTHER_NAMES):
        if shutil.which(name, path=SEARCHED):
            return name
    ensure_packages(CHROMIUM, purpose="A browser for reports")
    return "chromium"


async def _address(process: asyncio.subprocess.Process) -> str:
    """Return the address that the browser prints at its start."""
    assert process.stderr is not None
    seen = b""
    async with asyncio.timeout(START_SECONDS):
        while line := await process.stderr.readline():
            seen += line
            if found := re.search(rb"DevTools listening on (ws://\S+)", line):
                return found[1].decode()
    raise AssertionError(f"chromium did not start:\n{seen.decode(errors='replace')}")


async def _attached(page: Page) -> Page:
    target = await page.call("Target.createTarget", url="about:blank")
    found = await page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
    page.session = found["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        await page.call(f"{domain}.enable")
    return page
