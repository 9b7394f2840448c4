"""Who aborts does not expect the next to start (D5): what waits is withdrawn, all of it or one plan by its id."""

import pytest
from tests.rollout.fleet import SHOP, Fleet, plan
from tests.rollout.waves import NAME, group, installed, member
from tests.rollout.waves import state as state_of

from tidegate.rollout.breakglass import intent_of
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.documents import BreakGlass, GlassAction, KeyRole, Phase, PublicKey, Verb
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Stage
from tidegate.wire.policies import Freeze
from tidegate.wire.reasons import Reason

FROZEN = (Freeze(),)


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet()
    made.install()
    return made


def waiting(fleet: Fleet, subject: str = SHOP) -> list[str]:
    return [fleet.ledger.plans[name].plan.id for name in fleet.state(subject).queue]


def frozen(fleet: Fleet, *versions: str) -> Fleet:
    """Plans that wait for a freeze to end."""
    fleet.policy(freezes=FROZEN)
    for version in versions:
        fleet.submit(plan(version))
    assert waiting(fleet) == [f"to-{version}" for version in versions]
    return fleet


def nothing_starts(fleet: Fleet, subject: str = SHOP) -> None:
    """Not when the freeze ends either, and a restart knows it too."""
    fleet.policy()
    fleet.until(Phase.DONE, Phase.IDLE, subject=subject)
    rollout = fleet.state(subject).rollout
    fleet.turn(120)
    assert (fleet.state(subject).rollout, fleet.state(subject).queue) == (rollout, ())
    fleet.check_rebuilt()


# Nothing is under way


def test_an_abort_withdraws_what_waits_where_nothing_is_under_way(fleet):
    frozen(fleet, "2", "3")
    answer = fleet.ask(Verb.ABORT, generation=0, reason="not this week")
    assert (answer.kind, answer.reason, answer.actor) == (DecisionKind.SETTING, Reason.ASKED, "kim")
    assert answer.message == "Plans to-2, to-3 are withdrawn: not this week."
    assert answer.facts["withdrawn"] == ["to-2", "to-3"]
    assert fleet.ask(Verb.ABORT).reason is Reason.NOTHING_TO_DO
    nothing_starts(fleet)


def test_the_first_plan_of_a_service_is_withdrawn_though_no_rollout_of_it_ever_started():
    fleet = Fleet()
    fleet.policy(freezes=FROZEN)
    fleet.submit(plan("1", None))
    assert fleet.ask(Verb.ABORT).kind is DecisionKind.SETTING
    nothing_starts(fleet)
    assert fleet.versions() == {}


def test_what_is_promoted_stays_where_only_a_plan_behind_it_is_aborted_and_the_way_back_is_told(fleet):
    fleet.submit(plan("2"))
    fleet.until(Phase.DONE)
    fleet.policy(freezes=FROZEN)
    fleet.submit(plan("3", "2"))
    answer = fleet.ask(Verb.ABORT)
    assert answer.message == "Plan to-3 is withdrawn: kim aborted it. What runs stays; 2 is taken back by rollout undo shop."
    nothing_starts(fleet)
    assert len(fleet.on("2")) == 12
    assert "rollout undo shop" in fleet.ask(Verb.ABORT).message


def test_one_plan_is_withdrawn_and_those_before_and_behind_it_stay(fleet):
    frozen(fleet, "2", "3", "4")
    answer = fleet.ask(Verb.ABORT, target="to-3")
    assert (answer.kind, answer.message) == (DecisionKind.SETTING, "Plan to-3 is withdrawn: kim aborted it.")
    assert waiting(fleet) == ["to-2", "to-4"]
    fleet.policy()
    assert fleet.state().rollout == "to-2.1"
    fleet.check_rebuilt()


def test_a_plan_that_was_withdrawn_does_not_come_back(fleet):
    document = plan("2")
    fleet.policy(freezes=FROZEN)
    fleet.submit(document)
    fleet.ask(Verb.ABORT)
    assert fleet.submit(document) == ()
    assert fleet.submit(plan("2", reason="again"))[0].reason is Reason.DUPLICATE
    assert fleet.submit(plan("2", id="another"))[0].reason is Reason.PLAN_QUEUED


@pytest.mark.parametrize(
    ("target", "reason", "told"),
    [
        ("to-9", Reason.UNKNOWN, "there: to-2"),
        ("to-1", Reason.NOTHING_TO_DO, "there is nothing to abort"),
    ],
)
def test_who_names_a_plan_that_neither_waits_nor_is_under_way_moves_nothing(fleet, target, reason, told):
    frozen(fleet, "2")
    refused = fleet.ask(Verb.ABORT, target=target)
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, reason)
    assert told in refused.message
    assert waiting(fleet) == ["to-2"]


# A rollout is under way


@pytest.mark.parametrize("when", ["prefetching", "baking", "paused", "watching"])
@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.UNDO])
def test_who_takes_a_release_back_withdraws_what_waits_behind_it(fleet, when, verb):
    fleet.submit(plan("2", watch="1h"))
    for version, before in (("3", "2"), ("4", "1")):
        fleet.submit(plan(version, before))
    if when != "prefetching":
        fleet.until_stage(0)
    if when == "paused":
        fleet.ask(Verb.PAUSE)
    if when == "watching":
        fleet.until(Phase.WATCHING)
    answer = fleet.ask(verb)
    if verb is Verb.UNDO and when != "watching":
        assert answer.kind is DecisionKind.REFUSE
        return
    assert (answer.kind, answer.facts["withdrawn"]) == (DecisionKind.ROLLBACK, ["to-3", "to-4"])
    assert answer.message == f"kim {'aborted' if verb is Verb.ABORT else 'undid'} it; withdrawn with it: to-3, to-4."
    nothing_starts(fleet)
    assert len(fleet.on("1")) == 12


