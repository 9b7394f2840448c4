"""One bench for each executor: how a version of a service is made for it, and how the world sees what really serves."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from msgspec.structs import replace
from tests.node.kit import SERVER, bare, config_of, free_port, made, processes, request
from tests.node.released import Unit, tarred

from tidegate.node import Launch
from tidegate.node.config import ServiceConfig
from tidegate.node.executors.registry import executors_of
from tidegate.ports import SystemClock, SystemDisk
from tidegate.wire.plans import Artifact


class Bench:
    """A node with one service, ``shop``, and executors that come and go upon it."""

    word = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = config_of(folder, shop=self.service())
        self.exits: list[str] = []
        self.launches = 0

    def service(self) -> ServiceConfig:
        raise AssertionError

    def artifact(self, version: str, *, broken: bool = False, slow_s: float = 0) -> Artifact:
        raise AssertionError

    async def serves(self) -> str:
        """Return the version that really serves; empty where none does."""
        raise AssertionError

    def crash(self, executor) -> None:
        """Let the service end as it does when nobody ordered it."""
        raise AssertionError

    def copies(self) -> int:
        """Return how many copies of the service there are."""
        raise AssertionError

    async def life(self):
        """Return the executor of the next life of the agent."""
        executor = executors_of(self.config, SystemDisk(Path(self.config.state)), SystemClock())[self.word]
        await executor.adopt(lambda _service, how: self.exits.append(how))
        return executor

    async def launch(self, executor, artifact: Artifact, how: str = "swap", **words) -> None:
        await executor.fetch(artifact, ())
        self.launches += 1
        boot = f"{os.getpid()}-{self.launches}"
        await getattr(executor, how)(Launch(service="shop", artifact=artifact, boot=boot, **words))

    async def end(self) -> None:
        """Leave nothing behind, however a test ended."""


class OnPort(Bench):
    port = 0

    async def serves(self) -> str:
        with contextlib.suppress(OSError, TimeoutError):  # a socket that waits for its first version takes connections
            async with asyncio.timeout(1):
                return await request(self.port)
        return ""

    def pids(self) -> list[int]:
        raise AssertionError

    def copies(self) -> int:
        return len(self.pids())

    def crash(self, executor) -> None:
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)

    async def end(self) -> None:
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)


class ProcessBench(OnPort):
    word = "process"

    def service(self) -> ServiceConfig:
        self.port = free_port()
        return ServiceConfig(command=("{python}", SERVER, "{artifact}"), listen=f"127.0.0.1:{self.port}", drain="5s")

    def artifact(self, version: str, *, broken: bool = False, slow_s: float = 0) -> Artifact:
        return made(self.folder, version, crash=broken, start_delay_s=slow_s)

    def pids(self) -> list[int]:
        return processes(self.config.state)


class SymlinkBench(OnPort):
    word = "symlink"

    def service(self) -> ServiceConfig:
        self.unit = Unit(self.folder / "unit")
        self.port = self.unit.port
        return getattr(self.unit, self.word)()

    def artifact(self, version: str, *, broken: bool = False, slow_s: float = 0) -> Artifact:
        behaviour = ({"broken": "yes"} if broken else {}) | ({"slow": str(slow_s)} if slow_s else {})
        return tarred(self.folder, version, self.unit.release(version, **behaviour))

    def pids(self) -> list[int]:
        return self.unit.pids()


class HooksBench(SymlinkBench):
    word = "hooks"


class NoneBench(Bench):
    """The object is the machine, so each life has the same one."""

    word = "none"
    machine = None

    def service(self) -> ServiceConfig:
        return ServiceConfig(executor="none")

    def artifact(self, version: str, *, broken: bool = False, slow_s: float = 0) -> Artifact:
        return bare(f"broken-{version}" if broken else version)

    async def life(self):
        if self.machine is None:
            self.machine = executors_of(self.config, SystemDisk(Path(self.config.state)), SystemClock())[self.word]
        await self.machine.adopt(lambda _service, how: self.exits.append(how))
        return self.machine

    async def launch(self, executor, artifact: Artifact, **words) -> None:
        if artifact.version.startswith("broken"):
            executor.broken.add(artifact.version)
        await super().launch(executor, artifact, **words)

    async def serves(self) -> str:
        running = self.machine.running("shop")
        return running.artifact.version if running is not None else ""

    def copies(self) -> int:
        return int(self.machine.running("shop") is not None)

    def crash(self, executor) -> None:
        executor.crash("shop")


class SampleBench(NoneBench):
    """What an installed package brings; see the fixture for how it is installed."""

    word = "sample"

    def service(self) -> ServiceConfig:
        return ServiceConfig(executor="sample", options={"colour": "red"})

    async def life(self):
        self.machine = None
        return await super().life()

    async def launch(self, executor, artifact: Artifact, **words) -> None:
        await Bench.launch(self, executor, artifact, **words)


BENCHES = {one.word: one for one in (ProcessBench, SymlinkBench, HooksBench, NoneBench, SampleBench)}


def install_sample(folder: Path) -> str:
    """Put the sample into a folder as an installer puts a package there; return what must stand in the path."""
    (folder / "sample_executor.py").write_bytes(Path(SERVER).with_name("sample.py").read_bytes())
    about = folder / "sample_executor-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sample-executor\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[tidegate.executors]\nsample = sample_executor:factory\n")
    return str(folder)


def missing(artifact: Artifact, executor) -> Artifact:
    """Return an artifact that cannot be fetched."""
    if hasattr(executor, "missing"):
        executor.missing.add("missing")
    return replace(artifact, version="missing", sha256="0" * 64, uri="/missing")
