"""A release that waits at a gate, and the log that answers go to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry
from tests.rollout.fleet import FLEET, Fleet, plan

from tidegate.notify import Gatekeeper, Notifier
from tidegate.notify.gates import Gate
from tidegate.ports import SystemClock
from tidegate.rollout.outgoing import OpenGate, open_gates
from tidegate.wire.documents import Intent, KeyRole
from tidegate.wire.envelope import Signer, Trust, unseal
from tidegate.wire.plans import GateDefault, Pause, Stage
from tidegate.world import MemoryDisk, MemoryLog

SIGNER = Signer("gate", Ed25519PrivateKey.generate())
TRUST = Trust(FLEET, 1, {"gate": SIGNER.public(KeyRole.GATE)})
ASK = Pause(ask="load-test", duration="10m", default=GateDefault.ROLLBACK)


def waiting() -> Fleet:
    """A release that waits at a gate which asks."""
    fleet = Fleet(nodes=4)
    fleet.install()
    fleet.submit(plan("2", stages=(Stage(set_nodes=1, bake="1s", min_requests=1, pause=ASK), Stage(set_weight=100))))
    while not fleet.state().gate_since_ms:
        fleet.turn()
    return fleet


def question() -> OpenGate:
    return open_gates(waiting().ledger)[0]


@contextlib.asynccontextmanager
async def at_work(keeper: Gatekeeper) -> AsyncIterator[Gatekeeper]:
    """Let a keeper ask; what ends it by itself is raised at the end."""
    running = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


class House:
    """notify on a log that a fleet's decisions are written to."""

    def __init__(self) -> None:
        self.fleet = waiting()
        self.log = MemoryLog(SystemClock())
        self._written = 0

    async def write(self) -> None:
        for raw in self.fleet.records[self._written :]:
            await self.log.append("decisions", "svc/shop", raw)
        self._written = len(self.fleet.records)

    @contextlib.asynccontextmanager
    async def keeper(self, gate: Gate) -> AsyncIterator[None]:
        await self.write()
        keeper = Gatekeeper(self.log, SystemClock(), SIGNER, [gate], registry=CollectorRegistry())
        notifier = Notifier(self.log, SystemClock(), MemoryDisk(), TRUST, [], keeper=keeper, registry=CollectorRegistry())
        running = asyncio.create_task(notifier.run())
        try:
            yield
        finally:
            await notifier.stop()
            await running

    def intents(self) -> list[Intent]:
        return [unseal(record.value, Intent, TRUST)[0] for record in self.log.topic("intents")]

    async def said(self, number: int = 1) -> None:
        """Wait until so many intents stand in the log."""
        async with asyncio.timeout(10):
            with self.log.news() as news:
                while len(self.intents()) < number:
                    await news.wait()
                    news.clear()

    @contextlib.asynccontextmanager
    async def alone(self, gate: Gate) -> AsyncIterator[Gatekeeper]:
        async with at_work(Gatekeeper(self.log, SystemClock(), SIGNER, [gate], registry=CollectorRegistry())) as keeper:
            yield keeper
