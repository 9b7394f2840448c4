"""Each view shows what is written to the log soon after, in a real browser, from a real broker."""

import time
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from playwright.async_api import Response, Route
from tests.api.control.kit import quiet
from tests.cli.conftest import world
from tests.console.look import looking
from tests.rollout.flags import ramp, spec

from tidegate.api.tokens import revoke_token
from tidegate.console import files
from tidegate.wire.experiments import Experiment, Metric
from tidegate.wire.flagspecs import FlagSpec
from tidegate.wire.judgement import Outcome, Severity
from tidegate.wire.reasons import Reason

__all__ = ["world"]

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio(loop_scope="module")]

HALVES = {"fractional": [["off", 50], ["on", 50]]}
TRIED = FlagSpec(
    definition=msgspec.Raw(
        msgspec.json.encode(
            {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off", "targeting": HALVES}
        )
    ),
    safe_variant="off",
    immediate=True,
    experiment=Experiment(name="express", control="off", primary=Metric(name="order")),
)
PAGE_BYTES_MAX = 200_000


async def test_each_view_shows_what_is_written_while_it_is_open(site, browser, say):
    await site.set_flag("shop/express", TRIED)
    await site.set_flag("web/dark", spec(guard=("shop",)), ramp())
    await site.measure("canary")
    written: dict[str, tuple[tuple[str, ...], str, str, Callable[[], Awaitable[object]]]] = {
        "fleet": (("fleet",), '[data-key="shop"]', "environment", lambda: site.judge(reason=Reason.ENVIRONMENT)),
        "rollouts": (("rollouts",), '.card[href$="shop"]', "both silent", lambda: site.judge(reason=Reason.BOTH_SILENT)),
        "rollout, seconds": (
            ("rollouts", "shop"),
            '[data-cohort="canary"]',
            "321 ms",
            lambda: site.measure("canary", p95_ms=321.0),
        ),
        "rollout, verdict": (
            ("rollouts", "shop"),
            ".verdict",
            "as calm as ever",
            lambda: site.judge(Outcome.HOLD, Reason.WARMING_UP, sentence="The canary is as calm as ever."),
        ),
        "flags": (("flags",), '[data-flag="web/light"]', "on", lambda: site.set_flag("web/light", spec(immediate=True))),
        "flag": (("flags", "web", "dark"), "h1", "killed", lambda: site.post("/flags/web/dark/kill", "olga", {"reason": "cut"})),
        "experiments": (
            ("experiments",),
            '[data-experiment="express"]',
            "20,110",
            lambda: site.count(TRIED, "shop/express", {"off": (20_110, 2_011), "on": (20_020, 2_262)}),
        ),
        "alarms": (
            ("alarms",),
            ".alarm",
            "it burns",
            lambda: site.alarm("latency_high", "it burns", service="shop", severity=Severity.CRITICAL),
        ),
        "timeline": (("timeline",), ".entry", "the disk is full", lambda: site.alarm("disk", "the disk is full", service="web")),
    }
    took: dict[str, float] = {}
    async with looking(browser, site, "olga") as look:
        for name, (parts, where, text, write) in written.items():
            await look.open(*parts)
            await look.live()
            await look.sees_not(".waiting")
            began_s = time.monotonic()
            await write()
            took[name] = await look.seen_after_s(began_s, where, text)
            await look.picture(f"live-{name.replace(', ', '-')}")
    told = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in took.items())
    say(f"console: from a record's writing to its being seen at most {max(took.values()) * 1000:.0f} ms ({told})")


async def test_the_first_view_is_small(site, browser, say):
    async with looking(browser, site, "olga") as look:
        responses: list[Response] = []

        def came(one: Response) -> None:
            responses.append(one)

        look.page.on("response", came)
        await look.open("fleet")
        await look.live()
        await look.sees('[data-key="shop"]')
        for one in responses:
            if "/events" not in one.url:
                await look.count_bytes(one)
    say(f"console: first view is {look.bytes / 1000:.0f} kB over the wire in {len(responses)} requests")
    assert look.bytes <= PAGE_BYTES_MAX


