"""The console as somebody looks at it: a real browser's page, which notes whatever it should not have done."""

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Response
from tests.api.control.kit import Installation

WITHIN_MS = 60_000  # machines are shared
PICTURES = Path(__file__).resolve().parents[2] / "build" / "console"

# Before any script of the page: what the policy stops, and what keeps the page from answering, is noted by the browser itself.
WATCH = """
window.stopped = []; window.longest = []; window.pwned = [];
document.addEventListener("securitypolicyviolation", (one) => stopped.push([one.violatedDirective, one.blockedURI, one.sample]));
const noted = new PerformanceObserver((list) => list.getEntries().forEach((one) => longest.push(one.duration)));
noted.observe({ type: "longtask" });
"""


class Look:
    """One page. ``faults``: what was said on its console, thrown, stopped by its policy, or not found."""

    def __init__(self, page: Page, site: Installation) -> None:
        self.page = page
        self.site = site
        self.faults: list[str] = []
        self.expected: tuple[str, ...] = ()
        """What the browser itself says of requests that a test makes fail."""
        self.bytes = 0
        """Of bodies and headers that came over the wire."""
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"thrown: {error}"))
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))

    async def open(self, *parts: str, query: str = "") -> None:
        """Go to a view; the first time this loads the page."""
        await self.page.goto(f"{self.site.served.url}/#/{'/'.join(parts)}{query}")
        await self.page.locator("main h1").first.wait_for(timeout=WITHIN_MS)

    async def live(self) -> None:
        """Wait until the stream of events is there."""
        await self.page.locator('[data-connection="live"]').wait_for(timeout=WITHIN_MS)

    async def sees(self, selector: str, text: str = "") -> Locator:
        """Wait until something is to be seen, and return it."""
        found = self.page.locator(selector, has_text=text).first if text else self.page.locator(selector).first
        await found.wait_for(timeout=WITHIN_MS)
        return found

    async def sees_not(self, selector: str, text: str = "") -> None:
        """Wait until nothing of it is to be seen."""
        found = self.page.locator(selector, has_text=text) if text else self.page.locator(selector)
        await found.first.wait_for(state="hidden", timeout=WITHIN_MS)

    async def seen_after_s(self, began_s: float, selector: str, text: str) -> float:
        """Seconds from a moment until something was to be seen, looked for in each frame that the browser draws."""
        await self.sees(selector, text)
        return time.monotonic() - began_s

    async def ask(self, right: str, why: str) -> str:
        """Click an action, give the reason, confirm it, and return what the dialog says then."""
        await self.page.locator(f'[data-right="{right}"]').first.click()
        dialog = self.page.locator("dialog[open]")
        await dialog.locator("textarea").fill(why)
        await dialog.locator("button[type=submit]").click()
        answer = dialog.locator("[role=status], [role=alert]").first
        await answer.wait_for(timeout=WITHIN_MS)
        return await answer.inner_text()

    async def close_dialog(self) -> None:
        """Close it as a person does."""
        await self.page.keyboard.press("Escape")
        await self.sees_not("dialog[open]")

    async def picture(self, name: str) -> None:
        """Keep a picture of the page."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=PICTURES / f"{name}.png")

    async def longest_ms(self) -> float:
        """The longest time for which the page did not answer; 0: never more than 50 ms."""
        return float(await self.page.evaluate("Math.max(0, ...window.longest)"))

    async def count_bytes(self, response: Response) -> None:
        """Add what a response was on the wire."""
        sizes = await response.request.sizes()
        self.bytes += sizes["responseBodySize"] + sizes["responseHeadersSize"]

    async def check(self) -> None:
        """Fail where anything was noted."""
        stopped = await self.page.evaluate("window.stopped")
        faults = [one for one in self.faults if not any(text in one for text in self.expected)]
        assert not faults, faults
        assert not stopped, stopped

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")


@contextlib.asynccontextmanager
async def looking(browser: Browser, site: Installation, by: str = "", **how: Any) -> AsyncIterator[Look]:
    """A page of its own, with somebody's token or none; nothing may have been noted of it in the end."""
    context = await browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | how))
    await context.add_init_script(WATCH)
    if by:
        await context.add_init_script(f"sessionStorage.setItem('tidegate.token', {site.texts[by]!r})")
    look = Look(await context.new_page(), site)
    try:
        yield look
        await look.check()
    except BaseException:
        await look.picture("failed")
        raise
    finally:
        await context.close()
