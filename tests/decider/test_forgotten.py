"""Tombstones of alerts from outside: decide forgets with the topic, and every decision follows from what it read all the same."""

import pytest
from tests.decider.kit import FLEET, TRUST, World, plan

from tidegate.decider.recorded import TOPICS, Recorded
from tidegate.replay.decisions import Replayed, replay
from tidegate.wire.codec import encode
from tidegate.wire.judgement import INBOUND_WRITER, Alarm, AlarmState, Severity
from tidegate.wire.plans import Artifact, Rollback

V1, V2 = Artifact(version="v1", sha256="a" * 64), Artifact(version="v2", sha256="a" * 64)


@pytest.fixture
async def world():
    world = World()
    await world.enrol()
    yield world
    await world.end()


async def tell(world: World, name: str, state: AlarmState | None) -> None:
    """An alert fires, is over, or is forgotten (None)."""
    one = Alarm(
        id=name,
        writer=INBOUND_WRITER,
        name="OrdersLost",
        state=state or AlarmState.RESOLVED,
        severity=Severity.CRITICAL,
        start_ms=world.clock.now_ms(),
        end_ms=world.clock.now_ms() if state is AlarmState.RESOLVED else 0,
        service="shop",
    )
    await world.log.append("alarms", one.key, None if state is None else encode(one))


async def installed(world: World) -> None:
    """v1 runs everywhere."""
    world.start("a")
    await world.ask(plan())
    await world.clock.advance(1)
    while "complete" not in world.kinds():
        await world.follow()
        await world.clock.advance(1)


def replayed(world: World, *, tombstones: bool) -> Replayed:
    records = [one for name in TOPICS for one in world.log.topic(name) if tombstones or one.value is not None or name != "alarms"]
    decided = [(one.offset, one.value) for one in world.log.topic("decisions")]
    return replay(decided, Recorded(records, TRUST), FLEET, {})


async def test_what_was_decided_beside_tombstones_is_derived_again_to_the_byte_with_and_without_them(world):
    await installed(world)
    for name in ("a1", "a2", "a3"):
        await tell(world, name, AlarmState.FIRING)
    await world.ask(plan("p2", artifact=V2, rollback=Rollback(artifact=V1)))
    await world.clock.advance(3)
    assert world.kinds().count("start") == 1, "the second plan waits"
    for name in ("a1", "a2", "a3"):
        await tell(world, name, AlarmState.RESOLVED)
        await tell(world, name, None)
        await world.clock.advance(3)
    assert world.kinds().count("start") == 2
    await world.intend("stop")
    await world.clock.advance(3)
    await world.kill("a")
    told = replayed(world, tombstones=True)
    assert (told.found, told.unchecked, told.derived) == ((), 0, told.records - told.takeovers)
    # Where compaction took them the replay says that something is missing, and makes the same decisions.
    assert replayed(world, tombstones=False).derived == told.derived
    assert world.log.topic("deadletters") == []


async def test_forgetting_makes_no_record(world):
    await installed(world)
    for name in ("a1", "a2"):
        await tell(world, name, AlarmState.FIRING)
        await tell(world, name, AlarmState.RESOLVED)
    await world.clock.advance(3)
    decided = len(world.decisions())
    for name in ("a1", "a2", "never"):
        await tell(world, name, None)
    await world.clock.advance(3)
    assert len(world.decisions()) == decided
