"""Whole rollouts, from the plan to the end."""

from tests.rollout.fleet import SHOP, Fleet, plan

from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import Phase
from tidegate.wire.judgement import Outcome


def test_a_first_install_goes_by_readiness_alone_and_is_settled():
    fleet = Fleet()
    fleet.outcome = None
    fleet.install()
    assert fleet.state().settled.version == "1"
    assert fleet.state().result is Result.PROMOTED
    fleet.check_rebuilt()


def test_a_good_release_goes_one_three_all_and_is_settled_after_the_watch():
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2"))
    fleet.until(Phase.WATCHING)
    assert len(fleet.on("2")) == 12
    assert fleet.state().settled.version == "1"
    fleet.until(Phase.DONE)
    assert (fleet.state().settled.version, fleet.state().result) == ("2", Result.PROMOTED)
    fleet.check_rebuilt()


def test_a_fail_in_the_first_stage_brings_everyone_back_and_quarantines_the_version():
    fleet = Fleet()
    fleet.install()
    fleet.submit(plan("2"))
    fleet.until_stage(0)
    assert len(fleet.on("2")) == 1
    assert fleet.judge(Outcome.FAIL)[0].kind is DecisionKind.ROLLBACK
    fleet.outcome = Outcome.HOLD
    fleet.until(Phase.DONE)
    assert fleet.on("2") == []
    assert (fleet.state().result, fleet.state().quarantined) == (Result.ROLLED_BACK, ("2",))
    assert fleet.last(SHOP).kind is DecisionKind.RETURNED
    fleet.check_rebuilt()
