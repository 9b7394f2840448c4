"""Keys that rotate and are revoked while decision agents run (H1), and break-glass as they fold it (E5)."""

import pytest
from msgspec.structs import replace
from tests.decider.kit import DECISION, FLEET, NODES, OPERATOR, STRANGER, World, counted, plan, signer

from tidegate.decider import Decider
from tidegate.rollout.breakglass import intent_of
from tidegate.rollout.ledger import Ledger
from tidegate.runtime.problem import Problem
from tidegate.wire.decisions import SubjectState
from tidegate.wire.documents import BreakGlass, Claim, Desired, GlassAction, KeyRole, Phase, Root, Verb
from tidegate.wire.envelope import Refused, Signer, seal, unseal
from tidegate.wire.keys import trust_after, trust_of
from tidegate.wire.plans import Artifact, Rollback, Stage
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

ROOT_KEY, SECOND, GLASS = signer("root"), signer("decision-2"), signer("glass")
KEYS = (
    ROOT_KEY.public(KeyRole.ROOT),
    OPERATOR.public(KeyRole.OPERATOR),
    DECISION.public(KeyRole.DECISION),
    GLASS.public(KeyRole.BREAKGLASS),
)
FIRST = Root(fleet=FLEET, version=1, keys=KEYS, issued_ms=0)


class Keyed(World):
    """A world whose deciders have keys of their own and whose root key names others."""

    def __init__(self) -> None:
        super().__init__()
        self.root = FIRST

    def run(self, life: str, by: Signer = DECISION, root: Root = FIRST) -> Decider:
        return self.start(life, by=by, trust=trust_of(root))

    def ended(self, life: str) -> Problem:
        """Return why a process has ended by itself."""
        problem = self._tasks.pop(life).exception()
        assert isinstance(problem, Problem)
        return problem

    async def end(self) -> None:
        for life in [life for life, task in self._tasks.items() if task.done()]:
            self.ended(life)
        await super().end()

    async def keys(self, *without: Signer, add: tuple[Signer, ...] = ()) -> None:
        """Publish the next key document."""
        gone = {one.key_id for one in without}
        kept = tuple(key for key in self.root.keys if key.id not in gone)
        added = tuple(one.public(KeyRole.DECISION) for one in add)
        self.root = replace(self.root, version=self.root.version + 1, keys=(*kept, *added))
        await self.log.append("keys", str(self.root.version), seal(self.root, ROOT_KEY))

    async def glass(self, action: GlassAction, generation: int, by: Signer = GLASS, name: str = "g1") -> None:
        document = BreakGlass(
            id=name,
            fleet=FLEET,
            subject="svc/shop",
            root_version=self.root.version,
            generation=generation,
            action=action,
            actor="ann",
            reason="fire",
            issued_ms=1,
        )
        await self.log.append("desired", "breakglass/svc/shop", seal(document, by))

    def said(self) -> Desired | None:
        """The command that stands in the log, read with the keys of now."""
        value = self.level("svc/shop")
        try:
            return None if value is None else unseal(value, Desired, trust_of(self.root))[0]
        except Refused:
            return None

    def takeovers(self) -> list[int]:
        return [decision.epoch for decision in counted(self) if decision.kind == "takeover"]

    def answers(self) -> list[tuple[str, str, str]]:
        return [(one.answers, str(one.kind), str(one.reason)) for one in counted(self) if one.answers]


@pytest.fixture
async def world():
    world = Keyed()
    await world.enrol()
    yield world
    await world.end()


# keys


async def test_a_new_root_version_is_read_while_leading_and_the_levels_follow_it(world):
    first = world.run("a")
    await world.ask(plan())
    await world.clock.advance(2)
    await world.keys(add=(SECOND,))
    await world.clock.advance(2)
    assert first.leading
    assert world.said().root_version == 2
    assert world.takeovers() == [1]


async def test_a_successor_with_the_new_key_takes_over_and_the_old_key_goes(world):
    world.run("a")
    await world.ask(plan())
    await world.clock.advance(2)
    await world.keys(add=(SECOND,))
    second = world.run("b", SECOND)
    await world.clock.advance(2)
    await world.stop("a")
    await world.clock.advance(2)
    assert second.leading
    await world.keys(DECISION)
    await world.clock.advance(2)
    assert second.leading
    assert (world.said().root_version, world.said().epoch) == (3, 2)


async def test_who_leads_by_a_key_that_is_revoked_ends_at_once_and_says_why(world):
    """Whatever starts it again starts it with the newest key that is there."""
    first = world.run("a")
    await world.ask(plan())
    await world.clock.advance(2)
    records = len(world.log.topic("desired"))
    await world.keys(DECISION)
    await world.clock.advance(1)
    assert not first.leading
    assert "no decision key of root version 2" in str(world.ended("a"))
    assert len(world.log.topic("desired")) == records, "it publishes nothing more"


