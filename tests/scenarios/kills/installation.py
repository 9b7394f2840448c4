"""What the faults befall: a broker with a door for each process, three deciders with a key of their own each, node agents.

Every process is the ordinary command on a clock that can be set. What runs on nodes is ``program``.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from tests.scenarios.kills.clocked import FILE
from tests.scenarios.kills.program import HARNESS, RUNS, text
from tests.scenarios.kills.proxy import Proxy

from tidegate.broker import Connection, KafkaLog, KafkaProcess, create_topics
from tidegate.broker.jars import kafka_jars
from tidegate.broker.local import free_ports
from tidegate.cli.init import make_home, make_node_file
from tidegate.cli.keyring import named_keys, next_root
from tidegate.cli.publish import ENROLMENT_SUFFIX, publish_keys
from tidegate.node.executors.children import left_running
from tidegate.runtime.home import Home
from tidegate.runtime.keys import ROLES, SUFFIX, make_key, make_root
from tidegate.runtime.tied import tie
from tidegate.runtime.trust import write_public
from tidegate.wire.documents import Enrolment, KeyRole
from tidegate.wire.envelope import seal
from tidegate.wire.plans import Artifact

ROOT = Path(__file__).parents[3]
FLEET, SERVICE = "kills", "shop"
ZONES = "ab"
START_S = 0.3
"""How long a version takes to become ready: long enough to be hit in the middle of it."""
DISK_BYTES = 72 << 20
"""The agent keeps 64 MiB in reserve before it fetches."""


class Process:
    """One agent of the product, started again whenever it ends until ``stop``. ``pid`` is of the present life."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self.clock = folder / f"{name}.clock"
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, str(Path(__file__).with_name("clocked.py")), *command]
        self._environment = os.environ | environment | {FILE: str(self.clock)}
        self._child: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.back_s = 0.0
        """So long after its end it is started again."""
        self.lives = 0

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None and self._child.returncode is None else 0

    def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        if self._child is not None and self.pid:
            self.send(signal.SIGCONT)
            self._child.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._child.wait(), 5)
        if self._child is not None and self.pid:
            self._child.kill()
            await self._child.wait()

    def send(self, number: signal.Signals) -> None:
        if self.pid:
            os.kill(self.pid, number)

    def set_clock(self, off_ms: int) -> None:
        """Set its machine's wall clock so many ms off."""
        beside = self.clock.with_suffix(".new")
        beside.write_text(str(off_ms))
        beside.replace(self.clock)

    async def _keep(self) -> None:
        while True:
            with self.log.open("a") as log:
                self._child = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,
                    preexec_fn=tie(signal.SIGKILL),
                )
            self.lives += 1
            await self._child.wait()
            await asyncio.sleep(self.back_s)


class Disk:
    """The small disk that holds one node's state: a tmpfs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filler = folder / "filler"
        folder.mkdir(parents=True)
        options = f"size={DISK_BYTES},uid={os.getuid()},gid={os.getgid()}"
        if _as_root("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)):
            raise PermissionError(
                f"{folder}: no small disk could be mounted; run this as root, or let sudo -n run mount and umount"
            )

    def fill(self) -> None:
        """Leave not one byte, as whatever else is on that disk would."""
        for bytes_at_once in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
                while True:
                    file.write(bytes(bytes_at_once))

    def free(self) -> None:
        """Give the space back."""
        self._filler.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Leave nothing behind."""
        _as_root("umount", "--lazy", str(self._folder))


def _as_root(*words: str) -> int:
    """Run a command that only root may run; return its exit code."""
    return subprocess.run([*([] if os.getuid() == 0 else ["sudo", "-n"]), *words], check=False).returncode


