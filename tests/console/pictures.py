"""``python -m tests.console.pictures``: the pictures of docs/console.md, of a small shop on a real broker in a real browser.

The agents, the ledger and the API are real; what the judge would have measured and said of the last minutes is written here.
"""

import asyncio
import json
import math
import tempfile
from pathlib import Path

import msgspec
import numpy as np
from playwright.async_api import async_playwright
from tests.console.chromium import ARGUMENTS, chromium
from tests.console.kit import Site
from tests.console.look import looking
from tests.rollout.flags import ramp, spec

from tidegate.api.roles import Role
from tidegate.broker import Connection, KafkaLog, KafkaProcess, create_topics
from tidegate.broker.jars import kafka_jars
from tidegate.wire.experiments import Experiment, Metric
from tidegate.wire.flagspecs import FlagSpec
from tidegate.wire.judgement import Evidence, Outcome, Severity
from tidegate.wire.plans import Action, Guardrail, Pause, Stage
from tidegate.wire.reasons import Reason

INTO = Path(__file__).resolve().parents[2] / "docs" / "pictures"
NODES = {f"n{number:02}": "abc"[number % 3] for number in range(1, 13)}
MEASURED_S = 240
SLOWER_S = 40
"""So long ago the canary began to fail more often."""
COHORTS = {"canary": (1, 0.0012, 23.0), "control": (1, 0.0012, 21.0), "rest": (10, 0.0011, 21.0)}
"""Nodes, share of errors, median latency in ms."""
VIEWS = {
    "fleet": (("fleet",), {"viewport": {"width": 1280, "height": 420}}),
    "rollout": (("rollouts", "shop"), {"viewport": {"width": 1280, "height": 1420}}),
    "rollout-phone": (("rollouts", "shop"), {"viewport": {"width": 360, "height": 780}, "device_scale_factor": 2}),
    "alarms-dark": (("alarms",), {"color_scheme": "dark", "viewport": {"width": 1280, "height": 700}}),
    "timeline": (("timeline",), {}),
}


async def seconds(site: Site) -> None:
    """Write the last minutes of the shop."""
    random, now_ms = np.random.default_rng(5), site.world.clock.now_ms()
    for ago in range(MEASURED_S, 0, -1):
        wave = 1 + 0.12 * math.sin(ago / 17)
        for cohort, (nodes, share, median_ms) in COHORTS.items():
            requests = int(random.poisson(120 * nodes * (1 + 0.08 * math.sin(ago / 31))))
            failing = share * 7 if cohort == "canary" and ago < SLOWER_S else share
            errors = int(random.binomial(requests, failing))
            p50_ms = median_ms * wave * float(random.normal(1, 0.03 / math.sqrt(nodes)))
            await site.measure(
                cohort,
                end_ms=now_ms - ago * 1_000,
                requests=requests,
                errors=errors,
                rate=float(requests),
                error_ratio=errors / requests,
                nodes=nodes,
                p50_ms=p50_ms,
                p95_ms=p50_ms * 2.1,
                p99_ms=p50_ms * float(random.normal(3.1, 0.15)),
            )


async def judgement(site: Site) -> None:
    """Write what the judge said of the two rollouts: one is failing, of the other it says not yet."""
    began_ms = site.world.clock.now_ms() - SLOWER_S * 1_000
    counted = {"canary_requests": 28_790, "control_requests": 28_655, "expected_share": 0.5, "compared_with": "controls"}
    errors = Evidence(
        family="errors",
        metric="errors",
        log_e=5.1,
        threshold=7.6,
        canary_events=63.0,
        control_events=33.0,
        share=0.656,
        onset_ms=began_ms,
        log_e_pause=5.8,
        **counted,
    )
    slow = Evidence(
        family="latency",
        metric="slow@p90",
        log_e=-0.6,
        threshold=7.6,
        canary_events=2_911.0,
        control_events=2_874.0,
        share=0.503,
        bound_ms=61.0,
        log_e_pause=-0.2,
        **counted,
    )
    await site.judge(
        Outcome.HOLD,
        Reason.TOO_FEW_REQUESTS,
        compared_with="control",
        canary_requests=28_790,
        control_requests=28_655,
        canary_errors=63,
        control_errors=33,
        evidence=(errors, slow),
        sentence="The canary has 28,790 of 60,000 requests. It fails more often than the control; that may still be chance.",
    )
    await site.judge(
        Outcome.FAIL,
        Reason.LIMIT_BROKEN,
        service="web",
        action=Action.ROLLBACK,
        metric="errorRatio",
        canary=0.084,
        control=0.001,
        limit=0.02,
        compared_with="control",
        sentence="errorRatio of the canary is 8.4 %, above 2 %, in 2 of 3 panes; the control is inside it.",
    )


