import pytest
from tests.decider.kit import NODES, STRANGER, TRUST, World, plan

from tidegate.wire.codec import decode
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import Desired, digest
from tidegate.wire.envelope import unseal
from tidegate.wire.judgement import AlarmState
from tidegate.wire.reasons import Reason


@pytest.fixture
async def world():
    world = World()
    await world.enrol()
    yield world
    await world.end()


def lives(world) -> list[tuple[int, str]]:
    return [(decision.epoch, decision.message.split()[0]) for decision in world.decisions() if decision.kind == "takeover"]


def chain_is_whole(world) -> bool:
    heads = ["", *(digest(record.value) for record in world.log.topic("decisions"))]
    return [decision.prev for decision in world.decisions()] == heads[:-1]


async def test_on_an_empty_log_the_first_takes_the_place_at_once_and_others_stand_by(world):
    first, second = world.start("a"), world.start("b")
    await world.clock.advance(2)
    assert [first.leading, second.leading].count(True) == 1
    assert [epoch for epoch, _ in lives(world)] == [1]


async def test_a_plan_gets_exactly_one_answer_and_its_levels_follow(world):
    world.start("a")
    envelope = await world.ask(plan())
    await world.clock.advance(2)
    assert [decision.answers for decision in world.decisions() if decision.answers] == [digest(envelope)]
    assert world.kinds()[:2] == ["accept", "start"]
    assert world.level("plan/svc/shop") == envelope
    assert world.level("svc/shop") is not None
    order = [record.key for record in world.log.topic("desired")]
    assert order.index("plan/svc/shop") < order.index("roster/svc/shop") < order.index("svc/shop")


@pytest.mark.parametrize("document", [b"", b"garbage", b'{"payloadType":"x","payload":"","signatures":[]}'])
async def test_what_cannot_be_read_is_refused_in_the_ledger_and_stops_nothing(world, document):
    world.start("a")
    await world.log.append("plans", "svc/shop", document)
    await world.ask(plan())
    await world.clock.advance(2)
    refused = [decision for decision in world.decisions() if decision.kind == "refuse"]
    assert [decision.reason for decision in refused] == [Reason.BAD_DOCUMENT]
    assert "accept" in world.kinds()


async def test_a_plan_that_no_operator_signed_is_refused(world):
    world.start("a")
    await world.ask(plan(), by=STRANGER)
    await world.clock.advance(2)
    assert [(decision.kind, decision.reason) for decision in world.decisions() if decision.subject] == [
        ("refuse", Reason.BAD_SIGNATURE)
    ]


async def test_after_kill_9_another_leads_within_15_seconds_and_nothing_is_answered_twice(world):
    world.start("a")
    await world.ask(plan())
    await world.clock.advance(2)
    before = world.level("svc/shop")
    await world.kill("a")
    world.start("b")
    await world.clock.advance(5)
    assert lives(world) == [(1, "a")]
    await world.clock.advance(6)
    assert lives(world) == [(1, "a"), (2, "b")]
    assert world.kinds().count("accept") == 1
    assert chain_is_whole(world)
    old, new = (unsealed(value) for value in (before, world.level("svc/shop")))
    assert (old.epoch, new.epoch) == (1, 2)
    assert old.generation == new.generation


def unsealed(value: bytes) -> Desired:
    return unseal(value, Desired, TRUST)[0]


async def test_a_resignation_lets_a_successor_lead_at_once(world):
    world.start("a")
    await world.clock.advance(1)
    world.start("b")
    await world.clock.advance(1)
    await world.stop("a")
    await world.clock.advance(1.5)
    assert lives(world) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("landed", [True, False])
async def test_a_claim_without_an_answer_is_read_back_and_never_sent_again(world, landed):
    world.log.lose_answers("desired", landed)
    world.start("a")
    await world.clock.advance(5)
    assert world.deciders["a"].leading
    claims = [record.key for record in world.log.topic("desired") if record.key.startswith("claim/")]
    assert len(claims) == len(set(claims))


@pytest.mark.parametrize("landed", [True, False])
async def test_a_record_without_an_answer_is_settled_by_a_new_epoch(world, landed):
    world.start("a")
    await world.clock.advance(1)
    world.log.lose_answers("decisions", landed)
    await world.ask(plan())
    await world.clock.advance(5)
    assert world.deciders["a"].leading
    assert len(lives(world)) == 2
    counted = [decision for decision in world.decisions() if decision.kind == "accept"]
    assert len(counted) == 1
    assert chain_is_whole(world)


async def test_a_level_that_another_record_evicted_is_published_again(world):
    world.start("a")
    await world.ask(plan())
    await world.clock.advance(2)
    mine = world.level("svc/shop")
    await world.log.append("desired", "svc/shop", b"a zombie's late record")
    await world.clock.advance(2)
    assert world.level("svc/shop") == mine


async def test_a_broker_that_is_away_delays_and_nothing_else(world):
    world.start("a")
    await world.clock.advance(1)
    world.log.reachable = False
    await world.clock.advance(30)
    world.log.reachable = True
    await world.ask(plan())
    await world.clock.advance(10)
    assert world.deciders["a"].leading
    assert world.kinds().count("accept") == 1
    assert chain_is_whole(world)


async def test_the_judge_is_told_who_belongs_where_on_every_change_and_every_ten_seconds(world):
    world.start("a")
    await world.ask(plan())
    await world.clock.advance(2)
    told = len(world.log.topic("nodeseconds"))
    assert told >= 1
    await world.clock.advance(10)
    assert len(world.log.topic("nodeseconds")) >= told + 1


async def test_a_broken_chain_lets_nobody_lead(world):
    world.start("a")
    await world.ask(plan())
    await world.clock.advance(2)
    await world.kill("a")
    del world.log.records["decisions", 0][1]
    world.log.records["decisions", 0][:] = [
        record._replace(offset=at) for at, record in enumerate(world.log.records["decisions", 0])
    ]
    decider = world.start("b")
    await world.clock.advance(30)
    assert not decider.leading


async def test_a_first_install_reaches_its_end_when_nodes_report(world):
    world.start("a")
    await world.ask(plan())
    for _ in range(6):
        await world.clock.advance(1)
        command = unsealed(world.level("svc/shop"))
        for node in NODES:
            released = any(cohort.count for cohort in command.cohorts)
            await world.report(
                node,
                order=command.order,
                prefetched=("v1",),
                **(
                    {"state": "ready", "version": "v1", "digest": "a" * 64, "token": command.cohorts[0].token} if released else {}
                ),
            )
    assert world.kinds()[-1] == "complete"
    alarms = [decode(record.value, dict) for record in world.log.topic("alarms")]
    assert not [alarm for alarm in alarms if alarm["state"] == AlarmState.FIRING]
    assert all(isinstance(decision, Decision) for decision in world.decisions())
