import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidegate.wire.codec import Malformed, convert, decode_strict, encode
from tidegate.wire.documents import KeyRole, Order, Root, digest
from tidegate.wire.envelope import Refused, Signer, WrongFleet
from tidegate.wire.flags import (
    AUTHORED_BYTES_MAX,
    EVALUATORS,
    METADATA,
    Bucketing,
    TopicKey,
    bucketing_of,
    definition_faults,
    definition_of,
    evaluators_faults,
    file_faults,
    flag_file,
    metadata_of,
    topic_key,
)
from tidegate.wire.flagspecs import FlagSpec, kill_variant, safe_variant, spec_faults
from tidegate.wire.flagstamps import order_of, stamp
from tidegate.wire.keys import trust_of

ON_OFF = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}


def flag(**fields):
    return json.dumps(ON_OFF | fields).encode()


def rule(targeting):
    return flag(targeting=targeting)


SOUND = {
    "a boolean": flag(),
    "texts": flag(variants={"on": "x", "off": ""}),
    "numbers": flag(variants={"on": 1, "off": 0.5}),
    "objects": flag(variants={"on": {"a": [1]}, "off": {}}),
    "the caller's default": flag(defaultVariant=None),
    "without a default": json.dumps({key: ON_OFF[key] for key in ("state", "variants")}).encode(),
    "an empty targeting": rule({}),
    "metadata": flag(metadata={"a": "x", "b": 1.5, "c": True}),
    "flagd's own operators": rule(
        {
            "if": [
                {"and": [{"sem_ver": [{"var": "version"}, "^", "1.0.0"]}, {"starts_with": [{"var": "email"}, "a"]}]},
                {"fractional": [{"cat": ["salt", {"var": "targetingKey"}]}, ["on", 50], ["off"], ["off", {"var": "weight"}]]},
                None,
            ]
        }
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_definition_has_no_fault_and_reads_as_it_was_written(name):
    assert definition_faults(SOUND[name]) == []
    read = definition_of(SOUND[name])
    assert definition_of(read.encoded()) == read


FAULTS = {
    "no JSON": (b"{", ""),
    "a key that stands twice": (b'{"state": "ENABLED", "state": "DISABLED", "variants": {"on": true}}', "state"),
    "no state": (json.dumps({"variants": {"on": True}}).encode(), ""),
    "an unknown state": (flag(state="ON"), "state"),
    "no variants": (flag(variants={}), "variants"),
    "two types": (flag(variants={"on": True, "off": 1}), "variants.off"),
    "a list": (flag(variants={"on": [1], "off": [2]}), "variants.on"),
    "a nameless variant": (flag(variants={"": True, "off": False}), "variants"),
    "a number no other language has": (flag(variants={"on": 1 << 53, "off": 1}), "variants.on"),
    "no such default": (flag(defaultVariant="none"), "defaultVariant"),
    "a default that is no text": (flag(defaultVariant=True), "defaultVariant"),
    "metadata of a list": (flag(metadata={"a": [1]}), "metadata.a"),
    "metadata of null": (flag(metadata={"a": None}), "metadata.a"),
    "a nameless key": (flag(metadata={"": 1}), "metadata"),
    "an unknown field": (flag(taregting={}), "taregting"),
    "a targeting that is a list": (rule([]), "targeting"),
    "a targeting of two operators": (rule({"if": [1, 2], "or": [1]}), "targeting"),
    "an unknown operator": (rule({"if": [{"matches": ["a", "b"]}, "on", "off"]}), "targeting.if[0].matches"),
    "too few arguments": (rule({"==": [1]}), "targeting.=="),
    "too many arguments": (rule({"in": [1, 2, 3]}), "targeting.in"),
    "a version relation": (rule({"sem_ver": [{"var": "v"}, "=>", "1.0.0"]}), "targeting.sem_ver[1]"),
    "a prefix that is a number": (rule({"starts_with": [{"var": "v"}, 1]}), "targeting.starts_with[1]"),
    "a weight that is a text": (rule({"fractional": [["on", "50"]]}), "targeting.fractional[0][1]"),
    "a weight below nothing": (rule({"fractional": [["on", 1], ["off", -1]]}), "targeting.fractional[1][1]"),
    "weights of nothing": (rule({"fractional": [["on", 0], ["off", 0]]}), "targeting.fractional"),
    "weights beyond 2^31": (rule({"fractional": [["on", 1 << 31]]}), "targeting.fractional"),
    "a share that is no pair": (rule({"fractional": ["salt", "on"]}), "targeting.fractional[1]"),
    "an unknown shared rule": (rule({"if": [{"$ref": "nope"}, "on"]}), "targeting.if[0].$ref"),
    "a rule too deep": (rule(json.loads('{"!":' * 101 + "1" + "}" * 101)), "targeting"),
    "a rule too wide": (rule({"in": [{"var": "x"}, ["a"] * 20_001]}), "targeting"),
    "an object too deep": (flag(variants={"on": json.loads('{"a":' * 101 + "1" + "}" * 101), "off": {}}), "variants"),
    "too many variants": (flag(variants={f"v{n}": n for n in range(200)}, defaultVariant="v0"), "variants"),
    "too many variants for readers": (flag(variants={f"v{n}": n for n in range(300)}, defaultVariant="v0"), "variants"),
    "too large": (flag(metadata={"a": "x" * AUTHORED_BYTES_MAX}), ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_with_its_path(name):
    value, path = FAULTS[name]
    assert path in [at for at, _ in definition_faults(value, {})]


def test_all_faults_of_a_rule_are_told_at_once():
    targeting = {"if": [{"xor": [1]}, {"fractional": [["on", "x"]]}, {"sem_ver": [1, "~=", 2]}]}
    assert [path for path, _ in definition_faults(rule(targeting))] == [
        "targeting.if[0].xor",
        "targeting.if[1].fractional[0][1]",
        "targeting.if[1].fractional",
        "targeting.if[2].sem_ver[1]",
    ]


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({"a": {"$ref": "a"}}, "a -> a"),
        ({"a": {"$ref": "b"}, "b": {"!": [{"$ref": "c"}]}, "c": {"or": [False, {"$ref": "a"}]}}, "a -> b -> c -> a"),
        ({"x": {"!": [1]}, "a": {"and": [{"$ref": "x"}, {"$ref": "x"}]}, "b": {"or": [{"$ref": "a"}, {"$ref": "x"}]}}, ""),
    ],
)
def test_shared_rules_in_a_circle_are_told_with_their_path(rules, problem):
    faults = evaluators_faults(json.dumps(rules).encode())
    assert bool(faults) == bool(problem)
    assert all(problem in text for _, text in faults)


def test_many_shared_rules_that_refer_to_many_are_looked_at_once_each():
    rules = {f"r{n}": {"or": [{"$ref": f"r{m}"} for m in range(n + 1, min(n + 30, 300))] or [True]} for n in range(300)}
    assert evaluators_faults(json.dumps(rules).encode()) == []


@pytest.mark.parametrize("text", ["web/dark", "web/$evaluators", "web/$metadata", "a.b-c_d/E9"])
def test_keys_of_the_topic_go_both_ways(text):
    key = topic_key(text)
    assert str(key) == text
    assert key.is_flag == ("$" not in text)
    assert key.subject == f"flag/{text}"


@pytest.mark.parametrize(
    "text", ["", "web", "web/", "/dark", "web/a/b", "web/$other", "web/a b", "$metadata/x", "web/dark\n", "w\u00e9b/x"]
)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(Malformed):
        topic_key(text)


@pytest.mark.parametrize(
    ("value", "bucketing"), [(b"{}", Bucketing.V2), (b'{"bucketing": "v3", "flagSetId": "web"}', Bucketing.V3)]
)
def test_the_generation_of_a_set_is_v2_unless_it_says_otherwise(value, bucketing):
    assert bucketing_of(metadata_of(value)) is bucketing


FILE = b"""{
  "$schema": "https://flagd.dev/schema/v0/flags.json",
  "flags": {"dark": {"state":"ENABLED", "variants":{"on":true,"off":false}, "defaultVariant":"off",
            "targeting": {"if": [{"$ref": "staff"}, "on"]}}},
  "$evaluators": {"staff": {"ends_with": [{"var": "email"}, "@example.com"]}},
  "metadata": {"flagSetId": "web"}
}"""


def test_a_file_goes_in_and_out_with_every_definition_word_for_word():
    file = flag_file(FILE)
    assert file_faults(file) == []
    assert bytes(file.flags["dark"]) in FILE
    assert json.loads(file.encoded()) == json.loads(FILE)
    assert bytes(file.flags["dark"]) in file.encoded()


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({"flags": {"a": ON_OFF | {"state": "?"}, "b c": ON_OFF}}, ["flags.a.state", "flags.b c"]),
        ({"flags": {"a": ON_OFF | {"targeting": {"$ref": "nope"}}}}, ["flags.a.targeting.$ref"]),
        (
            {"flags": {}, "$evaluators": {"a": {"xor": []}}, "metadata": {"bucketing": 2}},
            ["$evaluators.a.xor", "metadata.bucketing"],
        ),
        ({"flags": {}, "$evaluators": [], "metadata": 1}, ["$evaluators", "metadata"]),
    ],
)
def test_faults_of_a_file_are_told_with_their_paths(data, paths):
    assert [path for path, _ in file_faults(flag_file(json.dumps(data).encode()))] == paths


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"flags": []}'])
def test_what_is_no_file_of_flags_is_refused(data):
    with pytest.raises(Malformed):
        flag_file(data)


