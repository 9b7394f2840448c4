"""A node that was retired belongs to the fleet no more: nobody waits for it, and it counts nowhere."""

import pytest
from tests.rollout.fleet import SHOP, Fleet, plan

from tidegate.rollout.advance import blockers
from tidegate.rollout.alarms import alarms_of
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Phase
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Stage
from tidegate.wire.reasons import Reason


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet(nodes=12)
    made.install()
    return made


@pytest.mark.parametrize("retired", [(1,), (0, 2), (4,), (1, 5)], ids=str)
def test_a_stage_goes_on_without_its_retired_nodes(fleet, retired):
    """Of three nodes no unreachable one is tolerated: a retired one is none."""
    fleet.submit(plan("2"))
    fleet.until_stage(1)
    nodes = fleet.ledger.rosters[SHOP].nodes
    for position in retired:
        fleet.retire(nodes[position])
    fleet.until_stage(2, baking=False)
    fleet.until(Phase.DONE)
    assert (fleet.state().result, fleet.state().missing) == (Result.PROMOTED, ())
    assert len(fleet.on("2")) == 12 - len(retired)


def test_a_retired_node_uses_up_no_tolerance(fleet):
    """Of the last stage's eleven nodes one may be away, whoever has left the fleet."""
    fleet.submit(plan("2", stages=(Stage(set_weight=100, bake="100s", min_requests=10),), max_unavailable="100%"))
    fleet.until_stage(0)
    nodes = fleet.ledger.rosters[SHOP].nodes
    fleet.retire(nodes[0])
    fleet.nodes[nodes[1]].away = True
    fleet.until(Phase.WATCHING, seconds=150)


def test_nor_does_it_make_one_of_those_that_are_left(fleet):
    """A tenth of twelve is one, of nine it is none."""
    fleet.submit(plan("2", stages=(Stage(set_weight=100, bake="100s", min_requests=10),), max_unavailable="100%"))
    fleet.until_stage(0)
    nodes = fleet.ledger.rosters[SHOP].nodes
    for node in nodes[:3]:
        fleet.retire(node)
    fleet.nodes[nodes[3]].away = True
    fleet.turn(95)
    assert [reason for reason, _ in blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms)][:1] == [Reason.UNREACHABLE]


def test_the_judge_is_told_who_is_left(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(1)
    nodes = fleet.ledger.rosters[SHOP].nodes
    fleet.retire(nodes[1])
    fleet.retire(nodes[4])
    context = fleet.context()
    assert [one.nodes for one in context.cohorts] == [(nodes[0], nodes[2]), (nodes[3], nodes[5])]
    assert context.stage_nodes == 2


def test_a_stage_of_which_nobody_is_left_ends_at_the_deadline(fleet):
    fleet.submit(plan("2", progress_deadline="60s"))
    fleet.until_stage(0)
    fleet.retire(fleet.ledger.rosters[SHOP].nodes[0])
    fleet.outcome = None
    assert Reason.UNREACHABLE in [reason for reason, _ in blockers(fleet.ledger, fleet.view, SHOP, fleet.now_ms)]
    fleet.until(Phase.DONE, seconds=200)
    assert [one.reason for one in fleet.decisions if one.kind is DecisionKind.ROLLBACK] == [Reason.DEADLINE]


def test_a_first_install_on_nodes_that_have_all_gone_does_not_count_as_done():
    fleet = Fleet(nodes=2)
    fleet.submit(plan("1", None, (Stage(set_weight=100, bake="100s"),), progress_deadline="150s"))
    fleet.until_stage(0)
    for node in list(fleet.nodes):
        fleet.retire(node)
    fleet.until(Phase.DONE, seconds=300)
    assert fleet.state().result is Result.FAILED


def test_a_retreat_waits_for_no_retired_node_and_names_none(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(1)
    first = fleet.ledger.rosters[SHOP].nodes[0]
    fleet.nodes[first].broken.add("1")
    fleet.outcome = None
    fleet.judge(Outcome.FAIL)
    fleet.turn(20)
    assert fleet.state().phase is Phase.ROLLING_BACK
    fleet.retire(first)
    assert (fleet.state().phase, fleet.state().missing) == (Phase.DONE, ())


def test_the_alarm_of_a_node_that_did_not_come_back_ends_with_it(fleet):
    fleet.submit(plan("2"))
    fleet.until_stage(1)
    first = fleet.ledger.rosters[SHOP].nodes[0]
    fleet.nodes[first].away = True
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.DONE, seconds=200)
    assert "rollback_happened" in [alarm.name for alarm in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)]
    fleet.retire(first)
    assert "rollback_happened" not in [alarm.name for alarm in alarms_of(fleet.ledger, fleet.view, fleet.now_ms)]
