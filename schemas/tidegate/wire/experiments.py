"""Experiments: what a flag's signed spec declares, what its exposures carry, and the sums on the topic ``experiments``.

An experiment belongs to a flag. While everyone has the flag's definition, what is published carries a ``Trial``, an SDK copies it
into each exposure, and whoever adds up needs to know nothing else. Whoever changes the definition or the experiment begins anew:
users were dealt, and counted, by what stood there before.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Annotated, Any

from msgspec import Meta, Struct

from tidegate.wire.codec import Malformed, decode, encode
from tidegate.wire.flagrules import Fault
from tidegate.wire.flags import Definition
from tidegate.wire.names import Duration, Name

METRICS_MAX = 8
"""With the primary one: each costs eight bytes a user."""
VARIANTS_MAX = 8
TRIAL_LENGTH_MAX = 1_024
SHARE_MAX = 1_000_000

Users = Annotated[int, Meta(ge=0)]


class MetricKind(StrEnum):
    """How a user's outcomes become one number."""

    BINARY = "binary"
    """1 for who had an outcome of this name, 0 for who had none."""
    MEAN = "mean"
    """The sum of the user's values, 0 for who had none."""


class Better(StrEnum):
    """Which way a metric should go."""

    INCREASE = "increase"
    DECREASE = "decrease"


