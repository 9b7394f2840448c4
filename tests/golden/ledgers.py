"""Ledgers as they were written, version by version, with everything that was read for them.

``PYTHONPATH=. .venv/bin/python -m tests.golden.ledgers NUMBER`` adds a file; those that are there are never written again:
they are what a fleet holds that is upgraded. Each is the log of a simulated fleet whose decision agents are the real ones:
an install, a good release, bad ones, people, a death, refusals.
"""

import asyncio
import base64
import sys
from pathlib import Path

import cramjam
import msgspec
from msgspec.structs import replace
from tests.decider.kit import FLEET, OPERATOR, STRANGER, World, desired, plan, signer

from tidegate.ports import Record
from tidegate.wire.codec import decode, encode
from tidegate.wire.documents import Enrolment, Intent, KeyRole, Order, Phase, Report, ServiceReport, Verb
from tidegate.wire.envelope import Envelope, seal
from tidegate.wire.judgement import Alarm, AlarmState, Outcome, Severity, Verdict
from tidegate.wire.nodeseconds import Context
from tidegate.wire.nodeseconds import decode as decode_nodeseconds
from tidegate.wire.plans import Action, Artifact, GateDefault, Pause, Plan, Rollback, Stage
from tidegate.wire.policies import Freeze, Policy
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

HERE = Path(__file__).parent
TOPICS = ("keys", "plans", "intents", "reports", "verdicts", "alarms", "desired", "decisions")
NODES = ("n1", "n2", "n3", "n4", "n5")
SHOP = "svc/shop"


def ledger(number: int) -> list[Record]:
    """Return the records of one file, topic by topic in the order of their offsets."""
    data = bytes(cramjam.zstd.decompress((HERE / f"ledger-{number}.zst").read_bytes()))
    return [Record(*fields) for fields in msgspec.msgpack.decode(data)]


def numbers() -> list[int]:
    """Return the numbers of the files."""
    return sorted(int(path.stem.partition("-")[2]) for path in HERE.glob("ledger-*.zst"))


def artifact(version: str) -> Artifact:
    return Artifact(version=version, sha256=version[-1] * 64)


def release(version: str, before: str | None, **fields) -> Plan:
    stages = (
        Stage(set_nodes=1, bake="5s", min_requests=10),
        Stage(set_weight=100, bake="5s", min_requests=10, pause=fields.pop("pause", None)),
    )
    first = (Stage(set_weight=100, bake="1s", min_requests=0),)
    return plan(
        fields.pop("id", f"to-{version}"),
        artifact=artifact(version),
        rollback=Rollback(artifact=artifact(before)) if before else None,
        stages=stages if before else first,
        watch="5s",
        progress_deadline="60s",
        max_unavailable="50%",
        expires_ms=1_700_000_000_000 + fields.pop("lasts_s", 86_400) * 1_000,
        **fields,
    )