async def test_the_policy_is_strict_and_without_a_token_nothing_but_the_page_is_served(site, browser):
    async with looking(browser, site) as look:
        look.expected = ("401",)
        answer = await look.page.goto(site.served.url)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        field = await look.sees("input[type=password]")
        await field.fill("tgapi_nonsense")
        await field.press("Enter")
        await look.sees("[role=alert]", "show a token that is good")
        await field.fill(site.texts["vera"])
        await field.press("Enter")
        await look.live()
        await look.sees('[data-key="shop"]')
        await look.open("rollouts", "shop")
        await look.sees(".track")
        assert await look.page.locator("[data-right]").count() == 0
        assert await look.page.evaluate("localStorage.getItem('tidegate.token')") is None
        # A token that ends while somebody looks: nothing of what it opened stays in sight.
        revoke_token(site.tokens_file, "vera")
        await look.sees("h1", "Sign in")
        assert await look.page.locator(".track").count() == 0


async def test_where_no_token_was_made_this_machine_looks_and_asks_for_nothing(world, browser):
    async with quiet(world) as here, here.serve(pages=files()), looking(browser, here) as look:
        look.expected = ("401",)
        await look.open("alarms")
        await look.live()
        await look.sees(".top", "read only")
        await look.sees("button", "Sign in")
        assert await look.page.locator("main button").count() == 0
        # A token that is none takes nothing away.
        await look.page.locator(".top button", has_text="Sign in").click()
        field = await look.sees("dialog[open] input[type=password]")
        await field.fill("tgapi_typo")
        await field.press("Enter")
        await look.sees("dialog[open] [role=alert]", "show a token that is good")
        await look.close_dialog()
        await look.live()
        await look.sees("main h1", "Alarms")


async def test_every_view_is_there_in_the_dark_and_on_a_phone_without_sideways_scrolling(site, browser):
    views = (("fleet",), ("fleet", "shop"), ("rollouts",), ("rollouts", "shop"), ("flags",), ("flags", "web", "dark"))
    async with looking(browser, site, "olga") as look:
        for view in (*views, ("experiments",), ("alarms",), ("timeline",)):
            await look.open(*view)
            await look.live()
            await look.sees_not(".waiting")
            for name, width, scheme in (("dark", 1280, "dark"), ("phone", 360, "light")):
                await look.page.set_viewport_size({"width": width, "height": 760})
                await look.page.emulate_media(color_scheme=scheme)
                assert await look.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, view)
                await look.picture(f"{name}-{'-'.join(view)}")


async def test_what_is_old_is_marked_and_gets_young_again(site, browser):
    async with looking(browser, site, "olga") as look:
        look.expected = ("ERR_",)
        await look.page.clock.install()
        await look.open("fleet")
        await look.live()
        await look.sees('[data-key="shop"]')
        await look.page.route("**/api/**", lambda route: route.abort())
        await look.page.clock.fast_forward(12_000)
        await look.sees(".stale-note", "The API does not answer")
        assert await look.page.evaluate("document.documentElement.classList.contains('stale')")
        await look.picture("stale")
        await look.page.unroute("**/api/**")
        await look.page.clock.fast_forward(5_000)
        await look.sees_not(".stale-note")


