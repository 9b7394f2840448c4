"""A simulated process lets time pass, or is told of."""

import asyncio
from random import Random

import pytest

from tidegate.world.process import Process
from tidegate.world.timeline import Timeline


def process() -> tuple[Process, list[int]]:
    one, spun = Process(Timeline(0), "d1.1", Random(1)), []
    one.spins = lambda: spun.append(one.timeline.now_ms)
    return one, spun


@pytest.mark.parametrize(
    ("seconds", "ms"), [(8.9e-16, 1), (0.0004, 1), (0.0006, 1), (0.0014, 1), (3.0, 3_000), (0.0, 0), (-1.0, 0)]
)
def test_a_timer_fires_never_before_its_time(seconds, ms):
    """Story 2190264: a heartbeat was due in 8.9e-16 s, and virtual time stood still for ever."""
    one, _ = process()
    woken: list[int] = []

    async def main() -> None:
        await one.clock.sleep(seconds)
        woken.append(one.timeline.now_ms)

    one.begin(main())
    one.timeline.run_until(10_000)
    assert woken == [ms]


@pytest.mark.parametrize("waits", [True, False])
def test_who_lets_no_time_pass_is_told_of_and_ends(waits):
    one, spun = process()

    async def main() -> None:
        while True:
            await (one.clock.sleep(0.0) if waits else asyncio.sleep(0))

    one.begin(main())
    one.timeline.run_until(10_000)
    assert (spun, one.dead) == ([0], True)
