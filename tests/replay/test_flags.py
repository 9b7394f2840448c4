"""Flags as an older version decided them: read as facts, derived again to the byte, published as they were (D2)."""

import pytest
from tests.decider.kit import FLEET, TRUST
from tests.golden.flags import flag_ledger, numbers, told

from tidegate.decider.recorded import Recorded
from tidegate.replay.decisions import Said, replay
from tidegate.rollout.flag_levels import FlagLevels
from tidegate.rollout.ledger import rebuild
from tidegate.wire.codec import decode, encode
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import Desired
from tidegate.wire.envelope import unseal
from tidegate.wire.flags import topic_key
from tidegate.wire.flagstamps import HEADER, order_of


def decisions(records) -> list[tuple[int, bytes]]:
    return [(record.offset, record.value) for record in records if record.topic == "decisions"]


def derived(records):
    commands = [record for record in records if record.topic == "desired" and record.key == "svc/shop"]
    levels = {record.key: unseal(record.value, Desired, TRUST)[0] for record in commands}
    return replay(decisions(records), Recorded(records, TRUST), FLEET, levels)


@pytest.mark.parametrize("number", numbers())
def test_every_decision_about_flags_is_derived_again_to_the_byte(number):
    done = derived(flag_ledger(number))
    assert done.found == ()
    assert (done.takeovers, done.void, done.unchecked) == (2, 0, 0)
    assert done.derived == done.records - 2 > 30


@pytest.mark.parametrize("number", numbers())
def test_an_older_ledger_gives_the_flags_that_were_published(number):
    records = flag_ledger(number)
    for _, raw in decisions(records):
        assert encode(decode(raw, Decision)) == raw
    ledger = rebuild(decisions(records))
    levels = FlagLevels(ledger)
    last = {record.key: record for record in records if record.topic == "flags"}
    assert {f"flag/{key}" for key in last} == {*ledger.flags, *ledger.flag_sets}
    for key, record in last.items():
        level = levels.level(f"flag/{key}")
        assert level.value == record.value
        assert order_of(topic_key(key), record.value, record.headers[HEADER], TRUST).generation <= level.revision


def published(records):
    flags = [record for record in records if record.topic == "flags"]
    orders = [order_of(topic_key(one.key), one.value, one.headers[HEADER], TRUST) for one in flags]
    return {f"flag/{one.key}": Said(order, one.value) for one, order in zip(flags, orders, strict=True)}


async def test_an_end_that_was_cut_off_is_missed_by_what_was_published():
    """A switch-off asks nobody, so no question is left without its answer."""
    records = await told()
    raws, said = decisions(records), published(records)
    assert replay(raws, Recorded(records, TRUST), FLEET, {}, said).found == ()
    last = max(said, key=lambda one: said[one].order)
    kept = [raw for raw in raws if decode(raw[1], Decision).seq < said[last].order.generation]
    newest = {last: said[last]}
    assert any("was published at" in one.problem for one in replay(kept, Recorded(records, TRUST), FLEET, {}, newest).found)


async def test_a_value_that_the_decisions_do_not_give_is_told():
    records = await told()
    said = published(records)
    last = max(said, key=lambda one: said[one].order)
    other = {last: Said(said[last].order, b"{}")}
    assert (
        "is not what these decisions give"
        in replay(decisions(records), Recorded(records, TRUST), FLEET, {}, other).found[0].problem
    )


async def test_what_agents_of_this_version_decide_about_flags_is_derived_again():
    records = await told()
    assert derived(records).found == ()
    assert replay(decisions(records), Recorded(records, TRUST), FLEET, {}, published(records)).found == ()


def test_an_edited_flag_is_seen_although_everything_else_is_as_it_was():
    records = flag_ledger(numbers()[-1])
    raws = decisions(records)
    at = next(index for index, (_, raw) in enumerate(raws) if decode(raw, Decision).kind == "kill")
    edited = [*raws[:at], (raws[at][0], raws[at][1].replace(b'"killed":true', b'"killed":false')), *raws[at + 1 :]]
    assert replay(edited, Recorded(records, TRUST), FLEET, {}).found
