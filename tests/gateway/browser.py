"""A real Chromium, and what every page has to be in it."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.async_api import Browser, Page, async_playwright

from waiting import PATIENCE_S

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
PATIENCE_MS = 1000 * PATIENCE_S


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@dataclass
class Tab:
    """A page, and what the browser complained of meanwhile."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        await self.page.goto(f"{self.url}{path}")

    async def sign_in(self, key: str) -> None:
        """A gateway knows a new key within ten seconds."""
        while True:
            await self.go("/dashboard/sign-in")
            await self.page.fill("#key", key)
            await self.page.click("button.primary")
            if await self.page.locator("#error").count() == 0:
                return

    async def axe(self, *rules: str) -> list[str]:
        """What axe finds, as one line for each; by all rules, or by some."""
        await self.page.evaluate(f"window.axe || (() => {{ {AXE} }})()")
        options = {"resultTypes": ["violations"], "preload": False} | ({"runOnly": list(rules)} if rules else {})
        found: dict[str, Any] = await self.page.evaluate("(options) => axe.run(document, options)", options)
        return [
            f"{each['id']}: {node['html']} {node['failureSummary']}"
            for each in found["violations"]
            for node in each["nodes"]
        ]

    async def fits(self) -> bool:
        """Whether nothing sticks out to the right."""
        fits: bool = await self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        return fits


@asynccontextmanager
async def open_tab(browser: Browser, url: str, **options: Any) -> AsyncIterator[Tab]:
    """Raises AssertionError at the end where a script failed or the policy was broken."""
    context = await browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    tab = Tab(page, url)
    page.on("pageerror", lambda error: tab.complaints.append(f"script: {error}"))
    page.on("dialog", lambda dialog: tab.complaints.append(f"dialog: {dialog.message}"))
    page.on(
        "console",
        lambda message: tab.complaints.append(message.text) if "Content Security Policy" in message.text else None,
    )
    yield tab
    await context.close()
    assert not tab.complaints, tab.complaints
