"""A small WebDriver client (W3C protocol over HTTP): tests drive a real Chromium with the standard library alone."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
KEYS = {
    "left": "\ue012",
    "right": "\ue014",
    "home": "\ue011",
    "end": "\ue010",
    "pageup": "\ue00e",
    "tab": "\ue004",
    "enter": "\ue007",
}
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def missing() -> str | None:
    """Return why no browser can be driven here, or None."""
    if not any(shutil.which(name) for name in BROWSERS):
        return f"none of {', '.join(BROWSERS)} is installed"
    return None if shutil.which("chromedriver") else "chromedriver is not installed"


class Browser:
    """One headless browser with a fresh profile, that logs its console and its requests."""

    def __init__(self, width: int = 1280, height: int = 1400) -> None:
        self.profile = tempfile.TemporaryDirectory(prefix="sclatent-browser-", ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.driver.stdout is not None
        line = ""
        while "started successfully on port" not in line:
            line = self.driver.stdout.readline()
            assert line, "chromedriver did not start"
        self.root = "http://127.0.0.1:" + line.split("port")[-1].strip(" .\n")
        options = {
            "binary": next(path for path in map(shutil.which, BROWSERS) if path),
            "args": [*FLAGS, f"--user-data-dir={self.profile.name}", f"--window-size={width},{height}"],
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self.session = self._post("/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def close(self) -> None:
        try:
            self._send("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(timeout=20)
            self.profile.cleanup()

    def open(self, path: Path, seconds: float = 60) -> None:
        """Open a file and wait until the page says that it is ready, or that it is in trouble."""
        self.requests()  # those of the empty first tab
        self._send("POST", "/url", {"url": path.resolve().as_uri()})
        self.wait(
            "document.documentElement.dataset.ready === 'yes' || !document.getElementById('trouble').hidden", seconds
        )

    def run(self, script: str, *args: Any) -> Any:
        """Run JavaScript in the page and return what it returns."""
        return self._send("POST", "/execute/sync", {"script": script, "args": list(args)})

    def value(self, expression: str) -> Any:
        return self.run(f"return {expression}")

    def wait(self, expression: str, seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never became true: {expression}"
            time.sleep(0.05)

    def settle(self) -> None:
        """Wait until what was asked for has been drawn."""
        script = (
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30)))"
        )
        self._send("POST", "/execute/async", {"script": script, "args": []})

    def keys(self, selector: str, *keys: str) -> None:
        element = self._send("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT]
        self._send("POST", f"/element/{element}/value", {"text": "".join(KEYS.get(key, key) for key in keys)})
        self.settle()

    def click(self, selector: str) -> None:
        element = self._send("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT]
        self._send("POST", f"/element/{element}/click", {})
        self.settle()

    def drag(self, selector: str, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Drag with the mouse between two points given from the middle of an element."""
        element = self._send("POST", "/element", {"using": "css selector", "value": selector})
        moves = [{"type": "pointerMove", "duration": 0, "origin": element, "x": x, "y": y} for x, y in (start, end)]
        actions = [moves[0], {"type": "pointerDown", "button": 0}, moves[1], {"type": "pointerUp", "button": 0}]
        self._send("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": actions}]})
        self.settle()

    def size(self, width: int, height: int) -> None:
        """Make the page as wide as a telephone, or as anything else."""
        values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self._send("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": values})
        self.settle()

    def screenshot(self, path: Path) -> None:
        """Take a picture of the whole page."""
        shot = {"format": "png", "captureBeyondViewport": True}
        data = self._send("POST", "/goog/cdp/execute", {"cmd": "Page.captureScreenshot", "params": shot})["data"]
        path.write_bytes(base64.b64decode(data))

    def console(self) -> list[str]:
        """Return what was written to the console since the last call, errors and warnings of the browser included."""
        return [entry["message"] for entry in self._send("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Return the addresses of all requests that a page opened from disk has made since the last call."""
        found = []
        for entry in self._send("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent" and message["params"]["documentURL"].startswith(
                "file:"
            ):
                found.append(message["params"]["request"]["url"])
        return found

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        return self._post(f"/session/{self.session}{path}", body, method)

    def _post(self, path: str, body: Any = None, method: str = "POST") -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise AssertionError(f"{path}: {value['error']}: {value['message'][:500]}") from None