async def test_who_does_not_answer_is_given_up_and_asked_again(site, browser):
    """A server that is gone without a word leaves a request open for many minutes: the stream's, then that of one view."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    async with looking(browser, site, "olga") as look:
        look.expected = ("ERR_",)
        await look.page.clock.install()
        await look.page.route("**/events?*", hold, times=1)
        async with look.page.expect_request("**/events?*"):
            await look.open("alarms")
        await look.sees_not(".waiting")
        await look.page.clock.fast_forward(20_000)
        await look.live()
        await look.page.route("**/alarms?*", hold, times=1)
        await site.alarm("unanswered", "nobody answered at first", service="web")
        await look.sees(".alarm", "nobody answered at first")
    assert len(held) == 2


async def test_a_cohort_that_has_ended_is_not_shown_as_of_now(site, browser):
    now_ms = site.world.clock.now_ms()
    await site.measure("canary", service="web", end_ms=now_ms, p95_ms=777.0)
    async with looking(browser, site, "olga") as look:
        await look.open("rollouts", "web")
        for later_s, canary in ((10, "777 ms"), (11, "––––––"), (300, "––––––"), (301, "")):
            await site.measure("rest", service="web", end_ms=now_ms + later_s * 1_000, p95_ms=float(later_s))
            await look.sees('[data-cohort="rest"]', f"{later_s} ms")
            shown = await look.page.locator('[data-cohort="canary"] td').all_inner_texts()
            assert canary in "".join(shown), later_s
            assert bool(canary) == bool(shown), later_s


async def test_what_has_no_view_of_its_own_has_no_link(site, browser):
    await site.alarm("stuck", "a wave is stuck", subject="group/eu")
    await site.alarm("slow", "the shop is slow", service="shop")
    async with looking(browser, site, "olga") as look:
        await look.open("timeline")
        for text, subject, links in (("a wave is stuck", "group/eu", []), ("the shop is slow", "shop", ["#/rollouts/shop"])):
            entry = await look.sees(".entry", text)
            assert subject in await entry.inner_text()
            assert await entry.locator("a").evaluate_all("all => all.map((one) => one.getAttribute('href'))") == links


async def test_a_tab_that_nobody_looked_at_goes_on_where_it_stopped(site, browser):
    hide = "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true }); }"
    asked: list[str] = []
    async with looking(browser, site, "olga") as look:
        await look.open("alarms")
        await look.live()
        look.page.on("request", lambda one: asked.append(one.headers.get("last-event-id", "")) if "/events" in one.url else None)
        for hidden in (True, False):
            await look.page.evaluate(hide, hidden)
            await look.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            if hidden:
                await site.alarm("unseen", "it happened meanwhile", service="web")
        await look.sees(".alarm", "it happened meanwhile")
        await look.live()
    (resumed,) = asked
    assert resumed.count(".") == 6, resumed  # a position in every topic that events come from


async def test_everything_is_reached_by_keys(site, browser):
    await site.set_flag("web/ramping", spec(guard=("shop",)), ramp())
    async with looking(browser, site, "olga") as look:
        keys = look.page.keyboard
        await look.open("fleet")
        await look.sees('[data-key="shop"]')
        await keys.press("j")
        await keys.press("Enter")
        await look.sees("h1", "shop")
        await look.sees('[data-right="pause"]')
        await keys.press("p")
        await look.sees("dialog[open]", "Pause the rollout of shop")
        assert await look.page.evaluate("document.activeElement.tagName") == "TEXTAREA"
        # The browser tells of a dialog's end later than it ends it: what is opened in between stays open.
        await keys.press("Escape")
        await look.sees_not("dialog[open]")
        await keys.press("?")
        await look.sees("dialog[open]", "this list")
        await look.close_dialog()
        # A flag that ramps can be aborted, too: of the two its kill is what somebody in a hurry wants.
        await look.open("flags", "web", "ramping")
        await look.sees('[data-right="abort"]')
        await keys.press("x")
        await look.sees("dialog[open]", "Kill flag web/ramping")
        await look.close_dialog()
        for key, heading in {
            "r": "Rollouts",
            "l": "Flags",
            "e": "Experiments",
            "a": "Alarms",
            "t": "Timeline",
            "f": "Fleet",
        }.items():
            await keys.press("g")
            await keys.press(key)
            await look.sees("h1", heading)
        await look.sees('[data-key="shop"]')  # and with it the field above it
        await keys.press("/")
        await keys.type("web")
        await look.sees_not('[data-key="shop"]')
        await look.page.locator("body").click()
        await keys.press("d")
        assert await look.page.evaluate("document.documentElement.dataset.theme") == "dark"
