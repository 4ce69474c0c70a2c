"""A headless Chromium over the W3C WebDriver protocol, with nothing but the standard library."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
START_S = 30.0


def missing() -> str:
    """Why there is no browser to test in; "" if there is one."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(lacking)} not installed" if lacking else ""


class Browser:
    """One session of a browser.

    Attributes:
        port: of the driver on the loopback interface.
    """

    def __init__(self, port: int, profile: Path) -> None:
        self.port = port
        options = {
            "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--window-size=1366,900",
                f"--user-data-dir={profile}",
            ],
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{made['sessionId']}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One command of the protocol; its value."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = json.loads(connection.getresponse().read())["value"]
        connection.close()
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer

    def open(self, page: Path) -> None:
        """Load a file."""
        self.call("POST", f"{self.session}/url", {"url": page.as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script's `return`."""
        body = {"script": script, "args": list(arguments)}
        return self.call("POST", f"{self.session}/execute/sync", body)

    def click(self, selector: str, at: int = 0) -> None:
        """A click of the mouse on the at-th element that matches, scrolled into view."""
        found = self.call(
            "POST", f"{self.session}/elements", {"using": "css selector", "value": selector}
        )
        self.call("POST", f"{self.session}/element/{found[at][ELEMENT]}/click", {})

    def logs(self, kind: str) -> list[dict[str, Any]]:
        """What the browser recorded since the last call: "browser" (console) or "performance"."""
        found: list[dict[str, Any]] = self.call("POST", f"{self.session}/se/log", {"type": kind})
        return found

    def requests(self) -> list[str]:
        """The addresses that pages asked for, since the last call."""
        events = [json.loads(one["message"])["message"] for one in self.logs("performance")]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of Chromium's own protocol."""
        body = {"cmd": command, "params": parameters}
        return self.call("POST", f"{self.session}/goog/cdp/execute", body)

    def screenshot(self, path: Path) -> None:
        """What is in the window."""
        path.write_bytes(base64.b64decode(self.call("GET", f"{self.session}/screenshot")))


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser that is gone at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    around = {**os.environ, "no_proxy": "*"}
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], env=around, **quiet)
    try:
        _wait(port)
        one = Browser(port, profile)
        try:
            yield one
        finally:
            one.call("DELETE", one.session)
    finally:
        driver.terminate()
        driver.wait(timeout=30)


def _wait(port: int) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return
