"""Plays a story: a fleet on which one version is settled, what befalls it, the healing, and the judgement of it all."""

import hashlib
from functools import lru_cache, partial

import msgspec
from msgspec import Struct

from tidegate.ports import Record
from tidegate.sim.protocol import Shape, Story, Violation, Watch
from tidegate.wire.envelope import seal
from tidegate.world import cast
from tidegate.world.deeds import Deeds
from tidegate.world.fleet import Fleet
from tidegate.world.machine import Machine
from tidegate.world.network import At, Sent

BEGIN_MS = 1_700_000_000_000
REST_MS = 2_000
HEALED_WITHIN_MS = 240_000
LOOK_EVERY_MS = 1_000


class Played(Struct, frozen=True):
    """What came of a story."""

    violations: tuple[Violation, ...]
    launches: int
    """Starts that machines were told to try: the changes that the promises are about."""
    digest: str
    """sha256 of everything that stands in the log and on the disks at the end: two runs of one story are equal to the byte."""
    told: tuple[tuple[int, str], ...] = ()
    """What happened, with ms since the beginning, where it was asked for."""


class Beginning(Struct, frozen=True):
    """A fleet on which the first version is settled and whose author has resigned."""

    now_ms: int
    records: dict[At, list[Record]]
    machines: dict[str, Machine]
    watch: Watch


def play(story: Story, *, tell: bool = False) -> Played:
    """Play a story to its end. ``tell``: note in words what happens."""
    began = beginning(story.nodes)
    fleet = Fleet(story, began.now_ms, began.watch.copy())
    fleet.told = [] if tell else None
    fleet.broker.restore(began.records)
    for host in fleet.nodes:
        if host.machine is not None:
            host.machine.become(began.machines[host.name])
    for host in fleet.hosts:
        host.lives = 1  # the one that was before
    deeds = Deeds(fleet)
    for act in story.acts:
        fleet.later(act.at_ms, partial(deeds.carry_out, act))
    for host in fleet.hosts:
        fleet.start(host)
    deeds.judge.sit()
    last_ms = max([act.at_ms for act in story.acts], default=0)
    fleet.timeline.run_until(began.now_ms + last_ms + REST_MS)
    if not fleet.watch.violations:
        _heal(fleet, deeds)
    fleet.end()
    return Played(
        violations=tuple(fleet.watch.violations),
        launches=fleet.watch.launches - began.watch.launches,
        digest=_digest(fleet),
        told=tuple((at_ms - began.now_ms, what) for at_ms, what in fleet.told or ()),
    )


@lru_cache
def beginning(nodes: int) -> Beginning:
    """Return the beginning of every story with so many nodes: the first install, played once without any fault."""
    story = Story(seed=0, deciders=1, nodes=nodes, shape=Shape(first_nodes=nodes, control=False), slack_ms=200)
    fleet = Fleet(story, BEGIN_MS, Watch(cast.SUBJECT, cast.SERVICE))
    deeds = Deeds(fleet)
    fleet.broker.land(Sent("keys", "1", seal(cast.root(), cast.signer("root"))), "operator")
    for node in cast.NODES[:nodes]:
        fleet.broker.land(Sent("keys", node, cast.enrolment(node)), "operator")
    for host in fleet.hosts:
        fleet.start(host)
    fleet.later(1_000, lambda: deeds.operator.plan(0))
    _settle(fleet, 60_000)
    author = fleet.deciders[0]
    if author.decider is not None and author.process is not None:
        author.process.loop.create_task(author.decider.stop())
        author.process.run()
    fleet.timeline.run_until(fleet.timeline.now_ms + 1_000)
    fleet.end()
    if fleet.watch.violations:
        raise RuntimeError(f"a fleet without faults: {fleet.watch.violations[0]}")
    for topic in ("desired", "reports"):
        fleet.broker.compact(topic)
    machines = {host.name: host.machine for host in fleet.nodes if host.machine is not None}
    return Beginning(fleet.timeline.now_ms, dict(fleet.broker.records), machines, fleet.watch)


def _heal(fleet: Fleet, deeds: Deeds) -> None:
    deeds.heal()
    complaint = _settle(fleet, HEALED_WITHIN_MS)
    fleet.watch.end(fleet.timeline.now_ms, complaint)


def _settle(fleet: Fleet, within_ms: int) -> str:
    """Let time pass until everything is as it should be; return what is not when the time is over."""
    until_ms = fleet.timeline.now_ms + within_ms
    complaint = "."
    while complaint and fleet.timeline.now_ms < until_ms and not fleet.watch.violations:
        fleet.timeline.run_until(fleet.timeline.now_ms + LOOK_EVERY_MS)
        complaint = fleet.watch.unsettled(fleet.running())
    return complaint


def _digest(fleet: Fleet) -> str:
    found = hashlib.sha256()
    for at, records in sorted(fleet.broker.records.items()):
        found.update(msgspec.msgpack.encode((at, records)))
    for host in fleet.nodes:
        if host.machine is not None:
            found.update(msgspec.msgpack.encode(sorted(host.machine.files.items())))
    return found.hexdigest()
