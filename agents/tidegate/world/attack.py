"""What somebody does who may write to every topic: says again what was said, forges, or has stolen a decider's key.

Each forgery is as good as it can be without the key it needs: real plans, real orders, real names.
"""

from collections.abc import Callable

from msgspec.structs import replace

from tidegate.ports import Record
from tidegate.wire.documents import Claim, Cohort, Desired, Move, Phase, Report, Roster, ServiceReport
from tidegate.wire.envelope import Signer, seal
from tidegate.wire.plans import Plan
from tidegate.wire.telemetry import ServiceState
from tidegate.world import cast
from tidegate.world.fleet import Fleet, durable, root_version
from tidegate.world.network import Sent

STRANGER = "stranger"
AGAIN = "again"
"""A run token: whoever follows restarts."""


class Attacker:
    """Reads everything, and writes what it likes."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._forgeries: tuple[Callable[[Desired, int], None], ...] = (
            self._forge_unsigned,
            self._forge_as_node,
            self._forge_as_operator,
            self._forge_other_fleet,
            self._forge_flipped,
            self._forge_misaddressed,
            self._forge_claim,
            self._forge_as_another,
            self._forge_revoked,
            self._forge_report,
            self._forge_plan,
            self._forge_roster,
            self._erase,
        )
        self._thefts: tuple[Callable[[Desired, Plan], Desired], ...] = (_unplanned, _beyond_cap, _empty)

    def replay(self, how: int) -> None:
        """Write again what stands somewhere in ``desired``, ``keys`` or ``reports``."""
        topic = ("desired", "desired", "desired", "reports", "keys")[how % 5]
        records = [record for record in self._seen(topic) if record.value is not None]
        if records:
            record = records[how // 5 % len(records)]
            self._tell(f"writes {record.key} of {topic} again, as it was at offset {record.offset}")
            self._write(topic, record.key or "", record.value)

    def forge(self, how: int) -> None:
        """Write something that nobody entitled signed."""
        last = self._last()
        if last is not None:
            self._forgeries[how % len(self._forgeries)](last, how // len(self._forgeries))

    def steal(self, how: int) -> None:
        """Command with the author's own key: outside the plan, beyond its caps, or nothing at all."""
        last, author = self._last(), self._fleet.watch.authors
        if last is None or not author.life:
            return
        make = self._thefts[how % len(self._thefts)]
        plan = author.plans[last.plan_digest]
        document = make(replace(last, epoch=author.epoch, generation=last.generation + 1 + how // 3 % 3), plan)
        key = cast.signer(author.life.partition(".")[0])
        self._tell(f"has the author's key, and commands ({make.__name__.strip('_').replace('_', ' ')}) at {document.generation}")
        who = "thief" if make is _empty else "attacker"
        self._fleet.broker.land(Sent("desired", cast.SUBJECT, seal(document, key)), who, author.life)

    # forgeries

    def _forge_unsigned(self, last: Desired, how: int) -> None:
        self._say(_forward(last, self._plan(last), how), Signer(self._author(), cast.signer(STRANGER).private), "without the key")

    def _forge_as_node(self, last: Desired, how: int) -> None:
        self._say(_forward(last, self._plan(last), how), cast.signer(cast.NODES[0]), "with a node's key")

    def _forge_as_operator(self, last: Desired, how: int) -> None:
        self._say(_forward(last, self._plan(last), how), cast.signer("operator"), "with the operator's key")

    def _forge_other_fleet(self, last: Desired, how: int) -> None:
        self._say(
            replace(_forward(last, self._plan(last), how), fleet="other"), cast.signer(self._author()), "meant for another fleet"
        )

    def _forge_flipped(self, last: Desired, how: int) -> None:
        value = bytearray(seal(last, cast.signer(self._author())))
        value[how * 31 % len(value)] ^= 1 << how % 8
        self._tell("flips a bit of the last command")
        self._write("desired", cast.SUBJECT, bytes(value))

    def _forge_misaddressed(self, last: Desired, how: int) -> None:
        other = replace(_forward(last, self._plan(last), how), subject="svc/cart", service="cart")
        self._say(other, cast.signer(self._author()), "meant for another service")

    def _forge_claim(self, last: Desired, how: int) -> None:
        epoch = self._fleet.watch.authors.epoch + 1 + how % 3
        claim = Claim(fleet=cast.FLEET, epoch=epoch, life="x.1", read_to=0, issued_ms=last.issued_ms)
        self._tell(f"claims epoch {epoch} without the key")
        self._write("desired", f"claim/{epoch}/x.1", seal(claim, Signer(cast.DECIDERS[0], cast.signer(STRANGER).private)))

    def _forge_as_another(self, last: Desired, how: int) -> None:
        others = [host.key for host in self._fleet.deciders if host.key != self._author()] or [cast.DECIDERS[-1]]
        self._say(
            _forward(last, self._plan(last), how), cast.signer(others[how % len(others)]), "with the key of who is no author"
        )

    def _forge_revoked(self, last: Desired, how: int) -> None:
        """Lead by a key of before, once every node knows that it counts no more."""
        revoked = self._fleet.watch.authors.revoked
        known = min(root_version(durable(host.machine)) for host in self._fleet.nodes if host.machine is not None)
        names = sorted(name for name, version in revoked.items() if version <= known)
        if not names:
            return
        key, epoch = names[how % len(names)], self._fleet.watch.authors.epoch + 1
        claim = Claim(fleet=cast.FLEET, epoch=epoch, life=f"{key}.x", read_to=0, issued_ms=last.issued_ms)
        self._write("desired", f"claim/{epoch}/{key}.x", seal(claim, cast.signer(key)))
        document = replace(_forward(last, self._plan(last), how), epoch=epoch)
        self._say(document, cast.signer(key), f"with {key}, which is revoked, after claiming epoch {epoch}")

    def _forge_report(self, last: Desired, how: int) -> None:
        node = cast.NODES[how % self._fleet.story.nodes]
        version = last.cohorts[0].version if last.cohorts else "v1-good"
        service = ServiceReport(
            service=cast.SERVICE,
            executor="none",
            state=ServiceState.READY,
            version=version,
            digest=cast.artifact(version).sha256,
            order=last.order,
        )
        report = Report(
            fleet=cast.FLEET,
            node=node,
            boot="x",
            counter=1 << 30,
            issued_ms=self._fleet.timeline.now_ms,
            agent_version="x",
            services=(service,),
        )
        other = cast.NODES[(how + 1) % self._fleet.story.nodes]
        self._tell(f"reports as {node} with the key of {other}")
        self._write("reports", node, seal(report, cast.signer(other)))

    def _forge_plan(self, last: Desired, how: int) -> None:
        now_ms = self._fleet.timeline.now_ms
        plan = cast.plan(f"x{how}", "v9-evil", last.settled, self._fleet.story.shape, now_ms)
        self._tell("asks for v9-evil without the operator's key")
        self._write("plans", cast.SUBJECT, seal(plan, Signer("operator", cast.signer(STRANGER).private)))

    def _forge_roster(self, last: Desired, how: int) -> None:
        nodes = cast.NODES[: self._fleet.story.nodes]
        roster = Roster(
            fleet=cast.FLEET, subject=cast.SUBJECT, rollout=last.rollout, nodes=(*nodes[how % 3 :], *nodes[: how % 3])
        )
        self._tell("writes another roster without the key")
        self._write("desired", f"roster/{cast.SUBJECT}", seal(roster, Signer(self._author(), cast.signer(STRANGER).private)))

    def _erase(self, last: Desired, how: int) -> None:
        key = (cast.SUBJECT, f"plan/{cast.SUBJECT}", f"roster/{cast.SUBJECT}")[how % 3]
        self._tell(f"erases {key}, which is at generation {last.generation}")
        self._write("desired", key, None)

    # hands

    def _say(self, document: Desired, key: Signer, how: str) -> None:
        self._tell(f"commands {document.cohorts[0].version} everywhere at {document.generation}, {how}")
        self._write("desired", cast.SUBJECT, seal(document, key))

    def _last(self) -> Desired | None:
        said = self._fleet.watch.authors.last
        return said.document if said is not None else None

    def _plan(self, last: Desired) -> Plan:
        return self._fleet.watch.authors.plans[last.plan_digest]

    def _author(self) -> str:
        return self._fleet.watch.authors.life.partition(".")[0] or cast.DECIDERS[0]

    def _seen(self, topic: str) -> list[Record]:
        return self._fleet.broker.topic(topic)

    def _tell(self, what: str) -> None:
        self._fleet.tell(f"an attacker {what}")

    def _write(self, topic: str, key: str, value: bytes | None) -> None:
        self._fleet.broker.land(Sent(topic, key, value), "attacker")


def _forward(last: Desired, plan: Plan, how: int) -> Desired:
    """Return the next command as the plan allows it in the end: everybody runs the new version."""
    everybody = Cohort(name="canary", first=0, count=3, version=plan.artifact.version, token=AGAIN)
    return replace(
        last,
        generation=last.generation + 1 + how % 3,
        phase=Phase.RUNNING,
        move=Move.ADVANCE,
        stage=len(plan.stages) - 1,
        cohorts=(everybody,),
        settled=plan.rollback.artifact if plan.rollback is not None else None,
        expires_ms=0,
    )


def _unplanned(last: Desired, _plan: Plan) -> Desired:
    return replace(last, move=Move.HOLD, phase=Phase.DONE, cohorts=(), settled=cast.artifact("v9-evil"), expires_ms=0)


def _beyond_cap(last: Desired, plan: Plan) -> Desired:
    everybody = Cohort(name="canary", first=0, count=9, version=plan.artifact.version, token=AGAIN)
    settled = plan.rollback.artifact if plan.rollback is not None else None
    return replace(last, phase=Phase.RUNNING, move=Move.ADVANCE, stage=0, cohorts=(everybody,), settled=settled, expires_ms=0)


def _empty(last: Desired, _plan: Plan) -> Desired:
    return replace(
        last, move=Move.HOLD, phase=Phase.PAUSED, cohorts=(), settled=None, newcomers=None, prefetch=False, expires_ms=0
    )
