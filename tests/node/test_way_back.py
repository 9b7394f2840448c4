"""Rollback itself breaks (features.md c): retry, what was good before, then wait and say so; never back to what is bad."""

import itertools

import pytest
from tests.node.kit import bare
from tests.node.world import ONE, THREE, TWO, World, versions

from tidegate.node import StopFailed
from tidegate.node.by_hand import Revert, ask
from tidegate.wire.documents import Move, Phase
from tidegate.wire.telemetry import ServiceState

ZERO = bare("0")


@pytest.fixture
async def world():
    """Version 0 was good here, then 1; 2 is on trial and runs."""
    world = World()
    await world.author.claim()
    await world.author.start(ZERO, None, "r0")
    await world.author.settle()
    async with world.agent() as agent:
        await world.runs("0")
        await world.clock.advance(61)
        await world.author.start(ONE, ZERO, "r1")
        await world.author.settle()
        await world.runs("1")
        await world.clock.advance(61)
        assert agent.held("shop").good == ONE
        await world.author.start(TWO, ONE, "r2")
        await world.author.advance()
        await world.runs("2")
    world.executor.launches.clear()
    return world


def shop(world):
    return world.reports()[-1].services[0]


async def test_a_target_that_does_not_start_is_tried_three_times_then_what_was_good_before(world):
    world.executor.broken = {"1"}
    async with world.agent():
        await world.author.retreat()
        await world.runs("0")
        assert versions(world) == ["1", "1", "1", "0"]
        assert not any(launch.put_back for launch in world.executor.launches), "an executor must not run 2 again either"
        await world.until(lambda: shop(world).state is ServiceState.FAILED)
        assert (shop(world).version, shop(world).digest) == ("1", ZERO.sha256)
        assert "does not start" in shop(world).error
        await world.clock.advance(600)
    assert versions(world) == ["1", "1", "1", "0"], "it stays there"


async def test_what_the_fleet_leaves_is_put_back_by_no_executor_although_it_ended_before(world):
    """A link to a bad release that had ended was taken for somebody else's, and started again by every failing way back."""
    world.executor.broken = {"0", "1", "2"}
    async with world.agent() as agent:
        world.executor.crash("shop")
        await world.until(lambda: agent.held("shop").exits >= 2)
        assert all(launch.put_back for launch in world.executor.launches)
        world.executor.launches.clear()
        await world.author.retreat()
        await world.clock.advance(60)
    assert "1" in versions(world)
    assert not any(launch.put_back for launch in world.executor.launches)


async def test_where_nothing_else_is_known_the_target_is_tried_slowly_and_the_fleet_is_told(world):
    world.executor.broken = {"0", "1"}
    async with world.agent():
        await world.author.retreat()
        await world.clock.advance(20)
        assert versions(world) == ["1"] * 3 + ["0"] * 3
        await world.clock.advance(300)
        tried = versions(world)[6:]
        assert set(tried) == {"1"}
        assert 9 <= len(tried) <= 11, "every 30 s"
        assert shop(world).state is ServiceState.FAILED
        world.executor.broken = set()
        await world.until(lambda: shop(world).state is ServiceState.READY and shop(world).digest == ONE.sha256, 40)
        assert shop(world).error == ""


async def test_where_no_way_back_starts_the_version_that_was_left_is_stopped(world):
    """F3: stop and alarm, never back to bad. Until everything was tried it serves; then nothing is better than it."""
    world.executor.broken = {"0", "1"}
    async with world.agent():
        await world.author.retreat()
        await world.until(lambda: len(versions(world)) == 5)
        assert world.version() == "2"
        await world.until(lambda: world.version() == "")
        await world.until(lambda: shop(world).state is ServiceState.FAILED and shop(world).digest == "")
        await world.clock.advance(120)
        assert (world.version(), "2" in versions(world)) == ("", False)
        world.executor.broken = set()
        await world.until(lambda: world.version() == "1", 40)
        await world.until(lambda: shop(world).state is ServiceState.READY)


async def test_what_a_person_left_is_stopped_where_nothing_else_starts(world):
    world.executor.broken = {"0", "1"}
    async with world.agent() as agent:
        ask(world.disk, Revert(id="r1", leave={"shop": "2"}, actor="kim", reason="it eats orders"))
        await world.until(lambda: world.version() == "", 40)
        world.executor.broken = set()
        await world.until(lambda: world.version() == "1", 40)
        assert agent.held("shop").applied == ONE


async def test_a_stop_that_fails_is_told_and_tried_again_every_30_s(world):
    """It counted as done: what the fleet had left served on, and nobody was told."""
    stops, stop = [], world.executor.stop

    async def stuck(_service):
        stops.append(world.clock.monotonic_s())
        raise StopFailed("not stopped: Transaction order is cyclic")

    world.executor.stop, world.executor.broken = stuck, {"0", "1"}
    async with world.agent():
        await world.author.retreat()
        await world.until(lambda: shop(world).state is ServiceState.FAILED and "cyclic" in shop(world).error, 40)
        assert shop(world).digest == TWO.sha256, "it is measured still"
        await world.clock.advance(120)
        assert 4 <= len(stops) <= 6
        assert min(later - sooner for sooner, later in itertools.pairwise(stops)) >= 30
        assert versions(world)[-1] == "1", "and the target is tried as before"
        world.executor.stop = stop
        await world.until(lambda: world.version() == "", 40)
        await world.until(lambda: shop(world).digest == "")
        assert "cyclic" not in shop(world).error


