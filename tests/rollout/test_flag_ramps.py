"""A flag grows by stages, judged as a release is (G2, G3, D4, D5)."""

import pytest
from tests.rollout.flags import DARK, STAGES, Story, half_way, on_for_all, ramp, spec

from tidegate.rollout.flag_levels import withheld
from tidegate.rollout.ramp_forward import ramp_blockers
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import KeyRole, Phase, PublicKey, Verb
from tidegate.wire.flagchanges import RampStage
from tidegate.wire.flagspecs import Prerequisite
from tidegate.wire.flagstates import Off, RampResult
from tidegate.wire.judgement import AlarmState, Evidence, Outcome
from tidegate.wire.plans import Action, Gate, GateDefault, Pause
from tidegate.wire.policies import Freeze, RollbackBudget
from tidegate.wire.reasons import Reason

OTHER = "flag/web/other"


def test_a_new_flag_is_safe_for_everyone_until_its_ramp_has_grown():
    story = Story()
    story.policy(freezes=(Freeze(),))
    assert story.put(spec(), ramp()).reason is Reason.PLAN_QUEUED
    assert story.having("on") == set()
    story.policy()
    story.pass_by()
    assert 20 <= len(story.having("on")) <= 60


def test_a_ramp_passes_all_its_stages_and_moves_nobody_who_is_in_it():
    story = Story()
    story.put(spec(), ramp())
    shares = [story.grown(percent).having("on") for percent in (10, 50, 100)]
    assert shares[0] < shares[1] < shares[2]
    story.pass_by(15)
    assert (story.flag().phase, story.flag().result) == (Phase.DONE, RampResult.PROMOTED)
    assert story.value() == bytes(story.flag().spec.definition)
    assert [kind for kind, _ in story.told()] == ["accept", "start", "promote", "promote", "complete"]
    story.check_rebuilt()


def test_outside_of_a_share_the_definition_before_holds():
    story = on_for_all(variants={"on": 1, "off": 0, "new": 2})
    story.put(spec("new", variants={"on": 1, "off": 0, "new": 2}), ramp())
    story.grown(10)
    assert story.having("off") == set()
    assert 20 <= len(story.having("new")) <= 60


@pytest.mark.parametrize(
    ("changes", "blocker"),
    [
        ({"bake": "1h"}, Reason.BAKING),
        ({"min_exposures": 5_000}, Reason.TOO_FEW_REQUESTS),
        ({"gate": Gate.CERTIFIED}, Reason.NOT_CERTIFIED),
        ({"pause": Pause()}, Reason.GATE),
    ],
)
def test_a_stage_waits_for_what_it_asks_for(changes, blocker):
    story = Story()
    story.put(spec(), ramp(RampStage(**({"set_weight": 10, "bake": "10s"} | changes)), RampStage(set_weight=100)))
    story.pass_by(60)
    assert story.blockers() == [blocker]
    assert story.flag().weight == 1_000


@pytest.mark.parametrize("asks", [{"gate": Gate.CERTIFIED}, {"pause": Pause()}])
def test_a_stage_that_a_person_may_promote_says_how(asks):
    story = Story()
    story.put(spec(), ramp(RampStage(set_weight=10, bake="10s", **asks), RampStage(set_weight=100)))
    story.pass_by(60)
    ((_, sentence),) = ramp_blockers(story.ledger, story.view, DARK, story.now_ms)
    assert "flag promote web/dark" in sentence


