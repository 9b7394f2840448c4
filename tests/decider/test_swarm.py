"""Up to three deciders under every fault that the simulated log has, in orders drawn from a seed; then all of it heals."""

import contextlib
import random

import pytest
from tests.decider.kit import TRUST, World, counted, desired, plan

from tidegate.ports import SendUnknown
from tidegate.rollout.ledger import rebuild
from tidegate.wire.codec import Malformed
from tidegate.wire.documents import Claim, digest
from tidegate.wire.envelope import Refused, unseal
from tidegate.wire.plans import Artifact

LIVES_AT_ONCE = 3
TURNS = 60


class Swarm:
    """What may happen, one thing a turn."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.lives = 0
        self.plans = 0
        self.asked: list[str] = []
        self.happenings = [
            self.start,
            self.start,
            self.kill,
            self.hold,
            self.release,
            self.lose_an_answer,
            self.ask,
            self.ask_again,
            self.intend,
            self.garbage,
            self.zombie,
            self.compact,
            self.outage,
            self.report,
            self.report,
        ]

    async def run(self) -> None:
        await self.start()
        for _ in range(TURNS):
            await self.random.choice(self.happenings)()
            await self.world.clock.advance(self.random.choice([0, 0.1, 0.7, 3, 11]))

    async def heal(self) -> None:
        for grip in self.world.grips.values():
            grip.release()
        self.world.log.forget_faults()
        if not self.world.running:
            await self.start()
        await self.world.clock.advance(40)

    async def start(self) -> None:
        if len(self.world.running) < LIVES_AT_ONCE:
            self.lives += 1
            self.world.start(f"l{self.lives}")

    async def kill(self) -> None:
        if self.world.running:
            await self.world.kill(self.random.choice(self.world.running))

    async def hold(self) -> None:
        if self.world.running:
            life = self.random.choice(self.world.running)
            self.world.grips[life].hold(self.random.choice(["", "decisions", "desired", "nodeseconds"]))

    async def release(self) -> None:
        if self.world.running:
            self.world.grips[self.random.choice(self.world.running)].release()

    async def lose_an_answer(self) -> None:
        self.world.log.lose_answers(self.random.choice(["decisions", "desired"]), self.random.random() < 0.5)

    async def ask(self) -> None:
        self.plans += 1
        artifact = Artifact(version=f"v{self.plans}", sha256="a" * 64)
        self.asked.append(digest(await self.world.ask(plan(f"p{self.plans}", artifact=artifact))))

    async def ask_again(self) -> None:
        if self.plans:
            number = self.random.randint(1, self.plans)
            await self.world.ask(plan(f"p{number}", artifact=Artifact(version=f"v{number}", sha256="a" * 64)))

    async def intend(self) -> None:
        identity = f"i{len(self.asked)}"
        self.asked.append(identity)
        await self.world.intend(identity)

    async def garbage(self) -> None:
        await self.world.log.append(self.random.choice(["plans", "intents"]), "svc/shop", self.random.randbytes(9))

    async def zombie(self) -> None:
        """A command of some time ago lands again, as if it had been under way for long."""
        earlier = [record.value for record in self.world.log.topic("desired") if record.key == "svc/shop"]
        if earlier:
            with contextlib.suppress(SendUnknown):
                await self.world.log.append("desired", "svc/shop", self.random.choice(earlier), headers={"zombie": b""})

    async def compact(self) -> None:
        self.world.log.compact("desired")

    async def outage(self) -> None:
        self.world.log.reachable = False
        await self.world.clock.advance(self.random.choice([1, 5, 20]))
        self.world.log.reachable = True

    async def report(self) -> None:
        await self.world.follow()


@pytest.mark.parametrize("seed", range(12))
async def test_under_any_faults_there_is_one_chain_one_author_an_epoch_and_one_answer_a_question(seed):
    world = World()
    await world.enrol()
    swarm = Swarm(world, seed)
    try:
        await swarm.run()
        await swarm.heal()
        check_authors(world)
        check_answers(world, swarm.asked)
        check_levels(world)
    finally:
        await world.end()


def check_authors(world: World) -> None:
    """One leader at the end; every counted epoch began with the takeover of the life that won its claim."""
    leader, claims = world.leaders(), {}
    assert len(leader) == 1
    for key in [record.key for record in world.log.topic("desired") if record.key.startswith("claim/")]:
        _, epoch, life = key.split("/")
        claims.setdefault(int(epoch), life)
    epoch = 0
    for decision in counted(world):
        if decision.kind == "takeover":
            assert decision.epoch > epoch
            epoch = decision.epoch
            assert decision.message.split()[0] == claims[epoch]
        assert decision.epoch == epoch
    assert claims[max(claims)] == leader[0]
    assert epoch == max(claims)


def check_answers(world: World, asked: list[str]) -> None:
    """D3: each question has one record, and generations rise by one (E1)."""
    found = [decision.answers for decision in counted(world) if decision.answers]
    assert len(found) == len(set(found))
    assert set(asked) <= set(found)
    changes = [decision for decision in counted(world) if decision.state is not None]
    assert [decision.generation for decision in changes] == list(range(1, len(changes) + 1))


def check_levels(world: World) -> None:
    """What stands last is the author's own and says what the ledger says; what counted on the way never went back."""
    ledger = rebuild((record.offset, record.value) for record in world.log.topic("decisions"))
    if "svc/shop" in ledger.subjects and ledger.subjects["svc/shop"].generation:
        last = desired(world.level("svc/shop"))
        assert (last.epoch, last.generation) == (ledger.epoch, ledger.subjects["svc/shop"].generation)
    epoch, highest = 0, (0, 0)
    for record in world.log.topic("desired"):
        try:
            if record.key.startswith("claim/"):
                epoch = max(epoch, unseal(record.value, Claim, TRUST)[0].epoch)
            elif record.key == "svc/shop":
                document = desired(record.value)
                if document.epoch == epoch and "zombie" not in record.headers:
                    assert (document.epoch, document.generation) >= highest
                    highest = (document.epoch, document.generation)
        except (Malformed, Refused):
            continue
