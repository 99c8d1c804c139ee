"""A driven Chromium, as the tests of pages use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Browser:
    """A driven Chromium that remembers what its console said and what it asked for."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = 1280, scheme: str = "light") -> None:
        """Open a file in a window of this width, for a reader who likes light or dark."""
        self.show(width=width, scheme=scheme)
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(page.as_uri())

    def show(self, *, width: int = 1280, scheme: str = "light", media: str = "") -> None:
        """Change the window, the colours or the medium of the open page."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": media, "features": features}
        )

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a script returns in the page."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: Any) -> Any:
        """The value that a script hands to `done`."""
        return self.driver.execute_async_script(
            f"const done = arguments[arguments.length - 1]; {script}", *arguments
        )

    def errors(self) -> list[str]:
        """What the console has said since the page was opened, or since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses asked for since then, but for those whose data they hold themselves."""
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        addresses = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        return [address for address in addresses if not address.startswith("data:")]
