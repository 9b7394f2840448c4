import asyncio

from tidegate.world import SimClock


async def test_sleepers_wake_in_the_order_of_their_times_and_of_their_coming():
    clock, woken = SimClock(), []

    async def sleeper(name, seconds):
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic_s()))

    tasks = [
        asyncio.create_task(sleeper(name, seconds)) for name, seconds in [("late", 3), ("first", 1), ("second", 1), ("no", 9)]
    ]
    await clock.advance(5)
    assert woken == [("first", 1.0), ("second", 1.0), ("late", 3.0)]
    tasks[-1].cancel()


async def test_time_stands_still_until_it_is_moved():
    clock = SimClock(start_ms=1_000)
    sleeping = asyncio.create_task(clock.sleep(0.5))
    await clock.settle()
    assert not sleeping.done()
    await clock.advance(0.5)
    assert sleeping.done()
    assert (clock.now_ms(), clock.monotonic_s()) == (1_500, 0.5)


async def test_time_passes_for_who_sleeps_for_next_to_nothing():
    clock = SimClock()
    sleeping = asyncio.create_task(clock.sleep(1e-10))
    await clock.advance(0)
    assert not sleeping.done()
    await clock.advance(0.001)
    assert sleeping.done()


async def test_who_sleeps_again_on_the_way_is_woken_again_on_the_way():
    clock, woken = SimClock(), []

    async def ticker():
        while True:
            await clock.sleep(1)
            woken.append(clock.monotonic_s())

    task = asyncio.create_task(ticker())
    await clock.advance(3.5)
    assert woken == [1.0, 2.0, 3.0]
    task.cancel()
