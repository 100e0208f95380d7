"""A real browser without a window, as a test sees pages: what they ask for, how wide they are, how they look.

It is driven through the DevTools protocol on a pair of pipes (https://chromedevtools.github.io/devtools-protocol/),
so it needs no driver and no port.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
)


def chromium() -> str | None:
    """Where one is installed; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """An open browser with one page."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = os.fdopen(commands, "wb", buffering=0)
        self._answers = os.fdopen(answers, "rb")
        self._number = 0
        self._rest = b""
        self._session = ""
        self.requests: list[str] = []
        """The addresses that the page asked for, itself included; empty for `data:`."""
        self.messages: list[str] = []
        """What it wrote to the console, and what its content security policy refused."""

    def start(self) -> None:
        """Open its page."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{part}.enable")

    def open(self, address: str, *, width: int, height: int, dark: bool = False) -> None:
        """Open a page in a window of this size, in CSS pixels, and wait until it is loaded."""
        self.requests, self.messages = [], []
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        failed = self.ask("Page.navigate", url=address).get("errorText")
        assert failed is None, f"{address}: {failed}"
        while self._next()["method"] != "Page.loadEventFired":
            pass

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; None for `undefined`."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def too_wide(self) -> list[str]:
        """The elements that reach over the page's right edge and are in no box that scrolls; as HTML."""
        found: list[str] = self.value(
            "[...document.querySelectorAll('body *')].filter(one => "
            "one.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && "
            "!one.closest('.scroll, pre')).map(one => one.outerHTML.slice(0, 200))"
        )
        return found

    def screenshot(self, path: Path) -> None:
        """A PNG of the whole page, however long."""
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(shot))

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        self._commands.write(json.dumps(command).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._see(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        """Close the pipes; the browser ends with them."""
        self._commands.close()
        self._answers.close()

    def _next(self) -> dict[str, Any]:
        event = self._read()
        self._see(event)
        return event

    def _see(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event["method"] == "Log.entryAdded":
            self.messages.append(parameters["entry"]["text"])
        elif event["method"] == "Runtime.consoleAPICalled":
            self.messages.append(str(parameters["args"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = self._answers.read1(1 << 16)
            assert data, "the browser has ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        result: dict[str, Any] = json.loads(message)
        return result


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile.

    Args:
        profile: an empty folder.
    """
    program = chromium()
    assert program is not None, "no Chromium is installed: tools/chromium.sh installs one"
    to_browser, commands = os.pipe()
    answers, from_browser = os.pipe()
    flags = [*_FLAGS, *(["--no-sandbox"] if os.getuid() == 0 else []), f"--user-data-dir={profile}"]
    # It reads commands from descriptor 3 and writes answers to 4. (Debian's sh knows no descriptor above 9.)
    script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", program, *flags, "--remote-debugging-pipe", "about:blank"],
        pass_fds=(to_browser, from_browser),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    opened = Browser(commands, answers)
    try:
        opened.start()
        yield opened
    finally:
        opened.close()
        process.terminate()
        process.wait(timeout=30)
