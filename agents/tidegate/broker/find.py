"""Which broker: the user's own, real Kafka in Docker or from its jars, or, for the demo on a machine with nothing but Python,
the mock in librdkafka.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol, get_args

import structlog

from tidegate.broker.connection import BrokerProblem, DockerMissing
from tidegate.broker.jars import VERSION, kafka_jars
from tidegate.broker.kafka import KafkaProcess
from tidegate.broker.mock import MockBroker, MockMissing

Kind = Literal["user", "docker", "kafka", "mock"]
Rung = Literal["docker", "kafka", "mock"]

log = structlog.get_logger("tidegate.broker")


class Started(Protocol):
    """A broker that was started here."""

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...


class RunningBroker:
    """A broker to talk to. ``stop`` ends it if it was started here, and leaves a user's cluster alone."""

    def __init__(self, bootstrap: str, kind: Kind, started: Started | None = None) -> None:
        self.bootstrap = bootstrap
        self.kind: Kind = kind
        self._started = started

    def describe(self) -> str:
        """Return the start-up line: what it is, and what it cannot do."""
        match self.kind:
            case "user":
                return f"broker: your cluster at {self.bootstrap}"
            case "docker":
                return f"broker: Apache Kafka {VERSION} in Docker at {self.bootstrap}"
            case "kafka":
                return f"broker: Apache Kafka {VERSION} on this machine at {self.bootstrap}"
            case "mock":
                return (
                    f"broker: librdkafka's mock at {self.bootstrap}: one worker of each role, "
                    "nothing survives its end, not for anything but a first look"
                )

    async def stop(self) -> None:
        """Stop what was started here; safe to call twice."""
        started, self._started = self._started, None
        if started is not None:
            await started.stop()


async def find_broker(
    *, bootstrap: str | None, folder: Path, allow_mock: bool = False, announce: Callable[[str], None]
) -> RunningBroker:
    """Return the first broker of the ladder that works. BrokerProblem says why none does, and what to do.

    ``folder`` keeps the data of a broker that is started here. Without ``bootstrap``, ``TIDEGATE_BROKER`` (docker, kafka or
    mock) asks for that rung and no other.
    """
    if bootstrap:
        return RunningBroker(bootstrap, "user")
    asked = _asked()
    if asked is not None:
        return await _start(asked, folder, announce)
    try:
        return await _start("docker", folder, announce)
    except DockerMissing as missing:
        log.debug("no Kafka in Docker", reason=missing.what)
    except BrokerProblem as problem:
        announce(f"no Kafka in Docker: {problem}")
    try:
        return await _start("kafka", folder, announce)
    except BrokerProblem as problem:
        if not allow_mock:
            raise
        announce(f"no real Kafka: {problem.what}")
        try:
            return await _start("mock", folder, announce)
        except BrokerProblem as missing:
            raise problem from missing


async def _start(rung: Rung, folder: Path, announce: Callable[[str], None]) -> RunningBroker:
    match rung:
        case "docker":
            try:
                from tidegate.broker.container import KafkaContainer  # noqa: PLC0415 - an extra
            except ImportError as error:
                raise DockerMissing(f"Docker's client is missing: {error}", "pip install 'tidegate[quickstart]'") from error
            broker: KafkaContainer | KafkaProcess = KafkaContainer(folder, announce)
        case "kafka":
            broker = KafkaProcess(await kafka_jars(announce), folder)
        case "mock":
            try:
                mock = MockBroker()
            except MockMissing as error:
                raise BrokerProblem(f"no mock broker: {error}", "pip install 'tidegate[quickstart]'") from error
            return RunningBroker(mock.bootstrap, "mock", mock)
    await broker.start()
    return RunningBroker(broker.bootstrap, rung, broker)


def _asked() -> Rung | None:
    asked = os.environ.get("TIDEGATE_BROKER")
    for rung in get_args(Rung):
        if asked == rung:
            return rung
    if asked:
        raise BrokerProblem(f"TIDEGATE_BROKER={asked} is no kind of broker", f"choose one of: {', '.join(get_args(Rung))}")
    return None
