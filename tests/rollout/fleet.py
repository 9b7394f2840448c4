"""A small fleet in memory: nodes that follow ``desired`` and report, a judge that says what it is told, a ledger in a list.

It checks on the way what must always hold: exposure never exceeds the stage, an advance has a fresh pass of its placement,
generations rise by one, and the ledger rebuilt from its records is the ledger.
"""

import base64
import hashlib

from msgspec.structs import replace

from tidegate.rollout.events import (
    AlarmArrived,
    Event,
    GroupArrived,
    IntentArrived,
    NodesEnrolled,
    PlanArrived,
    PolicyArrived,
    ReportArrived,
    Tick,
    VerdictArrived,
)
from tidegate.rollout.ledger import Ledger, apply, rebuild
from tidegate.rollout.levels import context_of, desired_of
from tidegate.rollout.restraint import restraint
from tidegate.rollout.scene import scene_of
from tidegate.rollout.sharing import HOLDING, changing
from tidegate.rollout.stages import size_of
from tidegate.rollout.step import step, wake_at
from tidegate.rollout.view import View, see
from tidegate.sim.protocol import Waves
from tidegate.wire.codec import encode
from tidegate.wire.decisions import Decision, DecisionKind, SubjectState
from tidegate.wire.documents import Desired, Intent, Move, Order, Phase, PublicKey, Report, ServiceReport, Verb
from tidegate.wire.envelope import Envelope, Signature, payload_type
from tidegate.wire.groups import Group
from tidegate.wire.judgement import Alarm, AlarmState, Outcome, Severity, Verdict
from tidegate.wire.nodeseconds import Context
from tidegate.wire.plans import Action, Artifact, Plan, Rollback, Stage
from tidegate.wire.policies import Policy
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

START_MS = 1_700_000_000_000
FLEET = "test"
SHOP = "svc/shop"


def artifact(version: str) -> Artifact:
    return Artifact(version=version, sha256=hashlib.sha256(version.encode()).hexdigest())


def plan(version: str, before: str | None = "1", stages: tuple[Stage, ...] | None = None, **fields) -> Plan:
    """1 -> 3 -> all, ten seconds of bake, a minute of watching."""
    usual = (
        Stage(set_nodes=1, bake="10s", min_requests=10),
        Stage(set_nodes=3, bake="10s", min_requests=10),
        Stage(set_weight=100, bake="10s", min_requests=10),
    )
    known = {"id": f"to-{version}", "fleet": FLEET, "service": "shop", "expires_ms": START_MS + 86_400_000, "watch": "60s"}
    return Plan(
        **(known | fields),
        artifact=artifact(version),
        rollback=Rollback(artifact=artifact(before)) if before else None,
        stages=stages or usual,
    )


def envelope(document: Plan | Policy | Group, *keys: str) -> bytes:
    """Signed in name only: whoever verifies has done it before."""
    signatures = tuple(Signature(key, "") for key in keys)
    return encode(Envelope(payload_type(type(document)), base64.b64encode(encode(document)).decode(), signatures))


