"""A plan that supersedes a watch makes two records; whoever dies between them has not answered it (D3)."""

import pytest
from tests.decider.groupkit import Deadly
from tests.decider.kit import World, plan

from tidegate.wire.documents import digest
from tidegate.wire.plans import Artifact, Rollback


class Mortals(World):
    """Deciders that die before a record that a test names."""

    def grip(self) -> Deadly:
        return Deadly(self.log)


@pytest.mark.parametrize("written", [0, 1])
async def test_the_plan_is_accepted_once_by_the_successor(written):
    world = Mortals()
    await world.enrol()
    try:
        world.start("a")
        await world.ask(plan("p1", watch="1h"))
        while "watch" not in world.kinds():
            await world.clock.advance(1)
            await world.follow()
        before = len(world.log.topic("decisions"))
        world.grips["a"].at = before + written
        first = Rollback(artifact=Artifact(version="v1", sha256="a" * 64))
        asked = await world.ask(plan("p2", artifact=Artifact(version="v2", sha256="b" * 64), rollback=first))
        await world.clock.advance(1)
        assert world.grips["a"].standing.is_set()
        await world.kill("a")
        world.start("b")
        await world.clock.advance(20)
        since = [one for one in world.decisions()[before:] if one.kind in ("complete", "accept")]
        assert [(one.kind, one.answers) for one in since] == [("complete", ""), ("accept", digest(asked))]
    finally:
        await world.end()