def test_who_names_the_plan_that_is_under_way_leaves_those_behind_it_their_turn(fleet):
    fleet.submit(plan("2"))
    fleet.submit(plan("3", "1"))
    fleet.until_stage(0)
    answer = fleet.ask(Verb.ABORT, target="to-2")
    assert (answer.kind, answer.message) == (DecisionKind.ROLLBACK, "kim aborted it.")
    fleet.until(Phase.RUNNING)
    assert fleet.state().rollout == "to-3.1"
    fleet.check_rebuilt()


def test_a_plan_behind_a_rollout_is_withdrawn_and_that_one_goes_on(fleet):
    fleet.submit(plan("2"))
    fleet.submit(plan("3", "2"))
    fleet.until_stage(0)
    decided = fleet.state().decided_ms
    assert fleet.ask(Verb.ABORT, target="to-3").kind is DecisionKind.SETTING
    assert (fleet.state().phase, fleet.state().decided_ms) == (Phase.RUNNING, decided), "no advance is prolonged by it"
    fleet.until(Phase.DONE)
    nothing_starts(fleet)
    assert len(fleet.on("2")) == 12


def test_an_abort_of_what_goes_back_already_withdraws_what_waits_behind_it(fleet):
    fleet.submit(plan("2"))
    fleet.submit(plan("3", "1"))
    fleet.until_stage(0)
    fleet.judge(Outcome.FAIL)
    assert fleet.state().phase is Phase.ROLLING_BACK
    assert fleet.ask(Verb.ABORT).kind is DecisionKind.SETTING
    nothing_starts(fleet)
    assert fleet.state().result is Result.ROLLED_BACK


def test_what_fails_by_itself_leaves_those_behind_it_their_turn(fleet):
    fleet.submit(plan("2"))
    fleet.submit(plan("3", "1"))
    fleet.until_stage(0)
    fleet.judge(Outcome.FAIL)
    fleet.until(Phase.RUNNING)
    assert fleet.state().rollout == "to-3.1"


@pytest.mark.parametrize("ended", ["aborted", "promoted"])
def test_break_glass_lets_nothing_start_behind_what_is_over(fleet, ended):
    fleet.submit(plan("2"))
    fleet.until(Phase.DONE if ended == "promoted" else Phase.RUNNING)
    if ended == "aborted":
        fleet.ask(Verb.ABORT)
        fleet.until(Phase.DONE)
    fleet.policy(freezes=FROZEN)
    fleet.submit(plan("3", "2" if ended == "promoted" else "1"))
    fields = {"root_version": 1, "actor": "lee", "reason": "fire", "issued_ms": fleet.now_ms}
    glass = BreakGlass(
        id="g", fleet="test", subject=SHOP, generation=fleet.state().generation, action=GlassAction.ROLLBACK, **fields
    )
    fleet.feed(intent_of(glass, PublicKey(id="glass", role=KeyRole.BREAKGLASS, public="0" * 64), fleet.ledger, fleet.now_ms))
    assert waiting(fleet) == []
    nothing_starts(fleet)


# Groups


def test_a_plan_of_a_group_is_not_withdrawn_alone_but_with_its_group():
    fleet = installed("a", "b")
    fleet.submit_group(group(fleet, ["a"], ["b"]))
    for target in ("", "b-2"):
        refused = fleet.ask(Verb.ABORT, "svc/b", target=target)
        assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.NOT_ALLOWED)
        assert refused.message.endswith(f"rollout abort {NAME}")
    assert waiting(fleet, "svc/b") == ["b-2"]
    fleet.ask(Verb.ABORT, NAME)
    assert waiting(fleet, "svc/b") == []


def test_what_else_waits_for_a_service_of_a_group_is_withdrawn_by_its_id_and_the_group_goes_on():
    fleet = installed("a", "b")
    fleet.submit_group(group(fleet, ["a"], ["b"]))
    fleet.submit(member("b", "3", "2"))
    assert waiting(fleet, "svc/b") == ["b-2", "b-3"]
    assert fleet.ask(Verb.ABORT, "svc/b", target="b-3").kind is DecisionKind.SETTING
    while state_of(fleet).phase is Phase.RUNNING:
        fleet.turn()
    assert state_of(fleet).result is Result.PROMOTED


def test_an_undo_leaves_a_groups_plan_to_its_group():
    fleet = installed("a", "b")
    fleet.submit(member("b", "1.1", "1", stages=(Stage(set_weight=100, bake="0s"),)))
    fleet.until(Phase.DONE, subject="svc/b")
    fleet.submit_group(group(fleet, ["a"], [member("b", "2", "1.1")]))
    fleet.submit(member("b", "3", "2"))
    answer = fleet.ask(Verb.UNDO, "svc/b")
    assert (answer.kind, answer.facts["withdrawn"]) == (DecisionKind.ROLLBACK, ["b-3"])
    assert waiting(fleet, "svc/b") == ["b-2"]
