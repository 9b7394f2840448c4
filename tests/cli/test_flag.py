"""``tidegate flag`` against the real decision agent on a log in memory."""

import pytest
from tests.cli.kit import World

from tidegate.cli.session import Exit

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
