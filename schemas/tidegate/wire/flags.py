"""Flag definitions as flagd has them, word for word, so that a stock client of any language evaluates what is on the topic.

The shape is flagd's published schema v0 (flags.json, targeting.json). A definition travels as the bytes that a person wrote;
what is decoded here stands beside them. Readers take what has the shape and is not too large (``definition_of``); authors are
told of every fault at once (``definition_faults``): what a stock client would choke on is refused before it is on the road.
Nothing is evaluated here.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from tidegate.wire.codec import Malformed, decode, decode_strict, encode
from tidegate.wire.flagrules import Fault, circle_of, rule_bounds, rule_faults
from tidegate.wire.names import FLAG_PREFIX, is_name

DEFINITION_BYTES_MAX = 256 << 10
AUTHORED_BYTES_MAX = 96 << 10
"""While a share grows the old definition and the new one are published as one, and a kill must always fit."""
EVALUATORS_BYTES_MAX = 512 << 10
FILE_BYTES_MAX = 64 << 20
VARIANTS_MAX = 256
AUTHORED_VARIANTS_MAX = VARIANTS_MAX // 2
METADATA_MAX = 64
AUTHORED_METADATA_MAX = METADATA_MAX // 2
FLAGS_MAX = 20_000
"""In one set."""
SAFE_INTEGER = (1 << 53) - 1
"""Beyond it a reader in another language sees another number."""
EVALUATORS, METADATA = "$evaluators", "$metadata"
KNOWN = frozenset({"state", "variants", "defaultVariant", "targeting", "metadata"})

Primitive = str | bool | int | float
Metadata = dict[str, Any]
"""Of strings, numbers and booleans, which is looked at here: a library's error would not name the key."""


class State(StrEnum):
    """A disabled flag gives the caller's own default: it is no kill switch (G5)."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class Kind(StrEnum):
    """What type of value a caller asks for (OpenFeature)."""

    BOOLEAN = "boolean"
    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    OBJECT = "object"


class EvaluationReason(StrEnum):
    """OpenFeature's reasons, as far as an evaluator gives them: flagd gives TARGETING_MATCH, not SPLIT, for a share."""

    STATIC = "STATIC"
    DEFAULT = "DEFAULT"
    TARGETING_MATCH = "TARGETING_MATCH"
    DISABLED = "DISABLED"
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """OpenFeature's error codes, as far as an evaluator gives them.

    A fractional rule without a targeting key gives null, so the default variant: flagd knows no TARGETING_KEY_MISSING.
    """

    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    PARSE_ERROR = "PARSE_ERROR"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    GENERAL = "GENERAL"


class Bucketing(StrEnum):
    """Which generation of flagd's fractional bucketing a set speaks. Another one deals every user anew: it is never guessed."""

    V2 = "v2"
    V3 = "v3"