@pytest.mark.parametrize(
    ("seconds", "evidence", "requests", "words"),
    [
        (660, 1.0, 900, "errors 1 of 4; at the pace so far that takes at least 30 min more"),
        (660, 0.001, 900, "errors 0.001 of 4; at the pace so far that takes at least 28 days more"),
        (660, -0.2, 900, "at the pace so far that never comes"),
        (80, 1.0, 900, "errors 1 of 4. flag promote web/dark overrules it"),
        (600, 1.0, 100, "served 100 of the 500 requests that this stage needs; at the pace so far that takes 40 min more"),
        (600, 1.0, 1, "served 1 of the 500 requests that this stage needs; at the pace so far that takes 3 days more"),
        (600, 1.0, 0, "served 0 of the 500 requests that this stage needs; at the pace so far that never comes"),
        (20, 1.0, 100, "served 100 of the 500 requests that this stage needs."),
    ],
)
def test_what_waits_for_traffic_says_how_long_that_takes_at_the_pace_so_far(seconds, evidence, requests, words):
    story = Story()
    certified = RampStage(set_weight=10, bake="10s", gate=Gate.CERTIFIED, min_exposures=500)
    story.put(spec(), ramp(certified, RampStage(set_weight=100)))
    story.judging["shop"] = None
    story.pass_by(seconds)
    weighed = Evidence(family="errors", metric="errors", log_e=-1.0, threshold=5.3, log_licence=evidence, licence_threshold=4.0)
    last_ms = story.now_ms - 1_000
    story.verdict(
        Outcome.PASS,
        canary_requests=requests,
        evidence=(weighed,),
        first_pane_ms=last_ms - seconds * 1_000,
        last_pane_ms=last_ms,
    )
    assert words in " ".join(sentence for _, sentence in ramp_blockers(story.ledger, story.view, DARK, story.now_ms))


def test_a_pass_needs_every_service_of_the_guard_and_a_fail_only_one():
    story = half_way(guard=("shop", "cart"))
    story.judging["cart"] = None
    story.pass_by(30)
    assert story.blockers() == [Reason.NO_VERDICT]
    story.judging["cart"] = Outcome.PASS
    story.grown(50)
    story.verdict(Outcome.FAIL, "cart")
    assert (story.flag().off, story.flag().result) == (Off.SWITCHED_OFF, RampResult.SWITCHED_OFF)
    assert story.having("on") == set()


def test_a_breach_switches_off_for_everyone_and_puts_the_spec_into_quarantine():
    story = on_for_all(variants={"on": 1, "off": 0, "new": 2})
    changed = spec("new", variants={"on": 1, "off": 0, "new": 2})
    story.put(changed, ramp())
    story.grown(10)
    (record,) = story.verdict(Outcome.FAIL, metric="errorRatio", canary=0.05)
    assert (record.kind, record.reason, record.facts["service"]) == ("rollback", Reason.LIMIT_BROKEN, "shop")
    assert story.having("off") == set(story.seen())
    assert story.metadata()["safe"] is True
    refused = story.put(changed, ramp())
    assert refused.reason is Reason.QUARANTINED
    (name,) = story.flag().quarantined
    assert name in refused.message
    assert story.want(Verb.RELEASE, target=name).kind == "setting"
    assert story.put(changed, ramp()).kind == "accept"
    story.grown(10)
    assert story.having("on") == set(), "outside of the share the safe variant stays: nothing else comes back by itself"


def test_a_fail_of_another_placement_does_nothing():
    story = half_way()
    assert story.verdict(Outcome.FAIL, placement="another") == ()
    assert story.flag().phase is Phase.RUNNING


def test_on_fail_pause_keeps_the_share_and_waits_for_a_person():
    story = Story()
    story.put(spec(), ramp(*STAGES, on_fail=Action.PAUSE))
    story.grown(10)
    story.verdict(Outcome.FAIL)
    assert (story.flag().phase, story.flag().weight) == (Phase.PAUSED, 1_000)
    story.pass_by(120)
    assert story.flag().phase is Phase.PAUSED
    story.want(Verb.RESUME)
    story.grown(50)