class Story(World):
    """Five nodes that do what is desired, a judge, people."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, Artifact] = {}
        self.order = dict.fromkeys(NODES, Order())
        self.token = dict.fromkeys(NODES, "")
        self.away: set[str] = set()
        self.broken: set[str] = set()
        self.outcome: Outcome | None = Outcome.PASS
        self.intents = 0

    async def begin(self) -> None:
        for node in NODES:
            key = signer(node).public(KeyRole.NODE, node)
            await self.log.append("keys", node, seal(Enrolment(fleet=FLEET, node=node, key=key, issued_ms=0), OPERATOR))
            await self.say(node)

    async def turn(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.clock.advance(1)
            for node in NODES:
                if node not in self.away:
                    self.obey(node)
                    await self.say(node)
            if self.outcome is not None:
                await self.judge(self.outcome)
            await self.clock.settle()

    def obey(self, node: str) -> None:
        value = self.level(SHOP)
        if value is None:
            return
        command = desired(value)
        if command.order <= self.order[node] or not command.plan_digest:
            return
        self.order[node] = command.order
        document = self.planned()
        nodes = self.rostered()
        at = nodes.index(node) if node in nodes else -1
        target, token = command.settled, ""
        for cohort in command.cohorts:
            if cohort.first <= at < cohort.first + cohort.count:
                new = cohort.version == document.artifact.version
                target, token = (document.artifact if new else command.settled), cohort.token
        if target is not None and target.version not in self.broken:
            self.runs[node] = target
            self.token[node] = token or self.token[node]

    def planned(self) -> Plan:
        return decode(_payload(self.level(f"plan/{SHOP}")), Plan)

    def rostered(self) -> list[str]:
        return msgspec.json.decode(_payload(self.level(f"roster/{SHOP}")))["nodes"]

    async def say(self, node: str) -> None:
        self._counters[node] += 1
        running = self.runs.get(node)
        value = self.level(SHOP)
        new = self.planned().artifact if value is not None and desired(value).plan_digest else None
        failed = new is not None and new.version in self.broken and self.order[node] != Order() and self.given(node)
        service = ServiceReport(
            service="shop",
            executor="none",
            state=ServiceState.FAILED if failed else ServiceState.READY if running else ServiceState.STOPPED,
            version=new.version if failed else running.version if running else "",
            digest=running.sha256 if running else "",
            order=self.order[node],
            token=self.token[node],
            prefetched=(new.version,) if new else (),
            error="exit code 1" if failed else "",
        )
        report = Report(
            fleet=FLEET,
            node=node,
            boot="b",
            counter=self._counters[node],
            issued_ms=self.clock.now_ms(),
            agent_version="t",
            services=(service,),
            zone=f"z{int(node[1]) % 2}",
        )
        await self.log.append("reports", node, seal(report, signer(node)))

    def given(self, node: str) -> bool:
        command, nodes = desired(self.level(SHOP)), self.rostered()
        return node in nodes[: command.released] and command.phase is Phase.RUNNING

    async def judge(self, outcome: Outcome, **fields) -> None:
        context = self.context()
        if context is None or not context.placement:
            return
        known = {
            "reason": {Outcome.PASS: Reason.CLEAN, Outcome.FAIL: Reason.LIMIT_BROKEN, Outcome.HOLD: Reason.IDLE}[outcome],
            "action": Action.ROLLBACK if outcome is Outcome.FAIL else None,
            "canary_requests": 1_000,
            "last_pane_ms": self.clock.now_ms() - 1_000,
            "sentence": f"The judge says {outcome}.",
        }
        verdict = Verdict(
            subject=SHOP,
            service="shop",
            rollout=context.rollout,
            stage=context.stage,
            placement=context.placement,
            generation=context.generation,
            epoch=context.epoch,
            outcome=outcome,
            **(known | fields),
        )
        await self.log.append("verdicts", SHOP, encode(verdict))

    def context(self) -> Context | None:
        found = None
        for record in self.log.topic("nodeseconds"):
            context = decode_nodeseconds(record.value)
            found = context if isinstance(context, Context) else found
        return found

    async def want(self, verb: Verb, generation: int | None = None, by=OPERATOR, **fields) -> None:
        self.intents += 1
        value = self.level(SHOP)
        seen = desired(value).generation if value else 0
        intent = Intent(
            id=f"i{self.intents}",
            fleet=FLEET,
            subject=SHOP,
            verb=verb,
            generation=seen if generation is None else generation,
            actor="kim",
            issued_ms=self.clock.now_ms(),
            **fields,
        )
        await self.log.append("intents", SHOP, seal(intent, by))

    async def until(self, phase: Phase) -> None:
        for _ in range(900):
            value = self.level(SHOP)
            if value is not None and desired(value).phase is phase:
                return
            await self.turn(1)
        raise AssertionError(self.kinds()[-8:])

    async def alarm(self, state: AlarmState) -> None:
        alarm = Alarm(
            id="a1",
            writer="judge",
            name="coverage_lost",
            state=state,
            severity=Severity.CRITICAL,
            start_ms=self.clock.now_ms(),
            service="shop",
        )
        await self.log.append("alarms", alarm.key, encode(alarm))


def _payload(envelope: bytes | None) -> bytes:
    return base64.b64decode(decode(envelope or b"", Envelope).payload)


async def told() -> list[Record]:
    """Play the story and return its log."""
    story = Story()
    await story.begin()
    story.start("a")
    await story.turn(2)
    await story.ask(release("v1", None))
    await story.turn(1)
    await story.until(Phase.DONE)
    # A good release, with everything that holds it up.
    await story.log.append("plans", SHOP, b"noise")
    await story.ask(release("v2", "v1"), by=STRANGER)
    await story.ask(release("v2", "v1"))
    await story.turn(2)
    await story.alarm(AlarmState.FIRING)
    await story.turn(15)
    await story.alarm(AlarmState.RESOLVED)
    await story.want(Verb.PAUSE)
    await story.turn(2)
    await story.want(Verb.PROMOTE, generation=1)
    await story.want(Verb.RESUME)
    story.start("b")
    await story.turn(1)
    await story.kill("a")
    # One supersedes its watch, and waits for a node in vain; then it is tried again, and fails by a verdict.
    story.away.add("n5")
    await story.ask(release("v3", "v2"))
    await story.turn(2)
    await story.ask(release("v9", "v2", id="waits", lasts_s=60))
    await story.turn(1)
    await story.until(Phase.DONE)
    story.away.clear()
    await story.want(Verb.CORDON, target="n4")
    await story.turn(2)
    await story.want(Verb.RELEASE, target="v3")
    await story.turn(1)
    await story.want(Verb.RETRY)
    await story.turn(4)
    story.outcome = Outcome.HOLD
    await story.judge(Outcome.FAIL)
    await story.turn(1)
    await story.until(Phase.DONE)
    # It does not even start.
    story.broken.add("v5")
    await story.ask(release("v5", "v2"))
    await story.turn(1)
    await story.until(Phase.DONE)
    story.outcome = Outcome.PASS
    await story.want(Verb.UNCORDON, target="n4")
    await story.want(Verb.UNDO)
    await story.turn(1)
    # A gate that nobody answers; then one goes back by hand from what is watched.
    await story.ask(release("v4", "v2", pause=Pause(duration="20s", default=GateDefault.PROMOTE)))
    await story.turn(1)
    await story.until(Phase.WATCHING)
    await story.want(Verb.UNDO)
    await story.turn(1)
    await story.until(Phase.DONE)
    await policies(story)
    await story.end()
    return [record for topic in TOPICS for record in story.log.topic(topic)]


async def policies(story: Story) -> None:
    """A freeze, a second approver, a gate that asks, and fast back."""
    calm = Policy(name="calm", fleet=FLEET, freezes=(Freeze(),), second_approver=True, issued_ms=1)
    await story.log.append("plans", calm.key, seal(calm, OPERATOR))
    ask = Pause(duration="60s", default=GateDefault.PROMOTE, ask="load-test")
    await story.ask(release("v6", "v2", pause=ask, actor="kim"))
    await story.turn(2)
    await story.want(Verb.APPROVE, target="to-v6")
    for number, rest in ((2, {"second_approver": True}), (3, {"dwell": "1s"})):
        later = Policy(name="calm", fleet=FLEET, issued_ms=number, **rest)
        await story.log.append("plans", later.key, seal(later, OPERATOR))
        await story.turn(2)
    story.outcome = Outcome.PASS
    await story.until(Phase.WATCHING)
    await story.until(Phase.DONE)
    await story.ask(replace(release("v2", "v6", id="fast"), stages=(Stage(set_weight=100),), fast=True))
    await story.turn(2)
    await story.until(Phase.DONE)


def main(number: int) -> None:
    path = HERE / f"ledger-{number}.zst"
    if path.exists():
        sys.exit(f"{path} is there already; files of older versions are never written again")
    records = [tuple(record) for record in asyncio.run(told())]
    path.write_bytes(bytes(cramjam.zstd.compress(msgspec.msgpack.encode(records), 19)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
