"""Groups with real deciders: each record may be the one before which the author dies, and its successor goes on from there."""

import pytest
from tests.decider.groupkit import NAME, RECORDS, Services, played
from tests.decider.kit import FLEET, TRUST, counted
from tests.golden.groups import group_ledger, numbers

from tidegate.decider.recorded import Recorded
from tidegate.replay.decisions import Replayed, replay
from tidegate.rollout.ledger import rebuild
from tidegate.sim.protocol import Waves
from tidegate.wire.codec import decode, encode
from tidegate.wire.decisions import Decision, Result


def derived(records) -> Replayed:
    """Return what deriving the decisions in a log again comes to."""
    decisions = [(record.offset, record.value) for record in records if record.topic == "decisions"]
    return replay(decisions, Recorded(records, TRUST), FLEET, {})


def judged(world: Services) -> Waves:
    waves = Waves()
    for decision in counted(world):
        waves.take(decision)
    assert waves.violations == []
    assert derived(world.records()).found == ()
    return waves


async def test_a_group_of_first_installs_and_a_group_that_fails():
    world = await played()
    try:
        waves = judged(world)
        assert (waves.starts, waves.retreats) == (6, 2)
        assert {state.settled.version for state in world.ledger().subjects.values()} == {"v1"}
        assert world.ledger().groups[NAME].result is Result.ROLLED_BACK
        assert len(world.log.topic("decisions")) == RECORDS
    finally:
        await world.end()


@pytest.mark.parametrize(
    "dies_at", [pytest.param(at, marks=() if at % 12 == 1 else pytest.mark.thorough) for at in range(1, RECORDS)]
)
async def test_whichever_record_the_author_dies_before_the_group_ends_as_it_would_have(dies_at):
    world = await played(dies_at)
    try:
        assert len([one for one in counted(world) if one.kind == "takeover"]) == 2
        waves = judged(world)
        assert (waves.starts, waves.retreats) == (6, 2)
        assert {state.settled.version for state in world.ledger().subjects.values()} == {"v1"}
        answers = [one.answers for one in counted(world) if one.answers]
        assert len(answers) == len(set(answers)) == 8
    finally:
        await world.end()


@pytest.mark.parametrize("number", numbers())
def test_groups_of_an_older_version_are_read_as_facts_and_derived_again_to_the_byte(number):
    records = group_ledger(number)
    decisions = [(record.offset, record.value) for record in records if record.topic == "decisions"]
    for _, raw in decisions:
        assert encode(decode(raw, Decision)) == raw
    assert rebuild(decisions).groups[NAME].result is Result.ROLLED_BACK
    done = derived(records)
    assert (done.found, done.unchecked, done.derived, done.takeovers) == ((), 0, done.records - 2, 2)
