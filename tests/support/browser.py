"""A real browser for the tests of pages: Debian's chromium without a window, driven by its debugging protocol.

with Browser(tmp_path) as browser:
    browser.open(page_path, width=390)
    browser.evaluate("document.title")
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium")
_DEADLINE_S = 60.0


class Browser:
    """One tab. ``requested`` holds the address of everything that a page asked for."""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM, "make setup-dev installs chromium"
        self.requested: list[str] = []
        self._number = 0
        self._process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={folder / 'chromium'}",
             "about:blank"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._socket: ClientConnection | None = None

    def __enter__(self) -> Browser:
        assert self._process.stderr is not None
        address = next(m[1] for line in self._process.stderr if (m := re.search(r"listening on (ws://\S+)", line)))
        self._socket = connect(address, max_size=None, proxy=None)
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket:
            self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=30)

    def open(self, page: Path, *, width: int, dark: bool = False) -> None:
        """Load a page and wait until everything in it has come."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self.requested.clear()
        self._send("Page.navigate", url=page.resolve().as_uri())
        self._until(lambda message: message.get("method") == "Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript in the page; a promise is waited for."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = self._send(method, **params)
        answer = self._until(lambda message: message.get("id") == number)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def _send(self, method: str, **params: Any) -> int:
        assert self._socket is not None
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        return self._number

    def _until(self, wanted: Any) -> dict[str, Any]:
        assert self._socket is not None
        while True:
            message: dict[str, Any] = json.loads(self._socket.recv(timeout=_DEADLINE_S))
            if message.get("method") == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            if wanted(message):
                return message
