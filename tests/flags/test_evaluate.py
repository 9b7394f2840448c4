import json

import msgspec
import pytest
from tests.flags.kit import NOW_S, asked, definition, flag_set, got

from tidegate.flags.evaluate import evaluate
from tidegate.flags.explain import explain
from tidegate.flags.store import Flags
from tidegate.flags.work import STEPS_MAX
from tidegate.wire.codec import Malformed
from tidegate.wire.flags import ErrorCode, EvaluationReason, Kind, TopicKey

R, E = EvaluationReason, ErrorCode
SIZES = {"small": 1, "large": 2.5}
IF_NL = {"if": [{"==": [{"var": "country"}, "nl"]}, "on", None]}

OUTCOMES = {
    "no targeting": (definition(default="on"), {}, ("on", R.STATIC, None)),
    "an empty targeting is none": (definition({}, default="on"), {}, ("on", R.STATIC, None)),
    "a rule holds": (definition(IF_NL), {"country": "nl"}, ("on", R.TARGETING_MATCH, None)),
    "a rule gives null": (definition(IF_NL), {"country": "de"}, ("off", R.DEFAULT, None)),
    "a rule gives a boolean": (
        definition({"==": [1, 1]}, default="false", variants={"true": True, "false": False}),
        {},
        ("true", R.TARGETING_MATCH, None),
    ),
    "a rule gives a number": (definition({"+": [1, 2]}, default="3", variants={"3": "x"}), {}, ("3", R.TARGETING_MATCH, None)),
    "null is the caller's default": (definition(default=None), {}, (None, R.DEFAULT, None)),
    "a null rule and a null default too": (definition(IF_NL, default=None), {}, (None, R.DEFAULT, None)),
    "disabled": (definition(IF_NL, state="DISABLED"), {"country": "nl"}, (None, R.DISABLED, None)),
    "a rule names no variant": (definition({"cat": ["of", "ten"]}), {}, (None, R.ERROR, E.GENERAL)),
    "a share without a targeting key": (definition({"fractional": [["on", 1]]}), {}, ("off", R.DEFAULT, None)),
    "a share of everyone": (definition({"fractional": [["on", 1]]}), {"targetingKey": "u"}, ("on", R.TARGETING_MATCH, None)),
    "a division by zero": (definition({"/": [1, 0]}), {}, (None, R.ERROR, E.GENERAL)),
    "an operator that is not known": (definition({"xor": [1, 0]}), {}, (None, R.ERROR, E.PARSE_ERROR)),
    "... is no error where it is not reached": (
        definition({"if": [True, "on", {"xor": [1]}]}),
        {},
        ("on", R.TARGETING_MATCH, None),
    ),
    "a shared rule that is not there": (definition({"if": [{"$ref": "nope"}, "on"]}), {}, (None, R.ERROR, E.PARSE_ERROR)),
    "a context that is no object": (definition(IF_NL), ["nl"], (None, R.ERROR, E.INVALID_CONTEXT)),
    "the key of the flag": (
        definition({"if": [{"==": [{"var": "$flagd.flagKey"}, "f"]}, "on"]}),
        {},
        ("on", R.TARGETING_MATCH, None),
    ),
    "the time": (definition({"if": [{"==": [{"var": "$flagd.timestamp"}, NOW_S]}, "on"]}), {}, ("on", R.TARGETING_MATCH, None)),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_what_a_user_gets(name):
    value, context, (variant, reason, code) = OUTCOMES[name]
    found = got(value, context)
    assert (found.variant, found.reason, found.error_code) == (variant, reason, code)
    assert (found.error_message is None) == (code is None)
    if variant is None:
        assert found.value is None


@pytest.mark.parametrize(
    ("variants", "kind", "value"),
    [
        ({"v": True}, Kind.BOOLEAN, True),
        ({"v": 1}, Kind.BOOLEAN, E.TYPE_MISMATCH),
        ({"v": "x"}, Kind.STRING, "x"),
        ({"v": True}, Kind.STRING, E.TYPE_MISMATCH),
        ({"v": 3}, Kind.INTEGER, 3),
        ({"v": 3.0}, Kind.INTEGER, E.TYPE_MISMATCH),
        ({"v": True}, Kind.INTEGER, E.TYPE_MISMATCH),
        ({"v": 3}, Kind.FLOAT, 3.0),
        ({"v": {"a": 1}}, Kind.OBJECT, {"a": 1}),
        ({"v": "x"}, Kind.OBJECT, E.TYPE_MISMATCH),
        ({"v": "x"}, None, "x"),
    ],
)
def test_a_caller_gets_the_type_it_asked_for_or_its_default(variants, kind, value):
    flags = flag_set(f=definition(default="v", variants=variants))
    found = evaluate(flags, "f", asked(kind=kind, default="mine"))
    assert (found.error_code or found.value) == value
    assert type(found.error_code or found.value) is type(value)
    if found.error_code:
        assert (found.value, found.variant) == ("mine", None)


def test_metadata_are_the_sets_and_over_them_the_flags():
    held = Flags()
    held.put(TopicKey("web", "$metadata"), b'{"flagSetId": "web", "version": "7", "owner": "all"}')
    held.put(TopicKey("web", "f"), definition(metadata={"owner": "team"}))
    flags = held.sets["web"]
    assert evaluate(flags, "f", asked()).metadata == {"flagSetId": "web", "version": "7", "owner": "team"}
    assert evaluate(flags, "nope", asked()).metadata == flags.metadata
    assert evaluate(flags, "nope", asked()).error_code is E.FLAG_NOT_FOUND


def test_shared_rules_are_followed_whenever_they_come_and_change_for_all():
    held = Flags()
    held.put(TopicKey("web", "f"), definition({"if": [{"$ref": "staff"}, "on", "off"]}))
    for domain, variant in (("@a.com", "on"), ("@b.com", "off")):
        rules = {"staff": {"and": [{"$ref": "ours"}, True]}, "ours": {"ends_with": [{"var": "email"}, domain]}}
        held.put(TopicKey("web", "$evaluators"), json.dumps(rules).encode())
        assert evaluate(held.sets["web"], "f", asked({"email": "x@a.com"})).variant == variant


REFUSED = {
    "no JSON": (b"{", ""),
    "no state": (definition(state=None), "state"),
    "an unknown state": (definition(state="ON"), "state"),
    "no variants": (definition(variants={}), "variants"),
    "variants of two types": (definition(variants={"on": True, "off": "no"}), "variants.off"),
    "a variant that is null": (definition(variants={"on": None}), "variants.on"),
    "a default that is no variant": (definition(default="none"), "defaultVariant"),
    "a targeting that is no object": (definition(["on"]), "targeting"),
    "metadata of lists": (definition(metadata={"a": []}), "metadata.a"),
    "too deep": (definition(json.loads('{"!":' * 200 + "1" + "}" * 200)), "targeting"),
    "too many values": (definition({"in": ["x", [1] * 30_000]}), "targeting"),
    "too large": (definition({"cat": "x" * (300 << 10)}), ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_changes_nothing(name):
    value, path = REFUSED[name]
    held = Flags()
    held.put(TopicKey("web", "f"), definition(default="on"))
    with pytest.raises(Malformed) as refused:
        held.put(TopicKey("web", "f"), value)
    assert refused.value.path == path
    assert evaluate(held.sets["web"], "f", asked()).variant == "on"


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        ("$evaluators", b'{"a": {"$ref": "b"}, "b": {"!": [{"$ref": "a"}]}}', "a"),
        ("$evaluators", b'{"a": {"$ref": "a"}}', "a"),
        ("$evaluators", b"[]", ""),
        ("$metadata", b'{"bucketing": "v4"}', "bucketing"),
        ("$metadata", b'{"flagSetId": 1}', "flagSetId"),
        ("$metadata", b'{"a": null}', "a"),
    ],
)
def test_shared_rules_in_a_circle_and_unknown_generations_change_nothing(name, value, path):
    held = Flags()
    held.put(TopicKey("web", "$evaluators"), b'{"a": {"!": [false]}}')
    held.put(TopicKey("web", "$metadata"), b'{"bucketing": "v3"}')
    held.put(TopicKey("web", "f"), definition({"if": [{"$ref": "a"}, "on"]}))
    with pytest.raises(Malformed) as refused:
        held.put(TopicKey("web", name), value)
    assert refused.value.path == path
    assert held.sets["web"].bucketing == "v3"
    assert evaluate(held.sets["web"], "f", asked()).variant == "on"


def test_a_tombstone_takes_a_flag_away_and_makes_no_set():
    held = Flags()
    held.put(TopicKey("web", "f"), None)
    assert not held.sets
    held.put(TopicKey("web", "f"), definition())
    held.put(TopicKey("web", "f"), None)
    assert evaluate(held.sets["web"], "f", asked()).error_code is E.FLAG_NOT_FOUND


def nested(rule, times, operator="map"):
    for _ in range(times):
        rule = {operator: [{"var": "list"} if operator != "map" else list(range(100)), rule]}
    return rule


ACC = {"var": "accumulator"}
BOMBS = {
    "lists in lists": nested({"+": [1, 1]}, 8),
    "literals in lists": nested(1, 8),
    "a text that doubles": {"reduce": [list(range(60)), {"cat": [ACC, ACC]}, "x"]},
    "a list that doubles": {"reduce": [list(range(60)), {"merge": [ACC, ACC]}, ["x"]]},
    "a number that squares itself": {"reduce": [list(range(60)), {"*": [ACC, ACC]}, 3]},
    "a tree that is one list twice, read": {"cat": [{"reduce": [list(range(60)), [ACC, ACC], "x"]}]},
    "... and compared": {"===": [{"reduce": [list(range(60)), [ACC, ACC], "x"]}, {"reduce": [list(range(60)), [ACC, ACC], "x"]}]},
    "... and returned": {"reduce": [list(range(60)), [ACC, ACC], "x"]},
    "... and drawn by": {"fractional": [{"cat": [{"reduce": [list(range(60)), [ACC, ACC], "x"]}]}, ["on", 1]]},
    "data within itself": {"cat": [{"reduce": [[1, 2], {"var": ""}, 1]}]},
    "a huge number": {"+": [10**4000, 1]},
    "shared rules that double": {"!": [{"$ref": "r0"}]},
}
DOUBLING = {f"r{n}": {"and": [{"$ref": f"r{n + 1}"}, {"$ref": f"r{n + 1}"}]} for n in range(40)} | {"r40": {"!": [False]}}


@pytest.mark.parametrize("name", BOMBS)
def test_a_rule_that_asks_for_a_year_of_work_is_stopped(name):
    value = definition({"if": [BOMBS[name], "on", "off"]}) if name != "... and returned" else definition(BOMBS[name])
    found = got(value, {"targetingKey": "u"}, **DOUBLING)
    assert found.error_code is E.GENERAL
    assert "was stopped" in found.error_message


def test_the_deepest_rule_is_evaluated_and_explained_and_a_deeper_one_stopped():
    """Frames of Python are 1,000, and whoever calls has some of them."""
    all_of = json.loads('{"all": [[1], ' * 45 + "true" + "]}" * 45)
    for links, stopped in ((1, False), (3, True)):
        rules = {f"r{n}": json.loads(json.dumps(all_of).replace("true", json.dumps({"$ref": f"r{n + 1}"}))) for n in range(links)}
        flags = flag_set(evaluators=rules | {f"r{links}": True}, f=definition({"if": [{"$ref": "r0"}, "on", "off"]}))
        found = evaluate(flags, "f", asked())
        assert found == explain(flags, "f", asked()).resolution
        assert (found.error_code is E.GENERAL and "inside one another" in found.error_message) == stopped


HOSTILE = {
    "a long text": "x" * (64 * STEPS_MAX + 64),
    "a long list": ["x"] * (STEPS_MAX + 1),
    "a long number": 1 << 5000,
    "a deep list": json.loads("[" * 900 + "]" * 900),
}


@pytest.mark.parametrize("operator", ["cat", "in", "==", "<", "+", "max", "substr", "merge", "missing", "sem_ver", "fractional"])
@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_context_holds_a_caller_gets_an_answer(name, operator):
    arguments = [{"var": "x"}, "=", {"var": "x"}] if operator == "sem_ver" else [{"var": "x"}, {"var": "x"}]
    flags = flag_set(f=definition({"if": [{operator: arguments}, "on", "off"]}))
    question = asked({"x": HOSTILE[name]})
    found = evaluate(flags, "f", question)
    assert found.variant in ("on", "off") or found.error_code is E.GENERAL
    assert explain(flags, "f", question).resolution == found


@pytest.mark.parametrize("bucketing", ["v2", "v3"])
def test_half_a_surrogate_pair_in_a_key_does_not_end_the_process(bucketing):
    value = definition({"fractional": [["on", 1]]}, state="ENABLED")
    assert got(value, {"targetingKey": "\ud800"}, bucketing=bucketing).variant in (None, "off")


class Grudge(str):
    __slots__ = ()

    def startswith(self, *_):
        raise OSError("never")


def test_an_object_that_raises_ends_in_general():
    found = got(definition({"if": [{"starts_with": [{"var": "x"}, "a"]}, "on"]}), {"x": Grudge("a")})
    assert (found.error_code, found.reason) == (E.GENERAL, R.ERROR)


def test_a_resolution_is_data():
    assert msgspec.json.decode(msgspec.json.encode(got(definition(default="on"))))["reason"] == "STATIC"
