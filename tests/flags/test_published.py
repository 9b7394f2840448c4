import json
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flags.kit import asked, definition, flag_set, got
from tests.flags.matrix import Case, Rules, context
from tests.flags.shares import OFF, ON, SIGMAS, SPLIT, WEIGHTS, measured, off_by, ramp, user
from tests.flags.stock import Stock

from tidegate.flags.evaluate import evaluate
from tidegate.flags.prerequisites import after, settled
from tidegate.flags.published import TOTAL, WEIGHT_ALL, Share, layer_faults, pinned, ramped, share_of
from tidegate.wire.codec import Malformed, convert
from tidegate.wire.flags import Bucketing, Kind, definition_of
from tidegate.wire.flagspecs import FlagSpec

IF_NL = {"if": [{"==": [{"var": "country"}, "nl"]}, "on"]}
VARIANTS = {"on": 1, "off": 2, "mid": 3}


def spec(value=None, **fields):
    return convert({"immediate": True} | fields | {"definition": msgspec.Raw(value or definition())}, FlagSpec)


@pytest.mark.parametrize("why", ["killed", "safe", "archived"])
@pytest.mark.parametrize("value", [definition(IF_NL, "on"), definition(IF_NL, "on", state="DISABLED"), ramp("s", 50)])
def test_a_kill_beats_every_rule_and_is_no_disabled_flag(value, why):
    killed = pinned(value, "off", why)
    for answer in (got(killed, {"country": "nl", "targetingKey": "u"}), got(killed)):
        assert (answer.variant, answer.reason, answer.metadata[why]) == ("off", "STATIC", True)
    assert json.loads(killed)["variants"] == json.loads(value)["variants"]


def test_a_kill_to_no_variant_is_refused():
    with pytest.raises(Malformed, match="'none' is not among them: off, on"):
        pinned(ON, "none", "killed")


def test_nothing_and_all_are_the_definitions_word_for_word():
    new = b'{ "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on" }'
    assert ramped(new, OFF, Share(salt="s", weight=0)) == OFF
    assert ramped(new, OFF, Share(salt="s", weight=WEIGHT_ALL)) == new
    assert ramped(new, OFF, Share(salt="s", weight=WEIGHT_ALL, count=9_999)) not in (new, OFF)


@pytest.mark.parametrize("bucketing", Bucketing)
def test_shares_are_what_chance_allows_sticky_independent_and_exclusive(bucketing):
    found = measured(2_000, bucketing)
    assert found["sigmas_most"] < SIGMAS
    assert (found["moved_out_by_growth"], found["in_two_flags_of_a_layer"]) == (0, 0)


def test_fifty_thousand_users_are_dealt_as_weights_say():
    flags, users = flag_set("v2", split=SPLIT, f=ramp("f/", 1_234)), 50_000
    found = dict.fromkeys([*WEIGHTS, "on", "off"], 0)
    for number in range(users):
        question = asked({"targetingKey": user(number)})
        found[evaluate(flags, "split", question).variant] += 1
        found[evaluate(flags, "f", question).variant] += 1
    shares = {name: weight / WEIGHT_ALL for name, weight in WEIGHTS.items()} | {"on": 0.1234}
    assert max(off_by(found[name], users, share) for name, share in shares.items()) < SIGMAS


@given(st.integers(0, WEIGHT_ALL), st.integers(0, WEIGHT_ALL), st.integers(0, 9_999), st.integers(1, 10_000), st.text(min_size=1))
def test_a_share_that_grows_moves_no_one_out_of_it(one, other, first, count, key):
    less, more = sorted((one, other))
    slots = {"first": first, "count": min(count, 10_000 - first)}
    inside = [got(ramp("s/", weight, **slots), {"targetingKey": key}).variant == "on" for weight in (less, more)]
    assert inside != [True, False]


@pytest.mark.parametrize("key", [None, ""])
def test_who_has_no_targeting_key_keeps_the_old_definition(key):
    assert got(ramp("s/", 9_999), {"targetingKey": key}).variant == "off"
    assert got(ramp("s/", 9_999)).variant == "off"


