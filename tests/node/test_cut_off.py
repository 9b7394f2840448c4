"""A canary that is cut off from control (features.md d 9): it holds what it runs, or goes back when its lease is over."""

import pytest
from msgspec.structs import replace
from tests.node.world import ONE, TWO, World, versions

from tidegate.wire.documents import digest
from tidegate.wire.envelope import seal


async def canary(lease: str | None) -> World:
    """Return a world whose node runs 2, on trial; it lives when ``agent`` is entered again."""
    world = World()
    await world.installed()
    author = world.author
    await author.start(TWO, ONE)
    author.plan = replace(author.plan, lease=lease)
    author.envelope = seal(author.plan, author.operator)
    await world.log.append("desired", f"plan/{author.subject}", author.envelope)
    assert digest(author.envelope) == author.desired().plan_digest
    return world


@pytest.mark.parametrize(("lease", "ends"), [(None, "2"), ("45s", "1")], ids=["it holds", "its lease is over"])
async def test_without_a_broker(lease, ends):
    world = await canary(lease)
    async with world.agent():
        await world.author.advance()
        await world.runs("2")
        world.log.reachable = False
        await world.clock.advance(40)
        assert world.version() == "2"
        await world.clock.advance(120)
        assert world.version() == ends
        world.log.reachable = True


async def test_what_is_left_because_its_lease_is_over_is_put_back_by_no_executor():
    world = await canary("45s")
    async with world.agent():
        await world.author.advance()
        await world.runs("2")
        world.executor.launches.clear()
        world.executor.broken = {"1"}
        world.log.reachable = False
        await world.until(lambda: versions(world), 60)
        assert not any(launch.put_back for launch in world.executor.launches)
        world.log.reachable = True


async def test_without_an_author_although_there_is_a_broker():
    world = await canary("45s")
    async with world.agent():
        await world.author.advance()
        await world.runs("2")
        world.author.beat = _nothing
        await world.until(lambda: world.version() == "1", 60)


async def test_when_it_hears_its_author_again_it_goes_forward_once_more_if_the_advance_still_holds():
    world = await canary("45s")
    async with world.agent():
        await world.author.advance(expires_ms=world.clock.now_ms() + 600_000)
        await world.runs("2")
        world.log.reachable = False
        await world.until(lambda: world.version() == "1", 60)
        world.log.reachable = True
        await world.runs("2")
    assert versions(world) == ["1", "2", "1", "2"]


async def test_an_advance_that_a_node_finds_waits_until_its_author_is_heard():
    """The last heartbeat stands in the log as well, but it may be of yesterday."""
    world = await canary(None)
    await world.author.advance()
    beat, world.author.beat = world.author.beat, _nothing
    async with world.agent():
        await world.clock.advance(30)
        assert world.version() == "1"
        await beat()
        await world.runs("2")


async def test_heartbeats_that_are_repeated_forged_or_of_an_epoch_before_hold_no_lease():
    world = await canary("45s")
    author = world.author
    async with world.agent():
        await author.advance()
        await world.runs("2")
        last = [record.value for record in world.log.topic("desired") if record.key == "heartbeat"][-1]
        beat, author.beat = author.beat, _nothing
        for _ in range(60):
            await world.log.append("desired", "heartbeat", last)
            author.decision, mine = author.operator, author.decision
            await beat()
            author.decision = mine
            author.epoch -= 1
            await beat()
            author.epoch += 1
            await world.clock.advance(1)
        assert world.version() == "1"


async def _nothing() -> None: ...