def test_a_signal_pauses_a_ramp_and_it_goes_on_by_itself_once_it_is_over():
    story = half_way()
    story.alarm(AlarmState.FIRING)
    assert (story.flag().phase, story.flag().paused_reason) == (Phase.PAUSED, Reason.ALARM_OPEN)
    story.pass_by(60)
    assert story.flag().weight == 1_000
    story.alarms_over()
    story.pass_by(29)
    assert story.flag().phase is Phase.PAUSED
    story.pass_by(2)
    assert story.told()[-1] == ("resume", Reason.ALARM_OVER)
    story.grown(50)


def test_what_burns_everyone_pauses_a_ramp_until_it_has_been_over_for_a_while():
    story = half_way()
    story.verdict(Outcome.FAIL, action=Action.PAUSE, reason=Reason.ENVIRONMENT)
    assert story.flag().paused_reason is Reason.ENVIRONMENT
    story.pass_by(25)
    assert story.flag().phase is Phase.PAUSED
    story.pass_by(10)
    assert story.told()[-1] == ("resume", Reason.BURNED_OUT)


def test_while_paused_a_fail_still_switches_off():
    story = half_way()
    story.want(Verb.PAUSE)
    story.verdict(Outcome.FAIL)
    assert story.flag().off is Off.SWITCHED_OFF


@pytest.mark.parametrize("policy", [{"freezes": (Freeze(),)}, {"freezes": (Freeze(),), "services": ("shop",)}])
def test_policies_of_a_guarded_service_stop_growth_and_never_a_switch_off(policy):
    story = half_way()
    story.policy(**policy)
    story.pass_by(60)
    assert story.blockers() == [Reason.FROZEN]
    story.verdict(Outcome.FAIL)
    assert story.flag().off is Off.SWITCHED_OFF


@pytest.mark.parametrize("services", [(), ("shop",)])
def test_switch_offs_are_counted_by_the_budgets_of_the_services_that_judged_them(services):
    story = Story()
    story.policy(rollback_budget=RollbackBudget(rollbacks=1), services=services)
    story.pass_by()
    story.put(spec(), ramp())
    story.grown(10)
    story.verdict(Outcome.FAIL)
    story.put(spec(), ramp(), "flag/web/other")
    assert story.blockers("flag/web/other") == [Reason.BUDGET_SPENT]


@pytest.mark.parametrize(
    ("default", "kind", "weight"),
    [(GateDefault.PROMOTE, "promote", 10_000), (GateDefault.ROLLBACK, "rollback", 0), (GateDefault.HOLD, "gate", 1_000)],
)
def test_a_gate_that_nobody_answers_does_as_it_says(default, kind, weight):
    story = Story()
    gate = Pause(duration="30s", default=default)
    story.put(spec(), ramp(RampStage(set_weight=10, bake="5s", pause=gate), RampStage(set_weight=100, bake="1h")))
    story.pass_by(60)
    assert (story.told()[-1][0], story.flag().weight) == (kind, weight)


def test_a_context_names_variants_for_each_service_and_a_bare_one_ends_it():
    story = half_way(guard=("shop", "cart"))
    contexts = story.contexts()
    assert sorted(contexts) == ["cart", "shop"]
    canary, control = contexts["shop"].cohorts
    assert (canary.variants, control.variants) == (("on",), ("off",))
    assert canary.nodes == control.nodes == ()
    assert contexts["shop"].placement == contexts["cart"].placement != ""
    assert story.metadata()["tidegate.watched"] is True
    story.want(Verb.ABORT)
    assert {context.placement for context in story.contexts().values()} == {""}
    assert "tidegate.watched" not in story.metadata()


def test_a_placement_changes_with_stage_and_weight_only():
    story = half_way()
    first = story.flag().placement
    story.want(Verb.PAUSE)
    story.want(Verb.RESUME)
    assert story.flag().placement == first
    story.want(Verb.SHARE, weight=500)
    assert story.flag().placement not in ("", first)
    story.want(Verb.RESUME)
    assert story.flag().placement == first


