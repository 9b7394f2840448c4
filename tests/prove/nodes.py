"""Five hundred node agents on one real broker: how soon a decision is everywhere, and what an outage of the broker does.

Every agent is a real one, with its own log, keys, signatures and state; only its machine is executor ``none``. The decision agent
is ``tidegate decide``; the verdicts are ours. Time from a decision to its effect: from the record's append time to the machine's
own start of the version.

In the outage the broker is killed (SIGKILL) in the middle of a rollout in batches, stays away for a minute, and comes back on the
same data. What is shown: no machine changes meanwhile; each node hears the author and has reported again soon after; the fleet
does not storm the broker; no record that was acknowledged is gone; the rollout goes on where it was.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct
from tests.bench.measure import cpu_s
from tests.kafka.crowd import Applied, Connects, Crowd, lost, until
from tests.kafka.crowd_main import SERVICE
from tests.prove.kit import Program, beside, hold, home_of, running_broker

from tidegate.broker import Connection, KafkaLog, KafkaProcess, create_topics
from tidegate.cli.publish import publish_keys
from tidegate.ports import Record
from tidegate.rollout.ledger import rebuild
from tidegate.runtime.home import Home
from tidegate.wire.codec import decode, encode
from tidegate.wire.decisions import Decision, DecisionKind
from tidegate.wire.documents import Intent, KeyRole, Phase, Verb
from tidegate.wire.envelope import seal
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.names import service_subject
from tidegate.wire.plans import Artifact, ControlMode, Plan, Rollback, Stage
from tidegate.wire.reasons import Reason

NODES = 500
PROCESSES = 4
SPREAD_S = 25.0
RELEASES = 4
AWAY_S = 60.0
BATCH_OF_OUTAGE = "5%"
UNDER_WAY_S = 1.0
"""A change that a machine had been told of when the broker died may still end within this time."""
BACK_MOST_S = 30.0
CONNECTS_MOST_PER_S = 50
APPLIED_P50_MOST_S, APPLIED_P99_MOST_S = 1.0, 5.0
STEADY_S = 20.0
SUBJECT = service_subject(SERVICE)


def prove(folder: Path) -> dict[str, Any]:
    return asyncio.run(_prove(folder))


async def _prove(folder: Path) -> dict[str, Any]:
    async with fleet_on(folder, NODES, PROCESSES, SPREAD_S) as fleet:
        await fleet.install()
        applied = [await fleet.release(f"v{number}") for number in range(2, 2 + RELEASES)]
        retreat = await fleet.retreat(f"v{2 + RELEASES}")
        steady = await fleet.steady(STEADY_S)
        outage = await fleet.outage(f"v{3 + RELEASES}", AWAY_S)
    took = latencies(one for release in applied for one in release)
    hold(took["p50_s"] <= APPLIED_P50_MOST_S and took["p99_s"] <= APPLIED_P99_MOST_S, f"from decision to applied: {took}")
    refute_outage(outage)
    return {
        "nodes": NODES,
        "node_processes": PROCESSES,
        "decision_to_applied": took,
        "decision_to_applied_by_release": [latencies(one) for one in applied],
        "rollback_to_applied": latencies(retreat),
        "steady": steady,
        "outage": outage,
    }


def refute_outage(outage: dict[str, Any]) -> None:
    hold(outage["changes_while_away"] == 0, f"{outage['changes_while_away']} machines changed while there was no broker")
    hold(outage["acknowledged_lost"] == 0, f"{outage['acknowledged_lost']} acknowledged records are gone")
    hold(outage["all_heard_s"] <= BACK_MOST_S, f"the last node heard the author {outage['all_heard_s']} s after the return")
    hold(outage["all_reported_s"] <= BACK_MOST_S, f"the last node reported {outage['all_reported_s']} s after the return")
    peak = outage["connects_per_s_peak"]
    hold(peak <= CONNECTS_MOST_PER_S, f"{peak} connections were made in one second")


def latencies(took_s: Iterable[float]) -> dict[str, float]:
    """Return the percentiles of seconds, and how many there are."""
    sorted_s = sorted(took_s)
    at = {f"p{share}_s": round(sorted_s[(len(sorted_s) * share - 1) // 100], 2) for share in (50, 95, 99)}
    return {"n": len(sorted_s)} | at | {"max_s": round(sorted_s[-1], 2)}


class Ledger:
    """The records of ``decisions`` and the newest report of each node, as they come."""

    def __init__(self) -> None:
        self.decisions: list[tuple[int, Decision]] = []
        self.reported_ms: dict[str, int] = {}

    async def follow(self, log: KafkaLog) -> None:
        reader = await log.reader(["decisions", "reports"])
        try:
            while True:
                for record in await reader.poll(0.1):
                    self._see(record)
        finally:
            await reader.close()

    def _see(self, record: Record) -> None:
        if record.topic == "decisions":
            self.decisions.append((record.time_ms, decode(record.value or b"", Decision)))
        elif record.key is not None:
            self.reported_ms[record.key] = record.time_ms

    @property
    def generation(self) -> int:
        return max((one.generation for _, one in self.decisions if one.subject == SUBJECT), default=0)

    def of(self, plan: str) -> list[tuple[int, Decision]]:
        return [(ms, one) for ms, one in self.decisions if one.state is not None and one.state.rollout.startswith(f"{plan}.")]

    def saw(self, plan: str, kind: DecisionKind) -> bool:
        return any(one.kind is kind for _, one in self.of(plan))

    def ended(self, plan: str) -> bool:
        states = [one.state for _, one in self.of(plan)]
        return bool(states) and states[-1] is not None and states[-1].phase is Phase.DONE

    def told_ms(self, plan: str) -> dict[str, int]:
        """Return when each node was given the new version: append time of the record that released it."""
        roster = next(one.roster for _, one in self.of(plan) if one.roster is not None)
        told: dict[str, int] = {}
        for ms, one in self.of(plan):
            for node in roster.nodes[: one.state.released if one.state is not None else 0]:
                told.setdefault(node, ms)
        return told


class Fleet(Struct, frozen=True):
    """Broker, decision agent and nodes; releases by name. Versions follow one another: ``v1`` is installed."""

    broker: KafkaProcess
    home: Home
    log: KafkaLog
    decide: Program
    crowd: Crowd
    ledger: Ledger
    connects: Connects
    settled: list[str]

    async def install(self) -> None:
        """Bring the first version everywhere."""
        await self._plan("v1")
        await until(self.crowd, lambda: len(self._running("v1")) == len(self.crowd.nodes), 120, "v1 on every node")
        await until(self.crowd, lambda: self.ledger.ended("p-v1"), 60, "the end of the first install")
        self.settled.append("v1")

    async def release(self, version: str) -> list[float]:
        """Bring a version everywhere at once. Return the seconds from decision to applied, of each node."""
        await self._plan(version)
        took_s = await self._all_apply(version)
        await self._end(version)
        return took_s

    async def retreat(self, version: str) -> list[float]:
        """Bring a version everywhere, then abort. Return the seconds from the record of the rollback to applied, of each node."""
        await self._plan(version)
        await self._all_apply(version)
        before = len(self.crowd.applied)
        await self._ask(Verb.ABORT)
        back = self.settled[-1]
        everyone = len(self.crowd.nodes)
        await until(self.crowd, lambda: len(self._running(back, before)) == everyone, 60, f"all nodes back on {back}")
        plan = f"p-{version}"
        await until(self.crowd, lambda: self.ledger.ended(plan), 60, "the end of the rollback")
        decided_ms = next(ms for ms, one in self.ledger.of(plan) if one.kind is DecisionKind.ROLLBACK)
        return [(one.ms - decided_ms) / 1_000 for one in self._running(back, before).values()]

    async def steady(self, for_s: float) -> dict[str, Any]:
        """Return what a fleet costs that is left in peace."""
        began_s, nodes, broker = time.monotonic(), self.crowd.cpu_s(), cpu_s(self.broker.pid)
        decide = cpu_s(self.decide.pid)
        await asyncio.sleep(for_s)
        took_s, everyone = time.monotonic() - began_s, len(self.crowd.nodes)
        found = {
            "node_cpu_ms_per_s": round(1_000 * (self.crowd.cpu_s() - nodes) / took_s / everyone, 2),
            "broker_cpu_ms_per_s_and_node": round(1_000 * (cpu_s(self.broker.pid) - broker) / took_s / everyone, 2),
            "decide_cpu_ms_per_s_and_node": round(1_000 * (cpu_s(self.decide.pid) - decide) / took_s / everyone, 3),
            "node_memory_mib": round(self.crowd.rss_mib() / everyone, 2),
            "connections_open": self.connects.now(),
        }
        print(f"  steady: {found}", flush=True)
        return found

    async def outage(self, version: str, away_s: float, batch: str = BATCH_OF_OUTAGE) -> dict[str, Any]:
        """Kill the broker in the middle of a rollout, bring it back, let the rollout end. Return what happened."""
        everyone = len(self.crowd.nodes)
        await self._plan(version, batch)
        await until(self.crowd, lambda: len(self._running(version)) >= everyone // 5, 120, "a fifth of the rollout")
        await self.broker.kill()
        killed_s = time.time()
        print(f"  broker killed, {len(self._running(version))} of {everyone} nodes run {version}", flush=True)
        await asyncio.sleep(away_s)
        self.crowd.look()
        had = len(self._running(version))
        await self.broker.start()
        back_s = min(self.connects.between(killed_s + away_s - 1, time.time() + 1), default=time.time())
        print(f"  broker back after {back_s - killed_s:.1f} s", flush=True)
        heard, reported = (lambda: self.crowd.heard_ms), (lambda: self.ledger.reported_ms)
        since_ms = int(back_s * 1_000)
        for what, found in (("heard", heard), ("reported", reported)):
            await until(self.crowd, lambda found=found: len(_since(found(), since_ms)) == everyone, 120, f"all nodes {what}")
        result = {
            "away_s": round(back_s - killed_s, 1),
            "nodes_changed_before": had,
            "changes_while_away": sum(killed_s + UNDER_WAY_S < one.ms / 1_000 < back_s for one in self.crowd.applied),
            "all_heard_s": _last_s(heard(), since_ms),
            "all_reported_s": _last_s(reported(), since_ms),
            "connects_per_s_peak": self.connects.peak(back_s, back_s + 60),
            "connects": len(self.connects.between(back_s, back_s + 60)),
            "connects_by_second": [len(self.connects.between(back_s + at, back_s + at + 1)) for at in range(30)],
        }
        print(f"  {result}", flush=True)
        await self._all_apply(version)
        result["rollout_complete_s"] = round(max(one.ms for one in self._running(version).values()) / 1_000 - back_s, 1)
        await self._end(version)
        await asyncio.to_thread(self.crowd.stop)
        result["acknowledged"] = len(self.crowd.acknowledged)
        result["acknowledged_lost"] = await lost(self.log, self.crowd.acknowledged)
        reader = await self.log.reader(["decisions"])
        ledger = rebuild((record.offset, record.value or b"") for record in await reader.read_to_end())
        await reader.close()
        result["decisions"] = ledger.seq
        return result

    async def _all_apply(self, version: str) -> list[float]:
        plan, everyone = f"p-{version}", len(self.crowd.nodes)
        await until(self.crowd, lambda: len(self._running(version)) == everyone, 180, f"{version} on every node")
        await until(self.crowd, lambda: self.ledger.saw(plan, DecisionKind.BAKE), 60, "the bake")
        told = self.ledger.told_ms(plan)
        took_s = [(one.ms - told[node]) / 1_000 for node, one in self._running(version).items()]
        print(f"  {version}: {latencies(took_s)}", flush=True)
        return took_s

    async def _end(self, version: str) -> None:
        await self._ask(Verb.PROMOTE)
        await until(self.crowd, lambda: self.ledger.saw(f"p-{version}", DecisionKind.GATE), 60, "the end of the bake")
        await self._pass()
        await until(self.crowd, lambda: self.ledger.ended(f"p-{version}"), 60, f"the end of the rollout of {version}")
        self.settled.append(version)

    def _running(self, version: str, since: int = 0) -> dict[str, Applied]:
        return {one.node: one for one in self.crowd.applied[since:] if one.version == version}

    async def _plan(self, version: str, max_unavailable: str = "100%") -> None:
        plan = Plan(
            id=f"p-{version}",
            fleet=self.home.settings.fleet,
            service=SERVICE,
            artifact=artifact(version),
            rollback=Rollback(artifact=artifact(self.settled[-1])) if self.settled else None,
            stages=(Stage(set_weight=100, bake="1s" if not self.settled else "1h", min_requests=0),),
            control=ControlMode.NONE,
            max_unavailable=max_unavailable,
            watch="0s",
            expires_ms=1 << 42,
        )
        await self.log.append("plans", SUBJECT, seal(plan, self.home.signer(KeyRole.OPERATOR)))

    async def _pass(self) -> None:
        """Say what a judge would: the placement is well."""
        now_ms, (_, last) = time.time_ns() // 1_000_000, self.ledger.decisions[-1]
        state = last.state
        assert state is not None
        verdict = Verdict(
            subject=SUBJECT,
            service=SERVICE,
            epoch=last.epoch,
            generation=state.generation,
            rollout=state.rollout,
            placement=state.placement,
            stage=state.stage,
            outcome=Outcome.PASS,
            reason=Reason.STAGE_PASSED,
            last_pane_ms=now_ms,
            clock_ms=now_ms,
        )
        await self.log.append("verdicts", SUBJECT, encode(verdict))

    async def _ask(self, verb: Verb) -> None:
        intent = Intent(
            id=secrets.token_hex(8),
            fleet=self.home.settings.fleet,
            subject=SUBJECT,
            verb=verb,
            generation=self.ledger.generation,
            actor="proof",
            issued_ms=time.time_ns() // 1_000_000,
        )
        await self.log.append("intents", SUBJECT, seal(intent, self.home.signer(KeyRole.API)))


@asynccontextmanager
async def fleet_on(folder: Path, nodes: int, processes: int, spread_s: float) -> AsyncIterator[Fleet]:
    """Run a broker, the decision agent and ``nodes`` enrolled nodes that have reported."""
    names = [f"node-{number + 1}" for number in range(nodes)]
    async with running_broker(folder) as broker:
        connection = Connection(broker.bootstrap, "tidegate.")
        await create_topics(connection)
        home = Home(home_of(connection, folder, "--nodes", str(nodes)))
        log, ledger = KafkaLog(connection, client_id="proof"), Ledger()
        await publish_keys(log, home)
        crowd, decide = Crowd(home.folder, connection, folder, names, processes), Program(home.folder, "decide", "decide")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(log.close)
            stack.callback(decide.start().end)
            stack.callback(crowd.stop)
            connects = stack.enter_context(Connects(int(broker.bootstrap.rpartition(":")[2])))
            await stack.enter_async_context(beside(ledger.follow(log)))
            crowd.start(spread_s)
            await until(crowd, lambda: len(ledger.reported_ms) == nodes, 300, "a report of every node")
            await until(crowd, lambda: len(crowd.heard_ms) == nodes, 60, "every node hears the author")
            print(f"  {nodes} nodes are there", flush=True)
            yield Fleet(broker, home, log, decide, crowd, ledger, connects, [])


def artifact(version: str) -> Artifact:
    return Artifact(version=version, sha256=version.encode().hex().ljust(64, "0"))


def _since(moments_ms: dict[str, int], since_ms: int) -> list[int]:
    return [ms for ms in moments_ms.values() if ms >= since_ms]


def _last_s(moments_ms: dict[str, int], since_ms: int) -> float:
    return round((max(moments_ms.values()) - since_ms) / 1_000, 1)
