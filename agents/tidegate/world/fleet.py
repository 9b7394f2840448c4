"""A simulated fleet: the real shells of deciders and nodes as processes on hosts, one broker, and who starts them again.

Nothing here knows what should happen; what does is written down as it happens, for a judge of the run.
"""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from random import Random

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry

from tidegate.decider import Decider
from tidegate.node import NodeAgent
from tidegate.node import state as node_state
from tidegate.node.executor import Launch
from tidegate.ports import Record
from tidegate.reconcile.held import NodeState
from tidegate.runtime.problem import Problem
from tidegate.sim.protocol import Launched, Stood, Story, Watch, Wrote, content
from tidegate.wire import nodeseconds
from tidegate.wire.codec import Malformed
from tidegate.wire.documents import Order, Root
from tidegate.wire.plans import Artifact
from tidegate.world import cast
from tidegate.world.machine import Machine, MachineDisk, MachineExecutor
from tidegate.world.network import Broker, Client, Link
from tidegate.world.process import Process
from tidegate.world.timeline import Timeline


class Host(Struct):
    """Where one process lives, life after life."""

    name: str
    link: Link
    key: str
    """Name of the key that its next life signs with."""
    machine: Machine | None = None
    """Of a node; None: a decider lives here."""
    skew_ms: int = 0
    lives: int = 0
    process: Process | None = None
    client: Client | None = None
    decider: Decider | None = None

    @property
    def alive(self) -> bool:
        """Whether a process lives here now."""
        return self.process is not None and not self.process.dead