async def test_who_has_no_key_that_counts_waits_for_one_and_claims_nothing(world):
    second = world.run("b", SECOND)
    await world.clock.advance(30)
    assert (second.leading, world.log.topic("desired")) == (False, [])
    assert "no decision key of root version 1" in second.not_ready()
    await world.keys(add=(SECOND,))
    await world.clock.advance(10)
    assert second.leading


@pytest.mark.parametrize("root_known", [False, True], ids=["its root file is the first", "its root file is the newest"])
async def test_after_a_revocation_another_key_leads_at_once_above_all_that_was_decided(world, root_known):
    world.run("a")
    await world.clock.advance(1)
    await world.kill("a")
    world.run("b")
    await world.ask(plan())
    await world.clock.advance(12)
    assert world.takeovers() == [1, 2]
    await world.keys(DECISION, add=(SECOND,))
    third = world.run("c", SECOND, world.root if root_known else FIRST)
    await world.clock.advance(3)
    assert (third.leading, world.leaders()) == (True, ["c"])
    assert world.takeovers() == [1, 2, 3], "claims of the revoked key are void, its decisions are not"
    assert (world.said().root_version, world.said().epoch) == (2, 3)
    await world.intend("later")
    await world.clock.advance(2)
    assert world.answers()[-1][0] == "later"


async def test_nobody_leads_by_the_number_of_a_claim_that_its_revocation_made_void(world):
    """Its takeover may still be on its way: of one epoch, it would void what the next author decides (story 1000276)."""
    world.run("a")
    await world.clock.advance(2)
    await world.kill("a")
    claim = Claim(fleet=FLEET, epoch=2, life="b", read_to=0, issued_ms=0)
    await world.log.append("desired", "claim/2/b", seal(claim, DECISION))
    await world.keys(DECISION, add=(SECOND,))
    third = world.run("c", SECOND)
    await world.clock.advance(3)
    assert (third.leading, world.takeovers()) == (True, [1, 3])


async def test_a_claim_that_is_read_before_the_key_document_that_entitles_it_counts(world):
    """Two topics have no common order. An author that never saw its successor's claim would decide in the same epoch."""
    first = world.run("a")
    await world.clock.advance(2)
    claim = Claim(fleet=FLEET, epoch=2, life="b", read_to=0, issued_ms=0)
    await world.log.append("desired", "claim/2/b", seal(claim, SECOND))
    await world.clock.advance(1)
    assert first.leading, "nobody known to it has claimed"
    await world.keys(add=(SECOND,))
    await world.clock.advance(1)
    assert not first.leading
    await world.clock.advance(12)
    assert (first.leading, world.takeovers()) == (True, [1, 3]), "b never came; its epoch stays its own"


@pytest.mark.parametrize(
    "by", [lambda _: b"garbage", lambda _: None, lambda claim: claim], ids=["another record", "a tombstone", "a copy"]
)
async def test_an_author_whose_claim_is_evicted_claims_the_next_epoch(world, by):
    """E6: compaction leaves the last record of a key. A node that begins to read then would know no author, or a wrong one."""
    first = world.run("a")
    await world.ask(plan())
    await world.clock.advance(2)
    claim = next(record.value for record in world.log.topic("desired") if record.key == "claim/1/a")
    await world.log.append("desired", "claim/1/a", by(claim))
    await world.clock.advance(2)
    assert (first.leading, world.takeovers()) == (True, [1, 2])
    world.log.compact("desired")
    assert "claim/2/a" in {record.key for record in world.log.topic("desired")}
    assert world.said().epoch == 2


async def test_a_claim_under_another_key_is_none(world):
    first = world.run("a")
    await world.clock.advance(2)
    claim = Claim(fleet=FLEET, epoch=2, life="b", read_to=0, issued_ms=0)
    await world.log.append("desired", "claim/1/a", seal(claim, DECISION))
    await world.clock.advance(2)
    assert first.leading


async def test_a_plan_by_a_revoked_operator_is_refused_and_one_by_the_next_is_taken(world):
    world.run("a")
    other = signer("operator-2")
    kept = tuple(key for key in FIRST.keys if key.id != OPERATOR.key_id)
    world.root = replace(FIRST, version=2, keys=(*kept, other.public(KeyRole.OPERATOR)))
    await world.log.append("keys", "2", seal(world.root, ROOT_KEY))
    await world.clock.advance(1)
    await world.ask(plan("p1"))
    await world.ask(plan("p2"), by=other)
    await world.clock.advance(2)
    refused, taken = (one for one in world.answers())
    assert (refused[1:], taken[1]) == (("refuse", Reason.BAD_SIGNATURE), "accept")