class Node:
    """One server: takes what is desired at its next turn, reports on change."""

    def __init__(self, name: str, zone: str) -> None:
        self.name = name
        self.zone = zone
        self.away = False
        self.broken: set[str] = set()
        """Versions that do not start here."""
        self.slow: set[str] = set()
        """Versions that never become ready here."""
        self.running: dict[str, Artifact] = {}
        self.token: dict[str, str] = {}
        self.order: dict[str, Order] = {}
        self.failed: dict[str, str] = {}
        self.fetched: dict[str, set[str]] = {}
        self.unfetchable: dict[str, str] = {}
        """Versions that cannot be fetched here, and what this node says of it."""
        self.starting: dict[str, str] = {}
        self.frozen = ""
        self.services: tuple[str, ...] = ()
        """What is here; nothing: everything."""
        self.counter = 0
        self.starts: list[tuple[str, str]] = []
        """(version, token) of every start."""

    def follow(self, desired: Desired, target: Artifact | None, prefetch: Artifact | None, now_ms: int) -> None:
        service = desired.service
        if desired.order <= self.order.get(service, Order()) or (desired.move is Move.ADVANCE and now_ms >= desired.expires_ms):
            return
        self.order[service] = desired.order
        if prefetch is not None and desired.prefetch and prefetch.version not in self.unfetchable:
            self.fetched.setdefault(service, set()).add(prefetch.version)
        self.failed.pop(service, None)
        self.starting.pop(service, None)

    def run(self, service: str, target: Artifact | None, token: str) -> None:
        if target is None:
            return
        fresh = bool(token) and self.token.get(service) != token
        if self.running.get(service) == target and not fresh:
            return
        if target.version in self.broken:
            self.failed[service] = target.version
            return
        if target.version in self.slow:
            self.starting[service] = target.version
            return
        self.failed.pop(service, None)
        self.starting.pop(service, None)
        self.starts.append((target.version, token))
        self.running[service] = target
        self.token[service] = token or self.token.get(service, "")

    def report(self, services: tuple[str, ...], now_ms: int) -> Report:
        self.counter += 1
        said = tuple(self._service(service) for service in self.services or services)
        return Report(
            fleet=FLEET,
            node=self.name,
            boot="b1",
            counter=self.counter,
            issued_ms=now_ms,
            agent_version="0",
            zone=self.zone,
            services=said,
            frozen=self.frozen,
        )

    def _service(self, service: str) -> ServiceReport:
        running, failed, starting = self.running.get(service), self.failed.get(service), self.starting.get(service)
        state = ServiceState.STOPPED if running is None else ServiceState.READY
        state = ServiceState.FAILED if failed else ServiceState.STARTING if starting else state
        return ServiceReport(
            service=service,
            executor="none",
            state=state,
            version=failed or starting or (running.version if running else ""),
            digest=running.sha256 if running else "",
            order=self.order.get(service, Order()),
            token=self.token.get(service, ""),
            prefetched=tuple(sorted(self.fetched.get(service, ()))),
            error=next(iter(self.unfetchable.values()), ""),
        )


