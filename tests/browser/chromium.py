"""A headless Chromium that is spoken to through pipes (the DevTools protocol), and what it sees.

It finds what is wrong with a page at a width: errors and warnings of scripts, requests, overflow,
links within the page that lead nowhere, figures that are not drawn or not readable.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")

_SECONDS = 180
_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe")
# Chromium reads commands from file 3 and answers into file 4.
_ON_PIPES = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1'
_HARMLESS = ("log", "info", "debug", "verbose")

# A text is cut where it leaves its figure, and unreadable where a title or an annotation lies on
# another.
_LOOK = """
(() => {
  const MARKS = ".scatterlayer path, .barlayer path, .boxlayer path, .heatmaplayer image";
  const wrong = [], root = document.documentElement;
  if (root.scrollWidth > WIDTH) wrong.push(`overflow: ${root.scrollWidth} pixels wide`);
  for (const link of document.querySelectorAll('a[href^="#"]'))
    if (!document.getElementById(link.hash.slice(1))) wrong.push(`link: no target ${link.hash}`);
  const figures = [...document.querySelectorAll(".plotly-graph-div")];
  if (!figures.length) wrong.push("figure: there is none");
  for (const figure of figures) {
    const place = figure.getBoundingClientRect(), svg = figure.querySelector("svg.main-svg");
    const shown = (mark) => { const box = mark.getBoundingClientRect();
                              return box.width + box.height > 0; };
    const marks = [...figure.querySelectorAll(MARKS)].filter(shown);
    if (!svg || place.width < 100 || place.height < 100 || !marks.length)
      wrong.push(`figure: ${figure.id} is not drawn`);
    const texts = [...figure.querySelectorAll("svg text")].filter(text => text.textContent);
    for (const text of texts) {
      const box = text.getBoundingClientRect();
      if (box.left < place.left - 2 || box.right > place.right + 2 || box.top < place.top - 2 ||
          box.bottom > place.bottom + 2)
        wrong.push(`text: cut in ${figure.id}: ${text.textContent}`);
    }
    const told = texts.filter(text => text.closest(".annotation, .g-gtitle, .legend, .xtitle"));
    told.forEach((text, i) => { for (const other of told.slice(i + 1)) {
      const a = text.getBoundingClientRect(), b = other.getBoundingClientRect();
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 &&
          Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2)
        wrong.push(`text: overlap in ${figure.id}: ${text.textContent} | ${other.textContent}`);
    } });
  }
  return wrong;
})()
"""
_DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Chromium:
    """A running browser with one tab."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self._sent, self._tab = process, 0, {}
        self._events: list[dict[str, Any]] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._tab = {"sessionId": attached["sessionId"]}
        for domain in ("Runtime", "Log", "Network", "Page"):
            self._ask(f"{domain}.enable")

    def problems(self, page: Path, width: int) -> list[str]:
        """What is wrong with a page in a window of so many CSS pixels, a line each."""
        address = self._open(page, width)
        seen = self._value(_LOOK.replace("WIDTH", str(width)))
        self._value("document.title")  # events of before have arrived with the answer
        return [*filter(None, (_complaint(event, address) for event in self._events)), *seen]

    def picture(self, page: Path, width: int) -> bytes:
        """A PNG of the whole page."""
        self._open(page, width)
        height = self._value("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        found = self._ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(found["data"])

    def visit(self, address: str, width: int, theme: str = "light") -> None:
        """Open an address in a window of so many CSS pixels, on a system with this theme."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._ask("Emulation.setDeviceMetricsOverride", **size)
        preferred = [{"name": "prefers-color-scheme", "value": theme}]
        self._ask("Emulation.setEmulatedMedia", features=preferred)
        self._events = []
        self._ask("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._read())

    def until(self, script: str) -> Any:
        """What a script gives as soon as it gives anything that is true."""
        while not (found := self._value(script)):
            time.sleep(0.1)
        return found

    def close(self) -> None:
        """End it."""
        self._tab = {}
        self._ask("Browser.close")

    def _open(self, page: Path, width: int) -> str:
        address = page.resolve().as_uri()
        self.visit(address, width)
        self._value(_DRAWN)
        return address

    def _value(self, script: str) -> Any:
        options = {"expression": script, "returnByValue": True, "awaitPromise": True}
        found = self._ask("Runtime.evaluate", **options)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params, **self._tab}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        while (answer := self._read()).get("id") != self._sent:
            self._events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        found, stdout = bytearray(), self._process.stdout
        assert stdout
        while (byte := stdout.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("Chromium has ended")
            found += byte
        return json.loads(found)


@contextmanager
def running(folder: Path) -> Iterator[Chromium]:
    """A browser that keeps what it writes in `folder`; it is ended after three minutes."""
    assert PROGRAM
    command = ["sh", "-c", _ON_PIPES, "sh", PROGRAM, *_OPTIONS, f"--user-data-dir={folder}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        limit = threading.Timer(_SECONDS, process.kill)
        limit.start()
        try:
            browser = Chromium(process)
            yield browser
            browser.close()
        finally:
            limit.cancel()
            process.kill()


def _complaint(event: dict[str, Any], page: str) -> str | None:
    told = event.get("params", {})
    match event.get("method"):
        case "Runtime.exceptionThrown":
            found = told["exceptionDetails"]
            return f"script: {found.get('exception', {}).get('description') or found['text']}"
        case "Runtime.consoleAPICalled" if told["type"] not in _HARMLESS:
            return f"console: {' '.join(str(one.get('value')) for one in told['args'])}"
        case "Log.entryAdded" if told["entry"]["level"] not in _HARMLESS:
            return f"console: {told['entry']['text']}"
        case "Network.requestWillBeSent":
            address = told["request"]["url"]
            within = address.startswith(("data:", "blob:")) or address.split("#")[0] == page
            return None if within else f"request: {address}"
    return None
