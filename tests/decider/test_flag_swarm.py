"""Flags in the swarm: whatever becomes of the deciders, the topic ends with what was decided, and an archived flag never comes
back to anybody (G1, G5, E6).
"""

import pytest
from tests.decider.flagkit import Place, Reader
from tests.decider.kit import DECISION, FLEET
from tests.decider.test_swarm import Swarm, check_authors
from tests.rollout.flags import DARK, definition, spec

from tidegate.rollout.flag_levels import FlagLevels
from tidegate.rollout.flag_steps import TOMBSTONE_MS
from tidegate.rollout.ledger import Ledger, rebuild
from tidegate.wire.documents import Order, Verb
from tidegate.wire.flags import topic_key
from tidegate.wire.flagstamps import HEADER, stamp

OTHER = "flag/web/other"


class FlagSwarm(Swarm):
    """People ask for flags, too."""

    world: Place

    def __init__(self, place: Place, seed: int) -> None:
        super().__init__(place, seed)
        self.happenings += [self.set, self.set, self.set, self.toggle, self.toggle, self.archive, self.evict, self.a_week]

    def subject(self) -> str:
        return self.random.choice([DARK, OTHER])

    async def set(self) -> None:
        await self.world.put(spec(self.random.choice(["on", "off"]), immediate=True), subject=self.subject())

    async def toggle(self) -> None:
        await self.world.want(self.random.choice([Verb.KILL, Verb.RESTORE]), self.subject())

    async def archive(self) -> None:
        await self.world.want(Verb.ARCHIVE, self.subject())

    async def evict(self) -> None:
        """A value of some time ago, nobody's, or one under the first order stands last, as after a wrong restore."""
        subject = self.subject()
        key = topic_key(subject.removeprefix("flag/"))
        earlier = [record for record in self.world.log.topic("flags") if record.key == str(key)]
        if earlier:
            old = self.random.choice(earlier)
            first = bytes(definition())
            forged = {HEADER: stamp(key, first, Order(1, 0, 0), FLEET, DECISION)}
            value, headers = self.random.choice([(old.value, old.headers), (None, {}), (first, forged)])
            await self.world.log.append("flags", str(key), value, headers=headers)

    async def compact(self) -> None:
        await super().compact()
        self.world.log.compact("flags")

    async def a_week(self) -> None:
        """Nobody runs for so long that tombstones are due."""
        await self.world.end()
        await self.world.clock.advance(TOMBSTONE_MS / 1_000)


@pytest.mark.parametrize("seed", range(8))
async def test_under_any_faults_the_topic_ends_with_what_was_decided_and_what_was_archived_never_comes_back(seed):
    place = Place()
    await place.enrol()
    swarm = FlagSwarm(place, seed)
    try:
        await swarm.run()
        await swarm.heal()
        check_authors(place)
        ledger = rebuild((record.offset, record.value) for record in place.log.topic("decisions"))
        check_topic(place, ledger)
        check_archived(place)
    finally:
        await place.end()


def check_topic(place: Place, ledger: Ledger) -> None:
    """Of each flag the ledger's value stands last, in the author's epoch; under an older order where it stayed as it was."""
    levels = FlagLevels(ledger)
    for subject, state in ledger.flags.items():
        last = [record for record in place.log.topic("flags") if record.key == str(state.key)][-1]
        level = levels.level(subject)
        assert last.value == level.value
        assert Order(1, ledger.epoch) < Reader().read([last]).orders[last.key] <= Order(1, ledger.epoch, level.revision)


def check_archived(place: Place) -> None:
    """A provider that has seen a flag's end sees nothing else of it any more."""
    reader, gone = Reader(), set()
    for record in place.log.topic("flags"):
        reader.read([record])
        flags = reader.flags.sets["web"].flags if "web" in reader.flags.sets else {}
        for name, flag in flags.items():
            if flag.metadata.get("archived"):
                gone.add(name)
            assert name not in gone or flag.metadata.get("archived"), "it has come back"
