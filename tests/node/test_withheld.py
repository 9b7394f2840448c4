"""A node that does not read all that its author says goes forward in nothing (E4; TUF: freeze, mix-and-match)."""

import pytest
from tests.node.kit import Author
from tests.node.world import ONE, TWO, World

from tidegate.wire.documents import Move, Phase


class Sieve:
    """A log as a hostile broker serves it to one reader: some records are not there."""

    def __init__(self, log) -> None:
        self._log = log
        self.withheld = set()
        """Offsets of ``desired``."""
        self.append = log.append

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def reader(self, topics, **how):
        return SieveReader(await self._log.reader(topics, **how), self.withheld)


class SieveReader:
    def __init__(self, reader, withheld) -> None:
        self._reader, self._withheld = reader, withheld
        self.positions, self.close = reader.positions, reader.close

    def _passing(self, records):
        return [one for one in records if one.topic != "desired" or one.offset not in self._withheld]

    async def read_to_end(self):
        return self._passing(await self._reader.read_to_end())

    async def poll(self, timeout_s):
        return self._passing(await self._reader.poll(timeout_s))


@pytest.fixture
async def world():
    world = World()
    await world.installed()
    world.sieve = Sieve(world.log)
    world.log, world.all = world.sieve, world.log
    return world


def next_offset(world) -> int:
    return world.all.topic("desired")[-1].offset + 1


async def test_where_a_command_is_withheld_nothing_goes_forward_until_it_comes(world):
    """It may be another service's: the heartbeat stands for all of them."""
    await world.author.start(TWO, ONE)
    other = Author(world.author.log, "cart")
    async with world.agent() as agent:
        await world.accepted(agent, await world.author.advance(count=0))
        world.sieve.withheld.add(next_offset(world))
        hidden = await other.say(other.desired(plan_digest="", roster_digest=""))
        await world.author.advance()
        await world.clock.advance(30)
        assert world.version() == "1"
        assert "stand for other commands" in world.reports()[-1].frozen
        await other.say(hidden)
        await world.runs("2")
        await world.until(lambda: not world.reports()[-1].frozen)


async def test_a_retreat_needs_no_agreement(world):
    await world.author.start(TWO, ONE)
    other = Author(world.author.log, "cart")
    async with world.agent():
        await world.author.advance()
        await world.runs("2")
        world.sieve.withheld.add(next_offset(world))
        await other.say(other.desired(plan_digest="", roster_digest=""))
        await world.clock.advance(10)
        await world.author.retreat()
        await world.runs("1")


async def test_a_node_that_comes_back_starts_nothing_by_a_command_of_before_the_one_that_is_withheld(world):
    """A pause never expires; that a rollback came after it shows in the heartbeat alone."""
    await world.author.start(TWO, ONE)
    await world.author.advance()
    await world.author.advance(phase=Phase.PAUSED, move=Move.HOLD)
    world.sieve.withheld.add(next_offset(world))
    await world.author.retreat()
    async with world.agent():
        await world.clock.advance(30)
        assert world.version() == "1"
        world.sieve.withheld.clear()
    async with world.agent():
        await world.clock.advance(30)
        assert world.version() == "1"


async def test_what_is_said_between_two_heartbeats_is_done_at_once_and_a_compacted_log_holds_up_for_one(world):
    """Who begins to read after a compaction may find a heartbeat whose commands have been followed by others."""
    await world.author.start(TWO, ONE)
    await world.author.advance(count=0)
    document = world.author.desired()
    before = len(world.author.log.topic("desired"))
    await world.author.advance()
    records = world.author.log.records["desired", 0]
    beat = records.pop()  # the heartbeat after it has not come yet
    assert (beat.key, len(records)) == ("heartbeat", before + 1)
    assert document.generation < world.author.generation
    world.author.log.compact("desired")
    async with world.agent():
        await world.until(lambda: world.version() == "2", within_s=5)
        assert not world.reports()[-1].frozen
