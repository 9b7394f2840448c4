"""One real Kafka in one process of this machine, in KRaft mode: started, killed and restarted on the same folder and ports."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tidegate.broker.connection import BrokerProblem
from tidegate.broker.jars import KafkaJars
from tidegate.broker.local import (
    LOOPBACK,
    READY_WITHIN_S,
    STOP_WITHIN_S,
    cause_in,
    hold,
    keep_ports,
    listens,
    new_cluster,
    own_ports,
    write_properties,
)
from tidegate.runtime.tied import tie

HEAP = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class KafkaProcess:
    """A broker on loopback ports that stay the same over restarts.

    Ends with the thread that started it, however that ends: start it from the main thread. ``doors``: further ports,
    each with the port that its clients are told to connect to; what stands between is the caller's.
    """

    def __init__(self, jars: KafkaJars, folder: Path, doors: Mapping[int, int] | None = None) -> None:
        self._jars = jars
        self._folder = folder
        self._doors = doors or {}
        self._process: asyncio.subprocess.Process | None = None
        self._lock: TextIO | None = None
        self._port, self._controller = own_ports(folder, 2)

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        return f"127.0.0.1:{self._port}"

    @property
    def log(self) -> Path:
        """What the broker says in this life."""
        return self._folder / "kafka.log"

    @property
    def pid(self) -> int:
        """The running process; BrokerProblem where there is none."""
        if self._process is None:
            raise BrokerProblem("this broker is not running", "start it first")
        return self._process.pid

    @property
    def _archive_new(self) -> Path:
        """Where this life leaves its class-data archive: beside the one it may become, under a name of its own."""
        archive = self._jars.archive
        return archive.with_name(f"{archive.stem}-{self._port}.part")

    async def start(self) -> None:
        """Start, and return when it answers. BrokerProblem where it ends or stays silent; its log says why."""
        if self._process is not None and self._process.returncode is not None:
            await self.kill()  # it fell over by itself
        for port in (self._port, self._controller):
            _refuse_taken(port)
        self._lock = hold(self._folder)
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await self._start()
        except TimeoutError as error:
            await self.kill()
            raise BrokerProblem(f"Kafka did not answer within {READY_WITHIN_S:.0f} s", f"see {self.log}") from error
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """Stop cleanly; safe to call twice."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_WITHIN_S):
                    await self._process.wait()
        whole = self._process.returncode is not None
        await self.kill()
        made, archive = self._archive_new, self._jars.archive
        with contextlib.suppress(OSError):  # it only saves time
            if whole and made.exists() and not archive.exists():
                made.rename(archive)
            made.unlink(missing_ok=True)

    async def kill(self) -> None:
        """End it at once, as a crash would; its data stay."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    async def _start(self) -> None:
        self.log.unlink(missing_ok=True)
        keep_ports(self._folder, self._port, self._controller)
        properties = write_properties(self._folder, listen=LOOPBACK, port=self._port, controller=self._controller)
        archive = self._jars.archive
        shared = f"-XX:SharedArchiveFile={archive}"
        if not (self._folder / "data" / "meta.properties").exists():
            arguments = ("format", "-t", new_cluster(), "-c", str(properties), "--ignore-formatted", *self._formatting())
            sharing = (shared,) if archive.exists() else ()
            self._process = await self._java(*sharing, "-Xshare:auto", "kafka.tools.StorageTool", *arguments)
            if await self._process.wait():
                raise BrokerProblem("Kafka could not prepare its data folder", self._why())
        sharing = (shared if archive.exists() else f"-XX:ArchiveClassesAtExit={self._archive_new}",)
        self._process = await self._java(*sharing, "-Xshare:auto", "kafka.Kafka", str(properties), *self._overrides())
        while not (listens(self._port) and await answers(self.bootstrap)):
            if self._process.returncode is not None:
                raise BrokerProblem(f"Kafka ended with exit code {self._process.returncode} while it started", self._why())
            await asyncio.sleep(0.05)

    async def _java(self, *arguments: str) -> asyncio.subprocess.Process:
        with self.log.open("a") as log:
            return await asyncio.create_subprocess_exec(
                self._jars.java,
                *HEAP,
                "-cp",
                self._jars.class_path,
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=tie(signal.SIGKILL),
            )

    def _formatting(self) -> tuple[str, ...]:
        """Return what the storage tool is told of the new cluster, beside its folder."""
        return ()

    def _overrides(self) -> list[str]:
        """Return how the properties differ from those of a broker without doors."""
        if not self._doors:
            return []
        own, controller = f"PLAINTEXT://{LOOPBACK}:{self._port}", f"CONTROLLER://{LOOPBACK}:{self._controller}"
        told = {
            "listeners": [own, *(f"DOOR{port}://{LOOPBACK}:{port}" for port in self._doors), controller],
            "advertised.listeners": [own, *(f"DOOR{port}://{LOOPBACK}:{door}" for port, door in self._doors.items())],
            "listener.security.protocol.map": [
                f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *(f"DOOR{port}" for port in self._doors))
            ],
        }
        return [word for name, values in told.items() for word in ("--override", f"{name}={','.join(values)}")]

    def _why(self) -> str:
        """Return what to do, from what the broker said."""
        text = self.log.read_text(errors="replace")
        if "UnsupportedClassVersionError" in text:
            return (
                f"{self._jars.java} is too old: install Java 17 or later, or set TIDEGATE_BOOTSTRAP=host:port to your own cluster"
            )
        if "Address already in use" in text:
            return f"port {self._port} or {self._controller} was taken by another process meanwhile: try again"
        return cause_in(self.log)


async def answers(bootstrap: str) -> bool:
    """Return whether a broker answers a metadata request."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5_000)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the broker does: connections just closed do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BrokerProblem(
                f"port {port} for the broker is in use by another process",
                "stop that one, or set TIDEGATE_BOOTSTRAP=host:port to your own cluster",
            ) from error