@pytest.mark.parametrize("weight", [1, 5_000, 9_999])
@pytest.mark.parametrize("seed", range(40))
def test_everyone_has_what_one_of_the_two_definitions_gives(seed, weight):
    """Null rules, null defaults and disabled flags included; who is in the share is the same for all contexts of a user."""
    chance = Random(seed)
    new, old = (
        definition(
            chance.choice([None, Rules(chance, list(VARIANTS), []).outcome()]),
            chance.choice([*VARIANTS, None]),
            variants=VARIANTS,
            state=chance.choice(["ENABLED", "ENABLED", "DISABLED"]),
        )
        for _ in range(2)
    )
    new, old = (value if definition_or_none(value) else ON_OFF_MID for value in (new, old))
    share = Share(salt="f/", weight=weight)
    published = ramped(new, old, share)
    for number in range(20):
        data = context(chance) | {"targetingKey": f"u{number}"}
        inside = got(ramp("f/", weight), data).variant == "on"
        want, found = got(new if inside else old, data), got(published, data)
        assert (found.value, found.variant) == (want.value, want.variant)
        assert (found.error_code is None) == (want.error_code is None)


ON_OFF_MID = definition(default="mid", variants=VARIANTS)


def definition_or_none(value):
    try:
        return definition_of(value)
    except Malformed:
        return None


def test_stock_clients_deal_a_ramp_as_we_do():
    share = share_of(spec(layer={"name": "l", "first": 100, "count": 5_000}), "f", 5_000)
    value = ramped(definition(IF_NL, "on"), definition({"fractional": [["on", 1], ["off", 1]]}), share)
    stock = Stock({"flags": {"f": json.loads(value)}})
    for number in range(500):
        data = {"targetingKey": user(number), "country": "nl" if number % 2 else "de"}
        found = got(value, data, bucketing="v3")
        assert stock.answer(Case("f", Kind.BOOLEAN, None, data)) == (found.value, found.variant, found.reason, None)


@pytest.mark.parametrize(
    ("new", "old", "path", "remedy"),
    [
        ({"on": 1, "off": 0}, {"on": 2, "off": 0}, "variants.on", "give the new value a new name"),
        ({"on": 1}, {"off": "x"}, "variants", "make a new flag"),
        ({f"n{n}": n for n in range(128)}, {f"o{n}": n for n in range(129)}, "variants", "at most 256"),
    ],
)
def test_variants_of_both_must_be_told_apart(new, old, path, remedy):
    share = Share(salt="s", weight=1)
    with pytest.raises(Malformed, match=remedy) as refused:
        ramped(definition(default=None, variants=new), definition(default=None, variants=old), share)
    assert refused.value.path == path
    merged = json.loads(ramped(definition(default=None, variants={"a": 1}), definition(default=None, variants={"b": 2}), share))
    assert merged["variants"] == {"a": 1, "b": 2}


def test_two_definitions_that_fit_alone_and_not_as_one_are_refused():
    deep = definition(json.loads('{"!":[' * 50 + "1" + "]}" * 50))
    with pytest.raises(Malformed, match="pass the stages of one change before the next"):
        ramped(deep, OFF, Share(salt="s", weight=1))


def test_a_weight_is_of_a_layers_slots_and_buckets_are_whole():
    share = share_of(spec(layer={"name": "l", "first": 9_000, "count": 1_000}), "f", 1)
    rule = json.dumps(json.loads(ramped(ON, OFF, share)))
    assert '["out", 90000000], ["in", 1000], ["out", 9999000]' in rule
    assert TOTAL == 100_000_000
    assert share_of(spec(), "f", 1).salt == "f/"
    assert share_of(spec(salt="x"), "f", 1).salt == "x/"
    for wrong in ({"weight": 10_001}, {"weight": -1}, {"weight": 1, "first": 9_999, "count": 2}):
        with pytest.raises(ValueError, match="is no share"):
            Share(salt="s", **wrong)


def test_flags_of_one_layer_hold_disjoint_slots():
    def layered(name, first, count):
        return spec(layer={"name": name, "first": first, "count": count})

    specs = {"a": layered("l", 0, 100), "b": layered("l", 100, 100), "c": layered("m", 0, 10_000), "d": spec()}
    assert layer_faults(specs) == []
    assert layer_faults(specs | {"e": layered("l", 150, 100)}) == [("e.layer", "slots 150 to 200 of l are held by b already")]


NEEDS_ON = [{"flag": "base", "variants": ["on"]}]
BASES = {
    "static on": (definition(default="on"), [True, True]),
    "static off": (definition(default="off"), [False, False]),
    "disabled": (definition(default="on", state="DISABLED"), [False, False]),
    "by a rule": (definition(IF_NL), [True, False]),
    "by a rule that is null": (definition(IF_NL, "on"), [True, True]),
    "by its own key": (definition({"if": [{"==": [{"var": "$flagd.flagKey"}, "base"]}, "on", "off"]}), [True, True]),
    "by a shared rule": (definition({"if": [{"$ref": "nl"}, "on", "off"]}), [True, False]),
    "killed": (pinned(definition(IF_NL), "off", "killed"), [False, False]),
    "by a value": (definition({"cat": ["o", "n"]}), [True, True]),
}
EVALUATORS = {"nl": {"==": [{"var": "country"}, "nl"]}}