def spec(definition=None, **fields):
    return convert({"definition": msgspec.Raw(definition or flag()), "immediate": True} | fields, FlagSpec)


def test_a_spec_keeps_the_definition_word_for_word():
    written = b'{"definition": {"state":  "ENABLED", "variants": {"on": true}}, "guard": ["shop"]}'
    read = decode_strict(written, FlagSpec)
    assert bytes(read.definition) == b'{"state":  "ENABLED", "variants": {"on": true}}'
    assert bytes(decode_strict(encode(read), FlagSpec).definition) == bytes(read.definition)


@pytest.mark.parametrize(
    ("fields", "safe", "kill"),
    [
        ({}, "off", "off"),
        ({"safeVariant": "on"}, "on", "on"),
        ({"killVariant": "on"}, "off", "on"),
        ({"safeVariant": "on", "killVariant": "off"}, "on", "off"),
    ],
)
def test_safe_is_the_default_variant_and_a_kill_is_safe_unless_said(fields, safe, kill):
    assert spec_faults(spec(**fields), TopicKey("web", "dark")) == []
    assert (safe_variant(spec(**fields)), kill_variant(spec(**fields))) == (safe, kill)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"definition": flag(state="?")}, "definition.state"),
        ({"definition": b"[]"}, "definition"),
        ({"definition": flag(defaultVariant=None)}, "safeVariant"),
        ({"safeVariant": "no"}, "safeVariant"),
        ({"killVariant": "no"}, "killVariant"),
        ({"layer": {"name": "l", "first": 9_999, "count": 2}}, "layer"),
        ({"layer": {"name": "l", "first": 0, "count": 2}, "salt": "s"}, "salt"),
        ({"prerequisites": [{"flag": "dark", "variants": ["on"]}]}, "prerequisites[0].flag"),
        ({"guard": ["shop"]}, "immediate"),
        ({"immediate": False}, "immediate"),
        ({"definition": flag(variants={"on": True, "off": False, "x" * 257: True})}, "definition.variants"),
    ],
)
def test_faults_of_a_spec_are_told_with_their_paths(fields, path):
    assert [at for at, _ in spec_faults(spec(**fields), TopicKey("web", "dark"))] == [path]


