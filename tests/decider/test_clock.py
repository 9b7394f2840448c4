"""Nobody decides by a clock that is far from the broker's."""

import pytest
from tests.decider.kit import Ahead, World, desired, plan

from tidegate.wire.documents import Phase


class Settable(Ahead):
    """A clock that somebody sets."""

    def __init__(self, clock) -> None:
        super().__init__(clock, hours=0)

    def set(self, seconds: float) -> None:
        self._ahead_ms = round(seconds * 1_000)


@pytest.fixture
async def world():
    world = World()
    await world.enrol()
    yield world
    await world.end()


def times(world) -> list[int]:
    return [one.now_ms for one in world.decisions()]


@pytest.mark.parametrize("hours", [1, -1, 24, -24])
async def test_who_comes_with_a_wrong_clock_declines_and_the_next_one_leads_at_once(world, hours):
    wrong = world.start("a", Ahead(world.clock, hours=hours))
    await world.clock.advance(2)
    assert world.leaders() == []
    assert f"{hours * 3_600} s off" in wrong.not_ready()
    world.start("b")
    await world.clock.advance(2)
    assert world.leaders() == ["b"]
    await world.clock.advance(300)
    assert world.leaders() == ["b"]
    assert all(abs(at - record.time_ms) < 30_000 for at, record in zip(times(world), world.log.topic("decisions"), strict=True))


@pytest.mark.parametrize("seconds", [3_600, -3_600, 31, -31])
async def test_who_leads_when_its_clock_is_set_wrong_resigns_before_it_decides_anything(world, seconds):
    clock = Settable(world.clock)
    world.start("a", clock)
    world.start("b")
    await world.clock.advance(2)
    assert world.leaders() == ["a"]
    clock.set(seconds)
    await world.ask(plan())
    await world.clock.advance(5)
    assert world.leaders() == ["b"]
    assert all(abs(at - record.time_ms) < 30_000 for at, record in zip(times(world), world.log.topic("decisions"), strict=True))
    assert desired(world.level("svc/shop")).phase is Phase.RUNNING


@pytest.mark.parametrize("seconds", [29, -29])
async def test_a_clock_that_is_a_little_off_is_good_enough(world, seconds):
    clock = Settable(world.clock)
    clock.set(seconds)
    world.start("a", clock)
    await world.clock.advance(2)
    assert world.leaders() == ["a"]


async def test_when_the_clock_is_right_again_it_leads_without_a_restart(world):
    clock = Settable(world.clock)
    clock.set(3_600)
    world.start("a", clock)
    await world.clock.advance(30)
    assert world.leaders() == []
    clock.set(0)
    await world.clock.advance(15)
    assert world.leaders() == ["a"]


async def test_when_it_was_the_brokers_clock_that_was_wrong_it_leads_when_that_is_right(world):
    """The two look the same from here; after a minute one looks again."""
    clock = Settable(world.clock)
    clock.set(3_600)
    world.start("a", clock)
    await world.clock.advance(30)
    decided = len(world.decisions())
    world.clock._now_ms += 3_600_000  # the log's time jumps; what this process calls time does not
    clock.set(0)
    clock.monotonic_s = lambda: world.clock.monotonic_s() - 3_600
    await world.clock.advance(80)
    assert (world.leaders(), len(world.decisions()) > decided) == (["a"], True)
