"""Chromium without a window, driven through its DevTools pipe."""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu")


def chromium() -> str:
    """The browser; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or pytest.skip("needs Chromium")


class Page:
    """One open page, and what it put on the console in ``console``."""

    def __init__(self, commands: int, events: int) -> None:
        self._commands, self._events = commands, events
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session: str | None = None
        self.console: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, seconds: float = 60, **parameters: Any) -> dict[str, Any]:
        """What a command of the DevTools protocol answers."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + seconds
        while True:
            answer = self._next(until, method)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def evaluate(self, expression: str, seconds: float = 60) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise; ``$`` is querySelector."""
        options = {"awaitPromise": True, "returnByValue": True, "includeCommandLineAPI": True}
        found = self.call("Runtime.evaluate", seconds, expression=expression, **options)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str, seconds: float = 30) -> Any:
        """The value of ``condition`` once it is true."""
        until = time.monotonic() + seconds
        while not (found := self.evaluate(condition)):
            assert time.monotonic() < until, f"still not: {condition}; console: {self.console}"
            time.sleep(0.02)
        return found

    def open(self, url: str) -> None:
        """Go to an address, and wait until its scripts have begun."""
        self.call("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({url!r}) && document.readyState === 'complete'")

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in an ``<input type=file>``."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def resize(self, width: int, height: int = 900) -> None:
        self.call("Emulation.setScrollbarsHidden", hidden=True)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def prefer(self, scheme: str) -> None:
        """Prefer the colours ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _next(self, until: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._events], [], [], max(0, until - time.monotonic()))
            assert ready, f"no answer to {method}; console: {self.console}"
            read = os.read(self._events, 1 << 20)
            assert read, f"the browser ended at {method}"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled":
            said = [str(each.get("value", each.get("description"))) for each in parameters["args"]]
            self.console.append(" ".join(said))
        elif event.get("method") == "Runtime.exceptionThrown":
            self.console.append(json.dumps(parameters["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded":
            self.console.append(parameters["entry"]["text"])


@contextmanager
def browsing(profile: Path, *arguments: str) -> Iterator[Page]:
    """A page in a new browser, which keeps what it stores in ``profile``."""
    command = [chromium(), *_ARGUMENTS, f"--user-data-dir={profile}", "--remote-debugging-pipe", *arguments]
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # Beyond the two numbers that the browser knows them by.
    read, write = (fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (theirs_in, theirs_out))

    def connect() -> None:
        os.dup2(read, 3)
        os.dup2(write, 4)

    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=connect, pass_fds=(3, 4)
    )
    for each in (theirs_in, theirs_out, read, write):
        os.close(each)
    try:
        yield Page(ours_out, ours_in)
    finally:
        os.close(ours_out)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(ours_in)