async def story(site: Site) -> None:
    """Have everything that the pictures show."""
    for service in ("shop", "web"):
        await site.install(service)
    limit = Guardrail(metric="errorRatio", max=0.02)
    first = Stage(set_nodes=1, bake="30m", min_requests=60_000, pause=Pause())
    others = tuple(Stage(set_weight=percent, bake="30m", min_requests=200_000) for percent in (50, 100))
    await site.upgrade_to_gate("shop", stages=(first, *others), guardrails=(limit,), reason="express checkout")
    await site.upgrade_to_gate("web", "p3")
    await seconds(site)
    await judgement(site)
    await site.until(lambda: site.phase("web") == "done")
    await site.set_flag("web/dark", spec(guard=("shop",)), ramp(), "dark mode for everybody")
    await site.set_flag("web/banner", spec(immediate=True), reason="summer sale")
    halves = {"fractional": [["off", 50], ["on", 50]]}
    definition = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off", "targeting": halves}
    tried = FlagSpec(
        definition=msgspec.Raw(json.dumps(definition).encode()),
        safe_variant="off",
        immediate=True,
        experiment=Experiment(name="express-checkout", control="off", primary=Metric(name="order")),
    )
    await site.set_flag("shop/express", tried)
    await site.count(tried, "shop/express", {"off": (20_110, 2_011), "on": (20_020, 2_262)})
    labels = {"team": "payments", "zone": "b"}
    await site.alarm("latency_high", "p99 of web is 412 ms, three times what is usual", service="web", labels=labels)
    await site.alarm("disk_full", "n07 has 1 % of its disk left", severity=Severity.CRITICAL, labels={"node": "n07"})
    hush = {"service": "web", "lasts": "2h", "reason": "load test until noon"}
    assert (await site.post("/silences", "olga", hush)).status_code == 200


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = KafkaProcess(await kafka_jars(print), folder / "kafka")
        await broker.start()
        connection = Connection(broker.bootstrap, "pictures.")
        await create_topics(connection)
        log = KafkaLog(connection, client_id="pictures")
        await log.start()
        site = await asyncio.to_thread(Site, folder / "site", log, NODES, ())
        site.token("olga", Role.ADMIN)
        async with site.live(), async_playwright() as driver:
            await story(site)
            browser = await driver.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
            for view, (parts, how) in VIEWS.items():
                async with looking(browser, site, "olga", **how) as look:
                    await look.open(*parts)
                    await look.live()
                    await look.sees_not(".waiting")
                    if parts[0] == "rollouts":
                        await look.sees(".chart canvas")
                    await look.page.wait_for_timeout(600)
                    await look.page.screenshot(path=INTO / f"console-{view}.png")
            async with looking(browser, site, "olga") as look:
                await look.open("rollouts", "shop")
                await look.live()
                await look.page.locator('[data-right="abort"]').click()
                await look.page.locator("dialog[open] textarea").fill("errors of the canary rise")
                await look.page.screenshot(path=INTO / "console-abort.png")
            await browser.close()
        await log.close()
        await broker.stop()


if __name__ == "__main__":
    asyncio.run(main())
