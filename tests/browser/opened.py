"""A page in a browser: what tests do with it and read from it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")
ARROWS = {"left": "\ue012", "up": "\ue013", "right": "\ue014", "down": "\ue015"}
ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"


class Opened:
    """A page, and the browser that it is in.

    Attributes:
        driver: of selenium.
        downloads: where files go that the page saves.
        logs: which logs the browser keeps.
    """

    def __init__(self, driver: Any, downloads: Path, logs: tuple[str, ...] = ()) -> None:
        self.logs = logs
        self.driver = driver
        self._held = False
        self.downloads = downloads

    def open(
        self,
        file: Path,
        *,
        fragment: str,
        size: tuple[int, int],
        dark: bool,
        seconds: float = 10,
    ) -> None:
        width, height = size
        run = self.driver.execute_cdp_cmd
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        run("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        run("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")
        for kind in self.logs:
            self.driver.get_log(kind)
        self.driver.get(f"{file.as_uri()}{fragment}")
        self.wait(lambda: self.run("return document.documentElement.dataset.ready"), seconds)

    def run(self, script: str, *values: Any) -> Any:
        return self.driver.execute_script(script, *values)

    def wait(self, found: Callable[[], Found], seconds: float = 10) -> Found:
        """The first true value."""
        end = time.monotonic() + seconds
        while not (value := found()):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)
        return value

    def keys(self, *pressed: str) -> None:
        """Presses keys one after the other, wherever the focus is."""
        for key in pressed:
            self.driver.switch_to.active_element.send_keys(key)

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def count(self, selector: str) -> int:
        return self.run("return document.querySelectorAll(arguments[0]).length", selector)

    def click(self, selector: str) -> None:
        self.run(
            "document.querySelector(arguments[0])"
            ".dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true }))",
            selector,
        )

    def mouse(self, what: str, x: float, y: float) -> None:
        """Moves or presses the mouse itself: `mouseMoved`, `mousePressed` or `mouseReleased`."""
        held = what == "mousePressed" or self._held
        self._held = held and what != "mouseReleased"
        self.driver.execute_cdp_cmd(
            "Input.dispatchMouseEvent",
            {
                "type": what,
                "x": x,
                "y": y,
                "button": "left" if held else "none",
                "buttons": int(self._held),
                "clickCount": int(what != "mouseMoved"),
            },
        )

    @property
    def address(self) -> str:
        return self.run("return location.hash")

    def inked(self) -> list[bool]:
        """Whether something is drawn on the canvas of the weaker edges, and of the strongest."""
        return self.run(
            "return [...document.querySelectorAll('canvas.edges')].map((c) => {"
            "const copy = new OffscreenCanvas(c.width, c.height).getContext('2d');"
            "copy.drawImage(c, 0, 0);"
            "return copy.getImageData(0, 0, c.width, c.height).data.some((v) => v); })"
        )

    def messages(self) -> list[str]:
        """What the console says, beneath notes."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ]

    def requests(self) -> list[str]:
        """Addresses that the page asked for, itself and what it holds apart."""
        sent = [json.loads(entry["message"])["message"] for entry in
                self.driver.get_log("performance")]  # fmt: skip
        urls = [
            message["params"]["request"]["url"]
            for message in sent
            if message["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def saved(self, name: str) -> bytes:
        """A file that the page saves, once it is whole."""
        file = self.downloads / name
        self.wait(file.exists)
        data = file.read_bytes()
        file.unlink()
        return data


# The fixture `opened`: a page of a made-up circuit, opened from disk.
Open = Callable[..., Opened]
