"""``tidegate flag`` against the real decision agent on a log in memory."""

import asyncio

import pytest
from tests.cli.kit import World

from tidegate.cli import flag_ask
from tidegate.cli.session import Exit
from tidegate.wire.codec import decode, encode
from tidegate.wire.decisions import Decision
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

DARK_SUBJECT = "flag/web/dark"

DARK = """
spec:
  definition: {state: ENABLED, variants: {"on": true, "off": false}, defaultVariant: "on"}
  safeVariant: "off"
"""
AT_ONCE = f"{DARK}  immediate: true\n"
BY_STAGES = f"""{DARK}  guard: [shop]
ramp:
  stages:
    - {{setWeight: 10, bake: 1h}}
    - {{setWeight: 100}}
"""


@pytest.fixture
def dark(world: World) -> World:
    """Flag web/dark is on for everyone; it is immediate."""
    done = world.type("flag", "set", "web/dark", "-f", world.plan(AT_ONCE, "dark.yaml"), "--reason", "night shift")
    assert (done.code, done.err) == (0, "")
    return world


@pytest.fixture
def ramping(world: World) -> World:
    """Flag web/dark is new and ramps, at 10 %."""
    done = world.type("flag", "set", "web/dark", "-f", world.plan(BY_STAGES, "dark.yaml"), "--reason", "night shift")
    assert (done.code, done.err) == (0, "")
    return world


def state(world: World, flag: str = "web/dark") -> str:
    return {row["flag"]: row["state"] for row in world.type("flag", "list", "-o", "json").json}[flag]


def test_a_flag_is_set_listed_killed_and_restored(dark: World) -> None:
    assert state(dark) == "on"
    killed = dark.type("flag", "kill", "web/dark", "--reason", "it burns")
    assert (killed.code, killed.err) == (0, "")
    assert "it burns" in killed.out
    assert "now everyone gets off; answered after" in killed.out
    (row,) = dark.type("flag", "list", "-o", "json").json
    assert (row["state"], row["gets"], row["why"]) == ("killed", "everyone gets off", "it burns")
    assert row["actor"]
    restored = dark.type("flag", "restore", "web/dark", "--reason", "mended", "-o", "json")
    assert (restored.json["kind"], restored.json["gets"]) == ("restore", "everyone gets on")
    assert restored.json["answered_ms"] >= 0
    assert state(dark) == "on"


def test_a_kill_of_what_is_killed_or_not_there_is_refused_on_record(dark: World) -> None:
    assert dark.type("flag", "kill", "web/dark", "--reason", "it burns").code == 0
    again = dark.type("flag", "kill", "web/dark", "--reason", "it burns")
    assert again.code == Exit.FAILED
    assert "killed already" in again.out
    unknown = dark.type("flag", "kill", "web/light", "--reason", "it burns", "-o", "json")
    assert (unknown.code, unknown.json["kind"], unknown.json["gets"]) == (Exit.FAILED, "refuse", "")


def test_a_kill_that_nobody_answers_stands_and_says_so(dark: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flag_ask, "ANSWER_WITHIN_S", 0.3)
    dark.deciding = False
    unanswered = dark.type("flag", "kill", "web/dark", "--reason", "it burns")
    assert (unanswered.code, unanswered.out) == (Exit.TIMEOUT, "")
    assert "stands in the log and will be answered when it runs" in unanswered.err
    dark.deciding = True
    assert dark.type("flag", "kill", "web/dark", "--reason", "again").code == Exit.FAILED
    assert state(dark) == "killed"


def test_a_kill_is_sent_though_the_decisions_cannot_be_read(dark: World) -> None:
    dark.deciding = False
    asyncio.run(dark.log.append("decisions", DARK_SUBJECT, b"torn"))
    sent = len(dark.log.topic("intents"))
    listed = dark.type("flag", "list")
    assert (listed.code, "is broken at offset" in listed.err) == (Exit.FAILED, True)
    assert dark.type("flag", "kill", "web/dark", "--reason", "it burns").code == Exit.FAILED
    assert len(dark.log.topic("intents")) == sent + 1


