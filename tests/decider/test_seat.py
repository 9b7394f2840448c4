"""E2, E3: who acts in which epoch, by what the log says of claims and by how far the ledger is."""

import contextlib

import pytest
from tests.decider.kit import DECISION, FLEET, OPERATOR, TRUST

from tidegate.decider.seat import Seat
from tidegate.decider.timings import Timings
from tidegate.ports import SendUnknown
from tidegate.wire.documents import KeyRole, Root
from tidegate.wire.keys import trust_of
from tidegate.world import MemoryLog, SimClock


class Unanswered(MemoryLog):
    """A log whose answers may not come back, though what was sent stands there."""

    silent = False

    async def append(self, *args, **named):
        appended = await super().append(*args, **named)
        if self.silent:
            raise SendUnknown("no answer")
        return appended


class Scene:
    """One life that has won epoch 1."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.log = Unanswered(self.clock)
        self.seat = Seat(self.log, self.clock, DECISION, "a", Timings())

    async def claim(self) -> int:
        await self.seat.claim(TRUST, 0)
        self.hear(self.log.topic("desired")[-1])
        return self.seat.won

    def hear(self, record) -> None:
        self.seat.hear(record.key, record, TRUST)


@pytest.fixture
async def scene():
    scene = Scene()
    assert await scene.claim() == 1
    return scene


async def test_an_author_behind_the_ledger_gets_up_and_claims_beyond_it(scene):
    """Story 20477: a successor's key was revoked, so its claim counted no more; what it had decided did."""
    scene.seat.sit(1)
    scene.seat.decided(1)
    assert not scene.seat.lost
    scene.seat.decided(2)
    assert scene.seat.lost
    scene.seat.rise()
    assert (scene.seat.won, scene.seat.free) == (0, True)
    assert await scene.claim() == 3


async def test_an_epoch_that_was_led_is_won_by_nobody(scene):
    """Story 36117: a claim was written again, and compaction left the loser's before it."""
    scene.seat.decided(1)
    assert (scene.seat.won, scene.seat.free) == (0, True)
    assert await scene.claim() == 2


async def test_an_author_whose_claim_stands_elsewhere_claims_the_next_epoch(scene):
    """Story 2301485: a copy of the winner's claim came behind the loser's; compaction left the loser's before it, and a node that
    had lost its memory heard the author no more.
    """
    scene.seat.sit(1)
    first = scene.log.topic("desired")[0]
    scene.hear(first)
    assert not scene.seat.lost, "it was only read again"
    await scene.log.append("desired", first.key, first.value)
    scene.hear(scene.log.topic("desired")[-1])
    assert scene.seat.lost
    scene.seat.rise()
    assert await scene.claim() == 2
    scene.seat.sit(2)
    assert not scene.seat.lost


async def test_who_declines_leads_in_nothing_whether_or_not_an_answer_comes(scene):
    """Story 25860: an author whose clock is wrong declined, got no answer, and went on to decide."""
    scene.log.silent = True
    with contextlib.suppress(SendUnknown):
        await scene.seat.decline(FLEET, "0" * 64)
    assert (scene.seat.epoch, scene.seat.won) == (0, 0)


def test_a_key_is_revoked_for_good_and_one_that_is_not_known_yet_is_not():
    seat = Scene().seat
    keys = (OPERATOR.public(KeyRole.OPERATOR),)
    for revoked in ((), (DECISION.public(KeyRole.DECISION).public,)):
        trust = trust_of(Root(fleet=FLEET, version=2, keys=keys, issued_ms=0, revoked=revoked))
        assert not seat.entitled(trust)
        assert seat.revoked(trust) is bool(revoked)
