"""The demo's fleet under the hands of a test: what the log says of it, and kill -9 for any part of it."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import yaml

from tidegate.demo.fleet import TIDEGATE, Fleet
from tidegate.demo.load import Load
from tidegate.demo.releases import SERVICE
from tidegate.demo.watch import TOPICS, Watch
from tidegate.node import load_config
from tidegate.node.executors.children import left_running
from tidegate.ports import Record
from tidegate.runtime.supervise import Program
from tidegate.wire.codec import decode
from tidegate.wire.decisions import Decision, DecisionKind, Result
from tidegate.wire.documents import Phase
from tidegate.wire.judgement import Kpi
from tidegate.wire.names import service_subject
from tidegate.wire.telemetry import ServiceState

DECIDERS = ("decide", "decide-2")
LOOK_EVERY_S = 0.1
RATE_PER_SERVER = 50.0

PROGRAM = '''"""{service} {version}: says that it begins, takes its time, serves."""

import os
import time
from pathlib import Path

with Path(os.environ["SHOP_STATS"]).with_name("starts").open("a") as starts:
    starts.write(f"{{os.environ['TIDEGATE_NODE']}} {version}\\n")
time.sleep({start_s})

from tidegate.demo.shop import Behaviour, serve

serve(Behaviour({version!r}, error_ratio={error_ratio}))
'''


class Kpis:
    """Closed seconds of the service. A record that is written again is the same record (its id), and counts once."""

    def __init__(self) -> None:
        self.seconds: dict[int, dict[str, Kpi]] = {}
        self.seen_ms: dict[int, int] = {}
        """End of a second to when its last new record was read."""

    def see(self, record: Record) -> None:
        kpi = msgspec.json.decode(record.value or b"", type=Kpi)
        if kpi.window_s == 1 and not kpi.of_flag and kpi.cohort not in self.seconds.setdefault(kpi.end_ms, {}):
            self.seconds[kpi.end_ms][kpi.cohort] = kpi
            self.seen_ms[kpi.end_ms] = time.time_ns() // 1_000_000

    def nodes(self, end_ms: int) -> int:
        """Return of how many nodes the rows of a second were there."""
        return sum(kpi.nodes for kpi in self.seconds.get(end_ms, {}).values())


class System(Fleet):
    """The whole system: two decision agents, one of each worker, a node agent and a server for each node, and load."""

    def __init__(self, folder: Path, servers: int, bootstrap: str, *, flagged: bool = False) -> None:
        super().__init__(folder, servers, print, bootstrap, flagged=flagged)
        self.subject = service_subject(SERVICE)
        self.folder = folder
        self.watch = Watch(self.subject, SERVICE)
        self.kpis = Kpis()
        self.decisions: list[tuple[int, Decision]] = []
        self.load = Load(self.addresses, RATE_PER_SERVER)
        self._news = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None

    @property
    def nodes(self) -> list[str]:
        return self._nodes

    async def start(self) -> None:
        await super().start()
        self.begin_to_follow()
        await self.until(lambda: len(self.watch.running) == len(self._nodes), 60, "reports of all node agents")
        await self.roll_out(self.artifact("v1"), {"stages": [{"setWeight": 100, "bake": "1s", "minRequests": 0}], "watch": "0s"})
        await self.until(lambda: self.result is Result.PROMOTED, 60, "the first install")
        self.load.start()
        await self.until(lambda: self.healthy_seconds() >= 3, 30, "healthy traffic on all servers")

    def begin_to_follow(self) -> None:
        """Read what the log says from now on."""
        self._follower = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        await self.load.stop()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        await super().stop()

    def _programs(self) -> Iterator[Program]:
        yield from super()._programs()
        yield Program(name=DECIDERS[1], command=(*TIDEGATE, "--home", str(self._home.folder), "decide"))

    # what the log says

    async def _follow(self) -> None:
        reader = await self.log.reader(TOPICS)
        try:
            while True:
                records = await reader.poll(LOOK_EVERY_S)
                self.watch.see(records)
                for record in records:
                    if record.topic == "decisions":
                        self.decisions.append((record.time_ms, decode(record.value or b"", Decision)))
                    elif record.topic == "kpis" and record.key == SERVICE:
                        self.kpis.see(record)
                self._news.set()
        finally:
            await reader.close()

    async def until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait for what the log, or the load, will show; looked at with each news and ten times a second without any."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    if self._follower is not None and self._follower.done():
                        self._follower.result()
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{what}: not within {within_s:.0f} s\n{self.story()}") from None

    def of_rollout(self) -> list[tuple[int, Decision]]:
        """Return the records of the rollout that was accepted last."""
        begin = max((at for at, (_, one) in enumerate(self.decisions) if one.kind is DecisionKind.ACCEPT), default=0)
        return [(time_ms, one) for time_ms, one in self.decisions[begin:] if one.subject]

    def kinds(self) -> list[str]:
        return [str(one.kind) for _, one in self.of_rollout()]

    def count(self, kind: DecisionKind) -> int:
        return sum(one.kind is kind for _, one in self.of_rollout())

    @property
    def result(self) -> Result | None:
        """How the last rollout ended; None while it has not, or nodes do not run yet what they should."""
        states = [one.state for _, one in self.of_rollout() if one.state is not None]
        if not states or states[-1].phase is not Phase.DONE or states[-1].settled is None:
            return None
        settled = states[-1].settled.version
        calm = all(one.version == settled and one.state is ServiceState.READY for one in self.watch.running.values())
        return states[-1].result if calm else None

    @property
    def settled(self) -> str:
        """The version that the last rollout left behind."""
        return next(one.state.settled.version for _, one in reversed(self.decisions) if one.state and one.state.settled)

    def healthy_seconds(self, since_ms: int = 0) -> int:
        """Return how many closed seconds in a row, up to the newest, show all nodes."""
        found = 0
        for end_ms in sorted((end_ms for end_ms in self.kpis.seconds if end_ms > since_ms), reverse=True):
            if self.kpis.nodes(end_ms) < len(self._nodes):
                break
            found += 1
        return found

    def story(self) -> str:
        """Return the last records in words, for whoever reads why a test failed."""
        return "\n".join(f"{time_ms} {one.kind} {one.reason}: {one.message}" for time_ms, one in self.decisions[-25:])

    @property
    def epochs(self) -> list[int]:
        """Return the epochs of all takeovers, in the order of the log."""
        return [one.epoch for _, one in self.decisions if one.kind is DecisionKind.TAKEOVER]

    # what a person does

    def artifact(self, version: str, *, error_ratio: float = 0.0, start_s: float = 0.0) -> Path:
        """Write the program of a version."""
        path = self.folder / f"{version}.py"
        path.write_text(PROGRAM.format(service=SERVICE, version=version, error_ratio=error_ratio, start_s=start_s))
        return path

    async def roll_out(self, artifact: Path, plan: dict[str, object]) -> None:
        """Start a release; return when it is accepted."""
        before = len(self.decisions)
        path = artifact.with_suffix(".yaml")
        told = {"version": artifact.stem, "uri": str(artifact)}
        path.write_text(yaml.safe_dump({"service": SERVICE, "artifact": told, "maxUnavailable": "100%", "watch": "1s"} | plan))
        await self.command("rollout", "start", str(path))
        await self.until(
            lambda: any(one.kind is DecisionKind.ACCEPT for _, one in self.decisions[before:]), 20, "the plan's acceptance"
        )

    # what happens to it

    def send(self, number: signal.Signals, *names: str) -> int:
        """Send a signal to programs, SIGKILL as a crash: the supervisor starts them again. Return the time in ms."""
        for name in names:
            os.kill(self._supervisor._children[name].pid, number)
        return time.time_ns() // 1_000_000

    async def leader(self) -> str:
        """Return which decision agent leads: the ledger names its life, and so does its own log."""
        life = next(one for _, one in reversed(self.decisions) if one.kind is DecisionKind.TAKEOVER).message.split()[0]
        found: list[str] = []

        def leading(name: str) -> bool:
            lines = (self.logs / f"{name}.log").read_text().splitlines()
            return any('"event": "leading"' in line and f'"life": "{life}"' in line for line in lines)

        def told() -> bool:
            found[:] = [name for name in DECIDERS if leading(name)]
            return bool(found)

        await self.until(told, 10, f"the log of {life}")
        return found[0]

    def processes(self, node: str) -> list[int]:
        """Return the processes of the service that the agents of a node ever started and that still run."""
        state = Path(load_config(self._home.nodes / f"{node}.yaml").state).absolute()
        return [pid for pid, _ in left_running(state, SERVICE)]

    def starts(self, version: str) -> Counter[str]:
        """Return how often each node has started a version."""
        lines = (self.folder / "starts").read_text().splitlines()
        return Counter(node for node, _, started in (line.partition(" ") for line in lines) if started == version)
