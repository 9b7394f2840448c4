"""What people ask of flags: each intent has exactly one answer, instantly only toward safe (D3, G2, G4, G5)."""

import msgspec
import pytest
from tests.rollout.flags import DARK, STAGES, Story, half_way, on_for_all, ramp, replace, spec
from tests.rollout.fleet import FLEET, plan

from tidegate.rollout.breakglass import intent_of
from tidegate.rollout.flag_levels import withheld
from tidegate.rollout.flag_steps import TOMBSTONE_MS
from tidegate.rollout.ledger import rebuild
from tidegate.rollout.outgoing import open_gates
from tidegate.rollout.step import wake_at
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import BreakGlass, GlassAction, KeyRole, Phase, PublicKey, Verb
from tidegate.wire.experiments import Experiment, Metric
from tidegate.wire.exposures import EXPERIMENT, SALT
from tidegate.wire.flagchanges import FlagChange, RampStage
from tidegate.wire.flagspecs import Layer, Prerequisite, RequiredVersion
from tidegate.wire.flagstates import Off
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Guardrail, Pause, Stage
from tidegate.wire.policies import Freeze
from tidegate.wire.reasons import Reason

OTHER = "flag/web/other"
STAFF = {"in": [{"var": "email"}, ["a@b"]]}
KEEN = {"if": [{"$ref": "staff"}, "on", None]}
GATE_KEY = PublicKey(id="g", role=KeyRole.GATE, public="0" * 64)


def immediate(**fields):
    return spec(immediate=True, **fields)


@pytest.mark.parametrize(
    ("wanted", "course", "path"),
    [
        (spec("neither"), ramp(), "flag.spec.definition.defaultVariant"),
        (spec(targeting={"no_such": [1]}), ramp(), "flag.spec.definition.targeting.no_such"),
        (spec(targeting={"$ref": "staff"}), ramp(), "flag.spec.definition.targeting.$ref"),
        (spec(variants={"on": True, "off": 1}), ramp(), "flag.spec.definition.variants.on"),
        (spec(safe_variant="gone"), ramp(), "flag.spec.safeVariant"),
        (spec(guard=()), ramp(), "flag.spec.immediate"),
        (spec(), None, "flag.ramp: is missing"),
        (immediate(), ramp(), "flag.ramp: an immediate flag"),
        (spec(), ramp(RampStage(set_weight=10)), "flag.ramp.stages[0].setWeight"),
        (spec(), ramp(RampStage(set_weight=10), RampStage(set_weight=10)), "flag.ramp.stages[1].setWeight"),
        (spec(), ramp(*STAGES, guardrails=(Guardrail(metric="p95"),)), "flag.ramp.guardrails[0]"),
        (spec(), ramp(RampStage(set_weight=100, pause=Pause(ask="jira"))), "flag.ramp.stages[0].pause.duration"),
        (spec(prerequisites=(Prerequisite(flag="none", variants=("on",)),)), ramp(), "flag.spec.prerequisites[0].flag"),
        (spec(prerequisites=(Prerequisite(flag="dark", variants=("on",)),)), ramp(), "flag.spec.prerequisites[0].flag"),
    ],
)
def test_a_definition_with_a_fault_is_refused_with_the_path_of_each(wanted, course, path):
    refused = Story().put(wanted, course)
    assert (refused.kind, refused.reason) == (DecisionKind.REFUSE, Reason.BAD_DOCUMENT)
    assert path in refused.message


def test_what_needs_another_flag_must_be_sayable_at_every_stage():
    story = on_for_all()
    story.put(immediate(), subject=OTHER)
    needs = (Prerequisite(flag="other", variants=("on",)),)
    assert story.put(spec("on", prerequisites=needs, variants={"on": True, "off": False}), ramp()).kind == "accept"
    story.grown(10)
    circle = story.put(immediate(prerequisites=(Prerequisite(flag="dark", variants=("on",)),)), subject=OTHER)
    assert "circle" in circle.message
    assert story.want(Verb.ARCHIVE, OTHER).reason is Reason.NOT_ALLOWED
    renamed = story.put(immediate(default="yes", safe_variant="no", variants={"yes": True, "no": False}), subject=OTHER)
    assert renamed.reason is Reason.BAD_DOCUMENT
    assert "web/dark needs it" in renamed.message


