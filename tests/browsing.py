"""A page in headless Chromium, with everything that it says and asks for."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium on this machine (apt install chromium)"
)
DESKTOP = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}
PHONE = {"viewport": {"width": 375, "height": 720}, "is_mobile": True, "has_touch": True}


class Visit:
    """The page, open, with everything that it said and asked for."""

    def __init__(self, browser: "Browser", report: Path, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page: Page = self.context.new_page()
        self.report = report
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(report.as_uri())

    def look_at(self, section: str) -> None:
        self.page.locator(section).scroll_into_view_if_needed()
        self.page.wait_for_selector(f"{section} .main-svg", timeout=30_000)

    @property
    def outside(self) -> list[str]:
        """What it asked for that is not in the page."""
        return [url for url in self.asked if not url.startswith((self.report.as_uri(), "data:", "blob:"))]