class Metric(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """One metric by the name under which services ``track()`` it."""

    name: Name
    kind: MetricKind = MetricKind.BINARY
    better: Better = Better.INCREASE


class Experiment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """What is compared, declared before anyone has seen a number."""

    name: Name
    """Of no other flag of the fleet."""
    control: str
    """The variant that others are compared with."""
    primary: Metric
    """What is proposed hangs on it."""
    secondary: Annotated[tuple[Metric, ...], Meta(max_length=METRICS_MAX - 1)] = ()
    min_run_time: Duration = "7d"
    """Nothing is proposed earlier: behaviour has a weekly rhythm."""
    alpha: Annotated[float, Meta(ge=0.0001, le=0.2)] = 0.05
    """How often a difference may be found where there is none, however often somebody looks."""
    no_difference: Annotated[float, Meta(gt=0.0)] | None = None
    """A smaller difference of the primary metric, in its own unit, matters to nobody; none: that is never said."""
    expected_users: Annotated[int, Meta(ge=100, le=5_000_000)] = 10_000
    """Of both variants, when the answer is hoped for: the interval is narrowest there."""
    shares: Annotated[dict[str, Annotated[int, Meta(ge=1, le=SHARE_MAX)]], Meta(max_length=VARIANTS_MAX)] = {}
    """The compared variants with the weights by which users are dealt; none: those of ``targeting``, where it is one
    ``fractional`` and nothing else. Users of other variants are not counted.
    """

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The primary metric, then the others."""
        return (self.primary, *self.secondary)


class Trial(Struct, frozen=True, kw_only=True):
    """What an exposure must say so that it can be added up: nothing else is asked, so a replay is exact."""

    name: Name
    run: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}$(?!\n)")]
    """Digest of the declared experiment and the definition: another one begins anew."""
    shares: Annotated[dict[str, Annotated[int, Meta(ge=1, le=SHARE_MAX)]], Meta(min_length=1, max_length=VARIANTS_MAX)]
    metrics: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=METRICS_MAX)]
    """The primary one first."""


class MetricSums(Struct, frozen=True, array_like=True):
    """Sums over the users of one variant, of each user's own sum of values."""

    users: Users = 0
    """With an outcome at all."""
    total: float = 0.0
    squares: float = 0.0


class ArmSums(Struct, frozen=True):
    """One variant in one partition."""

    users: Users = 0
    doubles: Users = 0
    """Users who saw this variant first and another one later: left out of ``users`` and of all sums."""
    metrics: tuple[MetricSums, ...] = ()
    """In the order of the trial's metrics."""


class Point(Struct, frozen=True, array_like=True):
    """The users of each variant and their sums of the primary metric at one moment, in the order of the trial's shares."""

    at_ms: int
    arms: tuple[tuple[int, MetricSums], ...]


class Sums(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one partition of ``exposures`` knows of one experiment up to ``offset``."""

    trial: Trial
    partition: int
    offset: int
    set_id: Name
    flag: Name
    generation: int
    """The greatest of the flag's definitions under which this run was seen."""
    arms: dict[str, ArmSums]
    refused: int = 0
    """Exposures of users for whom there was no room."""
    first_ms: int = 0
    """Append times of the first and the last exposure."""
    last_ms: int = 0
    step_ms: int = 1
    """Points of the past are at multiples of it."""
    past: tuple[Point, ...] = ()

    @property
    def key(self) -> str:
        """Key on the topic ``experiments``."""
        return f"{self.trial.name}/{self.partition}"


def trial_of(experiment: Experiment, definition: Definition, subject: str) -> Trial:
    """Return what exposures of a flag carry while its experiment runs. The experiment is without faults."""
    shares = shares_of(experiment, definition)
    declared = encode((subject, experiment, definition))
    metrics = tuple(metric.name for metric in experiment.metrics)
    return Trial(name=experiment.name, run=sha256(declared).hexdigest()[:8], shares=shares, metrics=metrics)


def trial_text(trial: Trial) -> str:
    """Return a trial as it stands in a flag's metadata and in exposures."""
    return encode(trial).decode()


@lru_cache(1 << 10)
def trial_in(text: str) -> Trial | None:
    """Return the trial that a text holds; None where it holds none. The same few come with every exposure."""
    try:
        return decode(text, Trial)
    except Malformed:
        return None


def shares_of(experiment: Experiment, definition: Definition) -> dict[str, int]:
    """Return the compared variants with their weights, in the order of their names; empty where they are not known."""
    return dict(sorted((experiment.shares or dealt(definition.targeting)).items()))


def dealt(targeting: dict[str, Any] | None) -> dict[str, int]:
    """Return the weights of a rule that is one ``fractional`` of named variants; empty where it is anything else.

    >>> dealt({"fractional": [["off", 90], ["on", 10]]})
    {'off': 90, 'on': 10}
    >>> dealt({"fractional": [{"var": "email"}, ["off"], ["on"]]}), dealt({"if": []})
    ({'off': 1, 'on': 1}, {})
    """
    if targeting is None or list(targeting) != ["fractional"] or not isinstance(targeting["fractional"], list):
        return {}
    buckets = targeting["fractional"]
    found: dict[str, int] = {}
    for bucket in buckets if buckets and isinstance(buckets[0], list) else buckets[1:]:
        if not isinstance(bucket, list) or not 1 <= len(bucket) <= 2 or not isinstance(bucket[0], str):
            return {}
        weight = bucket[1] if len(bucket) == 2 else 1
        if type(weight) is not int:
            return {}
        if weight > 0:
            found[bucket[0]] = found.get(bucket[0], 0) + weight
    return found


def experiment_faults(
    experiment: Experiment, definition: Definition, outside: str | None, evaluators: Mapping[str, Any] = MappingProxyType({})
) -> list[Fault]:
    """Return every fault that types cannot see, as (path, problem). ``outside``: the variant of those whom the flag's layer or
    prerequisites leave out; None where nobody is left out. ``evaluators``: the shared rules of the set.
    """
    shares = shares_of(experiment, definition)
    if not shares:
        return [("shares", "is missing: targeting is not one fractional, so say which variants are compared, and their weights")]
    found: list[Fault] = [
        (f"shares.{name}", f"is none of the variants ({', '.join(sorted(definition.variants)[:10])})")
        for name in shares
        if name not in definition.variants
    ]
    if not 2 <= len(shares) <= VARIANTS_MAX:
        found.append(("shares", f"{len(shares)} variants; two to {VARIANTS_MAX} are compared"))
    if experiment.control not in shares:
        found.append(("control", f"{experiment.control!r} is none of the compared variants ({', '.join(shares)})"))
    if _by_others(definition.targeting, evaluators, frozenset()):
        problem = "targeting deals by something else than targetingKey: users who are dealt together are no independent draws"
        found.append(("", f"{problem}, and every stated error rate would be wrong"))
    rule = dealt(definition.targeting)
    if rule and any(
        shares[name] * rule.get(other, 0) != shares[other] * rule.get(name, 0) for name in shares for other in shares
    ):
        found.append(("shares", f"are not those of targeting ({_told(rule)}): users would be missed for ever; leave shares out"))
    if outside is not None and outside in shares:
        problem = f"{outside!r} is also what those have whom layer or prerequisites leave out; give safeVariant another one"
        found.append((f"shares.{outside}", problem))
    names = [metric.name for metric in experiment.metrics]
    found += [(f"secondary[{at - 1}].name", f"{name!r} stands twice") for at, name in enumerate(names) if name in names[:at]]
    if not found and len(trial_text(trial_of(experiment, definition, ""))) > TRIAL_LENGTH_MAX:
        found.append(("", f"its names are too long for every exposure: {TRIAL_LENGTH_MAX} characters in all"))
    return found


def _by_others(node: Any, rules: Mapping[str, Any], within: frozenset[str]) -> bool:
    """Return whether a ``fractional`` somewhere in a rule deals by more or else than each user's own key. ``within``: the shared
    rules that are being looked at.
    """
    if isinstance(node, list):
        return any(_by_others(one, rules, within) for one in node)
    if not isinstance(node, dict):
        return False
    shared, buckets = node.get("$ref"), node.get("fractional")
    if isinstance(shared, str) and shared not in within and _by_others(rules.get(shared), rules, within | {shared}):
        return True
    if isinstance(buckets, list) and buckets and not isinstance(buckets[0], list) and not _own_key(buckets[0]):
        return True
    return any(_by_others(one, rules, within) for one in node.values())


def _own_key(node: Any) -> bool:
    """Return whether an operand of ``fractional`` is the targeting key, perhaps with constants and the flag's key beside it."""
    parts = node["cat"] if isinstance(node, dict) and isinstance(node.get("cat"), list) else [node]
    variables = [one.get("var") for one in parts if isinstance(one, dict)]
    names = [one[0] if isinstance(one, list) and one else one for one in variables]
    return "targetingKey" in names and all(name in ("targetingKey", "$flagd.flagKey") for name in names)


def sums_of(value: bytes) -> Sums:
    """Return what a record on ``experiments`` holds. Malformed where it is none, or its parts do not fit its trial."""
    found = decode(value, Sums)
    variants, metrics = len(found.trial.shares), len(found.trial.metrics)
    if found.arms.keys() != found.trial.shares.keys() or any(len(arm.metrics) != metrics for arm in found.arms.values()):
        raise Malformed("arms", "are not the variants and metrics of the trial")
    if any(len(point.arms) != variants for point in found.past):
        raise Malformed("past", "a point does not have the variants of the trial")
    return found


def _told(weights: dict[str, int]) -> str:
    return ", ".join(f"{name}: {weight}" for name, weight in weights.items())


__all__ = [
    "METRICS_MAX",
    "VARIANTS_MAX",
    "ArmSums",
    "Better",
    "Experiment",
    "Metric",
    "MetricKind",
    "MetricSums",
    "Point",
    "Sums",
    "Trial",
    "dealt",
    "experiment_faults",
    "shares_of",
    "sums_of",
    "trial_in",
    "trial_of",
    "trial_text",
]