def test_a_prerequisite_that_is_killed_makes_those_safe_that_need_it_under_a_newer_number():
    story = Story()
    story.put(immediate(), subject=OTHER)
    story.put(immediate(prerequisites=(Prerequisite(flag="other", variants=("on",)),)))
    assert story.having("off") == set()
    before = story.level(DARK)
    story.want(Verb.KILL, OTHER)
    assert story.having("on") == set()
    assert story.level(DARK).revision > before.revision


def test_flags_of_one_layer_hold_different_slots():
    story = Story()
    story.put(immediate(layer=Layer(name="price", first=0, count=5_000)), subject=OTHER)
    refused = story.put(immediate(layer=Layer(name="price", first=4_000, count=6_000)))
    assert "slots" in refused.message
    story.put(immediate(layer=Layer(name="price", first=5_000, count=5_000)))
    assert story.having("on").isdisjoint(story.having("on", OTHER))


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb not in (Verb.PAUSE, Verb.ABORT, Verb.KILL)])
def test_an_intent_names_the_generation_it_saw(verb):
    story = half_way()
    refused = story.want(verb, generation=0, flag=FlagChange(spec=spec(), ramp=ramp()))
    assert refused.reason is Reason.STALE_GENERATION


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.ABORT, Verb.KILL])
def test_what_stops_holds_whatever_the_person_saw(verb):
    assert half_way().want(verb, generation=0).kind != DecisionKind.REFUSE


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb is not Verb.SET])
def test_of_a_flag_that_is_not_there_nothing_is_asked(verb):
    assert Story().want(verb).reason is Reason.UNKNOWN


def test_an_immediate_change_is_there_at_once_in_one_record_with_actor_and_reason():
    story = Story()
    record = story.put(immediate(), reason="launch")
    assert (record.kind, record.actor, record.message) == ("complete", "kim", "launch")
    assert story.having("off") == set()
    assert (story.flag().proposer, story.flag().why) == ("kim", "launch")
    story.put(immediate(default="off"))
    assert story.having("on") == set()


def test_an_immediate_change_is_refused_under_a_freeze_and_one_toward_safe_is_not():
    story = Story()
    story.put(immediate())
    story.policy(freezes=(Freeze(),))
    assert story.put(immediate(targeting=None, metadata={"owner": "ada"})).reason is Reason.FROZEN
    assert story.put(spec("off")).kind == "complete"
    assert story.having("on") == set()


def test_toward_safe_needs_no_stages_but_another_value_of_the_safe_variant_does():
    story = on_for_all()
    other = story.put(spec("off", variants={"on": True, "off": True}))
    assert "flag.ramp" in other.message
    assert story.put(spec("off")).kind == "complete"
    assert story.having("on") == set()


def test_one_change_at_a_time():
    story = half_way()
    refused = story.put(spec(), ramp())
    assert refused.reason is Reason.ALREADY_RUNNING
    assert "flag abort web/dark" in refused.message


@pytest.mark.parametrize("phase", ["waiting", "running", "paused", "resting", "off"])
def test_a_kill_works_in_every_phase_and_a_restore_brings_back_exactly_what_was_there(phase):
    story = Story()
    story.policy(freezes=(Freeze(),)) if phase == "waiting" else None
    story.put(spec(kill_variant="dead", variants={"on": True, "off": False, "dead": False}), ramp())
    story.pass_by()
    if phase == "paused":
        story.want(Verb.PAUSE)
    elif phase == "resting":
        story.grown(100).pass_by(15)
    elif phase == "off":
        story.verdict(Outcome.FAIL)
    before, seen = story.flag(), story.seen()
    story.want(Verb.KILL, generation=0)
    assert story.having("dead") == set(seen)
    assert story.metadata()["killed"] is True
    assert story.want(Verb.KILL).reason is Reason.NOTHING_TO_DO
    story.pass_by(60)
    assert story.having("dead") == set(seen)
    story.want(Verb.RESTORE)
    assert story.seen() == seen
    after = story.flag()
    assert (after.spec, after.weight, after.before, after.off) == (before.spec, before.weight, before.before, before.off)
    paused = before.phase in (Phase.RUNNING, Phase.PAUSED)
    assert after.phase is (Phase.PAUSED if paused else before.phase)
    if paused:
        story.want(Verb.RESUME)
        story.grown(50)


def test_what_is_set_while_killed_begins_after_the_restore_from_safe():
    story = on_for_all(variants={"on": 1, "off": 0, "mended": 2})
    story.want(Verb.KILL)
    story.put(spec("mended", variants={"on": 1, "off": 0, "mended": 2}), ramp())
    story.pass_by(60)
    assert story.having("off") == set(story.seen())
    story.want(Verb.RESTORE)
    story.grown(10)
    assert story.having("on") == set()
    assert story.having("mended")


