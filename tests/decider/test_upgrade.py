"""Decision agents of this version on what agents of other versions have written: N beside N-1, and back (D2)."""

import msgspec
import pytest
from tests.decider.kit import World, desired
from tests.golden.ledgers import SHOP, ledger, numbers

from tidegate.rollout.ledger import rebuild
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import digest
from tidegate.world import MemoryLog, SimClock


@pytest.fixture
async def world():
    world = World()
    yield world
    await world.end()


def written_by_others(world: World, number: int) -> None:
    """Let the world be as a fleet of an older version was left."""
    records = ledger(number)
    world.clock = SimClock(max(record.time_ms for record in records) + 1_000)
    world.log = MemoryLog(world.clock)
    for record in records:
        world.log.records[record.topic, record.partition].append(record)


@pytest.mark.parametrize("number", numbers())
async def test_an_agent_of_this_version_leads_on_an_older_ledger_and_decides_nothing_anew(world, number):
    written_by_others(world, number)
    before, command = world.decisions(), desired(world.level(SHOP))
    world.start("new")
    await world.clock.advance(15)
    assert world.leaders() == ["new"]
    assert [one.kind for one in world.decisions()[len(before) :]] == [DecisionKind.TAKEOVER]
    after = desired(world.level(SHOP))
    assert after.epoch > command.epoch
    assert msgspec.structs.replace(after, epoch=command.epoch) == command, "the same command, in the epoch of who says it now"
    await world.intend("later", generation=command.generation)
    await world.clock.advance(2)
    assert [one.answers for one in world.decisions()[len(before) + 1 :]] == ["later"]
    assert rebuild((one.offset, one.value) for one in world.log.topic("decisions")).seq == len(world.decisions())


@pytest.mark.parametrize("invention", [{"invention": 1}, {"kind": "dream"}, {"state": {"subject": SHOP, "invention": 1}}])
async def test_an_agent_that_does_not_know_all_that_a_later_version_wrote_never_leads_on_it(world, invention):
    """What it would leave out of its own records would be lost; nobody acts, and nodes keep what they run."""
    written_by_others(world, numbers()[-1])
    last = world.log.topic("decisions")[-1]
    fields = msgspec.json.decode(last.value)
    later = msgspec.json.encode(fields | {"seq": fields["seq"] + 1, "prev": digest(last.value)} | invention)
    await world.log.append("decisions", SHOP, later)
    records = {topic: world.log.topic(topic) for topic in ("decisions", "desired")}
    decider = world.start("old")
    await world.clock.advance(30)
    assert "decisions is broken" in decider.not_ready()
    assert {topic: world.log.topic(topic) for topic in records} == records