class Definition(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One flag. ``variants`` are of one type. ``targeting`` gives the name of a variant, or null for ``defaultVariant``; a null
    ``defaultVariant`` is the caller's own default.
    """

    state: State
    variants: Annotated[dict[str, Any], Meta(min_length=1, max_length=VARIANTS_MAX)]
    default_variant: str | None = None
    targeting: dict[str, Any] | None = None
    metadata: Metadata = {}

    def encoded(self) -> bytes:
        """Return it as it is published where it is no longer what somebody wrote."""
        return encode(self)


class TopicKey(NamedTuple):
    """Key of a record on ``flags``: a flag of a set, or the set's ``$evaluators`` or ``$metadata``."""

    set_id: str
    name: str

    def __str__(self) -> str:
        return f"{self.set_id}/{self.name}"

    @property
    def is_flag(self) -> bool:
        """Whether a definition stands under it."""
        return not self.name.startswith("$")

    @property
    def subject(self) -> str:
        """Subject under which it is decided and signed."""
        return f"{FLAG_PREFIX}{self}"


def topic_key(text: str) -> TopicKey:
    """Return a record's key in its parts; Malformed where it is none.

    >>> topic_key("web/dark"), topic_key("web/$metadata").is_flag
    (TopicKey(set_id='web', name='dark'), False)
    """
    set_id, _, name = text.partition("/")
    if not is_name(set_id) or not (is_name(name) or name in (EVALUATORS, METADATA)):
        raise Malformed("", f"{text[:300]!r} is no key of a flag; it is <set>/<flag>, <set>/{EVALUATORS} or <set>/{METADATA}")
    return TopicKey(set_id, name)


def definition_of(value: bytes) -> Definition:
    """Return the definition that a record holds. Malformed, with the path of the first fault, where it cannot be evaluated: no
    JSON of this shape, too large or deep, variants of several types, a default variant that is none of them. Unknown fields and
    unknown operators pass: a reader may be older than who wrote them.
    """
    if len(value) > DEFINITION_BYTES_MAX:
        raise Malformed("", f"{len(value)} bytes; a definition has at most {DEFINITION_BYTES_MAX}")
    definition = decode(value, Definition)
    bounds = (*rule_bounds(definition.targeting, "targeting"), *rule_bounds(definition.variants, "variants"))
    for path, problem in (*_variant_faults(definition), *_metadata_faults(definition.metadata, "metadata."), *bounds):
        raise Malformed(path, problem)
    return definition


def definition_faults(value: bytes, evaluators: Mapping[str, Any] | None = None) -> list[Fault]:
    """Return every fault of a definition as (path, problem), empty where it is sound. ``evaluators``: the rules that ``$ref``
    may name; without them references are not followed.
    """
    try:
        definition = definition_of(value)
        plain = decode_strict(value, dict)
    except Malformed as fault:
        return [(fault.path, fault.problem)]
    found: list[Fault] = [
        (key, f"is no field of a flag; they are {', '.join(sorted(KNOWN))}. Put what is yours into metadata")
        for key in sorted(plain.keys() - KNOWN)
    ]
    found += [
        (f"variants.{name}", f"{value} is beyond ±(2^53 - 1): readers in other languages would see another number")
        for name, value in definition.variants.items()
        if type(value) is int and abs(value) > SAFE_INTEGER
    ]
    found += [("metadata", "a key is empty")] if "" in definition.metadata else []
    for path, count, most, what in (
        ("", len(value), AUTHORED_BYTES_MAX, "bytes"),
        ("variants", len(definition.variants), AUTHORED_VARIANTS_MAX, "variants"),
        ("metadata", len(definition.metadata), AUTHORED_METADATA_MAX, "keys"),
    ):
        if count > most:
            found.append((path, f"{count} {what}; at most {most}, for an old and a new definition are published as one"))
    return found + rule_faults(definition.targeting, "targeting", evaluators)


def evaluators_of(value: bytes) -> dict[str, Any]:
    """Return the shared rules of a set by their names. Malformed where they are no JSON object, too large, too deep, or refer
    to one another in a circle.
    """
    if len(value) > EVALUATORS_BYTES_MAX:
        raise Malformed("", f"{len(value)} bytes; the rules of {EVALUATORS} have at most {EVALUATORS_BYTES_MAX}")
    rules: dict[str, Any] = decode(value, dict[str, Any])
    for name, rule in rules.items():
        for path, problem in rule_bounds(rule, name):
            raise Malformed(path, problem)
    circle = circle_of([{"$ref": name} for name in rules], rules)
    if circle:
        raise Malformed(circle[0], f"references go in a circle: {' -> '.join(circle)}")
    return rules


def evaluators_faults(value: bytes) -> list[Fault]:
    """Return every fault of the shared rules of a set as (path, problem)."""
    try:
        rules = evaluators_of(value)
        decode_strict(value, dict)
    except Malformed as fault:
        return [(fault.path, fault.problem)]
    return [fault for name, rule in rules.items() for fault in rule_faults(rule, name, rules)]


def metadata_of(value: bytes) -> Metadata:
    """Return a set's metadata. Malformed where a value is no string, number or bool, or ``bucketing`` is a generation not known
    here: to guess it would deal every user anew.
    """
    found: Metadata = decode(value, dict[str, Any])
    for path, problem in _metadata_faults(found, ""):
        raise Malformed(path, problem)
    for key in ("flagSetId", "version"):
        if not isinstance(found.get(key, ""), str):
            raise Malformed(key, "is not a string")
    if found.get("bucketing", Bucketing.V2) not in tuple(Bucketing):
        raise Malformed("bucketing", f"{found['bucketing']!r} is not known; it is one of {', '.join(Bucketing)}")
    return found


def bucketing_of(metadata: Metadata) -> Bucketing:
    """Return the generation that a set speaks: v2 unless its metadata say otherwise."""
    return Bucketing(str(metadata.get("bucketing", Bucketing.V2)))


class FlagFile(Struct, frozen=True, rename={"evaluators": EVALUATORS, "schema": "$schema"}, omit_defaults=True):
    """The file of a set: what is imported, exported, served by sync and kept for local processes. Definitions are verbatim."""

    flags: dict[str, msgspec.Raw]
    evaluators: msgspec.Raw = msgspec.Raw(b"{}")
    metadata: msgspec.Raw = msgspec.Raw(b"{}")
    schema: str = ""

    def encoded(self) -> bytes:
        """Return the file. Flags keep their order."""
        return msgspec.json.encode(self)


def file_of_set(records: Mapping[str, bytes], schema: str = "") -> FlagFile:
    """Return the file of a set, given what is published of it by name: flags in the order of their names."""
    return FlagFile(
        flags={name: msgspec.Raw(value) for name, value in sorted(records.items()) if name not in (EVALUATORS, METADATA)},
        evaluators=msgspec.Raw(records.get(EVALUATORS, b"{}")),
        metadata=msgspec.Raw(records.get(METADATA, b"{}")),
        schema=schema,
    )


def flag_file(data: bytes) -> FlagFile:
    """Return a file of a set, its flags not yet looked at (``file_faults`` does). Malformed where it is none."""
    if len(data) > FILE_BYTES_MAX:
        raise Malformed("", f"{len(data)} bytes; a file of flags has at most {FILE_BYTES_MAX}")
    if isinstance(decode(data, dict[str, msgspec.Raw]).get("flags"), msgspec.Raw):
        return decode(data, FlagFile)
    raise Malformed("flags", "is missing: an object of flags by their keys")


def file_faults(file: FlagFile) -> list[Fault]:
    """Return every fault of a file as (path, problem); empty where all of it may be imported."""
    found: list[Fault] = [
        (f"{EVALUATORS}.{path}".rstrip("."), problem) for path, problem in evaluators_faults(bytes(file.evaluators))
    ]
    rules = {} if found else evaluators_of(bytes(file.evaluators))
    try:
        metadata_of(bytes(file.metadata))
    except Malformed as fault:
        found.append((f"metadata.{fault.path}".rstrip("."), fault.problem))
    if len(file.flags) > FLAGS_MAX:
        found.append(("flags", f"{len(file.flags)} flags; a set has at most {FLAGS_MAX}"))
    for key, value in file.flags.items():
        if not is_name(key):
            found.append((f"flags.{key[:150]}", "a flag's key has letters, digits, . _ - (at most 128)"))
        found += [(f"flags.{key[:150]}.{path}".rstrip("."), problem) for path, problem in definition_faults(bytes(value), rules)]
    return found


VariantType = Literal["boolean", "string", "number", "object"]


def variant_type(value: object) -> VariantType | None:
    """Return which of flagd's four types a variant has; None where it has none.

    >>> variant_type(True), variant_type(1.5), variant_type({}), variant_type([])
    ('boolean', 'number', 'object', None)
    """
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "object" if isinstance(value, dict) else None


def _metadata_faults(metadata: Metadata, under: str) -> list[Fault]:
    found = [
        (f"{under}{key[:150]}", "is neither string, number nor boolean")
        for key, value in metadata.items()
        if not isinstance(value, str | int | float)
    ]
    if len(metadata) > METADATA_MAX:
        found.append((under.rstrip("."), f"{len(metadata)} keys; metadata has at most {METADATA_MAX}"))
    return found


def _variant_faults(definition: Definition) -> list[Fault]:
    types: dict[VariantType | None, str] = {}
    for name, value in definition.variants.items():
        types.setdefault(variant_type(value), name)
        if not name:
            return [("variants", "a name is empty")]
    if None in types:
        return [(f"variants.{types[None]}", "is neither boolean, string, number nor object")]
    if len(types) > 1:
        (one, first), (other, second) = list(types.items())[:2]
        return [(f"variants.{second}", f"is a {other}, {first} is a {one}: variants of a flag have one type")]
    default = definition.default_variant
    if default is not None and default not in definition.variants:
        known = ", ".join(sorted(definition.variants)[:10])
        return [("defaultVariant", f"{default!r} is none of the variants ({known}); null is the caller's default")]
    return []
