"""A fleet of three services whose releases come in groups, with real deciders that die before a record that a test names."""

from tests.decider.kit import FLEET, NODES, OPERATOR, Grip, World, desired, plan, signer

from tidegate.decider.recorded import TOPICS
from tidegate.ports import Record
from tidegate.rollout.ledger import Ledger, rebuild
from tidegate.wire.codec import encode
from tidegate.wire.decisions import Result
from tidegate.wire.documents import Phase, Report, ServiceReport, digest
from tidegate.wire.envelope import seal
from tidegate.wire.groups import Group, Wave
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.plans import Action, Artifact, Plan, Rollback
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

SERVICES = ("a", "b", "c")
NAME = "group/all"
RECORDS = 49
"""So many stand in the log when nobody has died."""


class Deadly(Grip):
    """Stands still just before it would write one certain record of ``decisions``."""

    at: int | None = None
    _next = 0

    async def pass_by(self, topic=""):
        if topic == "decisions":
            # Several may be on their way at once.
            number = max(self._next, len(self._log.topic("decisions")))
            self._next = number + 1
            if number == self.at:
                self._free.clear()
        await super().pass_by(topic)


class Services(World):
    """Nodes that run three services, and a judge who finds one version of one of them bad."""

    bad = ("c", "v2")

    def start(self, life, *, dies_at=None):
        decider = super().start(life)
        self.grips[life].at = dies_at
        return decider

    def grip(self):
        return Deadly(self.log)

    def ledger(self) -> Ledger:
        return rebuild((record.offset, record.value) for record in self.log.topic("decisions"))

    def records(self) -> list[Record]:
        """Return everything that was read for the decisions, and them."""
        return [record for topic in (*TOPICS, "decisions") for record in self.log.topic(topic)]

    async def enrol(self) -> None:
        await super().enrol()
        await self.follow()

    async def follow(self) -> None:
        """Every node does what is desired of every service, at once, and says so."""
        for node in NODES:
            self._counters[node] += 1
            report = Report(
                fleet=FLEET,
                node=node,
                boot="b",
                counter=self._counters[node],
                issued_ms=self.clock.now_ms(),
                agent_version="t",
                services=tuple(self._service(service, node) for service in SERVICES),
            )
            await self.log.append("reports", node, seal(report, signer(node)))

    async def judge(self) -> None:
        ledger = self.ledger()
        for subject, state in sorted(ledger.subjects.items()):
            if not state.placement or not state.released:
                continue
            artifact = ledger.plans[state.plan_digest].plan.artifact
            bad = (subject[4:], artifact.version) == self.bad
            verdict = Verdict(
                subject=subject,
                service=subject[4:],
                epoch=ledger.epoch,
                generation=state.generation,
                rollout=state.rollout,
                stage=state.stage,
                placement=state.placement,
                outcome=Outcome.FAIL if bad else Outcome.PASS,
                reason=Reason.GROSS_ERRORS if bad else Reason.CLEAN,
                action=Action.ROLLBACK if bad else None,
                canary_requests=1_000,
                last_pane_ms=self.clock.now_ms(),
            )
            await self.log.append("verdicts", subject, encode(verdict))

    async def ask_group(self, version: str, before: str | None, *waves: str) -> str:
        plans = [[member(service, version, before) for service in wave] for wave in waves]
        group = Group(
            name="all",
            fleet=FLEET,
            issued_ms=self.clock.now_ms(),
            waves=tuple(Wave(plans=tuple(seal(one, OPERATOR).decode() for one in wave)) for wave in plans),
        )
        envelope = seal(group, OPERATOR)
        await self.log.append("plans", NAME, envelope)
        return digest(envelope)

    async def until_ended(self, life: str) -> None:
        """Let time pass until the group is done; whoever stands before the record of its death dies, and another comes."""
        lives = 0
        for _ in range(300):
            await self.clock.advance(1)
            await self.judge()
            await self.follow()
            for name in self.running:
                if self.grips[name].standing.is_set():
                    lives += 1
                    await self.kill(name)
                    self.start(f"{life}{lives}")
            group = self.ledger().groups.get(NAME)
            if group is not None and group.phase is Phase.DONE:
                return
        raise AssertionError(f"still {self.ledger().groups}")

    def _service(self, service: str, node: str) -> ServiceReport:
        ledger = self.ledger()
        value, roster = self.level(f"svc/{service}"), ledger.rosters.get(f"svc/{service}")
        if value is None or roster is None:
            return ServiceReport(service=service, executor="none", state=ServiceState.STOPPED)
        command, position = desired(value), roster.nodes.index(node)
        inside = [one for one in command.cohorts if one.first <= position < one.first + one.count]
        version = inside[0].version if inside else command.settled.version if command.settled is not None else ""
        return ServiceReport(
            service=service,
            executor="none",
            state=ServiceState.READY if version else ServiceState.STOPPED,
            version=version,
            digest=artifact(version).sha256 if version else "",
            token=inside[0].token if inside else "",
            order=command.order,
            prefetched=(ledger.plans[ledger.subject(f"svc/{service}").plan_digest].plan.artifact.version,),
        )


def artifact(version: str) -> Artifact:
    return Artifact(version=version, sha256=digest(version.encode()))


def member(service: str, version: str, before: str | None) -> Plan:
    back = Rollback(artifact=artifact(before)) if before else None
    return plan(f"{service}-{version}", service=service, artifact=artifact(version), rollback=back, control="none", watch="1s")


async def played(dies_at: int | None = None) -> Services:
    """Install all three in three waves, then bring v2, of which c is bad, in two; an author may die on the way."""
    world = Services()
    await world.enrol()
    world.start("first", dies_at=dies_at)
    await world.ask_group("v1", None, "a", "b", "c")
    await world.until_ended("x")
    assert world.ledger().groups[NAME].result is Result.PROMOTED
    await world.ask_group("v2", "v1", "a", "bc")
    while world.ledger().groups[NAME].phase is Phase.DONE:
        await world.clock.advance(1)
        for name in world.running:
            if world.grips[name].standing.is_set():
                await world.kill(name)
                world.start("y")
    await world.until_ended("z")
    return world