def test_a_restore_after_a_switch_off_brings_back_the_definition_before():
    story = on_for_all(variants={"on": 1, "off": 0, "new": 2})
    story.put(spec("new", variants={"on": 1, "off": 0, "new": 2}), ramp())
    story.grown(10).verdict(Outcome.FAIL)
    story.want(Verb.RESTORE)
    assert story.having("on") == set(story.seen())
    fresh = half_way()
    fresh.verdict(Outcome.FAIL)
    assert fresh.want(Verb.RESTORE).reason is Reason.NOTHING_TO_DO


def test_a_share_is_lowered_at_once_and_comes_back_to_what_its_stages_gave_and_no_further():
    story = half_way()
    wide = story.having("on")
    story.want(Verb.SHARE, weight=200)
    assert story.having("on") < wide
    assert story.flag().phase is Phase.PAUSED
    assert story.want(Verb.SHARE, weight=1_001).reason is Reason.NOT_ALLOWED
    assert story.want(Verb.SHARE, weight=200).reason is Reason.NOTHING_TO_DO
    assert story.want(Verb.SHARE).reason is Reason.BAD_DOCUMENT
    story.want(Verb.SHARE, weight=1_000)
    assert story.having("on") == wide
    rests = on_for_all()
    rests.want(Verb.SHARE, weight=2_500)
    assert rests.flag().phase is Phase.DONE
    few = rests.having("on")
    assert 60 <= len(few) <= 140
    rests.put(spec(), ramp())
    rests.pass_by()
    assert rests.having("on") >= few, "what was held by some stays theirs while the next change grows"


def test_an_abort_gives_everyone_what_was_before():
    story = on_for_all(variants={"on": 1, "off": 0, "new": 2})
    story.put(spec("new", variants={"on": 1, "off": 0, "new": 2}), ramp())
    story.grown(50)
    story.want(Verb.ABORT)
    assert story.having("on") == set(story.seen())
    assert story.want(Verb.ABORT).reason is Reason.NOTHING_TO_DO
    new = half_way()
    new.want(Verb.ABORT)
    assert new.having("off") == set(new.seen())
    new.put(spec(), ramp())
    new.grown(10)


def test_promote_ends_a_bake_and_never_a_missing_pass():
    story = Story()
    story.put(spec(), ramp(RampStage(set_weight=10, bake="1h"), RampStage(set_weight=100)))
    story.judging["shop"] = None
    story.want(Verb.PROMOTE)
    story.pass_by(10)
    assert story.blockers() == [Reason.NO_VERDICT]
    story.judging["shop"] = Outcome.PASS
    story.pass_by(2)
    assert story.flag().weight == 10_000


def test_a_gates_key_answers_its_gate_and_nothing_else():
    story = Story()
    gate = Pause(ask="jira", duration="1h")
    story.put(spec(), ramp(RampStage(set_weight=10, bake="1s", pause=gate), RampStage(set_weight=100)))
    story.pass_by(5)
    (question,) = open_gates(story.ledger)
    assert (question.gate, question.subject, question.generation, question.stages) == ("jira", DARK, story.flag().generation, 2)
    assert story.want(Verb.KILL, key=GATE_KEY, target="jira").reason is Reason.NOT_ALLOWED
    assert story.want(Verb.PROMOTE, key=GATE_KEY, target="other").reason is Reason.NOT_ALLOWED
    assert story.want(Verb.PROMOTE, key=GATE_KEY, target="jira").reason is Reason.GATE_PASSED
    story.pass_by(2)
    assert story.flag().weight == 10_000


def test_an_archived_name_is_never_used_again_and_its_record_leaves_days_later():
    story = half_way()
    story.want(Verb.ARCHIVE)
    assert story.having("off") == set(story.seen())
    assert story.metadata()["archived"] is True
    assert story.put(spec(), ramp()).reason is Reason.NOT_ALLOWED
    assert story.want(Verb.KILL).reason is Reason.NOTHING_TO_DO
    story.now_ms += 7 * 86_400_000 - 1_000
    story.pass_by(0)
    assert story.value() is not None
    story.pass_by(1)
    assert story.told()[-1] == ("remove", Reason.EXPIRED)
    assert story.value() is None
    assert story.put(spec(), ramp()).reason is Reason.NOT_ALLOWED