# break-glass


async def running(world) -> int:
    """Have a rollout from v1 to v2 begin on the first node; return its generation."""
    world.run("a")
    await world.ask(plan("p0"))
    for _ in range(8):
        await world.clock.advance(2)
        await world.follow()
    assert world.said().phase == "done"
    fields = {"state": ServiceState.READY, "version": "v1", "digest": "a" * 64, "prefetched": ("v1", "v2")}
    stages = (Stage(set_nodes=1, bake="60s", min_requests=0), Stage(set_weight=100))
    new = Artifact(version="v2", sha256="b" * 64)
    upgrade = plan("p1", artifact=new, rollback=Rollback(artifact=plan().artifact), stages=stages, control="none")
    for turn in range(4):
        for node in NODES:
            await world.report(node, order=world.said().order, **fields)
        if turn == 0:
            await world.ask(upgrade)
        await world.clock.advance(2)
    assert (world.said().phase, world.said().rollout, world.said().released) == ("running", "p1.1", 1)
    return world.said().generation


async def test_a_pause_is_folded_under_a_generation_above_the_one_it_names(world):
    generation = await running(world)
    await world.glass(GlassAction.PAUSE, generation)
    await world.clock.advance(1)
    assert (world.said().phase, world.said().generation) == ("paused", generation + 1)
    last = counted(world)[-1]
    assert (last.answers, last.actor, last.message) == ("g1", "ann (break-glass glass)", "fire")


async def test_a_rollback_aborts_a_rollout(world):
    generation = await running(world)
    await world.glass(GlassAction.ROLLBACK, generation)
    await world.clock.advance(1)
    assert world.said().phase == "rolling_back"
    assert ("g1", "rollback", "asked") in world.answers()


@pytest.mark.parametrize(("phase", "verb"), [(Phase.RUNNING, Verb.ABORT), (Phase.WATCHING, Verb.ABORT), (Phase.DONE, Verb.UNDO)])
def test_a_rollback_undoes_what_is_over(phase, verb):
    ledger = Ledger(subjects={"svc/shop": SubjectState(subject="svc/shop", generation=7, phase=phase, since_generation=3)})
    document = BreakGlass(
        id="g",
        fleet=FLEET,
        subject="svc/shop",
        root_version=1,
        generation=7,
        action=GlassAction.ROLLBACK,
        actor="ann",
        reason="fire",
        issued_ms=1,
    )
    event = intent_of(document, GLASS.public(KeyRole.BREAKGLASS), ledger, 1)
    assert (event.intent.verb, event.intent.generation, event.fault) == (verb, 7, None)


@pytest.mark.parametrize("by", [STRANGER, OPERATOR, DECISION, ROOT_KEY])
async def test_one_that_no_break_glass_key_signed_is_refused_with_a_record(world, by):
    generation = await running(world)
    await world.glass(GlassAction.ROLLBACK, generation, by)
    await world.clock.advance(1)
    assert world.answers()[-1][1:] == ("refuse", "bad_signature")
    assert world.said().generation == generation


async def test_it_has_one_answer_however_often_it_is_sent_and_whoever_leads(world):
    generation = await running(world)
    await world.glass(GlassAction.PAUSE, generation)
    await world.clock.advance(1)
    await world.intend("go", Verb.RESUME, generation + 1)
    await world.glass(GlassAction.PAUSE, generation)
    await world.clock.advance(1)
    await world.stop("a")
    world.run("b")
    await world.clock.advance(3)
    assert world.said().phase == "running"
    assert [answer for answer, _, _ in world.answers()].count("g1") == 1


async def test_one_of_an_attempt_that_is_over_is_refused(world):
    generation = await running(world)
    await world.glass(GlassAction.ROLLBACK, 1)
    await world.clock.advance(1)
    assert world.answers()[-1] == ("g1", "refuse", "stale_generation")
    assert world.said().generation == generation


async def test_what_was_said_while_nobody_decided_is_folded_by_who_comes(world):
    generation = await running(world)
    await world.kill("a")
    await world.glass(GlassAction.ROLLBACK, generation)
    await world.clock.advance(1)
    world.run("b")
    await world.clock.advance(12)
    assert world.said().phase == "rolling_back"


def test_the_chain_of_these_worlds_is_one_that_readers_follow():
    after = replace(FIRST, version=2)
    assert trust_after(trust_of(FIRST), "2", seal(after, ROOT_KEY), 0).root_version == 2