class Fleet:
    """Hosts, broker, time. ``watch`` sees everything that happens; ``told`` collects it for people where it is a list."""

    def __init__(self, story: Story, start_ms: int, watch: Watch) -> None:
        self.story = story
        self.watch = watch
        self.timeline = Timeline(start_ms)
        self.broker = Broker(self.timeline, self._landed)
        self.luck = Random(story.seed)  # noqa: S311 - luck of a simulation
        self.root = cast.root()
        """The newest key document."""
        self.told: list[tuple[int, str]] | None = None
        self.context: nodeseconds.Context | None = None
        """What the judge was told last."""
        self.deciders = [self._host(name) for name in cast.DECIDERS[: story.deciders]]
        self.nodes = [self._host(name, self._machine(name)) for name in cast.NODES[: story.nodes]]

    @property
    def hosts(self) -> list[Host]:
        """Every host."""
        return [*self.deciders, *self.nodes]

    def running(self) -> dict[str, Artifact | None]:
        """Return what really runs on every node."""
        found: dict[str, Artifact | None] = {}
        for host in self.nodes:
            running = host.machine.running.get(cast.SERVICE) if host.machine is not None else None
            found[host.name] = running.artifact if running is not None else None
        return found

    def start(self, host: Host) -> None:
        """Begin a life, where none is."""
        if host.alive:
            return
        host.lives += 1
        life = f"{host.key}.{host.lives}"
        story = self.story
        noise = Random(f"{story.seed}/{life}")  # noqa: S311
        slack_ms = min(story.slack_ms, 2_000) if host.machine is None else story.slack_ms
        process = Process(self.timeline, life, noise, slack_ms=slack_ms, skew_ms=host.skew_ms)
        lazy = host.machine is not None
        host.process = process
        host.client = Client(self.broker, process, host.link, who="node" if lazy else "decider", lazy=lazy)
        process.on_death.append(lambda: self._died(host))
        if host.machine is None:
            host.decider = Decider(
                host.client,
                process.clock,
                cast.signer(host.key),
                cast.trust(),
                life=life,
                registry=CollectorRegistry(auto_describe=False),
            )
            main = host.decider.run()
        else:
            main = self._agent(host.client, process, host.machine).run()
        process.spins = lambda: self.watch.faulty(life, self.timeline.now_ms, "it never waits")
        process.begin(main)
        if process.main is not None:
            process.main.add_done_callback(lambda task: self._ended(process, task))

    def end(self) -> None:
        """End every process."""
        for host in self.hosts:
            if host.process is not None:
                host.process.on_death.clear()
                host.process.kill()

    def tell(self, sentence: str) -> None:
        """Note what happens, for people."""
        if self.told is not None:
            self.told.append((self.timeline.now_ms, sentence))

    def later(self, delay_ms: int, happen: Callable[[], object]) -> None:
        """Let something happen after a while."""
        self.timeline.at(self.timeline.now_ms + delay_ms, happen)

    def _host(self, name: str, machine: Machine | None = None) -> Host:
        links = self.story.links
        link = Link(
            lost=links.lost,
            late=links.late,
            unanswered=links.unanswered,
            doubled=links.doubled,
            delay_ms=links.delay_ms,
            lag_ms=links.lag_ms,
            gather_ms=links.gather_ms,
        )
        return Host(name, link, name, machine)

    def _machine(self, name: str) -> Machine:
        machine = Machine(name, lambda version: cast.TRUTHS[cast.kind_of(version)])
        machine.start_ms = self.story.start_ms
        machine.launched = lambda launch: self._launched(machine, launch)
        machine.wrote = lambda file: self._wrote(machine, file)
        return machine

    def _agent(self, client: Client, process: Process, machine: Machine) -> NodeAgent:
        return NodeAgent(
            client,
            process.clock,
            MachineDisk(machine, process),
            {"none": MachineExecutor(machine, process)},
            config=cast.node_config(machine.name),
            signer=cast.signer(machine.name),
            trust=cast.trust(),
            boot=process.name,
        )

    def _ended(self, process: Process, main: "asyncio.Task[None]") -> None:
        """Start a process again that has ended by itself: a decider that was asked to, or one with a fault."""
        if process.dead:
            return
        fault = None if main.cancelled() else main.exception()
        if isinstance(fault, Problem) and process.name.partition(".")[0] in self.watch.authors.revoked:
            self.tell(f"{process.name} ends: its key is revoked")
        elif fault is not None:
            self.watch.faulty(process.name, self.timeline.now_ms, repr(fault))
        self.later(0, process.kill)

    def _died(self, host: Host) -> None:
        self.tell(f"{host.name} is dead")
        self.later(500 + int(self.luck.random() * self.story.restart_ms), lambda: self.start(host))

    # what a judge of the run is told

    def _landed(self, record: Record, who: str, life: str) -> None:
        if record.topic == "nodeseconds":
            context = nodeseconds.decode(record.value or b"")
            if isinstance(context, nodeseconds.Context):
                self.later(self.story.judge_lag_ms, lambda: self._hear(context))
            return
        stood = Stood(record.topic, record.offset, record.time_ms, record.key or "", record.value or b"", who, life)
        self.watch.record(stood)

    def _hear(self, context: nodeseconds.Context) -> None:
        before = self.context
        if before is None or (context.epoch, context.generation) >= (before.epoch, before.generation):
            self.context = context

    def _wrote(self, machine: Machine, file: str) -> None:
        state = _states.decode(_json(machine.files[file]))
        held = state.services.get(cast.SERVICE)
        if held is not None and held.accepted is not None:
            document = held.accepted.document
            order = Order(document.root_version, document.epoch, document.generation)
            self.watch.wrote(Wrote(machine.name, self.timeline.now_ms, order, held.accepted.digest, root_version(state)))

    def _launched(self, machine: Machine, launch: Launch) -> None:
        host = next(host for host in self.nodes if host.machine is machine)
        process = host.process
        if process is None:
            return
        self.tell(f"{machine.name} starts {launch.artifact.version}")
        now_ms = self.timeline.now_ms
        self.watch.launched(
            Launched(
                node=machine.name,
                service=launch.service,
                artifact=launch.artifact,
                at_ms=now_ms,
                wall_ms=now_ms + process.skew_ms,
                awake_ms=process.awake_ms,
                state=durable(machine),
            )
        )


class _Document(Struct):
    root_version: int
    epoch: int
    generation: int


class _Accepted(Struct):
    document: _Document
    digest: str


class _Held(Struct):
    accepted: _Accepted | None = None


class _State(Struct):
    """As much of a node's state as a judge looks at after every write."""

    root: str = ""
    services: dict[str, _Held] = {}


_states = msgspec.json.Decoder(_State)


def root_version(state: "_State | NodeState") -> int:
    """Return the version of the newest key document that a node's disk holds."""
    return _version_in(state.root) if state.root else 1


@lru_cache(64)
def _version_in(root: str) -> int:
    return content(root.encode(), Root).version


def _json(data: bytes) -> bytes:
    return data[data.index(b"{") :]


def durable(machine: Machine) -> NodeState:
    """Return what a machine's disk says, read as after a crash."""
    found = [NodeState()]
    for slot in node_state.SLOTS:
        if slot in machine.files:
            try:
                found.append(node_state.unpack(machine.files[slot]))
            except Malformed:
                continue
    return max(found, key=lambda state: state.serial)
