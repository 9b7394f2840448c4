"""One real Kafka in a container of this machine's Docker, through testcontainers, on the properties and the folder that
``KafkaProcess`` would use: whichever of the two runs next finds the same data.

testcontainers' own Kafka needs the scripts of another image, so this one starts apache/kafka by its tools. The container is
removed when it is stopped, when its start fails, by testcontainers' reaper after this process was killed, and before the next
start. Only here is the client of Docker imported: it is an extra.
"""

import asyncio
import contextlib
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, TypeVar

from docker.errors import APIError, DockerException, NotFound
from testcontainers.core.container import DockerContainer, Reaper
from testcontainers.core.docker_client import DockerClient

from tidegate.broker.connection import BrokerProblem, DockerMissing
from tidegate.broker.jars import OWN_CLUSTER, VERSION
from tidegate.broker.kafka import answers
from tidegate.broker.local import (
    EVERYWHERE,
    LOOPBACK,
    READY_WITHIN_S,
    STOP_WITHIN_S,
    cause_in,
    free_ports,
    hold,
    listens,
    new_cluster,
    write_properties,
)

T = TypeVar("T")

IMAGE = f"apache/kafka:{VERSION}"
PROBE_WITHIN_S = 2
ANSWER_WITHIN_S = 60
LOOK_EVERY_S = 0.1
LOG_LINES = 1_000
COMMAND = """
[ -e "$DATA/meta.properties" ] || /opt/kafka/bin/kafka-storage.sh format -t "$CLUSTER" -c "$PROPERTIES" || exit
exec /opt/kafka/bin/kafka-server-start.sh "$PROPERTIES"
"""
ENVIRONMENT = {
    "KAFKA_HEAP_OPTS": "-Xms128m -Xmx384m",
    "KAFKA_JVM_PERFORMANCE_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    # Whoever runs in there is this process's user and owns nothing of the image.
    "LOG_DIR": "/tmp/kafka",  # noqa: S108 - inside the container
}
FAILURES = (DockerException, OSError, RuntimeError)
"""What docker, requests and testcontainers raise."""


class KafkaContainer:
    """A broker in a container. Its port is the same inside and outside, so it knows beforehand where clients find it."""

    def __init__(self, folder: Path, announce: Callable[[str], None]) -> None:
        self._folder = folder.resolve()
        self._announce = announce
        self._container: DockerContainer | None = None
        self._lock: TextIO | None = None
        self._given_up = threading.Event()
        self._port, self._controller = free_ports(2)

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def name(self) -> str:
        """The container's name: one for each folder, so that what an earlier life left is found."""
        return f"tidegate-kafka-{zlib.crc32(os.fsencode(self._folder)):08x}"

    @property
    def log(self) -> Path:
        """What the broker said in its last life, written when its container is removed."""
        return self._folder / "container.log"

    async def start(self) -> None:
        """Start, and return when it answers.

        DockerMissing where there is no daemon of this machine, BrokerProblem where that cannot run the broker.
        """
        try:
            await self._aside(self._create)
            fault = await self._ready()
        except BaseException:
            await self.stop()
            raise
        if fault:
            await self.stop()
            raise BrokerProblem(f"Kafka in Docker {fault}", cause_in(self.log))

    async def stop(self) -> None:
        """Stop cleanly and remove the container; its data stay in the folder. Safe to call twice."""
        container, self._container = self._container, None
        if container is not None:
            await self._aside(lambda: self._remove(container))
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    async def _ready(self) -> str | None:
        """Return None when the broker answers, or what it does instead."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN_S):
                while not (listens(self._port) and await answers(self.bootstrap)):
                    if await self._aside(self._ended):
                        return "ended while it started"
                    await asyncio.sleep(LOOK_EVERY_S)
                return None
        return f"did not answer within {READY_WITHIN_S:.0f} s"

    async def _aside(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread. A cancellation waits for its end: nothing may come to be afterwards."""
        working = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            self._given_up.set()
            await asyncio.gather(working, return_exceptions=True)
            raise

    # in a thread

    def _create(self) -> None:
        user = _user(_probe())
        self._lock = hold(self._folder)
        properties = write_properties(self._folder, listen=EVERYWHERE, port=self._port, controller=self._controller)
        try:
            container = self._container = DockerContainer(
                IMAGE,
                docker_client_kw={"timeout": ANSWER_WITHIN_S},
                env=ENVIRONMENT | {"CLUSTER": new_cluster(), "PROPERTIES": str(properties), "DATA": str(self._folder / "data")},
                name=self.name,
                volumes=[(str(self._folder), str(self._folder), "rw")],
                user=user,
            )
            container.with_command(["sh", "-c", COMMAND])
            # Docker's own form; testcontainers knows only ports of all interfaces.
            container.ports[str(self._port)] = (LOOPBACK, self._port)  # type: ignore[assignment]
            self._pull(container)
            with contextlib.suppress(NotFound):
                container.get_docker_client().client.containers.get(self.name).remove(force=True, v=True)
            container.start()
        except FAILURES as error:
            said = error.explanation if isinstance(error, APIError) else error
            raise BrokerProblem(f"Docker cannot run {container.image}: {said}", f"see to it, or {OWN_CLUSTER}") from error

    def _pull(self, container: DockerContainer) -> None:
        client = container.get_docker_client().client
        with contextlib.suppress(NotFound):
            client.images.get(container.image)
            return
        self._announce(f"fetching the image {container.image}, once")
        repository, _, tag = container.image.rpartition(":")
        for line in client.api.pull(repository, tag, stream=True, decode=True):
            if self._given_up.is_set():
                raise OSError("given up")
            if "error" in line:
                raise OSError(line["error"])

    def _ended(self) -> bool:
        if self._container is None:
            return True
        try:
            self._container.reload()
        except FAILURES:
            return True
        return self._container.status not in ("created", "running", "restarting")

    def _remove(self, container: DockerContainer) -> None:
        """Stop and remove, then the reaper too. What cannot be removed any more is gone, or waits for the next start."""
        with contextlib.suppress(*FAILURES):
            inner = container.get_wrapped_container()
            inner.stop(timeout=int(STOP_WITHIN_S))
            self.log.write_bytes(inner.logs(tail=LOG_LINES))
        with contextlib.suppress(*FAILURES):
            container.stop()
        with contextlib.suppress(*FAILURES):
            # Else this process would end with it, when there may be no daemon any more.
            Reaper.delete_instance()
        container.get_docker_client().client.close()


def _probe() -> dict[str, object]:
    """Return what the daemon says of itself. DockerMissing where none answers, or one that is not on this machine."""
    try:
        client = DockerClient(timeout=PROBE_WITHIN_S)
    except FAILURES as error:
        raise DockerMissing(f"no Docker daemon answers: {error}", f"start Docker, or {OWN_CLUSTER}") from error
    try:
        if client.host() not in ("localhost", LOOPBACK):
            raise DockerMissing(f"Docker's daemon is at {client.host()}, not on this machine", OWN_CLUSTER)
        return client.client.info()
    except FAILURES as error:
        raise DockerMissing(f"Docker's daemon says nothing of itself: {error}", f"see to it, or {OWN_CLUSTER}") from error
    finally:
        client.client.close()


def _user(daemon: dict[str, object]) -> str:
    """Return who must run in the container so that this process's user owns the data."""
    options = daemon.get("SecurityOptions")
    rootless = isinstance(options, list) and any("rootless" in str(option) for option in options)
    return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"