def test_no_flag_yet_says_what_to_do(world: World) -> None:
    assert "tidegate flag set" in world.type("flag", "list").out
    assert "tidegate flag list" in world.type("flag", "show", "web/dark").err
    assert world.type("flag", "explain", "web/dark").code == Exit.FAILED


MISTYPED = [
    (("kill", "dark", "--reason", "x"), "'dark' is no flag; name it as in web/dark"),
    (("kill", "web/$evaluators", "--reason", "x"), "it can be set and shown, nothing else"),
    (("kill", "web/dark"), "--reason"),
    (("kill", "web/dark", "--reason", " "), "say why"),
    (("kill", "web/dark", "--reason", "x" * 257), "257 characters; at most 256"),
    (("share", "web/dark", "101", "--reason", "x"), "'101' is no share"),
    (("share", "web/dark", "0.001", "--reason", "x"), "0 to 100 percent"),
    (("set", "web/dark", "--reason", "x"), "a file or a variant"),
    (("eval", "web/dark", "--context", "u1"), "give a JSON object"),
    (("eval", "web/dark", "--context", '{"a": 1, "a": 2}'), "--context: a"),
    (("eval", "web/dark", "--type", "colour"), "'colour' is not one of"),
]


@pytest.mark.parametrize(("typed", "told"), MISTYPED)
def test_what_cannot_be_meant_is_told_before_anything_is_read(world: World, typed: tuple[str, ...], told: str) -> None:
    result = world.type("flag", *typed)
    assert result.code == Exit.USAGE
    assert told in result.err
    assert not world.log.topic("intents")


def test_one_variant_for_all_is_at_once_where_the_flag_is_immediate(dark: World) -> None:
    assert dark.type("flag", "set", "web/dark", "--variant", "off", "--reason", "day").code == 0
    assert state(dark) == "safe variant for all"
    assert dark.type("flag", "set", "web/dark", "--variant", "on", "--reason", "night").code == 0
    assert state(dark) == "on"
    unknown = dark.type("flag", "set", "web/dark", "--variant", "dim", "--reason", "dusk")
    assert (unknown.code, "it has on, off" in unknown.err) == (Exit.USAGE, True)


def test_one_variant_for_all_of_a_guarded_flag_is_only_the_safe_one(ramping: World) -> None:
    told = ramping.type("flag", "set", "web/dark", "--variant", "on", "--reason", "now")
    assert told.code == Exit.USAGE
    assert "is growth" in told.err
    assert "tidegate flag show web/dark --file" in told.err
    assert ramping.type("flag", "abort", "web/dark", "--reason", "enough").code == 0
    assert ramping.type("flag", "set", "web/dark", "--variant", "off", "--reason", "dark forever").code == 0
    assert state(ramping) == "safe variant for all"


def test_a_ramp_is_steered_and_every_step_is_explained(ramping: World) -> None:
    assert state(ramping) == "ramping 10 %, stage 1/2"
    for verb, becomes in [
        ("pause", "paused 10 %, stage 1/2 (asked)"),
        ("resume", "ramping 10 %, stage 1/2"),
        ("promote", "ramping 10 %, stage 1/2"),
        ("abort", "safe variant for all"),
    ]:
        assert ramping.type("flag", verb, "web/dark", "--reason", f"to {verb}").code == 0
        assert state(ramping) == becomes
    told = ramping.type("flag", "explain", "web/dark").out
    for word in ("night shift", "start", "to pause", "to resume", "to promote", "to abort", "everyone gets off"):
        assert word in told
    rows = ramping.type("flag", "explain", "web/dark", "-o", "json").json["decisions"]
    assert [row["kind"] for row in rows] == ["accept", "start", "pause", "resume", "gate", "rollback"]