def signer(name):
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(digest(name.encode()))))


SIGNERS = {role: signer(role.value) for role in KeyRole}
TRUST = trust_of(
    Root(
        fleet="test",
        version=1,
        issued_ms=1,
        keys=tuple(SIGNERS[role].public(role) for role in KeyRole if role not in (KeyRole.NODE, KeyRole.JOIN)),
    )
)
KEY, VALUE, ORDER = TopicKey("web", "dark"), flag(), Order(1, 2, 3)


@pytest.mark.parametrize("key", [KEY, TopicKey("web", EVALUATORS), TopicKey("web", METADATA), TopicKey("s" * 128, "f" * 128)])
@pytest.mark.parametrize("value", [VALUE, None])
def test_a_stamp_of_the_decision_key_gives_the_order(key, value):
    assert order_of(key, value, stamp(key, value, ORDER, "test", SIGNERS[KeyRole.DECISION]), TRUST) == ORDER


@pytest.mark.parametrize("role", [role for role in KeyRole if role is not KeyRole.DECISION])
def test_a_stamp_of_any_other_key_counts_for_nothing(role):
    with pytest.raises(Refused, match="it needs a valid signature of a known decision key"):
        order_of(KEY, VALUE, stamp(KEY, VALUE, ORDER, "test", SIGNERS[role]), TRUST)


STAMP = stamp(KEY, VALUE, ORDER, "test", SIGNERS[KeyRole.DECISION])


@pytest.mark.parametrize(
    ("key", "value", "header", "refused"),
    [
        (KEY, VALUE, None, Refused),
        (KEY, VALUE + b" ", STAMP, Refused),
        (KEY, None, STAMP, Refused),
        (TopicKey("web", "other"), VALUE, STAMP, Refused),
        (KEY, VALUE, stamp(KEY, VALUE, ORDER, "staging", SIGNERS[KeyRole.DECISION]), WrongFleet),
        (KEY, VALUE, b"{}", Malformed),
        (KEY, VALUE, b"x" * (1 << 20), Malformed),
    ],
)
def test_a_stamp_counts_for_one_key_and_value_of_one_fleet(key, value, header, refused):
    with pytest.raises(refused):
        order_of(key, value, header, TRUST)
