"""A node that was away for a day (B6, F1): it starts no version that was superseded meanwhile, and converges within a minute."""

import random

import pytest
from tests.node.kit import bare
from tests.node.world import World, versions

from tidegate.wire.documents import Move, Phase

DAY_S = 86_400.0
CONVERGED_WITHIN_S = 60.0
ROLLOUTS = 100
"""So many pass the node by; the broker compacts meanwhile, as it pleases."""
SEEDS = 20


class Day(World):
    """What the fleet did in one day, as a roll of dice says. ``settled`` is what is settled at its end."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.dice = random.Random(seed)
        self.settled = bare("1")
        self.trial = bare("1")

    async def pass_by(self) -> None:
        for number in range(ROLLOUTS):
            self.trial = bare(f"{number + 2}")
            await self.author.start(self.trial, self.settled, f"r{number}")
            if self.dice.random() < 0.1:
                await self.author.claim(self.author.epoch + 1)
            await self.clock.advance(DAY_S / ROLLOUTS)
            await self.author.advance(expires_ms=self.clock.now_ms() + 600_000, token=f"r{number}.1")
            if self.dice.random() < 0.5:
                await self.author.retreat()
                await self.author.say(self.author.desired(phase=Phase.DONE, move=Move.HOLD))
            else:
                self.settled = self.trial
                await self.author.settle()
            if self.dice.random() < 0.1:
                self.log.compact("desired")


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_after_a_day_away_only_what_is_settled_starts(seed):
    day = Day(seed)
    await day.installed()
    before = len(versions(day))
    await day.pass_by()
    async with day.agent():
        await day.until(lambda: day.version() == day.settled.version, CONVERGED_WITHIN_S)
        await day.until(lambda: day.reports()[-1].services[0].digest == day.settled.sha256, CONVERGED_WITHIN_S, "and says so")
        await day.clock.advance(CONVERGED_WITHIN_S)
    assert versions(day)[before:] in ([day.settled.version], [])


async def test_an_advance_of_yesterday_is_not_applied_until_it_is_affirmed():
    """It stands last in the log, for its author died in the night."""
    day = Day(0)
    await day.installed()
    await day.pass_by()
    trial = bare("trial")
    await day.author.start(trial, day.settled, "night")
    await day.author.advance(expires_ms=day.clock.now_ms() + 600_000)
    await day.clock.advance(DAY_S)
    before = versions(day)
    async with day.agent():
        await day.clock.advance(CONVERGED_WITHIN_S)
        assert versions(day) == before
        await day.author.claim(day.author.epoch + 1)
        await day.author.advance(expires_ms=day.clock.now_ms() + 600_000)
        await day.runs("trial")