def test_a_share_goes_down_at_once_and_never_beyond_what_was_held(ramping: World) -> None:
    lowered = ramping.type("flag", "share", "web/dark", "2.5%", "--reason", "careful", "-o", "json")
    assert (lowered.code, lowered.json["gets"]) == (0, "2.5 % get on, everyone else off")
    refused = ramping.type("flag", "share", "web/dark", "50", "--reason", "more")
    assert refused.code == Exit.FAILED
    assert "more than the 10 %" in refused.out


def test_an_archived_flag_stays_listed_and_is_never_set_again(dark: World) -> None:
    assert dark.type("flag", "archive", "web/dark", "--reason", "done").code == 0
    assert state(dark) == "archived"
    again = dark.type("flag", "set", "web/dark", "-f", dark.plan(AT_ONCE, "dark.yaml"), "--reason", "back")
    assert again.code == Exit.FAILED
    assert "never used again" in again.out


def test_show_prints_what_was_set_as_a_file_that_sets_it_again(dark: World) -> None:
    shown = dark.type("flag", "show", "web/dark")
    for word in ("web/dark: on", "everyone gets on", "immediate: true", '"defaultVariant":"on"'):
        assert word in shown.out
    file = dark.type("flag", "show", "web/dark", "--file").out
    assert dark.type("flag", "set", "web/dark", "-f", dark.plan(file, "again.yaml"), "--reason", "again").code == 0
    found = dark.type("flag", "show", "web/dark", "-o", "json").json
    assert found["wanted"]["spec"]["safeVariant"] == "off"
    assert found["published"]["variants"] == {"on": True, "off": False}


def test_an_evaluation_is_by_what_is_published_now(dark: World) -> None:
    assert "web/dark: on = true   STATIC" in dark.type("flag", "eval", "web/dark").out
    dark.type("flag", "kill", "web/dark", "--reason", "it burns")
    killed = dark.type("flag", "eval", "web/dark", "-o", "json").json
    assert (killed["value"], killed["variant"], killed["metadata"]) == (False, "off", {"killed": True})


def test_an_evaluation_that_ends_in_an_error_is_a_failure(dark: World) -> None:
    missing = dark.type("flag", "eval", "web/light")
    assert missing.code == Exit.FAILED
    assert "FLAG_NOT_FOUND" in missing.out
    typed = dark.type("flag", "eval", "web/dark", "--type", "string")
    assert (typed.code, "TYPE_MISMATCH" in typed.out) == (Exit.FAILED, True)


def test_an_evaluation_is_traced_rule_by_rule(ramping: World) -> None:
    traced = ramping.type("flag", "eval", "web/dark", "--context", '{"targetingKey": "u1"}', "--explain")
    assert traced.code == 0
    assert "targeting.if[0].and[1].==[0].fractional" in traced.out
    assert "of 100000000" in traced.out
    steps = ramping.type("flag", "eval", "web/dark", "--explain", "-o", "json").json["steps"]
    assert steps[-1]["path"] == "targeting.if"


def test_a_ramp_is_shown_stage_by_stage_with_what_it_waits_for(ramping: World) -> None:
    shown = ramping.type("flag", "ramp", "web/dark")
    assert shown.code == 0
    for word in (
        "ramping 10 %, stage 1/2",
        "10 % get on, everyone else off",
        "bakes for",
        "shop: There is no verdict",
        "100 %",
        "now",
    ):
        assert word in shown.out
    found = ramping.type("flag", "ramp", "web/dark", "-o", "json").json
    assert [stage["setWeight"] for stage in found["ramp"]] == [10, 100]
    assert {blocker["reason"] for blocker in found["blockers"]} == {"baking", "no_verdict"}
    assert 0 < found["bake_left_ms"] <= 3_600_000