def test_an_archived_name_stays_taken_in_the_ledger_of_the_records_and_after_a_restore_from_an_archive():
    story = half_way()
    story.want(Verb.ARCHIVE)
    story.now_ms += 1_000
    story.restore()
    story.pass_by(1)
    assert story.put(spec(), ramp()).reason is Reason.NOT_ALLOWED
    assert not withheld(story.ledger, DARK)
    story.now_ms += TOMBSTONE_MS
    story.pass_by(1)
    assert (story.told()[-1], story.value()) == (("remove", Reason.EXPIRED), None)
    story.check_rebuilt()
    assert story.put(spec(immediate=True)).reason is Reason.NOT_ALLOWED
    assert wake_at(story.ledger, story.view, story.now_ms) is None


def test_shared_rules_change_only_where_no_flag_has_stages_to_pass():
    story = Story()
    assert story.share({"staff": STAFF}).kind == "setting"
    story.put(spec(targeting=KEEN), ramp())
    story.grown(100).pass_by(15)
    assert "stages" in story.share({"staff": {"!!": [1]}}).message
    assert "uses it" in story.share({}).message
    assert story.share({"staff": STAFF, "more": KEEN}).kind == "setting"
    assert "circle" in story.share({"staff": STAFF, "a": {"$ref": "a"}}).message
    story.put(immediate(targeting={"if": [{"$ref": "more"}, "on", "off"]}), subject=OTHER)
    assert story.share({"staff": STAFF, "more": {"!!": [1]}}).kind == "setting"


def test_bucketing_is_never_switched_in_the_middle_of_a_ramp():
    story = half_way()
    refused = story.share({"bucketing": "v3"}, "$metadata")
    assert "web/dark" in refused.message
    assert story.share({"owner": "kim"}, "$metadata").kind == "setting"
    assert story.share({"bucketing": "v9"}, "$metadata").reason is Reason.BAD_DOCUMENT
    story.want(Verb.ABORT)
    assert story.share({"bucketing": "v3"}, "$metadata").kind == "setting"


TRIED = Experiment(name="checkout", control="off", primary=Metric(name="bought"), shares={"off": 1, "on": 1})


def test_an_experiment_is_published_while_everyone_has_the_definition_and_nobody_is_pinned():
    story = Story()
    story.put(spec(experiment=TRIED), ramp())
    while story.flag().phase is not Phase.DONE:
        assert EXPERIMENT not in story.metadata()
        story.pass_by(1)
    before = story.metadata()[EXPERIMENT]
    story.want(Verb.KILL)
    assert story.metadata() == {"killed": True}
    story.want(Verb.RESTORE)
    assert story.metadata()[EXPERIMENT] == before


def test_a_change_that_waits_does_not_stop_the_experiment_that_is_there():
    story = Story()
    story.put(immediate(experiment=TRIED))
    before = story.metadata()[EXPERIMENT]
    story.policy(freezes=(Freeze(),))
    assert story.put(spec("off", targeting={"if": [True, "on"]}), ramp()).reason is Reason.PLAN_QUEUED
    assert story.flag().phase is Phase.IDLE
    assert story.metadata()[EXPERIMENT] == before


def test_no_two_flags_have_one_experiment():
    story = Story()
    story.put(immediate(experiment=TRIED))
    assert "flag.spec.experiment.name" in story.put(immediate(experiment=TRIED), subject=OTHER).message
    story.put(spec(), ramp())
    assert story.flag().phase is Phase.RUNNING
    assert "flag.spec.experiment.name" in story.put(immediate(experiment=TRIED), subject=OTHER).message, "an abort brings it back"
    story.want(Verb.ARCHIVE)
    assert story.put(immediate(experiment=TRIED), subject=OTHER).kind is DecisionKind.COMPLETE


@pytest.mark.parametrize("change", [{"bucketing": "v3"}, {SALT: "s3"}])
def test_users_are_not_dealt_or_named_anew_in_the_middle_of_an_experiment(change):
    story = Story()
    story.put(immediate(experiment=TRIED))
    refused = story.share(change, "$metadata")
    assert refused.reason is Reason.BAD_DOCUMENT
    assert next(iter(change)) in refused.message
    assert story.share({"owner": "kim"}, "$metadata").kind == "setting"
    story.put(immediate())
    assert story.share(change, "$metadata").kind == "setting"


def test_a_rule_that_an_experiment_uses_does_not_change_under_it():
    story = Story()
    story.share({"staff": STAFF})
    story.put(immediate(targeting={"if": [{"$ref": "staff"}, "on", None]}, experiment=TRIED))
    assert "experiment" in story.share({"staff": {"!!": [1]}}).message


