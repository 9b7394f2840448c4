"""Which broker: the user's own, real Kafka on this machine, or, for the demo on a machine with nothing but Python, the
mock in librdkafka.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tidegate.broker.connection import BrokerProblem
from tidegate.broker.jars import VERSION, kafka_jars
from tidegate.broker.kafka import KafkaProcess
from tidegate.broker.mock import MockBroker, MockMissing

Kind = Literal["user", "kafka", "mock"]


class RunningBroker:
    """A broker to talk to. ``stop`` ends it if it was started here, and leaves a user's cluster alone."""

    def __init__(self, bootstrap: str, kind: Kind, process: KafkaProcess | MockBroker | None = None) -> None:
        self.bootstrap = bootstrap
        self.kind: Kind = kind
        self._process = process

    def describe(self) -> str:
        """Return the start-up line: what it is, and what it cannot do."""
        match self.kind:
            case "user":
                return f"broker: your cluster at {self.bootstrap}"
            case "kafka":
                return f"broker: Apache Kafka {VERSION} on this machine at {self.bootstrap}"
            case "mock":
                return (
                    f"broker: librdkafka's mock at {self.bootstrap} (no Java here): one worker of each role, "
                    "nothing survives its end, not for anything but a first look"
                )

    async def stop(self) -> None:
        """Stop what was started here; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            await process.stop()


async def find_broker(
    *, bootstrap: str | None, folder: Path, allow_mock: bool = False, announce: Callable[[str], None]
) -> RunningBroker:
    """Return the first broker of the ladder that works. BrokerProblem says why none does, and what to do.

    ``folder`` keeps the data of a broker that is started here.
    """
    if bootstrap:
        return RunningBroker(bootstrap, "user")
    try:
        jars = await kafka_jars(announce)
        process = KafkaProcess(jars, folder)
        await process.start()
        return RunningBroker(process.bootstrap, "kafka", process)
    except BrokerProblem as problem:
        if not allow_mock:
            raise
        announce(f"no real Kafka: {problem.what}")
        try:
            mock = MockBroker()
        except MockMissing as missing:
            raise problem from missing
        return RunningBroker(mock.bootstrap, "mock", mock)
