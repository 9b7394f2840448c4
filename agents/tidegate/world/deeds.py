"""What befalls a fleet: each deed of a story, carried out on whom its numbers mean, and undone when its time is over."""

from collections.abc import Callable
from functools import partial

from tidegate.sim.protocol import Act, Deed
from tidegate.world import cast
from tidegate.world.attack import Attacker
from tidegate.world.fleet import Fleet, Host
from tidegate.world.people import VERBS, Judge, Operator
from tidegate.world.process import End

REACHES = 8
"""A process ends or stands still at one of its next so many reaches, or at once."""
STEPS_MS = (1_000, 5_000, 30_000, 3_600_000)
"""So far clocks are set wrong, forward or back."""


class Deeds:
    """Carries out acts."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.operator = Operator(fleet)
        self.judge = Judge(fleet)
        self.attacker = Attacker(fleet)
        self._stolen = False
        self._ways: dict[Deed, Callable[[Act], None]] = {
            Deed.PLAN: lambda act: self.operator.plan(act.how),
            Deed.BREAK_GLASS: lambda act: self.operator.break_glass(act.how),
            Deed.ROTATE: lambda act: self.operator.rotate(self._decider(act), act.how),
            Deed.KILL_DECIDER: lambda act: self._kill(self._decider(act), act),
            Deed.STOP_DECIDER: lambda act: self._stop(self._decider(act), act),
            Deed.CUT_DECIDER: lambda act: self._cut(self._decider(act), act),
            Deed.RESIGN: self._resign,
            Deed.SET_DECIDER_CLOCK: lambda act: self._set_clock(self._decider(act), act),
            Deed.KILL_NODE: lambda act: self._kill(self._node(act), act),
            Deed.STOP_NODE: lambda act: self._stop(self._node(act), act),
            Deed.CUT_NODE: lambda act: self._cut(self._node(act), act),
            Deed.SET_NODE_CLOCK: lambda act: self._set_clock(self._node(act), act),
            Deed.FILL_DISK: self._fill,
            Deed.ROT_DISK: self._rot,
            Deed.CRASH_SERVICE: self._crash_service,
            Deed.COMPACT: self._compact,
            Deed.OUTAGE: self._outage,
            Deed.SWIZZLE: self._swizzle,
            Deed.REPLAY: lambda act: self.attacker.replay(act.how),
            Deed.FORGE: lambda act: self.attacker.forge(act.how),
            Deed.STEAL: self._steal,
            Deed.OLD_VERDICT: lambda act: self.judge.repeat(act.how),
        }

    def carry_out(self, act: Act) -> None:
        """Let one act happen."""
        if act.deed in VERBS:
            self.operator.ask(act.deed, act.how)
        else:
            self._ways[act.deed](act)

    def heal(self) -> None:
        """Mend everything that is broken, all at once."""
        fleet = self._fleet
        fleet.tell("everything is mended")
        for host in fleet.hosts:
            link = host.link
            link.lost = link.late = link.unanswered = link.doubled = 0.0
            link.lag_ms, link.delay_ms, link.gather_ms = 0, 2, 200
            self._set_link(host, up=True, down=True)
            self._set_skew(host, 0)
            if host.machine is not None:
                host.machine.full = False
            if host.process is not None:
                host.process.go_on()
            if self._stolen and host.process is not None and host.machine is None:
                host.process.kill()  # what is said with a stolen key ends with the epoch
            fleet.start(host)

    # processes

    def _kill(self, host: Host, act: Act) -> None:
        if host.process is not None and host.alive:
            reaches = act.how % (REACHES + 1)
            self._fleet.tell(f"{host.name} is to die {_at(reaches)}")
            host.process.light(reaches, End.KILL)

    def _stop(self, host: Host, act: Act) -> None:
        process = host.process
        if process is not None and host.alive:
            reaches = act.how % (REACHES + 1)
            self._fleet.tell(f"{host.name} is to stand still {_at(reaches)}, until {act.lasts_ms} ms from now")
            process.light(reaches, End.STOP)
            self._fleet.later(act.lasts_ms, process.go_on)

    def _resign(self, act: Act) -> None:
        host = self._decider(act)
        if host.process is None or host.decider is None or not host.alive:
            return
        self._fleet.tell(f"{host.name} is asked to end")
        process = host.process
        process.loop.create_task(host.decider.stop())
        process.run()

    def _set_clock(self, host: Host, act: Act) -> None:
        skew_ms = STEPS_MS[act.how % len(STEPS_MS)] * (1 if act.how // len(STEPS_MS) % 2 else -1)
        self._fleet.tell(f"the clock of {host.name} is set {skew_ms} ms off")
        self._set_skew(host, skew_ms)
        self._fleet.later(act.lasts_ms, lambda: self._set_skew(host, 0))

    # links

    def _cut(self, host: Host, act: Act) -> None:
        up, down = ((False, False), (False, False), (True, False), (False, True))[act.how % 4]
        self._fleet.tell(f"{host.name} is cut off for {act.lasts_ms} ms (sends {_yes(up)}, answers {_yes(down)})")
        self._set_link(host, up=up, down=down)
        self._fleet.later(act.lasts_ms, lambda: self._set_link(host, up=True, down=True))

    def _outage(self, act: Act) -> None:
        self._fleet.tell(f"the broker is away for {act.lasts_ms} ms")
        for host in self._fleet.hosts:
            self._set_link(host, up=False, down=False)
        self._fleet.later(act.lasts_ms, self._mend_links)

    def _swizzle(self, act: Act) -> None:
        """Cut some links one by one, and mend them in another order (FoundationDB's swizzle)."""
        fleet = self._fleet
        hosts = [host for number, host in enumerate(fleet.hosts) if act.who >> number & 1]
        self._fleet.tell(f"links of {', '.join(host.name for host in hosts) or 'nobody'} go one by one and come back so")
        step_ms = max(1, act.lasts_ms // (2 * len(hosts) or 1))
        for number, host in enumerate(hosts):
            fleet.later(number * step_ms, partial(self._set_link, host, up=False, down=False))
        mended = sorted(hosts, key=lambda host: (act.how ^ hash_of(host.name)) % 97)
        for number, host in enumerate(mended):
            fleet.later((len(hosts) + number) * step_ms, partial(self._set_link, host, up=True, down=True))

    def _mend_links(self) -> None:
        for host in self._fleet.hosts:
            self._set_link(host, up=True, down=True)

    # disks, services, the log

    def _fill(self, act: Act) -> None:
        host = self._node(act)
        machine = host.machine
        if machine is not None:
            self._fleet.tell(f"the disk of {host.name} is full for {act.lasts_ms} ms")
            machine.full = True
            self._fleet.later(act.lasts_ms, lambda: setattr(machine, "full", False))

    def _rot(self, act: Act) -> None:
        """Destroy a node's whole memory while its agent is down."""
        host = self._node(act)
        if host.machine is None or host.process is None:
            return
        host.process.kill()
        self._fleet.tell(f"the disk of {host.name} rots")
        self._fleet.watch.rotted(host.name)
        for name, data in host.machine.files.items():
            host.machine.files[name] = data[: act.how % len(data)] + b"?" if data else b"?"

    def _crash_service(self, act: Act) -> None:
        host = self._node(act)
        if host.machine is not None:
            self._fleet.tell(f"the service on {host.name} ends by itself")
            host.machine.crash(cast.SERVICE)

    def _compact(self, act: Act) -> None:
        topic = ("desired", "desired", "reports", "alarms", "keys")[act.how % 5]
        self._fleet.tell(f"{topic} is compacted")
        self._fleet.broker.compact(topic)

    def _steal(self, act: Act) -> None:
        self._stolen = True
        self.attacker.steal(act.how)

    # whom a number means

    def _decider(self, act: Act) -> Host:
        return self._fleet.deciders[act.who % len(self._fleet.deciders)]

    def _node(self, act: Act) -> Host:
        return self._fleet.nodes[act.who % len(self._fleet.nodes)]

    def _set_link(self, host: Host, *, up: bool, down: bool) -> None:
        if host.client is not None and host.alive:
            host.client.set_link(up=up, down=down)
        host.link.up, host.link.down = up, down

    def _set_skew(self, host: Host, skew_ms: int) -> None:
        host.skew_ms = skew_ms
        if host.process is not None:
            host.process.skew_ms = skew_ms


def hash_of(name: str) -> int:
    """Return a number of a name, the same in every process."""
    return sum(byte << 3 * at for at, byte in enumerate(name.encode()))


def _at(reaches: int) -> str:
    return f"at its reach number {reaches} from now" if reaches else "at once"


def _yes(way: bool) -> str:  # noqa: FBT001 - a word for it
    return "pass" if way else "do not"