class Fleet:
    """Drives ``step`` through whole stories, one second a turn."""

    def __init__(self, nodes: int = 12, services: tuple[str, ...] = ("shop",), zones: int = 3) -> None:
        self.now_ms = START_MS
        self.ledger = Ledger(epoch=1)
        self.view = View(fleet=FLEET)
        self.records: list[bytes] = []
        self.decisions: list[Decision] = []
        self.waves = Waves()
        self.services = services
        self.nodes: dict[str, Node] = {}
        self.outcome: Outcome | None = Outcome.PASS
        """What the judge says each second; None: nothing."""
        self.requests = 1_000
        self.intents = 0
        self.policies = 0
        self.reporting = True
        for number in range(nodes):
            self.join(f"n{number:02}", f"z{number % zones}")

    def join(self, name: str, zone: str = "z0") -> Node:
        node = self.nodes[name] = Node(name, zone)
        self.feed(NodesEnrolled(frozenset(self.nodes)))
        self.say(node)
        return node

    def retire(self, name: str) -> None:
        """A node leaves the fleet for good: it says nothing that counts any more."""
        del self.nodes[name]
        self.feed(NodesEnrolled(frozenset(self.nodes)))

    def state(self, subject: str = SHOP) -> SubjectState:
        return self.ledger.subject(subject)

    def context(self, subject: str = SHOP) -> Context:
        """What the judge is told now."""
        return context_of(self.ledger, self.view, subject)

    def kinds(self, subject: str = SHOP) -> list[str]:
        return [decision.kind for decision in self.decisions if decision.subject == subject]

    def last(self, subject: str = SHOP) -> Decision:
        return [decision for decision in self.decisions if decision.subject == subject][-1]

    def versions(self, service: str = "shop") -> dict[str, str]:
        return {name: node.running[service].version for name, node in self.nodes.items() if service in node.running}

    def on(self, version: str) -> list[str]:
        return [name for name, running in self.versions().items() if running == version]

    def feed(self, event: Event) -> tuple[Decision, ...]:
        before = self.view
        self.view = see(before, event)
        assert see(self.view, event) == self.view
        return self.write(event, step(self.ledger, self.view, event, self.now_ms, {"decisions/0": len(self.records)}))

    def write(self, event: Event, decisions: tuple[Decision, ...]) -> tuple[Decision, ...]:
        """Append what an event has caused."""
        for decision in decisions:
            self._check(decision)
            self.waves.take(decision)
            assert not self.waves.violations, self.waves.violations
            raw = encode(decision)
            self.ledger = apply(self.ledger, decision, raw)
            self.records.append(raw)
            self.decisions.append(decision)
        return decisions

    def submit(self, document: Plan, *keys: str) -> tuple[Decision, ...]:
        return self.feed(PlanArrived(document, envelope(document, *keys), None, "", self.now_ms))

    def policy(self, name: str = "calm", **fields) -> Decision:
        """Put a policy in force, later than every one before it."""
        self.policies += 1
        known = {"fleet": FLEET, "issued_ms": self.policies, "actor": "kim"}
        return self.sign(Policy(name=name, **(known | fields)))[0]

    def submit_group(self, document: Group) -> tuple[Decision, ...]:
        return self.feed(GroupArrived(document, envelope(document), None, "", self.now_ms, document.key))

    def sign(self, document: Policy) -> tuple[Decision, ...]:
        return self.feed(PolicyArrived(document, envelope(document), None, "", self.now_ms, document.key))

    def ask(
        self, verb: Verb, subject: str = SHOP, generation: int | None = None, *, key: PublicKey | None = None, **fields: str
    ) -> Decision:
        self.intents += 1
        intent = Intent(
            id=f"i{self.intents}",
            fleet=FLEET,
            subject=subject,
            verb=verb,
            generation=self.ledger.generation(subject) if generation is None else generation,
            issued_ms=self.now_ms,
            **({"actor": "kim"} | fields),
        )
        return self.feed(IntentArrived(intent, None, "", self.now_ms, key=key))[0]

    def say(self, node: Node) -> None:
        self.feed(ReportArrived(node.report(self.services, self.now_ms), self.now_ms))

    def judge(self, outcome: Outcome, subject: str = SHOP, **fields) -> tuple[Decision, ...]:
        state, context = self.state(subject), self.context(subject)
        known = {
            "placement": context.placement,
            "generation": context.generation,
            "epoch": context.epoch,
            "reason": {Outcome.PASS: Reason.CLEAN, Outcome.FAIL: Reason.LIMIT_BROKEN, Outcome.HOLD: Reason.IDLE}[outcome],
            "canary_requests": self.requests,
            "last_pane_ms": self.now_ms - 1_000,
            "sentence": f"The judge says {outcome}.",
        }
        if outcome is Outcome.FAIL:
            known["action"] = Action.ROLLBACK
        verdict = Verdict(
            subject=subject,
            service=context.service,
            rollout=state.rollout,
            stage=state.stage,
            outcome=outcome,
            **(known | fields),
        )
        return self.feed(VerdictArrived(verdict, self.now_ms))

    def alarm(self, state: AlarmState, severity: Severity = Severity.CRITICAL) -> None:
        alarm = Alarm(
            id="a1", writer="judge", name="coverage_lost", state=state, severity=severity, start_ms=self.now_ms, service="shop"
        )
        self.feed(AlarmArrived(alarm))

    def turn(self, seconds: int = 1) -> None:
        """Let time pass: nodes act and report, the judge speaks, decide wakes."""
        for _ in range(seconds):
            self.now_ms += 1_000
            for node in self.nodes.values():
                if not node.away:
                    self._act(node)
                    self.say(node)
            for service in self.services:
                subject = f"svc/{service}"
                if self.outcome is not None and self.context(subject).placement:
                    self.judge(self.outcome, subject)
            self.feed(Tick())

    def until(self, *phases: Phase, subject: str = SHOP, seconds: int = 3_000) -> None:
        for _ in range(seconds):
            if self.state(subject).phase in phases:
                return
            self.turn()
        raise AssertionError(f"still {self.state(subject)} after {seconds} s")

    def until_stage(self, stage: int, *, baking: bool = True) -> None:
        for _ in range(3_000):
            if self.state().stage == stage and (not baking or self.state().baking_since_ms):
                return
            self.turn()
        raise AssertionError(f"still {self.state()}")

    def install(self, version: str = "1") -> None:
        """Bring the first version everywhere."""
        self.submit(plan(version, None, (Stage(set_weight=100, bake="0s"),), watch="1s", max_unavailable="100%"))
        self.until(Phase.DONE)
        assert len(self.on(version)) == len(self.nodes)

    def restore(self) -> None:
        """The log is made anew from an archive of now: as ``tidegate restore`` ends it, and nobody has reported yet."""
        taken = Decision(
            seq=self.ledger.seq,
            prev=self.ledger.head,
            epoch=self.ledger.epoch + 1_000,
            kind=DecisionKind.TAKEOVER,
            subject="",
            generation=0,
            now_ms=self.now_ms,
            reason=Reason.RESTORED,
            cut=len(self.records),
        )
        raw = encode(taken)
        self.ledger = apply(self.ledger, taken, raw)
        self.records.append(raw)
        self.view = see(View(fleet=FLEET), NodesEnrolled(frozenset(self.nodes)))

    def check_rebuilt(self) -> None:
        """A restart: the ledger from its records, and all that is published, are equal to the byte."""
        again = rebuild(enumerate(self.records))
        # This ledger began in epoch 1 without a takeover record.
        again = replace(again, epoch=max(again.epoch, 1))
        assert again == self.ledger
        for subject in self.ledger.subjects:
            assert encode(desired_of(again, subject, 1, FLEET)) == encode(desired_of(self.ledger, subject, 1, FLEET))
            assert context_of(again, self.view, subject) == self.context(subject)

    def _act(self, node: Node) -> None:
        for service in self.services:
            subject = f"svc/{service}"
            state = self.ledger.subjects.get(subject)
            if state is None or not state.plan_digest:
                continue
            desired, document = desired_of(self.ledger, subject, 1, FLEET), self.ledger.plans[state.plan_digest].plan
            target, token = self._target(node, desired, document)
            node.follow(desired, target, document.artifact, self.now_ms)
            if node.order.get(service) == desired.order:
                node.run(service, target, token)

    def _target(self, node: Node, desired: Desired, document: Plan) -> tuple[Artifact | None, str]:
        roster = self.ledger.rosters[desired.subject].nodes
        if node.name not in roster:
            return desired.newcomers or desired.settled, ""
        position = roster.index(node.name)
        for cohort in desired.cohorts:
            if cohort.first <= position < cohort.first + cohort.count:
                new = cohort.version == document.artifact.version
                return document.artifact if new else desired.settled, cohort.token
        return desired.settled, ""

    def _check(self, decision: Decision) -> None:
        before, after = self.ledger.subject(decision.subject), decision.state
        if after is None:
            return
        advances = (
            decision.kind in (DecisionKind.START, DecisionKind.PROMOTE, DecisionKind.WATCH) or after.released > before.released
        )
        running = self.ledger.plans[after.plan_digest].plan if after.plan_digest in self.ledger.plans else None
        fast = running is not None and running.fast
        if advances and running is not None:
            assert restraint(self.ledger, self.view, running, self.now_ms) is None
        if after.phase is Phase.RUNNING and (after.released, after.controls) > (before.released, before.controls):
            self._check_shared(decision)
        assert after.generation == before.generation + 1
        plans = self.ledger.plans
        if after.plan_digest in plans and after.phase not in (Phase.IDLE, Phase.DONE):
            document = plans[after.plan_digest].plan
            roster = decision.roster or self.ledger.rosters[decision.subject]
            assert after.released <= size_of(document.stages[after.stage], len(roster.nodes), roster.waves)
        if decision.kind in (DecisionKind.PROMOTE, DecisionKind.WATCH) and before.settled is not None and not fast:
            verdict = self.view.verdicts[decision.subject]
            assert verdict.outcome is Outcome.PASS
            assert verdict.placement == before.placement
            assert self.now_ms - verdict.last_pane_ms <= 5_000

    def _check_shared(self, decision: Decision) -> None:
        """No node that is given something is in the middle of another service's change (B1).

        What is given again, to a node that was away, is no new change: the node itself does one thing at a time (F2).
        """
        given = {*decision.facts["batch"], *decision.facts.get("controls", ())}
        for service in self.services:
            scene = scene_of(self.ledger, self.view, f"svc/{service}", self.now_ms)
            if scene is not None and scene.state.subject != decision.subject and scene.state.phase in HOLDING:
                assert given.isdisjoint(changing(scene))


__all__ = ["FLEET", "SHOP", "START_MS", "Fleet", "Node", "artifact", "envelope", "plan", "wake_at"]
