"""Bounded and steady: whatever nodes, boots, versions, names and rollouts come and go, a state stays as large as it was."""

import random
from collections.abc import Iterator

import pytest
from tests.kpi.rows import PARTITIONS, T0, histogram

from tidegate.judge import JudgeState, snapshot, step
from tidegate.kpi.columns import RowWriter
from tidegate.wire.nodeseconds import CohortMembers, Context, Record
from tidegate.wire.telemetry import ServiceState, Source, Telemetry

MINUTES = 96
TICK_S = 5
"""A step of the simulated log: rows come every five seconds, as if of one each."""


def churn(minutes: int, seed: int = 3) -> Iterator[tuple[int, Record]]:
    """Yield a log in which nothing has the same name for long."""
    source = random.Random(seed)
    latency = [histogram(*(source.lognormvariate(-3, 1) for _ in range(20))) for _ in range(8)]
    for tick in range(minutes * 60 // TICK_S):
        second = tick * TICK_S
        now_ms = T0 + second * 1_000
        minute = second // 60
        writer = RowWriter()
        for number in range(6):
            # A node lives 7 minutes, a boot 2, a version 11, a service of the last third 3, a metric 1.
            service = f"s{number % 2}" if number < 4 else f"t{number}.{minute // 3}"
            row = Telemetry(
                node=f"n{number}.{minute // 7}",
                service=service,
                boot=f"b{minute // 2}",
                seq=tick + 1 + (tick % 7 == 0),
                version=f"v{minute // 11}",
                start_ms=now_ms - 1_000,
                requests=20,
                errors=source.randrange(3),
                latency=latency[tick % 8],
                gauges={"queue": 1.0, f"g{minute}": 2.0},
                counters={f"c{minute}.{number}": 1},
                labels={f"l{tick}": "x"},
                zone=f"z{tick}",
            )
            writer.add(row, now_ms + 20)
            writer.add(
                Telemetry(
                    node=row.node,
                    service=service,
                    boot="agent",
                    seq=tick + 1,
                    version=row.version,
                    start_ms=now_ms - 1_000,
                    source=Source.AGENT,
                    state=ServiceState.READY,
                ),
                now_ms + 20,
            )
        yield now_ms, writer.flush({})
        for at_ms in range(now_ms, now_ms + TICK_S * 1_000, 1_000):
            yield at_ms, RowWriter().flush(dict.fromkeys(range(PARTITIONS), at_ms))
        yield from ((now_ms, one) for one in contexts(tick, minute))


def contexts(tick: int, minute: int) -> Iterator[Context]:
    """Yield what decide says: two services with a rollout every 10 minutes, and subjects that come up and are archived."""
    for number in range(2 if tick % 2 == 0 else 0):
        running = minute % 5 != 0 and (minute // 5 + number) % 2 == 0
        nodes = (f"n{number}.{minute // 7}", f"n{number + 2}.{minute // 7}")
        cohorts = (
            CohortMembers(name="canary", version=f"v{minute // 11}", nodes=nodes[:1]),
            CohortMembers(name="control", version=f"v{minute // 11}", nodes=nodes[1:]),
        )
        yield Context(
            subject=f"svc/s{number}",
            service=f"s{number}",
            epoch=1,
            generation=minute + 1,
            placement=f"p{minute // 5}.{minute % 5}" if running else "",
            rollout=f"r{minute // 5}" if running else "",
            cohorts=cohorts if running else (),
            rest_version="",
            stage_nodes=1,
            min_requests=10,
            started_ms=T0 + minute // 5 * 300_000,
        )
    yield Context(subject=f"flag/web/f{minute // 4}", service=f"s{minute % 2}", epoch=1, generation=1)


@pytest.mark.thorough
def test_a_state_stays_as_large_as_it_was_though_everything_in_it_is_another(say):
    state, sizes = JudgeState(), []
    every = 2 * len([*churn(1)])
    for at, (append_ms, record) in enumerate(churn(MINUTES), 1):
        step(state, record, append_ms)
        if at % every == 0:
            sizes.append({"bytes": len(snapshot(state))} | state.tables())
    told = [size["bytes"] for size in sizes[4::5]]
    say(f"bytes of state every 10 min of churn: {told}\nat the end: {sizes[-1]}")
    # An hour fills what is kept for an hour (contexts of archived subjects), and then nothing grows: in the end a third more time
    # has gone by, and a table that only grows would have more than 1.3 times its size.
    before, after = sizes[30:36], sizes[36:]
    for name in sizes[0]:
        assert max(size[name] for size in after) <= 1.3 * max(size[name] for size in before), name
    assert state.tally.overflow == 0
    assert state.tally.accepted > 5_000