def test_ramps_under_way_wait_for_a_person_after_a_restore():
    story = half_way()
    story.now_ms += 1_000
    story.restore()
    story.pass_by(60)
    assert (story.flag().phase, story.flag().paused_reason) == (Phase.PAUSED, Reason.RESTORED)
    assert story.flag().weight == 1_000
    story.want(Verb.RESUME)
    story.grown(50)


def test_a_second_person_approves_where_a_policy_asks_for_one():
    story = Story()
    story.policy(second_approver=True, services=("shop",))
    waits = story.put(spec(), ramp())
    assert "second approver" in waits.message
    story.pass_by(5)
    assert story.blockers() == [Reason.NOT_APPROVED]
    assert story.want(Verb.APPROVE, target=waits.answers).reason is Reason.NOT_ALLOWED
    assert story.want(Verb.APPROVE, target=waits.answers, actor="ada").kind == "setting"
    story.grown(10)


def test_what_needs_a_flag_that_came_from_an_archive_waits_until_a_person_has_spoken_of_that():
    """What the archive has of it may have been killed since."""
    story = Story()
    story.put(spec(immediate=True), subject=OTHER)
    story.now_ms += 1_000
    story.restore()
    needing = spec(immediate=True, prerequisites=(Prerequisite(flag="other", variants=("on",)),))
    refused = story.put(needing)
    assert (refused.reason, "flag restore first" in refused.message) == (Reason.BAD_DOCUMENT, True)
    story.want(Verb.RESTORE, OTHER)
    assert story.put(needing).kind is DecisionKind.COMPLETE


def test_a_flag_that_needs_one_that_came_from_an_archive_stays_as_it_is_on_the_topic():
    """It went off for everyone although a person had said that it holds."""
    story = Story()
    story.put(spec(immediate=True), subject=OTHER)
    story.put(spec(immediate=True, prerequisites=(Prerequisite(flag="other", variants=("on",)),)))
    story.now_ms += 1_000
    story.restore()
    said = story.want(Verb.RESTORE)
    assert ("needs: other" in said.message, withheld(story.ledger, DARK)) == (True, True)
    story.want(Verb.RESTORE, OTHER)
    assert not withheld(story.ledger, DARK)
    assert story.having("on") == set(story.seen())


def test_after_a_restore_nothing_is_published_but_what_is_safe_until_a_person_has_spoken():
    story = on_for_all()
    story.put(spec(immediate=True), subject=OTHER)
    story.now_ms += 1_000
    story.restore()
    story.pass_by(5)
    assert [withheld(story.ledger, one) for one in (DARK, OTHER)] == [True, True]
    story.want(Verb.KILL)
    assert story.want(Verb.RESTORE, OTHER).kind == "restore"
    assert [withheld(story.ledger, one) for one in (DARK, OTHER)] == [False, False]


@pytest.mark.parametrize(
    ("by", "role", "counts"), [("k1", KeyRole.OPERATOR, False), ("k2", KeyRole.OPERATOR, True), ("k1", KeyRole.API, True)]
)
def test_a_second_person_has_another_key_or_speaks_through_the_api(by, role, counts):
    story = Story()
    story.policy(second_approver=True)
    waits = story.put(spec(), ramp(), key=PublicKey(id="k1", role=role, public="0" * 64))
    approved = story.want(Verb.APPROVE, target=waits.answers, actor="ada", key=PublicKey(id=by, role=role, public="0" * 64))
    assert (approved.kind == "setting") is counts


def test_all_of_it_is_rebuilt_from_its_records():
    story = half_way()
    story.want(Verb.KILL)
    story.want(Verb.RESTORE)
    story.want(Verb.RESUME)
    story.grown(50)
    story.verdict(Outcome.FAIL)
    story.share({"staff": {"==": [1, 1]}})
    story.check_rebuilt()
    assert story.ledger.flags[DARK].seq == next(d.seq for d in reversed(story.decisions) if d.subject == DARK)
