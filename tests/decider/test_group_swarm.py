"""Up to three deciders and groups of services under every fault that the simulated log has, in orders drawn from a seed; then all
of it heals, and what the log says is held against the promises about groups (D7).
"""

import contextlib

import pytest
from tests.decider.groupkit import NAME, SERVICES, Services
from tests.decider.kit import FLEET, OPERATOR, counted
from tests.decider.test_swarm import Swarm, check_authors

from tidegate.rollout import group_retreat, group_steps, start
from tidegate.sim.protocol import Waves
from tidegate.wire.documents import Intent, Verb
from tidegate.wire.envelope import seal

VERBS = (Verb.PAUSE, Verb.RESUME, Verb.ABORT, Verb.UNDO, Verb.PROMOTE, Verb.RETRY)
SHAPES = (("a", "b", "c"), ("ab", "c"), ("c", "ab"), ("b", "c"))


class Groups(Swarm):
    """What may happen: as to rollouts, and groups are asked for, steered, and judged."""

    def __init__(self, world: Services, seed: int) -> None:
        super().__init__(world, seed)
        self.happenings += [*[self.report] * 8, self.ask, self.ask]

    async def start(self) -> None:
        if len(self.world.running) < 3:
            self.lives += 1
            self.world.start(f"l{self.lives}")

    async def ask(self) -> None:
        """Ask for the next version of all that some group names, from what is settled."""
        self.plans += 1
        settled = {state.settled.version for state in self.world.ledger().subjects.values() if state.settled is not None}
        self.world.bad = (self.random.choice(SERVICES), f"v{self.plans}")
        shape = self.random.choice(SHAPES) if settled else SHAPES[0]
        before = self.random.choice(sorted(settled)) if settled else None
        with contextlib.suppress(StopIteration):
            self.asked.append(await self.world.ask_group(f"v{self.plans}", before, *shape))

    async def ask_again(self) -> None: ...

    async def intend(self) -> None:
        subject = self.random.choice([NAME, NAME, *(f"svc/{service}" for service in SERVICES)])
        identity = f"i{len(self.asked)}"
        self.asked.append(identity)
        intent = Intent(
            id=identity,
            fleet=FLEET,
            subject=subject,
            verb=self.random.choice(VERBS),
            generation=self.world.ledger().generation(subject),
            actor="kim",
            issued_ms=self.world.clock.now_ms(),
        )
        await self.world.log.append("intents", subject, seal(intent, OPERATOR))

    async def report(self) -> None:
        await self.world.judge()
        await self.world.follow()

    async def settle(self) -> None:
        """Everything is healed and judged well: a group under way comes to its end, be it by hand."""
        self.world.bad = ("", "")
        for verb in ("", Verb.ABORT):
            if verb:
                await self.intend_group(verb)
            for _ in range(40):
                await self.world.clock.advance(2)
                await self.report()
                groups = self.world.ledger().groups
                if all(not group.active for group in groups.values()):
                    return
        raise AssertionError(f"the group never ends: {groups}")

    async def intend_group(self, verb: Verb) -> None:
        intent = Intent(
            id="last", fleet=FLEET, subject=NAME, verb=verb, generation=0, actor="kim", issued_ms=self.world.clock.now_ms()
        )
        await self.world.log.append("intents", NAME, seal(intent, OPERATOR))


async def swarmed(seed: int) -> Waves:
    world = Services()
    await world.enrol()
    swarm = Groups(world, seed)
    try:
        await swarm.run()
        await swarm.heal()
        await swarm.settle()
        check_authors(world)
        waves = Waves()
        found = counted(world)
        for decision in found:
            waves.take(decision)
        answers = [one.answers for one in found if one.answers]
        assert len(answers) == len(set(answers))
        assert set(swarm.asked) <= set(answers)
        return waves
    finally:
        await world.end()


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(3, 40))])
async def test_under_any_faults_waves_never_overlap_and_a_group_goes_back_as_one(seed):
    assert (await swarmed(seed)).violations == []


MUTANTS = {
    "a member waits for its wave": (start, "turn", lambda *_: None, 0),
    "a wave waits for the one before": (group_steps, "wave_done", lambda *_: True, 0),
    "a retreat waits for the wave that came later": (group_retreat, "_overdue_ms", lambda *_: 0, 1),
}
"""Guards, what takes their place, and a seed whose story notices."""


@pytest.mark.parametrize("guard", MUTANTS)
async def test_a_guard_that_is_taken_out_is_noticed(guard, monkeypatch):
    module, name, without, seed = MUTANTS[guard]
    monkeypatch.setattr(module, name, without)
    assert (await swarmed(seed)).violations
