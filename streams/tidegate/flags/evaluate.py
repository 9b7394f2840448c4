"""What a user gets of a flag: flagd's semantics, with OpenFeature's reasons and error codes. Total: no definition, rule or
context, however hostile, raises out of here or takes more than bounded work (``work``).
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from tidegate.flags.rules import Rule
from tidegate.flags.store import Flag, FlagSet
from tidegate.flags.work import Run, TooMuch, Unknown
from tidegate.wire.flags import ErrorCode, EvaluationReason, Kind, Metadata, Primitive

TYPES: dict[Kind, tuple[type, ...]] = {
    Kind.BOOLEAN: (bool,),
    Kind.STRING: (str,),
    Kind.INTEGER: (int,),
    Kind.FLOAT: (int, float),
    Kind.OBJECT: (dict, list),
}
"""As flagd's own evaluator has it: a boolean may be asked for as a float, and is 1.0 or 0.0."""


class Resolution(Struct, frozen=True, gc=False):
    """What an evaluation gives. With an error, or without a variant, ``value`` is the caller's default."""

    value: Any
    variant: str | None
    reason: EvaluationReason
    error_code: ErrorCode | None = None
    error_message: str | None = None
    metadata: Mapping[str, Primitive] = {}
    """The set's, and over it the flag's. Not to be changed."""


class Asked(Struct, frozen=True, kw_only=True, gc=False):
    """What is asked of a flag. ``kind``: the type that the caller can take; None: any. ``now_s``: seconds since the epoch,
    which rules see as ``$flagd.timestamp``. ``context`` is JSON as a dict, the targeting key in ``targetingKey``.
    """

    context: Mapping[str, Any]
    now_s: int
    kind: Kind | None = None
    default: Any = None


class Wrong(Exception):
    """An evaluation that ends with an error code."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def evaluate(flags: FlagSet, key: str, asked: Asked) -> Resolution:
    """Return what a user gets. Never raises."""
    flag = flags.flags.get(key)
    if flag is None:
        message = f"flag {key[:150]} is not in set {flags.set_id}"
        return Resolution(asked.default, None, EvaluationReason.ERROR, ErrorCode.FLAG_NOT_FOUND, message, flags.metadata)
    return resolve(flags, flag, flag.rule, asked, Run(flags.evaluators, flags.bucketing))


def resolve(flags: FlagSet, flag: Flag, rule: Rule | None, asked: Asked, run: Run) -> Resolution:
    """Return what a flag gives by a rule within one evaluation. Never raises."""
    metadata = flags.metadata | flag.metadata if flag.metadata else flags.metadata
    if not flag.enabled:
        return Resolution(asked.default, None, EvaluationReason.DISABLED, metadata=metadata)
    try:
        if rule is None:
            return _default(flag, asked, EvaluationReason.STATIC, metadata)
        variant = _variant(flag, rule, asked, run)
        if variant is None:
            return _default(flag, asked, EvaluationReason.DEFAULT, metadata)
        return _resolved(flag, variant, asked, EvaluationReason.TARGETING_MATCH, metadata)
    except Wrong as wrong:
        code, message = wrong.code, str(wrong)
    except Unknown as unknown:
        code, message = ErrorCode.PARSE_ERROR, str(unknown)
    except TooMuch as stopped:
        code, message = ErrorCode.GENERAL, f"the rule of {flag.key} was stopped: {stopped}"
    except Exception as error:  # noqa: BLE001 - operators of the library raise what they like; a caller gets its default
        code, message = ErrorCode.GENERAL, f"the rule of {flag.key} failed: {type(error).__name__}"
    return Resolution(asked.default, None, EvaluationReason.ERROR, code, message, metadata)


def _variant(flag: Flag, rule: Rule, asked: Asked, run: Run) -> str | None:
    if not isinstance(asked.context, Mapping):
        raise Wrong(ErrorCode.INVALID_CONTEXT, f"the context is no object but {type(asked.context).__name__}")
    data = {**asked.context, "$flagd": {"flagKey": flag.key, "timestamp": asked.now_s}}
    run.nested = rule.depth
    variant = rule.closure(data, run)
    if variant is None or isinstance(variant, str):
        return variant
    if isinstance(variant, bool):
        return "true" if variant else "false"
    run.weigh(variant)
    return str(variant)


def _default(flag: Flag, asked: Asked, reason: EvaluationReason, metadata: Metadata) -> Resolution:
    if not flag.default_variant:
        return Resolution(asked.default, None, EvaluationReason.DEFAULT, metadata=metadata)
    return _resolved(flag, flag.default_variant, asked, reason, metadata)


def _resolved(flag: Flag, variant: str, asked: Asked, reason: EvaluationReason, metadata: Metadata) -> Resolution:
    value = flag.variants.get(variant)
    if value is None:
        raise Wrong(ErrorCode.GENERAL, f"{variant[:150]!r} is no variant of {flag.key}")
    kind = asked.kind
    if kind is not None:
        if not isinstance(value, TYPES[kind]) or (kind is Kind.INTEGER and isinstance(value, bool)):
            raise Wrong(ErrorCode.TYPE_MISMATCH, f"{flag.key} is asked for as {kind}; {variant} is {type(value).__name__}")
        if kind is Kind.FLOAT:
            return Resolution(float(flag.variants[variant]), variant, reason, metadata=metadata)
    return Resolution(value, variant, reason, metadata=metadata)
