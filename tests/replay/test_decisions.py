"""``replay decisions``: whatever is done to a recorded ledger is seen, and nothing else is (D2; protocol P25)."""

import random

import pytest
from msgspec.structs import replace
from tests.decider.kit import FLEET, TRUST, World, desired
from tests.decider.test_swarm import Swarm
from tests.golden.ledgers import ledger, numbers, told

from tidegate.decider.recorded import TOPICS, Recorded
from tidegate.ports import Record
from tidegate.replay.decisions import Replayed, replay
from tidegate.wire.documents import Desired
from tidegate.wire.envelope import unseal

TAMPERINGS = 1_000
DERIVED_FROM = 4
"""Older ones were decided by other rules (since then the end of a watch that a plan supersedes is part of that plan's answer):
the chain speaks for them.
"""
LEDGER = ledger(DERIVED_FROM)
LEVELS = {
    record.key: unseal(record.value, Desired, TRUST)[0]
    for record in LEDGER
    if record.topic == "desired" and record.key == "svc/shop"
}
DECISIONS = [(record.offset, record.value) for record in LEDGER if record.topic == "decisions"]
QUESTIONS = ("plans", "intents")


def replayed(raws, records: list[Record] = LEDGER, levels=LEVELS) -> Replayed:
    return replay(raws, Recorded(records, TRUST), FLEET, levels)


@pytest.mark.parametrize("number", [number for number in numbers() if number >= DERIVED_FROM])
def test_every_decision_of_a_recorded_ledger_is_derived_again_to_the_byte(number):
    records = ledger(number)
    done = replayed([(record.offset, record.value) for record in records if record.topic == "decisions"], records)
    assert done.found == ()
    assert (done.derived, done.takeovers, done.unchecked, done.void) == (done.records - done.takeovers, 2, 0, 0)
    assert done.records > 60


def test_a_thousand_edits_drops_and_swaps_are_all_detected(say):
    """A bit flipped, a record left out, two exchanged; a third of them among the last three records, where no chain helps."""
    dice, missed = random.Random(25), []
    for number in range(TAMPERINGS):
        raws = list(DECISIONS)
        last = dice.randrange(3) == 0
        at = dice.randrange(len(raws) - 3, len(raws)) if last else dice.randrange(len(raws))
        offset, value = raws[at]
        match number % 3:
            case 0:
                bit = dice.randrange(len(value) * 8)
                changed = bytearray(value)
                changed[bit // 8] ^= 1 << bit % 8
                raws[at] = (offset, bytes(changed))
            case 1:
                del raws[at]
            case 2:
                other = dice.choice([one for one in range(len(raws)) if one != at])
                raws[at], raws[other] = (offset, raws[other][1]), (raws[other][0], value)
        if not replayed(raws).found:
            missed.append((number % 3, at))
    say(f"{TAMPERINGS} edits, drops and swaps of a ledger: {TAMPERINGS - len(missed)} detected")
    assert missed == []


@pytest.mark.parametrize("kept", range(0, len(DECISIONS), 5))
def test_an_end_that_was_cut_off_is_missed(kept):
    assert replayed(DECISIONS[:kept]).found


def test_without_commands_an_end_is_missed_by_the_questions_that_it_answered():
    first = next(at for at, record in enumerate(LEDGER) if record.topic == "intents")
    assert LEDGER[first].offset == 0
    assert "have no answer" in replayed(DECISIONS[:20], levels={}).found[0].problem


def test_a_decision_that_does_not_follow_from_its_inputs_is_named_although_the_chain_is_whole():
    """A judge's fail that nobody ever read would have rolled back; without it the rollback stands alone."""
    fails = [record for record in LEDGER if record.topic == "verdicts" and b'"outcome":"fail"' in record.value]
    passed = [
        record._replace(value=record.value.replace(b'"outcome":"fail"', b'"outcome":"hold"')) if record in fails else record
        for record in LEDGER
    ]
    done = replayed(DECISIONS, passed)
    assert "rollback" in done.found[0].problem
    assert (done.different, done.derived + done.different) == (len(done.found), done.records - done.takeovers)


def test_what_compaction_took_leaves_records_unchecked_and_blames_nobody():
    compacted = {(record.topic, record.key): record.offset for record in LEDGER if record.topic == "reports"}
    left = [record for record in LEDGER if record.topic != "reports" or record.offset == compacted[record.topic, record.key]]
    done = replayed(DECISIONS, left)
    assert done.found == ()
    assert done.unchecked > 0
    assert done.derived + done.unchecked == done.records - done.takeovers


def test_a_command_that_the_decisions_do_not_give_is_told():
    other = replace(LEVELS["svc/shop"], rollout="another.1")
    assert "is not what these decisions give" in replayed(DECISIONS, levels={"svc/shop": other}).found[0].problem


async def test_what_agents_of_this_version_write_is_derived_again():
    records = await told()
    raws = [(record.offset, record.value) for record in records if record.topic == "decisions"]
    assert replayed(raws, records, levels={}).found == ()


@pytest.mark.parametrize("seed", range(8))
async def test_what_several_agents_write_under_any_faults_is_derived_again(seed):
    """Takeovers, void records, sends without an answer, questions asked twice: nothing of it is taken for tampering."""
    world = World()
    await world.enrol()
    swarm = Swarm(world, seed)
    try:
        await swarm.run()
        await swarm.heal()
        records = [record for topic in TOPICS for record in world.log.topic(topic)]
        level = world.level("svc/shop")
        levels = {"svc/shop": desired(level)} if level is not None else {}
        done = replayed([(record.offset, record.value) for record in world.log.topic("decisions")], records, levels)
    finally:
        await world.end()
    assert done.found == ()
    assert done.derived + done.takeovers == done.records
