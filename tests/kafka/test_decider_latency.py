"""From a verdict in the log to the command that follows it, on real Kafka."""

import asyncio
import statistics

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.decider.kit import DECISION, FLEET, NODES, OPERATOR, TRUST, desired, plan, signer

from tidegate.decider import Decider
from tidegate.ports import SystemClock
from tidegate.wire.codec import encode
from tidegate.wire.documents import Desired, Enrolment, KeyRole, Phase, Report, ServiceReport
from tidegate.wire.envelope import seal
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

pytestmark = pytest.mark.kafka
SERVICES = tuple(f"s{number}" for number in range(12))


class Fleet:
    """Nodes that do at once what they are told, and say so."""

    def __init__(self, log) -> None:
        self.log = log
        self.clock = SystemClock()
        self.commands: dict[str, Desired] = {}
        self.written_ms: dict[tuple[str, int], int] = {}
        self._counter = 0

    async def enrol(self) -> None:
        for node in NODES:
            key = signer(node).public(KeyRole.NODE, node)
            await self.log.append("keys", node, seal(Enrolment(fleet=FLEET, node=node, key=key, issued_ms=0), OPERATOR))

    async def follow(self) -> None:
        reader = await self.log.reader(["desired"])
        try:
            while True:
                news = [one for one in await reader.poll(0.5) if one.key.startswith("svc/")]
                for one in news:
                    command = desired(one.value)
                    self.commands[command.subject] = command
                    self.written_ms.setdefault((command.subject, command.generation), one.time_ms)
                if news:
                    await self.report()
        finally:
            await reader.close()

    async def report(self) -> None:
        self._counter += 1
        for node in NODES:
            report = Report(
                fleet=FLEET,
                node=node,
                boot="b",
                counter=self._counter,
                issued_ms=self.clock.now_ms(),
                agent_version="t",
                services=tuple(self._service(service) for service in SERVICES),
            )
            await self.log.append("reports", node, seal(report, signer(node)))

    def _service(self, service: str) -> ServiceReport:
        command = self.commands.get(f"svc/{service}")
        idle = ServiceReport(service=service, executor="none", state=ServiceState.STOPPED)
        if command is None:
            return idle
        idle = replace(idle, order=command.order, prefetched=("v1",))
        if not command.cohorts:
            return idle
        return replace(idle, state=ServiceState.READY, version="v1", digest="a" * 64, token=command.cohorts[0].token)


async def until(condition, within_s: float = 30.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {within_s} s"
        await asyncio.sleep(0.01)


@pytest.mark.thorough
async def test_a_failing_verdict_is_a_command_a_tenth_of_a_second_later(log):
    fleet = Fleet(log)
    await fleet.enrol()
    await fleet.report()
    decider = Decider(log, fleet.clock, DECISION, TRUST, life="a", registry=CollectorRegistry())
    tasks = [asyncio.create_task(decider.run()), asyncio.create_task(fleet.follow())]
    try:
        await until(lambda: decider.leading)
        for service in SERVICES:
            await log.append("plans", f"svc/{service}", seal(plan(f"p-{service}", service=service, watch="1h"), OPERATOR))
        subjects = [f"svc/{service}" for service in SERVICES]
        await until(
            lambda: all(one in fleet.commands and fleet.commands[one].phase is Phase.WATCHING for one in subjects), within_s=60
        )
        took = [await command_after_fail(fleet, subject) for subject in subjects]
    finally:
        await decider.stop()
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert statistics.median(took) < 100, f"ms from verdict to command: {took}"


async def command_after_fail(fleet: Fleet, subject: str) -> int:
    """Return milliseconds between the append times of a failing verdict and of the command that it brings about."""
    command = fleet.commands[subject]
    verdict = Verdict(
        subject=subject,
        service=command.service,
        epoch=command.epoch,
        generation=command.generation,
        rollout=command.rollout,
        placement=command.placement,
        stage=command.stage,
        outcome=Outcome.FAIL,
        reason=Reason.GROSS_ERRORS,
        action=Action.ROLLBACK,
        last_pane_ms=fleet.clock.now_ms(),
        clock_ms=fleet.clock.now_ms(),
    )
    at = await fleet.log.append("verdicts", subject, encode(verdict))
    await until(lambda: fleet.commands[subject].generation > command.generation)
    return fleet.written_ms[subject, command.generation + 1] - at.time_ms
