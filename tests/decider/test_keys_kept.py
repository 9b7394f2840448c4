"""E6 on ``keys``: what counted there comes back at once where something else has taken its place."""

import contextlib

import pytest
from msgspec.structs import replace
from tests.decider.kit import DECISION, FLEET, NODES, OPERATOR, STRANGER, signer
from tests.decider.test_keys import FIRST, ROOT_KEY, SECOND, Keyed

from tidegate.wire.codec import Malformed
from tidegate.wire.documents import Enrolment, KeyRole
from tidegate.wire.envelope import Refused, Trust, seal
from tidegate.wire.keys import trust_after, trust_of

EVICTORS = {
    "garbage": b"garbage",
    "a tombstone": None,
    "a root document that nobody entitled signed": seal(replace(FIRST, version=2), STRANGER),
    "the version before": seal(FIRST, ROOT_KEY),
    "another one of this version": seal(replace(FIRST, version=2, issued_ms=9), ROOT_KEY),
}


@pytest.fixture
async def world():
    world = Keyed()
    await world.enrol()
    yield world
    await world.end()


def last(world: Keyed, key: str) -> bytes | None:
    return [record.value for record in world.log.topic("keys") if record.key == key][-1]


def read_anew(world: Keyed) -> Trust:
    """What a reader that has only the first key document makes of the compacted topic."""
    records = world.log.topic("keys")
    newest = {record.key: record.offset for record in records}
    trust = trust_of(FIRST)
    for record in records:
        if newest[record.key] == record.offset:
            with contextlib.suppress(Malformed, Refused):
                trust = trust_after(trust, record.key, record.value or b"", record.time_ms)
    return trust


@pytest.mark.parametrize("evictor", EVICTORS.values(), ids=EVICTORS)
@pytest.mark.parametrize("key", ["2", "3", "n1"])
async def test_what_counted_is_published_again_at_once(world, key, evictor):
    world.run("a")
    await world.keys(add=(SECOND,))
    await world.keys()
    await world.clock.advance(1)
    counted, trust = last(world, key), read_anew(world)
    assert trust.root_version == 3
    await world.log.append("keys", key, evictor)
    await world.clock.advance(0.1)
    assert last(world, key) == counted
    assert read_anew(world) == trust
    assert world.leaders() == ["a"]


async def test_it_is_published_once_and_then_no_more(world):
    world.run("a")
    await world.keys()
    await world.clock.advance(1)
    await world.log.append("keys", "2", b"garbage")
    await world.clock.advance(60)
    assert len([record for record in world.log.topic("keys") if record.key == "2"]) == 3


async def test_who_takes_over_mends_what_nobody_could(world):
    world.run("a")
    world.run("b")
    await world.keys()
    await world.clock.advance(1)
    counted = last(world, "2")
    await world.kill("a")
    await world.log.append("keys", "2", b"garbage")
    await world.clock.advance(20)
    assert world.leaders() == ["b"]
    assert last(world, "2") == counted


async def test_who_began_with_the_newest_root_document_keeps_it_too(world):
    await world.keys()
    world.run("a", root=world.root)
    await world.clock.advance(1)
    counted = last(world, "2")
    await world.log.append("keys", "2", b"garbage")
    await world.clock.advance(0.1)
    assert last(world, "2") == counted


@pytest.mark.parametrize("again", [False, True])
async def test_behind_a_link_that_was_lost_or_sent_again_comes_again_what_counted_after_it(world, again):
    """A reader follows the topic in its order: what a later operator enrolled would stand before the document that names them."""
    later = signer("operator-2")
    world.run("a")
    world.root = replace(FIRST, keys=(*FIRST.keys, later.public(KeyRole.OPERATOR)))
    await world.keys()
    await world.log.append(
        "keys", "n4", seal(Enrolment(fleet=FLEET, node="n4", key=signer("n4").public(KeyRole.NODE, "n4"), issued_ms=0), later)
    )
    await world.clock.advance(1)
    await world.log.append("keys", "2", last(world, "2") if again else b"garbage")
    await world.clock.advance(0.1)
    assert read_anew(world).nodes() == {*NODES, "n4"}
    written = len(world.log.topic("keys"))
    await world.clock.advance(60)
    assert len(world.log.topic("keys")) == written


async def test_a_retired_node_does_not_come_back_by_its_old_enrolment(world):
    """The enrolment counts no more for whoever read the later one; a reader of the compacted topic would see nothing else."""
    world.run("a")
    enrolled = last(world, "n1")
    gone = Enrolment(fleet=FLEET, node="n1", key=signer("n1").public(KeyRole.NODE, "n1"), issued_ms=1, retired=True)
    await world.log.append("keys", "n1", seal(gone, OPERATOR))
    await world.clock.advance(1)
    await world.log.append("keys", "n1", enrolled)
    await world.clock.advance(1)
    assert read_anew(world).nodes() == frozenset(NODES) - {"n1"}


async def test_what_never_counted_is_not_kept(world):
    world.run("a")
    await world.log.append("keys", "7", b"garbage")
    await world.log.append("keys", "7", b"other garbage")
    await world.clock.advance(1)
    assert [record.value for record in world.log.topic("keys") if record.key == "7"] == [b"garbage", b"other garbage"]


async def test_a_fleet_whose_chain_was_turned_round_while_nobody_led_is_led_again(world):
    """Story 2081840: nobody was entitled any more by what stood before the link that was sent again."""
    world.run("a")
    await world.keys()
    await world.keys(DECISION, add=(SECOND,))
    await world.clock.advance(1)
    world.ended("a")
    await world.log.append("keys", "2", last(world, "2"))
    world.log.compact("keys")
    world.run("b", SECOND)
    await world.clock.advance(20)
    assert world.leaders() == ["b"]
