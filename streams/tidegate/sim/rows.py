"""A block as what nodes and their agents send: rows with boots and sequence numbers, lost, late, doubled, of skewed clocks."""

from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from tidegate.kpi.buckets import histogram_of
from tidegate.sim.block import NEW, OLD, Block
from tidegate.sim.episode import SERVICE
from tidegate.sim.world import World
from tidegate.wire.telemetry import ServiceState, Source, Telemetry

DELAY_MS = (20, 400)
"""From the end of a second to the append of its row, first to last; agents send at the same pace."""


class Sent(Struct, frozen=True):
    """A row, and when the broker appends it."""

    append_ms: int
    row: Telemetry


class Senders:
    """Numbers the rows of all nodes. Mutable; blocks must come in order. ``rng`` is for delays alone."""

    def __init__(self, world: World, skew_ms: list[int], rng: np.random.Generator) -> None:
        self._world = world
        self._skew_ms = skew_ms
        self._rng = rng
        self._numbers: dict[tuple[int, str], int] = {}

    def rows(self, block: Block) -> Iterator[Sent]:
        """Yield the rows of a block that arrive, second by second; within one, not in the order of their arrival."""
        for at in range(len(block)):
            for node in range(len(block.names)):
                yield from self._telemetry(block, at, node)
                yield from self._agent(block, at, node)

    def _telemetry(self, block: Block, at: int, node: int) -> Iterator[Sent]:
        if not block.serving[at, node]:
            return
        began_ms = int(block.changed_ms[node]) + int(block.exits[at, node])
        row = Telemetry(
            node=block.names[node],
            service=SERVICE,
            boot=f"b{began_ms}",
            seq=self._number(node, f"b{began_ms}"),
            version=self._version(block, node),
            start_ms=self._starts_ms(block, at, node),
            requests=int(block.requests[at, node]),
            errors=int(block.errors[at, node]),
            latency=histogram_of(block.counts[at, node].tolist()),
            zone=block.zones[node],
            gauges={} if block.saturation is None else {"saturation": float(block.saturation[at, node])},
        )
        if not block.heard[at, node] and not block.late[at, node]:
            return
        append_ms = self._appended_ms(block, at)
        if block.late[at, node]:
            append_ms += round(1_000 * self._rng.uniform(*self._world.late_s))
        yield Sent(append_ms, row)
        if block.doubled[at, node]:
            yield Sent(append_ms + int(self._rng.integers(1_000)), row)

    def _agent(self, block: Block, at: int, node: int) -> Iterator[Sent]:
        number = self._number(node, "agent")
        if block.agent_heard[at, node]:
            row = Telemetry(
                node=block.names[node],
                service=SERVICE,
                boot="agent",
                seq=number,
                version=self._version(block, node),
                start_ms=self._starts_ms(block, at, node),
                source=Source.AGENT,
                zone=block.zones[node],
                state=ServiceState.READY if block.serving[at, node] else ServiceState.STARTING,
                exits=int(block.exits[at, node]),
                changed_ms=int(block.changed_ms[node]),
            )
            yield Sent(self._appended_ms(block, at), row)

    def _version(self, block: Block, node: int) -> str:
        return NEW if block.version == NEW and node in block.canary else OLD

    def _number(self, node: int, boot: str) -> int:
        key = (node, boot)
        self._numbers[key] = self._numbers.get(key, 0) + 1
        return self._numbers[key]

    def _starts_ms(self, block: Block, at: int, node: int) -> int:
        return block.start_ms + 1_000 * at + self._skew_ms[node]

    def _appended_ms(self, block: Block, at: int) -> int:
        return block.start_ms + 1_000 * (at + 1) + int(self._rng.integers(*DELAY_MS))