def test_watching_ends_with_the_ramp_and_its_exit_code_tells_how(ramping: World) -> None:
    waited = ramping.type("flag", "ramp", "web/dark", "--watch", "--timeout", "10ms")
    assert (waited.code, "it goes on" in waited.err) == (Exit.TIMEOUT, True)
    ramping.type("flag", "abort", "web/dark", "--reason", "enough")
    assert ramping.type("flag", "ramp", "web/dark", "--watch").code == Exit.ABORTED


def test_watching_sees_a_guard_switch_the_flag_off(ramping: World) -> None:
    asyncio.run(ramping.log.append("verdicts", DARK_SUBJECT, encode(fail_of(ramping))))
    watched = ramping.type("flag", "ramp", "web/dark", "--watch", "--timeout", "20s")
    assert watched.code == Exit.ROLLED_BACK
    assert state(ramping) == "switched off"
    told = ramping.type("flag", "show", "web/dark").out
    for word in ("5 % of its requests failed", "tidegate flag release web/dark", "tidegate flag restore web/dark"):
        assert word in told
    (digest,) = ramping.type("flag", "ramp", "web/dark", "-o", "json").json["quarantined"]
    again = ramping.type("flag", "set", "web/dark", "-f", str(ramping.folder / "dark.yaml"), "--reason", "again")
    assert (again.code, digest in again.out) == (Exit.FAILED, True)
    assert ramping.type("flag", "release", "web/dark", digest, "--reason", "mended").code == 0


def fail_of(world: World) -> Verdict:
    """What a judge says of the share that is there now."""
    flag = decode(world.log.topic("decisions")[-1].value or b"", Decision).flag
    assert flag is not None
    return Verdict(
        subject=DARK_SUBJECT,
        service="shop",
        epoch=1,
        generation=flag.generation,
        rollout=flag.rollout,
        placement=flag.placement,
        stage=flag.stage,
        outcome=Outcome.FAIL,
        reason=Reason.LIMIT_BROKEN,
        action=Action.ROLLBACK,
        canary_requests=1_000,
        last_pane_ms=world.clock.now_ms(),
        sentence="5 % of its requests failed.",
    )


def test_a_dry_run_says_what_would_be_decided_and_sends_nothing(world: World) -> None:
    path = world.plan(BY_STAGES, "dark.yaml")
    would = world.type("flag", "set", "web/dark", "-f", path, "--dry-run", "--reason", "x")
    assert (would.code, "would be answered by accept: The definition comes by 2 stages." in would.out) == (0, True)
    assert not world.log.topic("intents")


def test_what_only_the_ledger_can_tell_of_a_file_is_told_before_it_is_signed(world: World) -> None:
    path = world.plan(BY_STAGES.partition("ramp:")[0], "dark.yaml")
    refused = world.type("flag", "set", "web/dark", "-f", path, "--reason", "x")
    assert (refused.code, "ramp: is missing" in refused.err) == (Exit.USAGE, True)
    needs = world.plan(AT_ONCE + "  prerequisites: [{flag: other, variants: [a]}]\n", "needs.yaml")
    refused = world.type("flag", "set", "web/dark", "-f", needs, "--reason", "x")
    assert (refused.code, "there is no flag other in the set" in refused.err) == (Exit.USAGE, True)
    refers = world.plan(AT_ONCE.replace('"on"}', '"on", targeting: {$ref: staff}}'), "refers.yaml")
    refused = world.type("flag", "set", "web/dark", "-f", refers, "--reason", "x")
    assert (refused.code, "spec.definition.targeting" in refused.err) == (Exit.USAGE, True)
    assert not world.log.topic("intents")
    rules = world.plan('{"staff": {"ends_with": [{"var": "email"}, "@example.com"]}}', "rules.json")
    assert world.type("flag", "set", "web/$evaluators", "-f", rules, "--reason", "x").code == 0
    assert world.type("flag", "set", "web/dark", "-f", refers, "--reason", "x").code == 0
    assert world.type("flag", "show", "web/$evaluators", "-o", "json").json.keys() == {"staff"}
