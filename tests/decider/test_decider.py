import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.decider.kit import DECISION, FLEET, NODES, OPERATOR, STRANGER, TRUST, Ahead, World, counted, desired, plan

from tidegate.decider.decider import RANKS
from tidegate.decider.intake import in_order
from tidegate.ports import Record
from tidegate.wire.codec import decode
from tidegate.wire.documents import Heartbeat, Verb, digest
from tidegate.wire.envelope import seal, unseal
from tidegate.wire.judgement import Alarm, AlarmState
from tidegate.wire.plans import Artifact
from tidegate.wire.policies import Freeze, Policy
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


async def test_what_was_read_last_is_told_by_its_time_whatever_topic_it_is_of(world):
    """Records are folded topic by topic: told by the last of these, a report of long ago, a restart woke people."""
    world.start("a")
    await world.clock.advance(60)
    await world.kill("a")
    registry = CollectorRegistry()
    world.start("b", registry=registry)
    await world.clock.advance(1)
    last = max(record.time_ms for topic in ("decisions", "desired", "reports") for record in world.log.topic(topic))
    assert registry.get_sample_value("tidegate_decide_last_input_timestamp_seconds") == last / 1_000


@pytest.mark.parametrize("led", [True, False])
async def test_what_was_asked_is_answered_in_the_order_of_its_time_whatever_topic_it_is_of(world, led):
    """Who stopped a release and sent the next one lost that too where nobody led just then (D3)."""
    world.start("a")
    await world.ask(plan("p1"))
    await world.clock.advance(2)
    if not led:
        await world.kill("a")
    await world.intend("stop", Verb.ABORT)
    await world.clock.advance(3)
    await world.ask(plan("p2", artifact=Artifact(version="v2", sha256="b" * 64)))
    await world.clock.advance(3)
    if not led:
        world.start("b")
    await world.clock.advance(20)
    asked = [(one.kind, one.state.rollout) for one in world.decisions() if one.kind in ("start", "rollback")]
    assert asked == [("start", "p1.1"), ("rollback", "p1.1"), ("start", "p2.1")]


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


async def test_a_policy_gets_one_answer_and_a_plan_waits_for_it(world):
    world.start("a")
    calm = Policy(name="calm", fleet=FLEET, freezes=(Freeze(),), issued_ms=1)
    for key, by in (("policy/calm", STRANGER), ("policy/storm", OPERATOR), ("policy/calm", OPERATOR)):
        await world.log.append("plans", key, seal(calm, by))
    await world.ask(plan())
    await world.clock.advance(2)
    answers = [(decision.subject, decision.reason) for decision in world.decisions() if decision.answers]
    assert answers == [
        ("policy/calm", Reason.BAD_SIGNATURE),
        ("policy/calm", Reason.BAD_DOCUMENT),
        ("policy/calm", Reason.ASKED),
        ("svc/shop", Reason.PLAN_QUEUED),
    ]
    await world.log.append("plans", "policy/calm", seal(Policy(name="calm", fleet=FLEET, issued_ms=2), OPERATOR))
    await world.clock.advance(2)
    assert "start" in world.kinds()


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
    old, new = desired(before), desired(world.level("svc/shop"))
    assert (old.epoch, new.epoch) == (1, 2)
    assert old.generation == new.generation


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
        await world.follow()
    assert world.kinds()[-1] == "complete"
    assert not world.log.topic("alarms")


async def test_a_plan_that_is_sent_twice_has_one_answer_and_stops_nothing(world):
    world.start("a")
    envelope = await world.ask(plan())
    await world.ask(plan())
    other = await world.ask(plan("p2", artifact=Artifact(version="v2", sha256="b" * 64)))
    await world.clock.advance(2)
    assert [decision.answers for decision in world.decisions() if decision.answers] == [digest(envelope), digest(other)]


async def test_every_question_of_a_flood_is_answered_once_and_the_author_stays_alive(world):
    world.start("a")
    world.start("b")
    await world.clock.advance(1)
    for number in range(300):
        await world.intend(f"i{number}")
    await world.clock.advance(30)
    answers = [decision.answers for decision in world.decisions() if decision.answers]
    assert answers == [f"i{number}" for number in range(300)]
    assert len(lives(world)) == 1


async def test_an_author_that_slept_through_its_succession_changes_nothing(world):
    """Held before it sends its record: the record lands behind the takeover and is void."""
    world.start("a")
    await world.clock.advance(1)
    world.start("b")
    world.grips["a"].hold(before_append_to="decisions")
    await world.ask(plan())
    await world.clock.advance(12)
    assert lives(world) == [(1, "a"), (2, "b")]
    assert world.deciders["a"].leading
    before = world.kinds()
    world.grips["a"].release()
    await world.clock.advance(2)
    assert world.leaders() == ["b"]
    assert world.decisions()[-1].epoch == 1
    assert [decision.answers for decision in counted(world) if decision.answers] == [
        before and digest(world.level("plan/svc/shop"))
    ]


async def test_a_record_between_the_claim_and_the_takeover_of_the_next_author_is_void(world):
    world.start("a")
    await world.clock.advance(1)
    world.start("b")
    world.grips["a"].hold(before_append_to="decisions")
    world.grips["b"].hold(before_append_to="decisions")
    await world.ask(plan())
    await world.clock.advance(12)
    world.grips["a"].release()
    await world.clock.advance(1)
    assert [(decision.epoch, decision.kind) for decision in world.decisions()][1:] == [(1, "accept"), (1, "start")]
    world.grips["b"].release()
    await world.clock.advance(2)
    assert world.leaders() == ["b"]
    assert len([decision for decision in counted(world) if decision.answers]) == 1
    # A takeover that does not stand where it was meant to is made good by another epoch.
    assert desired(world.level("svc/shop")).epoch == 3