@pytest.mark.parametrize("name", BASES)
def test_a_flag_holds_for_whom_the_flag_it_needs_holds(name):
    base, holds = BASES[name]
    value = settled(
        spec(definition(default="on"), safeVariant="off", prerequisites=NEEDS_ON), {"base": base}, EVALUATORS, Bucketing.V3
    )
    found = [got(value, {"country": country}, "f", **EVALUATORS).variant == "on" for country in ("nl", "de")]
    assert found == holds


def test_a_boolean_rule_names_the_variants_true_and_false():
    base = definition({"==": [{"var": "x"}, 1]}, "false", variants={"true": True, "false": False})
    for wanted, x, variant in (("true", 1, "on"), ("true", 2, "off"), ("false", 2, "on"), ("false", 1, "off")):
        needs = [{"flag": "base", "variants": [wanted]}]
        value = settled(spec(definition(default="on"), safeVariant="off", prerequisites=needs), {"base": base}, {}, Bucketing.V2)
        assert got(value, {"x": x}).variant == variant


def test_a_number_that_a_rule_gives_names_the_variant_of_that_name():
    base = definition({"%": [{"var": "x"}, 3]}, "0", variants={"0": "a", "1": "b", "2": "c"})
    needs = [{"flag": "base", "variants": ["1", "2"]}]
    value = settled(spec(definition(default="on"), safeVariant="off", prerequisites=needs), {"base": base}, {}, Bucketing.V2)
    assert [got(value, {"x": x}).variant for x in range(4)] == ["off", "on", "on", "off"]


@given(st.text(min_size=1, max_size=30))
def test_a_share_of_the_flag_that_is_needed_is_the_same_share_in_both(key):
    base = definition({"fractional": [["on", 1], ["off", 1]]})
    value = settled(spec(definition(default="on"), safeVariant="off", prerequisites=NEEDS_ON), {"base": base}, {}, Bucketing.V2)
    data = {"targetingKey": key}
    assert got(value, data, "f").variant == got(base, data, "base").variant
    with pytest.raises(Malformed, match="give its fractional rule a first argument"):
        settled(spec(prerequisites=NEEDS_ON), {"base": base}, {}, Bucketing.V3)


def test_without_prerequisites_or_disabled_a_definition_is_published_word_for_word():
    for value, needs in ((definition(IF_NL), []), (definition(state="DISABLED"), NEEDS_ON)):
        assert settled(spec(value, prerequisites=needs), {}, {}, Bucketing.V2) == value


@pytest.mark.parametrize(
    ("base", "needs", "path"),
    [
        ({}, NEEDS_ON, "prerequisites[0].flag"),
        ({"base": ON}, [{"flag": "base", "variants": ["nope"]}], "prerequisites[0].variants"),
        ({"base": definition({"$ref": "nope"})}, NEEDS_ON, "prerequisites[0]"),
        ({"base": definition({"$ref": [{"a": 1, "b": 2}]})}, NEEDS_ON, "prerequisites[0]"),
    ],
)
def test_what_is_needed_must_be_there(base, needs, path):
    with pytest.raises(Malformed) as refused:
        settled(spec(prerequisites=needs), base, {}, Bucketing.V2)
    assert refused.value.path == path


def test_shared_rules_that_double_are_not_put_in_for_ever():
    doubling = {f"r{n}": {"and": [{"$ref": f"r{n + 1}"}, {"$ref": f"r{n + 1}"}]} for n in range(40)} | {"r40": True}
    with pytest.raises(Malformed, match="more than 20000 values"):
        settled(spec(prerequisites=NEEDS_ON), {"base": definition({"$ref": "r0"})}, doubling, Bucketing.V2)


def test_a_long_chain_of_shared_rules_is_not_put_in_for_ever():
    chain = {f"r{n}": {"$ref": f"r{n + 1}"} for n in range(5_000)} | {"r5000": True}
    with pytest.raises(Malformed, match="deeper than 100"):
        settled(spec(prerequisites=NEEDS_ON), {"base": definition({"$ref": "r0"})}, chain, Bucketing.V2)


def test_flags_are_published_after_those_that_they_need_and_never_in_a_circle():
    needs = {"d": ["c", "b"], "c": ["b"], "b": ["a"], "x": ["y"]}
    assert after("a", needs) == ["b", "c", "d"]
    assert after("c", needs) == ["d"]
    assert after("z", needs) == []
    with pytest.raises(Malformed, match=r"circle: \w -> \w -> \w -> \w"):
        after("a", needs | {"a": ["c"]})