class Installation:
    """``start`` makes and starts everything, ``stop`` leaves nothing running. ``runs`` is what the programs write."""

    def __init__(self, folder: Path, deciders: int, nodes: int) -> None:
        self.folder = folder
        self.deciders = [f"decide-{number}" for number in range(1, deciders + 1)]
        self.home = Home(folder / "home", {})
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.runs = folder / "runs"
        self.disk: Disk | None = None
        self.processes: dict[str, Process] = {}
        self.proxies: dict[str, Proxy] = {}
        self.broker: KafkaProcess
        self.log: KafkaLog

    async def start(self) -> None:
        names = [*self.deciders, *self.nodes]
        ports = free_ports(2 * len(names))
        doors, behind = dict(zip(names, ports, strict=False)), dict(zip(names, ports[len(names) :], strict=True))
        here = {behind[name]: doors[name] for name in names}
        self.broker = KafkaProcess(await kafka_jars(print), self.folder / "broker", doors=here)
        await self.broker.start()
        self._make_home()
        self.connection = Connection(self.broker.bootstrap, "kills.")
        await create_topics(self.connection)
        self.log = KafkaLog(self.connection, client_id="people", send_timeout_s=5)
        await self.log.start()
        await publish_keys(self.log, self.home)
        self.runs.touch()
        try:
            self.disk = Disk(self.state(self.nodes[-1]))
        except (PermissionError, FileNotFoundError):
            if os.environ.get("CI"):
                raise
        for name in names:
            self.proxies[name] = Proxy(doors[name], behind[name])
            await self.proxies[name].start()
        for process in self._programs(doors):
            self.processes[process.name] = process
            process.start()

    async def stop(self) -> None:
        """End everything; safe to call at any point."""
        await asyncio.gather(*(process.stop() for process in self.processes.values()))
        if self.runs.exists():
            self.runs.rename(self.runs.with_name("runs.over"))  # programs end; whoever looks for a cause can read on
        for node in self.nodes:
            for pid, _ in left_running(self.state(node).absolute(), SERVICE):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for proxy in self.proxies.values():
            await proxy.stop()
        if log := getattr(self, "log", None):
            await log.close()
        if broker := getattr(self, "broker", None):
            await broker.stop()
        if self.disk is not None:
            self.disk.unmount()

    def state(self, node: str) -> Path:
        """Return the folder of a node's state."""
        return self.home.state / node

    def artifact(self, version: str) -> Artifact:
        """Write the program of a version; return it as a plan names it."""
        path = self.folder / "artifacts" / f"{version}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text(version, START_S))
        return Artifact(version=version, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), uri=str(path))

    def leader_of(self, life: str) -> str:
        """Return which decider is a life: its own log says it."""
        for name in self.deciders:
            lines = self.processes[name].log.read_text().splitlines()
            if any('"event": "leading"' in line and f'"life": "{life}"' in line for line in lines):
                return name
        return ""

    def _make_home(self) -> None:
        """Make what ``tidegate init`` makes, with a decision key for each decider, so that a signature tells who wrote."""
        home = self.home
        signers = {role: make_key(home.keys / f"{role}{SUFFIX}") for role in ROLES}
        write_public(home.root, make_root(FLEET, signers, 1))
        make_home(home, FLEET, self.broker.bootstrap, "kills.")
        (home.keys / "root-1.json").write_bytes(home.root.read_bytes())
        more = [make_key(home.keys / f"{name}{SUFFIX}").public(KeyRole.DECISION) for name in self.deciders]
        root = next_root(home.trust, [*named_keys(home.trust), *more])
        write_public(home.root, seal(root, signers[KeyRole.ROOT]))
        self.home = home = Home(home.folder, {})
        for number, node in enumerate(self.nodes):
            key = make_key(home.keys / f"node-{node}{SUFFIX}").public(KeyRole.NODE, node)
            enrolment = seal(Enrolment(fleet=FLEET, node=node, key=key, issued_ms=1), home.signer(KeyRole.OPERATOR))
            (home.keys / f"{node}{ENROLMENT_SUFFIX}").write_bytes(enrolment)
            make_node_file(home, node, ZONES[number % len(ZONES)])
            path = home.nodes / f"{node}.yaml"
            config = yaml.safe_load(path.read_text()) | {"services": {SERVICE: self._service()}}
            path.write_text(yaml.safe_dump(config, sort_keys=False))
        for name in self.deciders:
            own = self.folder / name
            shutil.copytree(home.folder, own, ignore=shutil.ignore_patterns("state", "nodes"))
            for key in own.glob(f"keys/*{SUFFIX}"):
                if key.name != f"{name}{SUFFIX}":
                    key.unlink()

    def _service(self) -> dict[str, object]:
        return {
            "executor": "process",
            "command": ["{python}", "-I", "-S", "{artifact}"],
            "readyWithin": "20s",
            "env": {RUNS: str(self.runs), HARNESS: str(os.getpid())},
        }

    def _programs(self, doors: dict[str, int]) -> Iterator[Process]:
        logs = self.folder / "logs"
        logs.mkdir()
        for name in self.deciders:
            environment = {"TIDEGATE_BOOTSTRAP": f"127.0.0.1:{doors[name]}"}
            yield Process(name, ["--home", str(self.folder / name), "decide"], environment, logs)
        for node in self.nodes:
            environment = {"TIDEGATE_BOOTSTRAP": f"127.0.0.1:{doors[node]}"}
            yield Process(node, ["node", "--config", str(self.home.nodes / f"{node}.yaml")], environment, logs)