async def test_an_author_that_slept_while_it_waited_for_news_reads_before_it_sends_anything(world):
    world.start("a")
    await world.clock.advance(1)
    world.start("b")
    world.grips["a"].hold()
    await world.clock.advance(12)
    assert world.leaders() == ["a", "b"]
    end = len(world.log.topic("desired"))
    world.grips["a"].release()
    await world.ask(plan())
    await world.clock.advance(5)
    assert world.leaders() == ["b"]
    assert {decision.epoch for decision in world.decisions()[1:]} == {2}
    said = [unseal(one.value, Heartbeat, TRUST)[0].life for one in world.log.topic("desired")[end:] if one.key == "heartbeat"]
    assert set(said) == {"b"}


async def test_a_command_that_a_former_author_sends_late_is_replaced_at_once(world):
    world.start("a")
    await world.clock.advance(1)
    world.start("b")
    world.grips["a"].hold(before_append_to="desired")
    await world.ask(plan())
    await world.clock.advance(12)
    assert world.leaders() == ["a", "b"]
    world.grips["a"].release()
    await world.clock.advance(1)
    written = [record for record in world.log.topic("desired") if record.key == "plan/svc/shop"]
    assert len(written) == 2  # both authors write the operator's own bytes
    assert world.leaders() == ["b"]
    assert desired(world.level("svc/shop")).epoch == 2


async def test_a_tombstone_on_a_command_is_replaced_at_once(world):
    world.start("a")
    await world.ask(plan())
    await world.clock.advance(2)
    mine = world.level("svc/shop")
    await world.log.append("desired", "svc/shop", None)
    await world.clock.advance(0.1)
    assert world.level("svc/shop") == mine


async def test_a_restart_in_the_middle_gives_equal_commands_but_for_the_epoch(world):
    world.start("a")
    await world.ask(plan())
    await world.clock.advance(1)
    await world.follow()
    await world.clock.advance(1)
    before = {key: world.level(key) for key in ("svc/shop", "plan/svc/shop", "roster/svc/shop")}
    await world.kill("a")
    world.log.compact("desired")
    world.start("b")
    await world.clock.advance(11)
    assert world.leaders() == ["b"]
    after = {key: world.level(key) for key in before}
    assert seal(replace(desired(after["svc/shop"]), epoch=1), DECISION) == before["svc/shop"]
    del before["svc/shop"], after["svc/shop"]
    assert after == before


async def test_an_absence_of_the_broker_costs_the_author_nothing(world):
    world.start("a")
    world.start("b")
    await world.clock.advance(4)
    world.log.reachable = False
    await world.clock.advance(60)
    world.log.reachable = True
    await world.clock.advance(20)
    assert len(lives(world)) == 1
    assert len(world.leaders()) == 1


async def test_a_wrong_clock_takes_the_place_from_nobody(world):
    world.start("a")
    await world.clock.advance(1)
    world.start("b", Ahead(world.clock, hours=1))
    world.start("c", Ahead(world.clock, hours=-1))
    await world.clock.advance(30)
    assert lives(world) == [(1, "a")]


async def test_a_claim_whose_answer_was_lost_is_used_when_it_is_read_back(world):
    world.log.lose_answers("desired", True)
    world.start("a")
    await world.clock.advance(2)
    assert lives(world) == [(1, "a")]


async def test_what_does_not_count_gets_one_dead_letter_from_the_author(world):
    world.start("a")
    world.start("b")
    await world.clock.advance(1)
    await world.log.append("reports", "n1", b"nonsense")
    await world.clock.advance(12)
    letters = world.log.topic("deadletters")
    assert [(letter.key, letter.value) for letter in letters] == [("reports", b"nonsense")]
    assert letters[0].headers["origin-topic"] == b"reports"
    assert b"not JSON" in letters[0].headers["reason"]


async def test_a_failed_first_install_alarms_once_across_a_succession(world):
    world.start("a")
    await world.ask(plan())
    await world.clock.advance(1)
    command = desired(world.level("svc/shop"))
    for node in NODES:
        await world.report(node, order=command.order, prefetched=("v1",))
    await world.clock.advance(1)
    command = desired(world.level("svc/shop"))
    for node in NODES:
        await world.report(node, state="failed", version="v1", order=command.order, prefetched=("v1",))
    await world.clock.advance(2)
    assert [alarm.name for alarm in alarms(world)] == ["first_install_failed"]
    await world.kill("a")
    world.start("b")
    await world.clock.advance(12)
    assert [(alarm.name, alarm.state) for alarm in alarms(world)] == [("first_install_failed", AlarmState.FIRING)]


def alarms(world) -> list[Alarm]:
    return [decode(record.value, Alarm) for record in world.log.topic("alarms")]


def test_records_of_one_topic_keep_their_order_though_its_clock_went_back():
    """A slower broker leads the partition: who was answered first would have hidden those before it, an abort perhaps."""

    def of(topic: str, *times_ms: int) -> list[Record]:
        return [Record(topic, 0, offset, at_ms, "svc/shop", b"", {}) for offset, at_ms in enumerate(times_ms)]

    plans, intents = of("plans", 10, 40), of("intents", 20, 30, 5, 50)
    ordered = in_order([*plans, *intents, *of("reports", 60)], RANKS)
    assert [one for one in ordered if one.topic == "intents"] == intents
    assert [one for one in ordered if one.topic == "plans"] == plans
    assert [(one.topic, one.time_ms) for one in ordered[:3]] == [("reports", 60), ("plans", 10), ("intents", 20)]
