"""Break-glass and revoked keys as a whole agent meets them (E5, H1)."""

import pytest
from msgspec.structs import replace
from tests.node.kit import FLEET, node_signer, signer
from tests.node.test_agent import ONE, THREE, TWO, World, versions

from tidegate.wire.documents import BreakGlass, GlassAction, KeyRole, Move, Phase, Root
from tidegate.wire.envelope import Signer, seal
from tidegate.wire.plans import Artifact

GLASS, THIEF, ROOT = signer("glass"), signer("thief"), signer("root")


class Fleet(World):
    """A fleet with a break-glass key, whose root key can name others."""

    def __init__(self) -> None:
        super().__init__()
        author = self.author
        author.root = replace(author.root, keys=(*author.root.keys, GLASS.public(KeyRole.BREAKGLASS)))
        self.root: Root = author.root

    async def glass(self, action: GlassAction, by: Signer = GLASS, **fields) -> None:
        fields = {"id": "g1", "root_version": self.root.version, "generation": self.author.generation} | fields
        document = BreakGlass(
            fleet=FLEET, subject=self.author.subject, action=action, actor="ann", reason="fire", issued_ms=1, **fields
        )
        await self.log.append("desired", f"breakglass/{self.author.subject}", seal(document, by))

    async def keys(self, *without: str, add=(), sign: tuple[Signer, ...] = (ROOT,)) -> None:
        """Publish the next key document."""
        kept = tuple(key for key in self.root.keys if key.id not in without)
        self.root = replace(self.root, version=self.root.version + 1, keys=(*kept, *add))
        await self.log.append("keys", str(self.root.version), seal(self.root, *sign))

    async def succeed(self, new: Signer, epoch: int) -> None:
        """Let another key's decision agent claim an epoch and publish its levels."""
        self.author.decision = new
        await self.author.claim(epoch)
        await self.log.append("desired", f"roster/{self.author.subject}", seal(self.author.roster, new))

    async def canary(self, agent) -> None:
        """Let this node run version 2 as a canary."""
        await self.author.start(TWO, ONE)
        await self.author.advance()
        await self.runs("2")
        await self.accepted(agent, await self.author.advance())


@pytest.fixture
async def fleet() -> Fleet:
    fleet = Fleet()
    await fleet.installed()
    return fleet


async def test_a_rollback_by_break_glass_needs_no_decision_agent(fleet):
    async with fleet.agent() as agent:
        await fleet.canary(agent)
        await fleet.glass(GlassAction.ROLLBACK)
        await fleet.runs("1")


async def test_it_outlives_the_agent_and_its_own_record(fleet):
    async with fleet.agent() as agent:
        await fleet.canary(agent)
        await fleet.glass(GlassAction.ROLLBACK)
        await fleet.runs("1")
    await fleet.log.append("desired", f"breakglass/{fleet.author.subject}", None)
    fleet.log.compact("desired")
    async with fleet.agent() as agent:
        await fleet.until(lambda: agent.caught_up)
        await fleet.clock.advance(5)
        assert fleet.version() == "1"
        await fleet.author.advance()
        await fleet.runs("2")


async def test_a_pause_stops_who_has_not_moved_and_nobody_else(fleet):
    async with fleet.agent() as agent:
        fleet.executor.gate.clear()
        await fleet.author.start(TWO, ONE)
        await fleet.accepted(agent, await fleet.author.advance())
        await fleet.until(lambda: fleet.executor.fetching > 0)
        await fleet.glass(GlassAction.PAUSE)
        await fleet.until(lambda: agent.held("shop").accepted.glass is not None)
        fleet.executor.gate.set()
        await fleet.clock.advance(5)
        assert fleet.version() == "1"
    assert versions(fleet) == ["1"]


async def test_one_that_was_paused_on_the_new_version_keeps_it(fleet):
    async with fleet.agent() as agent:
        await fleet.canary(agent)
        await fleet.glass(GlassAction.PAUSE)
        await fleet.until(lambda: agent.held("shop").accepted.glass is not None)
        await fleet.clock.advance(5)
        assert fleet.version() == "2"


@pytest.mark.parametrize("by", [THIEF, Signer("glass", THIEF.private), signer("operator"), signer("decision"), node_signer()])
async def test_nobody_else_may(fleet, by):
    async with fleet.agent() as agent:
        await fleet.canary(agent)
        await fleet.glass(GlassAction.ROLLBACK, by)
        await fleet.read(agent)
        assert agent.held("shop").accepted.glass is None
        assert agent.figures().refused == {"bad_signature": 1}


