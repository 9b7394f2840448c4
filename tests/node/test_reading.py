"""Catching up does not wait for the poll under way, and what comes in just that moment is folded once."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.node.kit import FLEET, Author, bare, signer

from tidegate.node.reading import Reading
from tidegate.wire.documents import Claim, KeyRole
from tidegate.wire.envelope import seal
from tidegate.wire.names import claim_key
from tidegate.world import MemoryLog, SimClock

ONE, TWO = bare("1"), bare("2")


class World:
    """One log that is followed, and how often each record was folded."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.log = MemoryLog(self.clock)
        self.author = Author(self.log)
        self.reading = Reading(self.log, self.clock, self.author.trust, ["shop"], lambda: None)

    @property
    def generation(self) -> int:
        return self.reading.heard.candidates["svc/shop"].document.generation


@pytest.fixture
async def world():
    world = World()
    await world.author.claim()
    await world.author.start(ONE, None)
    await world.author.settle()
    following = asyncio.ensure_future(world.reading.follow())
    await world.clock.settle()
    yield world
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_request_to_catch_up_ends_the_poll_under_way_at_once(world):
    asked = asyncio.ensure_future(world.reading.catch_up())
    await world.clock.settle()
    assert asked.done()
    assert world.clock.monotonic_s() == 0


@pytest.mark.parametrize("turns", range(10))
async def test_what_is_said_in_that_moment_is_folded_once(world, turns):
    """A record that was folded twice or after a later one is refused or counted; one that was lost is not there."""
    before = world.generation
    await world.author.start(TWO, ONE, "r2")
    saying = asyncio.ensure_future(world.author.advance())
    for _ in range(turns):
        await asyncio.sleep(0)
    asked = asyncio.ensure_future(world.reading.catch_up())
    await saying
    await asked
    await world.reading.catch_up()
    assert world.generation > before
    assert not world.reading.refused


async def test_an_epoch_that_a_revoked_key_claimed_is_led_by_nobody_who_claims_it_later(world):
    """Story 2006273: the loser's key is stolen, the winner's is revoked, and then the loser's claim is the first that counts."""
    author = world.author
    winner, loser = author.decision, signer("other")
    keys = (*author.root.keys, loser.public(KeyRole.DECISION))
    both = replace(author.root, version=2, keys=keys)
    one = replace(both, version=3, keys=tuple(key for key in keys if key.id != winner.key_id))
    root = signer("root")
    await world.log.append("keys", "2", seal(both, root))
    await author.claim(2)
    for epoch in (2, 3):
        life = f"life-of-{loser.key_id}"
        claim = Claim(fleet=FLEET, epoch=epoch, life=life, read_to=0, issued_ms=0)
        await world.log.append("desired", claim_key(epoch, life), seal(claim, loser))
        await world.log.append("keys", "3", seal(one, root))
        await world.clock.settle()
        await world.reading.catch_up()
        assert world.reading.trust.root_version == 3
        assert (world.reading.heard.epoch, world.reading.heard.author) == ((0, "") if epoch == 2 else (3, loser.key_id))