@pytest.mark.parametrize("name", ["dark", "$evaluators", "$metadata"])
def test_a_key_that_stands_twice_in_a_verbatim_part_is_refused(name):
    doubled = msgspec.Raw(b'{"state":"ENABLED","variants":{"on":true,"on":false},"defaultVariant":"on","a":{"b":1,"b":2}}')
    change = FlagChange(value=doubled)
    if name == "dark":
        change = FlagChange(spec=replace(immediate(), definition=doubled))
    assert "twice" in Story().want(Verb.SET, f"flag/web/{name}", flag=change).message


def test_what_holds_at_once_beside_the_flags_waits_for_the_end_of_a_freeze():
    story = Story()
    story.policy(freezes=(Freeze(),))
    assert story.share({"staff": STAFF}).reason is Reason.FROZEN


def test_beside_the_flags_of_a_set_only_values_are_set():
    story = Story()
    for fields in ({"flag": FlagChange(spec=spec())}, {}):
        assert story.want(Verb.SET, "flag/web/$metadata", **fields).reason is Reason.BAD_DOCUMENT
    assert story.want(Verb.KILL, "flag/web/$metadata").reason is Reason.NOT_ALLOWED
    assert story.want(Verb.SET, flag=FlagChange(value=msgspec.Raw(b"{}"))).reason is Reason.BAD_DOCUMENT


def needing(version: str):
    return spec(requires_version=(RequiredVersion(service="shop", version=version),))


def test_a_flag_waits_for_the_code_that_it_needs():
    story = Story()
    story.install("1")
    story.put(needing("2"), ramp())
    story.pass_by(5)
    assert story.blockers() == [Reason.CODE_MISSING]
    story.submit(plan("2"))
    story.until(Phase.WATCHING)
    story.grown(10)


def test_flags_are_safe_before_the_code_that_they_need_goes_back():
    story = Story()
    story.install("1")
    story.submit(plan("2", watch="1h"))
    story.until(Phase.WATCHING)
    story.put(needing("2"), ramp())
    story.put(needing("1"), ramp(), OTHER)
    story.grown(10)
    records = story.judge(Outcome.FAIL)
    assert [(record.subject, record.kind, record.part) for record in records[:2]] == [
        (DARK, DecisionKind.SAFE, True),
        ("svc/shop", DecisionKind.ROLLBACK, False),
    ]
    assert (story.flag().off, story.flag().phase) == (Off.CODE_RETREATED, Phase.PAUSED)
    assert story.having("on") == set()
    assert story.want(Verb.RESTORE).reason is Reason.CODE_MISSING
    story.until(Phase.DONE)
    assert story.want(Verb.RESTORE).reason is Reason.CODE_MISSING
    story.want(Verb.ABORT)
    assert story.flag().off is Off.CODE_RETREATED, "what pins a flag is lifted by a restore alone"
    story.check_rebuilt()


def test_a_fast_plan_takes_the_settled_version_away():
    story = Story()
    story.install("1")
    story.submit(plan("2"))
    story.until(Phase.DONE)
    story.put(needing("2"), ramp())
    story.grown(10)
    story.submit(plan("1", "2", (Stage(set_weight=100),), fast=True, id="back"))
    assert story.flag().off is Off.CODE_RETREATED


def test_a_question_stays_open_until_its_own_answer_is_written():
    """Of a step that is cut off after its first record, the question is asked again (E3)."""
    story = Story()
    story.install("1")
    story.submit(plan("2", watch="1h"))
    story.until(Phase.WATCHING)
    story.put(needing("2"), ramp())
    story.grown(10)
    before = story.ledger.inputs
    answer = story.want(Verb.ABORT, "svc/shop")
    index = story.decisions.index(answer)
    assert story.decisions[index - 1].part
    assert rebuild(enumerate(story.records[:index])).inputs == before


@pytest.mark.parametrize(
    ("action", "verb", "kind"), [(GlassAction.ROLLBACK, Verb.KILL, "kill"), (GlassAction.PAUSE, Verb.PAUSE, "pause")]
)
def test_break_glass_kills_or_pauses_a_flag(action, verb, kind):
    story = half_way()
    glass = BreakGlass(
        id="g1", fleet=FLEET, subject=DARK, root_version=1, generation=0, action=action, actor="eve", reason="fire", issued_ms=0
    )
    event = intent_of(glass, GATE_KEY, story.ledger, story.now_ms)
    assert event.intent.verb is verb
    assert story.feed(replace(event, key=None))[0].kind == kind
