"""Headless Chromium, driven over its debugging pipe: no driver, no port, no package."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage "
    "--hide-scrollbars --remote-debugging-pipe"
)
# Chromium reads commands from descriptor 3 and answers on 4, whatever these were here.
_WIRE = "import os, sys; os.dup2({0}, 3); os.dup2({1}, 4); os.execv(sys.argv[1], sys.argv[1:])"
_PATIENCE_S = 60.0


def find_browser() -> str | None:
    """The program, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page of a browser."""

    def __init__(self, browser: "_Pipe", session: str) -> None:
        self._pipe = browser
        self._session = session

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol."""
        return self._pipe.call(method, parameters, self._session)

    def window(self, width: int, height: int, *, phone: bool = False, ratio: float = 1) -> None:
        """Size in CSS pixels; a phone has touch."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": phone},
        )
        points = {"maxTouchPoints": 5} if phone else {}
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone, **points)

    def dark(self, on: bool) -> None:
        """Whether the system is dark."""
        value = "dark" if on else "light"
        media = [{"name": "prefers-color-scheme", "value": value}]
        self.send("Emulation.setEmulatedMedia", features=media)

    def open(self, url: str) -> None:
        """Go to a page and wait for it."""
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def reload(self) -> None:
        """Load the page again and wait for it."""
        self.run("window.before = true")
        self.send("Page.reload")
        self.wait("!window.before && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression; an exception in the page is one here."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            try:
                if self.run(f"Boolean({condition})"):
                    return
            except (AssertionError, RuntimeError):
                pass  # between two documents there is nothing to ask
            time.sleep(0.02)
        raise AssertionError(f"never became true: {condition}; errors: {self.errors()}")

    def key(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key."""
        event = {"key": key, "modifiers": 8 if shift else 0}
        self.send("Input.dispatchKeyEvent", type="rawKeyDown", **event)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def click(self, selector: str) -> None:
        """Click the middle of an element as a mouse does; it must be what is hit there."""
        target = json.dumps(selector)
        self.run(f"document.querySelector({target}).scrollIntoView({{block: 'nearest'}})")
        x, y = self.middle(selector)
        hit = f"Boolean(document.elementFromPoint({x}, {y})?.closest({target}))"
        assert self.run(hit), f"{selector} is covered at {x}, {y}"
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def touch(self, *steps: list[tuple[float, float]]) -> None:
        """Fingers put down, moved from step to step and lifted."""
        for index, fingers in enumerate(steps):
            points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
            kind = "touchMove" if index else "touchStart"
            self.send("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def middle(self, selector: str) -> tuple[float, float]:
        """Where an element is, in CSS pixels."""
        box = self.run(
            f"(b => [b.left + b.width / 2, b.top + b.height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        return box[0], box[1]

    def errors(self) -> list[str]:
        """What the page complained of: exceptions, failed loads, refused ones."""
        return [
            json.dumps(event["params"])
            for event in self._events()
            if event["method"] == "Runtime.exceptionThrown"
            or (
                event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error"
            )
        ]

    def requests(self) -> list[str]:
        """Every address the page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self._events()
            if event["method"] == "Network.requestWillBeSent"
        ]

    def _events(self) -> list[dict[str, Any]]:
        return [one for one in self._pipe.events if one.get("sessionId") == self._session]

    def picture(self, path: Path) -> None:
        """A screenshot as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


class Browser:
    """A running browser; its pages know nothing of each other."""

    def __init__(self, pipe: "_Pipe") -> None:
        self._pipe = pipe

    @contextmanager
    def page(self, downloads: Path) -> Iterator[Page]:
        """A page as in a browser just installed, which saves files in ``downloads``."""
        context = self._pipe.call("Target.createBrowserContext", {})
        target = self._pipe.call("Target.createTarget", {"url": "about:blank", **context})
        attached = self._pipe.call("Target.attachToTarget", {**target, "flatten": True})
        page = Page(self._pipe, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        where = {"behavior": "allow", "downloadPath": str(downloads), **context}
        self._pipe.call("Browser.setDownloadBehavior", where)
        try:
            yield page
        finally:
            self._pipe.call("Target.disposeBrowserContext", context)


@contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile."""
    program = find_browser()
    assert program is not None
    to_child, to_us = os.pipe(), os.pipe()
    # Beyond 3 and 4, so that giving these their meaning overwrites neither.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_child[0], to_us[1])]
    command = [program, *_FLAGS.split(), f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        [sys.executable, "-c", _WIRE.format(*ends), *command],
        pass_fds=ends,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (*ends, to_child[0], to_us[1]):
        os.close(end)
    pipe = _Pipe(to_us[0], to_child[1])
    try:
        yield Browser(pipe)
    finally:
        pipe.close()  # the browser ends when its pipe does
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Pipe:
    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._buffer = b""
        self._last = 0
        self.events: list[dict[str, Any]] = []

    def call(
        self, method: str, parameters: dict[str, Any], session: str | None = None
    ) -> dict[str, Any]:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("the browser has gone")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def close(self) -> None:
        os.close(self._write)
        os.close(self._read)