async def test_an_agent_that_begins_after_the_stop_starts_nothing_that_was_left(world):
    world.executor.broken = {"0", "1"}
    async with world.agent():
        await world.author.retreat()
        await world.until(lambda: world.version() == "", 40)
    async with world.agent():
        await world.clock.advance(100)
        assert (world.version(), "2" in versions(world)) == ("", False)


async def test_while_something_good_may_start_nothing_is_stopped(world):
    """The one before the target starts: there was never a time without a version."""
    world.executor.broken = {"1"}
    seen = set()
    async with world.agent():
        await world.author.retreat()
        for _ in range(400):
            seen.add(world.version())
            await world.clock.advance(0.1)
    assert seen == {"2", "0"}


async def test_a_target_that_cannot_be_fetched_gives_way_to_what_was_good_before(world):
    """It was pinned, but somebody threw it away."""
    world.executor._held.clear()
    world.executor._held.add(("0", ZERO.sha256, ""))
    world.executor.missing = {"1"}
    async with world.agent():
        await world.author.retreat()
        await world.runs("0")
    assert versions(world) == ["0"]


@pytest.mark.parametrize("phase", [Phase.ROLLING_BACK, Phase.DONE])
async def test_what_the_fleet_leaves_is_not_revived_while_the_way_back_is_blocked(world, phase):
    """Its exit is no reason to run it again (nomad 5619: a failed canary's version reappears)."""
    world.executor.broken = {"0", "1"}
    async with world.agent():
        move = Move.RETREAT if phase is Phase.ROLLING_BACK else Move.HOLD
        await world.author.say(world.author.desired(phase=phase, move=move))
        await world.until(lambda: versions(world))
        world.executor.crash("shop")
        await world.clock.advance(120)
    assert "2" not in versions(world)


async def test_after_a_crash_loop_whose_way_back_is_broken_the_bad_version_is_not_run_again(world):
    world.executor.broken = {"0", "1"}
    world.log.reachable = False
    async with world.agent():
        for _ in range(3):
            await world.until(lambda: world.version() == "2")
            world.executor.crash("shop")
            await world.clock.advance(5)
        began = len(versions(world))
        await world.clock.advance(60)
        assert "2" not in versions(world)[began:]
        world.executor.broken = set()
        await world.until(lambda: world.version() == "1", 40)
        world.log.reachable = True
        await world.until(lambda: shop(world).state is ServiceState.FAILED and shop(world).digest == ONE.sha256)
        assert "ended 3 times" in shop(world).error


async def test_another_rollout_may_try_again_what_was_given_up_in_this_one(world):
    world.executor.broken = {"1"}
    async with world.agent():
        await world.author.retreat()
        await world.runs("0")
        world.executor.broken = set()
        await world.author.start(THREE, ONE, "r3")
        await world.author.say(world.author.desired(move=Move.HOLD, phase=Phase.PAUSED))
        await world.runs("1")


async def test_what_was_undone_is_no_way_back_although_it_was_good(world):
    """argo-rollouts 1774: the stable version is broken; here 2 was promoted, proven good, and then undone."""
    async with world.agent() as agent:
        await world.author.settle()
        await world.clock.advance(120)
        assert agent.held("shop").good == TWO
        world.executor.broken = {"1"}
        await world.author.retreat()
        await world.runs("0")
        assert agent.held("shop").good != TWO


async def test_the_old_version_is_revived_in_peace_where_the_new_one_did_not_start():
    """A start takes its time, and meanwhile the node is asked again and again what it should do."""
    world = World()
    await world.installed()
    world.executor.broken = {"2"}
    async with world.agent() as agent:
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.until(lambda: agent.status()["shop"].state is ServiceState.FAILED)
        swap = world.executor.swap

        async def slow(launch):
            await world.clock.sleep(3)
            await swap(launch)

        world.executor.swap = slow
        world.executor.crash("shop")
        await world.runs("1")


async def test_a_way_back_that_does_not_start_keeps_the_new_version_from_starting():
    """Of a rollback target it is known that it starts before it is needed (argo-rollouts 2109, protocol row 48)."""
    world = World()
    await world.installed()
    world.executor.broken = {"1"}
    async with world.agent():
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.until(lambda: "waits for its way back, 1" in shop(world).error)
        assert (shop(world).state, shop(world).digest, shop(world).pinned) == (ServiceState.READY, ONE.sha256, "")
        await world.clock.advance(60)
        assert versions(world) == ["1"]
        assert 5 <= len(world.executor.probes) <= 8, "ever more slowly"
        world.executor.broken = set()
        await world.until(lambda: world.version() == "2", 40)
        await world.until(lambda: shop(world).digest == TWO.sha256)
        assert (shop(world).pinned, shop(world).error) == ("1", "")


async def test_a_way_back_that_is_gone_keeps_the_new_version_from_starting():
    world = World()
    await world.installed()
    world.executor._held.clear()
    world.executor.missing = {"1"}
    async with world.agent():
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.until(lambda: "waits for its way back, 1" in shop(world).error)
        await world.clock.advance(60)
    assert versions(world) == ["1"]


async def test_a_retreat_does_not_wait_for_a_probe():
    world = World()
    await world.installed()
    stuck = []

    async def probe(_launch):
        stuck.append(True)
        try:
            await world.clock.sleep(3_600)
        finally:
            stuck.clear()

    world.executor.probe = probe
    async with world.agent() as agent:
        await world.author.start(TWO, ONE)
        await world.author.advance()
        await world.until(lambda: stuck)
        await world.accepted(agent, await world.author.retreat())
        await world.until(lambda: not stuck)
    assert versions(world) == ["1"]