async def test_such_a_key_installs_nothing(fleet):
    async with fleet.agent() as agent:
        await fleet.canary(agent)
        evil = fleet.author.desired(move=Move.HOLD, phase=Phase.DONE, settled=Artifact(version="9", sha256="9" * 64))
        await fleet.log.append("desired", fleet.author.subject, seal(evil, GLASS))
        await fleet.read(agent)
        assert agent.figures().refused == {"bad_signature": 1}


async def test_keys_that_rotate_disturb_nothing_and_a_revoked_one_counts_no_more(fleet):
    """Row 71: an online key is stolen; what it said is void as soon as the root names another."""
    new, author = signer("decision-2"), fleet.author
    async with fleet.agent() as agent:
        await fleet.canary(agent)
        await fleet.keys(add=(new.public(KeyRole.DECISION),))
        await fleet.accepted(agent, await author.advance(root_version=2))
        old = author.decision
        await fleet.succeed(new, 2)
        await fleet.accepted(agent, await author.advance(root_version=2))
        assert agent.figures().refused == {}, "what is valid is not refused while keys rotate"
        await fleet.keys("decision")
        last = await author.advance(root_version=3)
        await fleet.accepted(agent, last)
        await fleet.clock.advance(1)
        refused = agent.figures().refused.get("bad_signature", 0)
        author.decision = old
        await author.claim(1 << 40)
        await author.say(replace(last, epoch=1 << 40, generation=1 << 40, move=Move.RETREAT, cohorts=()))
        await fleet.until(lambda: agent.figures().refused.get("bad_signature") >= refused + 2)
        assert agent.held("shop").accepted.document == last
        assert fleet.version() == "2"
    assert versions(fleet) == ["1", "2"]


async def test_a_number_driven_up_by_a_stolen_key_is_worth_nothing_under_the_next_keys(fleet):
    """TUF's fast-forward attack: nothing would ever be greater again."""
    new, author = signer("decision-2"), fleet.author
    async with fleet.agent() as agent:
        await fleet.canary(agent)
        await author.claim(1 << 50)
        author.generation = 1 << 50
        await fleet.accepted(agent, await author.advance())
        await fleet.keys("decision", add=(new.public(KeyRole.DECISION),))
        author.generation = 7
        await fleet.succeed(new, 2)
        await author.say(author.desired(move=Move.RETREAT, phase=Phase.ROLLING_BACK, root_version=2))
        await fleet.runs("1")
        # The thief's heartbeats had great numbers, too: a node that went by them would think the new author silent for ever.
        await fleet.clock.advance(70)
        await author.start(THREE, ONE, "r2")
        await author.advance(root_version=2)
        await fleet.runs("3")


async def test_what_a_new_key_said_before_its_key_document_was_read_counts_once_it_is(fleet):
    new, author = signer("decision-2"), fleet.author
    async with fleet.agent() as agent:
        await fleet.canary(agent)
        await fleet.succeed(new, 2)
        await author.say(author.desired(move=Move.RETREAT, phase=Phase.ROLLING_BACK, root_version=2))
        await fleet.until(lambda: agent.figures().refused.get("bad_signature", 0) >= 3)  # claim, roster, command; and heartbeats
        await fleet.keys(add=(new.public(KeyRole.DECISION),))
        await fleet.runs("1")


async def test_a_key_document_that_no_root_key_signed_changes_nothing_and_is_counted(fleet):
    async with fleet.agent() as agent:
        await fleet.canary(agent)
        await fleet.keys(add=(THIEF.public(KeyRole.DECISION),), sign=(THIEF,))
        for key in ("\u00b2", "2", "3", "n1"):  # the third waits for the second, which never comes
            await fleet.log.append("keys", key, b"{}")
        await fleet.until(lambda: agent.figures().refused == {"bad_signature": 1, "bad_document": 1})
        await fleet.accepted(agent, await fleet.author.advance())


@pytest.mark.parametrize("said_before", [False, True], ids=["an advance after the revocation", "one that waited for it"])
async def test_the_plan_of_a_revoked_operator_goes_no_further_and_can_be_taken_back(fleet, said_before):
    async with fleet.agent() as agent:
        await fleet.canary(agent)
        before = agent.held("shop").accepted
        if said_before:
            await fleet.author.advance(root_version=2)
            await fleet.clock.advance(1)
        await fleet.keys("operator")
        if not said_before:
            await fleet.author.advance(root_version=2)
        await fleet.clock.advance(5)
        assert agent.held("shop").accepted == before
        await fleet.author.say(fleet.author.desired(move=Move.RETREAT, phase=Phase.ROLLING_BACK, root_version=2))
        await fleet.runs("1")
