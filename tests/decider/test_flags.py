"""Flags on their topic: one writer, stamped, in the order of the ledger, written again where something else stands (G1, E6)."""

import pytest
from tests.decider.flagkit import Place
from tests.decider.kit import DECISION, FLEET, STRANGER, TRUST, counted
from tests.rollout.flags import ramp, spec

from tidegate.decider.decider import ANSWERS_PER_TURN
from tidegate.decider.flags import SENDS_PER_TURN
from tidegate.wire.documents import Order, Verb
from tidegate.wire.flags import topic_key
from tidegate.wire.flagspecs import Prerequisite, RequiredVersion
from tidegate.wire.flagstamps import HEADER, order_of, stamp
from tidegate.wire.judgement import Outcome


@pytest.fixture
async def place():
    place = Place()
    await place.enrol()
    yield place
    await place.end()


async def test_a_toggle_is_on_the_topic_verbatim_and_stamped_without_waiting_for_time(place):
    place.start("a")
    await place.clock.advance(1)
    wanted = spec(immediate=True)
    await place.put(wanted)
    await place.clock.advance(0.001)
    (record,) = place.log.topic("flags")
    assert (record.key, record.value) == ("web/dark", bytes(wanted.definition))
    decision = place.decisions()[-1]
    assert order_of(topic_key(record.key), record.value, record.headers[HEADER], TRUST) == Order(1, 1, decision.seq)
    await place.want(Verb.KILL)
    await place.clock.advance(0.001)
    assert place.reader().default("web/dark") == "off"


async def test_who_may_not_ask_changes_nothing_and_is_answered(place):
    place.start("a")
    await place.put(spec(immediate=True), by=STRANGER)
    await place.clock.advance(1)
    assert place.keys() == []
    assert [decision.reason for decision in place.decisions() if decision.answers] == ["bad_signature"]


async def test_what_needs_a_flag_is_published_again_behind_it_with_a_greater_order(place):
    place.start("a")
    await place.put(spec(immediate=True), subject="flag/web/other")
    await place.clock.advance(1)
    await place.put(spec(immediate=True, prerequisites=(Prerequisite(flag="other", variants=("on",)),)))
    await place.clock.advance(1)
    before = place.reader().orders["web/dark"]
    await place.want(Verb.KILL, "flag/web/other")
    await place.clock.advance(1)
    assert place.keys()[-2:] == ["web/other", "web/dark"]
    assert place.reader().orders["web/dark"] > before


async def test_what_does_not_change_is_not_sent_again(place):
    place.start("a")
    await place.put(spec(), ramp())
    await place.clock.advance(5)
    sent = len(place.keys())
    await place.want(Verb.PAUSE)
    await place.clock.advance(60)
    assert place.kinds()[-1] == "pause"
    assert len(place.keys()) == sent


@pytest.mark.parametrize("by", [None, STRANGER, DECISION])
async def test_what_evicts_a_value_is_evicted_in_turn_and_readers_never_take_it(place, by):
    place.start("a")
    await place.put(spec(immediate=True))
    await place.clock.advance(1)
    key, value = topic_key("web/dark"), b'{"state":"ENABLED","variants":{"bad":true},"defaultVariant":"bad"}'
    headers = {HEADER: stamp(key, value, Order(1, 0, 99), FLEET, by)} if by else {}
    await place.log.append("flags", "web/dark", value, headers=headers)
    await place.clock.advance(1)
    place.log.compact("flags")
    assert place.reader().default("web/dark") == "on"
    assert len(place.log.topic("flags")) == 1
    await place.log.append("flags", "web/dark", None)
    await place.clock.advance(1)
    place.log.compact("flags")
    assert place.reader().default("web/dark") == "on"


async def test_a_successor_stands_for_every_value_in_its_own_epoch(place):
    place.start("a")
    for number in range(SENDS_PER_TURN + 20):
        await place.put(spec(immediate=True), subject=f"flag/web/f{number}", generation=0)
    await place.clock.advance(5)
    await place.kill("a")
    place.start("b")
    await place.clock.advance(15)
    orders = place.reader().orders
    assert len(orders) == SENDS_PER_TURN + 20
    assert {order.epoch for order in orders.values()} == {2}


async def test_a_lost_answer_is_asked_for_again(place):
    place.start("a")
    await place.clock.advance(1)
    for landed in (True, False):
        place.log.lose_answers("flags", landed)
        await place.put(spec(default="on" if landed else "off", immediate=True))
        await place.clock.advance(2)
    assert place.reader().default("web/dark") == "off"


async def test_contexts_of_a_ramp_go_to_each_service_and_end_with_it(place):
    place.start("a")
    await place.put(spec(guard=("shop", "cart")), ramp())
    await place.clock.advance(1)

    assert {service: bool(one.placement) for service, one in place.contexts().items()} == {"shop": True, "cart": True}
    await place.want(Verb.ABORT)
    await place.clock.advance(1)
    assert {bool(one.placement) for one in place.contexts().values()} == {False}


async def installed(place: Place) -> None:
    """Version v1 of the shop is everywhere and watched, and 100 flags need it."""
    await place.install()
    need = (RequiredVersion(service="shop", version="v1"),)
    for number in range(100):
        await place.put(spec(immediate=True, requires_version=need), subject=f"flag/web/f{number}", generation=0)
    await place.clock.advance(5)


async def test_flags_go_safe_before_the_code_that_they_need_and_hold_nothing_up(place):
    await installed(place)
    assert place.kinds().count("complete") == 100
    await place.intend("undo", Verb.ABORT)
    await place.clock.advance(0.01)
    kinds = place.kinds()
    assert kinds[-101:] == ["safe"] * 100 + ["rollback"]
    assert {place.reader().default(f"web/f{number}") for number in range(100)} == {"off"}


async def test_an_abort_that_died_in_the_middle_is_answered_by_the_successor(place):
    await installed(place)
    place.log.lose_answers("decisions", *[True] * 3, *[False] * 98)
    await place.intend("undo", Verb.ABORT)
    await place.clock.advance(0.01)
    await place.kill("a")
    place.log.forget_faults()
    place.start("b")
    await place.clock.advance(20)
    records = counted(place)
    assert [decision.kind for decision in records if decision.answers == "undo"] == ["rollback"]
    assert sum(decision.kind == "safe" for decision in records) == 100


async def test_a_retreat_does_not_wait_for_a_flood_of_flags(place):
    await installed(place)
    for number in range(1_000):
        await place.put(spec(immediate=True), subject=f"flag/flood/f{number}", generation=0)
    before = len(place.kinds())
    await place.judge(Outcome.FAIL, "svc/shop")
    for _ in range(5):
        await place.clock.advance(1)
    assert place.kinds()[before:].index("rollback") <= 100 + ANSWERS_PER_TURN
    assert len([key for key in place.reader().orders if key.startswith("flood/")]) == 1_000
