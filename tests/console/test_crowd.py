"""A thousand nodes and a hundred services, all of them at once: the page answers whoever uses it."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from tests.console.kit import Site
from tests.console.look import looking
from tests.console.tasks import CATEGORIES, tasks_ms

from tidegate.api.roles import Role
from tidegate.broker import Connection, KafkaLog, create_topics, delete_topics
from tidegate.wire.documents import ServiceReport
from tidegate.wire.judgement import AlarmState, Outcome, Severity
from tidegate.wire.plans import Artifact, Stage
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState
from tidegate.wire.topics import BY_NAME

pytestmark = [pytest.mark.kafka, pytest.mark.thorough, pytest.mark.asyncio(loop_scope="module")]

NODES = tuple(f"n{number:04}" for number in range(1_000))
SERVICES = tuple(f"s{number:02}" for number in range(100))
EVERYWHERE = SERVICES[0]
HOSTED = 10
FEED_EVERY_S = 0.1
ROUNDS = 2
PACE_MS = 400


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Every node reports ten services, every service has a rollout under way."""
    connection = Connection(kafka, f"crowd{secrets.token_hex(4)}.")
    await create_topics(connection)
    log = KafkaLog(connection, client_id="crowd")
    await log.start()
    site = await asyncio.to_thread(Site, tmp_path_factory.mktemp("crowd"), log, {}, NODES)
    site.token("olga", Role.ADMIN)
    async with site.live():
        for node in NODES:
            await reported(site, node)
        await site.until(lambda: len(site.mirror.model.view.reports) == len(NODES))
        stages = (Stage(set_weight=10, bake="30m"), Stage(set_weight=100, bake="30m"))
        for service in SERVICES:
            await site.roll_out(f"first-{service}", service, artifact=Artifact(version="v2", sha256="b" * 64), stages=stages)
        await site.until(lambda: all(site.phase(service) == "running" for service in SERVICES))
        yield site
    await log.close()
    await delete_topics(connection, tuple(BY_NAME))


def hosts(node: str) -> list[str]:
    number = int(node[1:])
    return [EVERYWHERE, *(SERVICES[1 + (number * (HOSTED - 1) + step) % (len(SERVICES) - 1)] for step in range(HOSTED - 1))]


async def reported(site: Site, node: str, state: ServiceState = ServiceState.READY) -> None:
    said = (ServiceReport(service=one, executor="none", state=state, version="v1", digest="a" * 64) for one in hosts(node))
    await site.report(*said, node=node, zone="abc"[int(node[1:]) % 3])


async def feed(site: Site, seed: int) -> None:
    """Ten times a second: seconds and verdicts of ten services, five nodes that change, an alarm that begins or ends."""
    random = np.random.default_rng(seed)
    beat = 0
    while True:
        for service in random.choice(SERVICES, 10, replace=False).tolist():
            # The service that is looked at has each of its seconds.
            watched = EVERYWHERE if beat % 10 == 0 else service
            for cohort in ("canary", "control", "rest"):
                latency_ms = float(random.gamma(20.0)) + 20.0
                await site.measure(cohort, service=watched, p50_ms=latency_ms, p95_ms=latency_ms * 2.2, p99_ms=latency_ms * 3.1)
            await site.judge(Outcome.HOLD, Reason.WARMING_UP, service=service, sentence=f"beat {beat}: nothing speaks against it")
        for node in random.choice(NODES, 5, replace=False).tolist():
            await reported(site, node, ServiceState.STARTING if beat % 2 else ServiceState.READY)
        name, state = f"alarm-{beat % 40}", AlarmState.RESOLVED if beat % 80 >= 40 else AlarmState.FIRING
        await site.alarm(name, f"beat {beat}", state=state, severity=list(Severity)[beat % 3], service=SERVICES[beat % 100])
        beat += 1
        await asyncio.sleep(FEED_EVERY_S)


async def test_no_task_of_the_page_is_long_while_a_thousand_nodes_change(crowd, browser, say):
    feeding = asyncio.create_task(feed(crowd, 7))
    took: dict[str, list[float]] = {}
    worked: list[float] = []
    async with looking(browser, crowd, "olga") as look:
        for _ in range(ROUNDS):
            for view in (("fleet",), ("fleet", EVERYWHERE), ("rollouts",), ("rollouts", EVERYWHERE), ("alarms",), ("timeline",)):
                await browser.start_tracing(page=look.page, categories=CATEGORIES)
                await look.open(*view)
                await look.live()
                await look.sees_not(".waiting")
                for _ in range(8):
                    await look.page.mouse.wheel(0, 900)
                    await look.page.wait_for_timeout(PACE_MS)
                worked += tasks_ms(await browser.stop_tracing())
                took.setdefault("/".join(view), []).extend(await look.page.evaluate("window.longest.splice(0)"))
                if view[0] == "fleet":  # of a hundred services, of a thousand nodes: those in sight
                    assert 10 < await look.page.locator(".row").count() < 60
                await look.picture(f"crowd-{'-'.join(view)}")
                await look.page.evaluate("window.longest.splice(0)")
    feeding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await feeding
    told = ", ".join(f"{view} {max(found, default=0):.0f} ms ({len(found)})" for view, found in took.items())
    load = os.getloadavg()[0]
    say(
        f"console: {len(NODES)} nodes, {len(SERVICES)} services: longest of {len(worked)} tasks {max(worked):.0f} ms of processor"
    )
    say(f"console: longest tasks by the clock at a load of {load:.0f}, and how many over 50 ms: {told}")
