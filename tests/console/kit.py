"""An installation on real Kafka behind the console: the real decision agent, real node agents, the real API, and what the judge
would write. A test writes a record and looks at the page.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry
from tests.api.control.kit import NEW, OLD, Installation
from tests.cli.kit import World

from tidegate.broker import KafkaLog
from tidegate.cli.publish import publish_keys
from tidegate.console import files
from tidegate.decider import Decider
from tidegate.node import NodeAgent, NoneExecutor, load_config
from tidegate.node.config import load_signer, load_trust
from tidegate.wire.codec import encode
from tidegate.wire.documents import Intent, KeyRole, Report, ServiceReport, Verb
from tidegate.wire.envelope import Signer, seal
from tidegate.wire.experiments import ArmSums, MetricSums, Point, Sums, trial_of
from tidegate.wire.flagchanges import FlagChange, FlagRamp
from tidegate.wire.flagspecs import FlagSpec
from tidegate.wire.judgement import Alarm, AlarmState, Kpi, Outcome, Severity, Verdict
from tidegate.wire.plans import Pause, Plan, Stage
from tidegate.wire.reasons import Reason
from tidegate.world import MemoryDisk

SERVICES = ("shop", "web")
GHOST = "ghost"
WITHIN_S = 30.0


class Site(Installation):
    """What a test holds of it. ``nodes``: by name their zone, and on each an agent; ``ghosts`` belong to the fleet, and a test
    writes their reports.
    """

    def __init__(self, folder: Path, log: KafkaLog, nodes: dict[str, str], ghosts: tuple[str, ...] = (GHOST,)) -> None:
        world = World(folder)
        made = world.type(
            "init", *(f"--node={node}={zone}" for node, zone in nodes.items()), *(f"--node={one}" for one in ghosts)
        )
        assert made.code == 0, made.err
        for node in nodes:
            path = world.home.nodes / f"{node}.yaml"
            config = yaml.safe_load(path.read_text())
            config["services"] = {service: {"executor": "none"} for service in SERVICES}
            path.write_text(yaml.safe_dump(config))
        super().__init__(world, log)
        self.nodes = nodes
        self._reports = 0
        self._signers: dict[str, Signer] = {}

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator["Site"]:
        """Let agents and API run until the block ends."""
        await publish_keys(self.log, self.world.home)
        signer, trust = self.world.home.signer(KeyRole.DECISION), self.world.home.trust
        decider = Decider(self.log, self.world.clock, signer, trust, life=secrets.token_hex(6), registry=CollectorRegistry())
        agents = [self._agent(node) for node in self.nodes]
        tasks = [asyncio.ensure_future(one.run()) for one in (decider, *agents)]
        try:
            async with self.serve(pages=files()):
                await self.until(lambda: len(self.mirror.model.view.reports) == len(self.nodes))
                yield self
        finally:
            for one in (decider, *agents):
                await one.stop()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert not [one for one in done if isinstance(one, Exception)]

    def _agent(self, node: str) -> NodeAgent:
        config = load_config(self.world.home.nodes / f"{node}.yaml")
        return NodeAgent(
            self.log,
            self.world.clock,
            MemoryDisk(),
            {"none": NoneExecutor(self.world.clock)},
            config=config,
            signer=load_signer(config),
            trust=load_trust(config),
            boot=f"b{secrets.token_hex(4)}",
        )

    # what people write

    async def roll_out(self, identity: str, service: str = "shop", **fields: Any) -> None:
        """Have the operator's plan accepted."""
        await self.log.append("plans", f"svc/{service}", self.signed(identity, service=service, **fields))

    async def install(self, service: str = "shop") -> None:
        """Bring the first version to every node."""
        await self.roll_out(
            f"first-{service}", service, artifact=OLD, stages=(Stage(set_weight=100, bake="1ms", min_requests=0),)
        )
        await self.until(lambda: self.phase(service) == "done")

    async def upgrade_to_gate(self, service: str = "shop", identity: str = "p2", **fields: Any) -> None:
        """Begin an upgrade that bakes long and then waits for a person."""
        stages = (
            Stage(set_nodes=1, bake="30m", min_requests=500, pause=Pause()),
            Stage(set_weight=50, bake="30m", min_requests=2_000),
            Stage(set_weight=100, bake="30m", min_requests=5_000),
        )
        await self.roll_out(
            identity, service, **self.upgrade(**({"stages": stages, "watch": "30m", "max_unavailable": "100%"} | fields))
        )
        await self.until(lambda: self.state(service).rollout == f"{identity}.1" and self.state(service).baking_since_ms > 0)

    async def want(self, subject: str, verb: Verb, **fields: Any) -> str:
        """Ask for something as an operator does from the command line; return the intent's id."""
        known = {
            "id": f"w{secrets.token_hex(5)}",
            "fleet": self.world.home.settings.fleet,
            "generation": self.mirror.model.ledger.generation(subject),
            "actor": "olga",
            "issued_ms": self.world.clock.now_ms(),
        }
        intent = Intent(subject=subject, verb=verb, **(known | fields))
        await self.log.append("intents", subject, seal(intent, self.world.home.signer(KeyRole.OPERATOR)))
        return intent.id

    async def set_flag(self, key: str, spec: FlagSpec, ramp: FlagRamp | None = None, reason: str = "new checkout") -> None:
        """Ask for a flag, and wait until it is decided."""
        asked = await self.want(f"flag/{key}", Verb.SET, flag=FlagChange(spec=spec, ramp=ramp), reason=reason)
        await self.until(lambda: self.mirror.answer(asked) is not None)

    # what the judge writes

    async def measure(self, cohort: str, *, end_ms: int = 0, service: str = "shop", **fields: Any) -> Kpi:
        """Write one closed second of a cohort."""
        end_ms = end_ms or self.world.clock.now_ms()
        known = {
            "service": service,
            "cohort": cohort,
            "subject": f"svc/{service}",
            "placement": self.state(service).placement,
            "version": "v2" if cohort == "canary" else "v1",
            "window_s": 1,
            "start_ms": end_ms - 1_000,
            "end_ms": end_ms,
            "requests": 120,
            "errors": 0,
            "nodes": 1,
            "nodes_expected": 1,
            "coverage": 1.0,
            "rate": 120.0,
            "error_ratio": 0.0,
            "p50_ms": 21.0,
            "p95_ms": 48.0,
            "p99_ms": 80.0,
        }
        found = Kpi(**(known | fields))
        await self.log.append("kpis", service, found.flat())
        return found

    async def judge(self, outcome: Outcome = Outcome.HOLD, reason: Reason = Reason.TOO_FEW_REQUESTS, **fields: Any) -> Verdict:
        """Write a verdict on what the rollout of a service is now."""
        service = fields.pop("service", "shop")
        state, now_ms = self.state(service), self.world.clock.now_ms()
        known = {
            "subject": f"svc/{service}",
            "service": service,
            "epoch": self.mirror.model.ledger.epoch,
            "generation": state.generation,
            "rollout": state.rollout,
            "placement": state.placement,
            "stage": state.stage,
            "outcome": outcome,
            "reason": reason,
            "first_pane_ms": now_ms - 60_000,
            "last_pane_ms": now_ms,
            "clock_ms": now_ms,
        }
        found = Verdict(**(known | fields))
        await self.log.append("verdicts", found.subject, encode(found))
        return found

    async def report(self, *services: ServiceReport, node: str = GHOST, **fields: Any) -> None:
        """Write what a ghost says of itself."""
        if node not in self._signers:
            self._signers[node] = load_signer(load_config(self.world.home.nodes / f"{node}.yaml"))
        self._reports += 1
        known = {"boot": "b1", "agent_version": "1", "counter": self._reports, "issued_ms": self.world.clock.now_ms()}
        report = Report(fleet=self.world.home.settings.fleet, node=node, services=services, **(known | fields))
        await self.log.append("reports", node, seal(report, self._signers[node]))

    async def alarm(self, name: str, summary: str, *, state: AlarmState = AlarmState.FIRING, **fields: Any) -> Alarm:
        """Write the edge of an alarm."""
        known = {
            "id": f"{name}/{fields.get('service', 'fleet')}",
            "writer": "judge",
            "name": name,
            "state": state,
            "severity": Severity.WARNING,
            "start_ms": self.world.clock.now_ms(),
            "summary": summary,
        }
        found = Alarm(**(known | fields))
        await self.log.append("alarms", found.key, encode(found))
        return found

    async def count(self, spec: FlagSpec, key: str, arms: dict[str, tuple[int, float]]) -> None:
        """Write what one partition counted of an experiment: by variant its users, and how many of them had the outcome."""
        declared, now_ms = spec.experiment, self.world.clock.now_ms()
        assert declared is not None
        trial = trial_of(declared, spec.decoded(), f"flag/{key}")
        sums = {name: MetricSums(int(had), float(had), float(had)) for name, (_, had) in arms.items()}
        found = Sums(
            trial=trial,
            partition=0,
            offset=1,
            set_id=key.partition("/")[0],
            flag=key.partition("/")[2],
            generation=1,
            arms={name: ArmSums(arms[name][0], 0, (one,)) for name, one in sums.items()},
            first_ms=now_ms - 8 * 86_400_000,
            last_ms=now_ms,
            past=(Point(now_ms, tuple((arms[name][0], sums[name]) for name in trial.shares)),),
        )
        await self.log.append("experiments", found.key, encode(found))

    # what is known

    def state(self, service: str = "shop") -> Any:
        """The state of a service in the ledger that the API holds."""
        return self.mirror.model.ledger.subject(f"svc/{service}")

    def phase(self, service: str = "shop") -> str:
        return str(self.state(service).phase)

    def decided(self, service: str = "shop") -> list[str]:
        """The kinds of the decisions on a service, oldest first."""
        return [str(one.decision.kind) for one in self.mirror.model.decisions(f"svc/{service}")]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what the API has read."""
        async with asyncio.timeout(WITHIN_S):
            while not holds():
                await self.mirror.window.more(self.mirror.window.number)


__all__ = ["NEW", "OLD", "SERVICES", "Plan", "Site"]
