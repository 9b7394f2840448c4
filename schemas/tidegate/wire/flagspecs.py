"""What an operator wants of one flag: flagd's definition, verbatim, and beside it what flagd has no word for.

Layers, prerequisites and ramps are turned into plain flagd rules when a flag is published (``tidegate.flags.published``), so
that a stock client in any language does as told. The file, the signed document and the code use these same words. Unknown keys
are refused.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tidegate.wire.experiments import Experiment, experiment_faults
from tidegate.wire.exposures import EXPERIMENT
from tidegate.wire.flagrules import Fault
from tidegate.wire.flags import Definition, TopicKey, definition_faults, definition_of
from tidegate.wire.names import LABEL_LENGTH_MAX, Name

SLOTS = 10_000
"""Of a layer: the grain in which users are dealt to its flags."""
PREREQUISITES_MAX = 16
SERVICES_MAX = 32


class Layer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Slots ``first`` to ``first + count`` (excluded) of the 10,000 of a layer. Users are dealt to slots by the layer's name,
    so no user is in the share of two flags of one layer; a weight is a share of these slots.
    """

    name: Name
    first: Annotated[int, Meta(ge=0, lt=SLOTS)]
    count: Annotated[int, Meta(ge=1, le=SLOTS)]


class Prerequisite(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Another flag of the set must give one of these variants; for whom it does not, the safe variant holds."""

    flag: Name
    variants: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)]


class RequiredVersion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """The code that the flag needs: when this version of the service retreats, the flag goes safe in the same decision (G4)."""

    service: Name
    version: Name


class FlagSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """One flag as it is wanted, when all stages are passed."""

    definition: msgspec.Raw
    safe_variant: str | None = None
    """What a breach or a retreat gives everyone; none: the default variant."""
    kill_variant: str | None = None
    """What a kill gives everyone (G5); none: the safe variant."""
    salt: Name | None = None
    """Who is first in a ramp hangs on it; none: the flag's key. Flags with one salt take the same users first."""
    layer: Layer | None = None
    prerequisites: Annotated[tuple[Prerequisite, ...], Meta(max_length=PREREQUISITES_MAX)] = ()
    requires_version: Annotated[tuple[RequiredVersion, ...], Meta(max_length=SERVICES_MAX)] = ()
    guard: Annotated[tuple[Name, ...], Meta(max_length=SERVICES_MAX)] = ()
    """Services whose telemetry judges it: a fail of any switches it off, a pass needs all (G3)."""
    immediate: bool = False
    """It has no guard and no stages: every change is for everyone at once (G2)."""
    experiment: Experiment | None = None
    """Compares its variants while everyone has the definition, and none is pinned."""

    def decoded(self) -> Definition:
        """Return the definition; Malformed where it is none."""
        return definition_of(bytes(self.definition))


def safe_variant(spec: FlagSpec) -> str:
    """Return what a breach gives everyone. The spec is without faults."""
    variant = spec.safe_variant or spec.decoded().default_variant
    if variant is None:
        raise ValueError("safeVariant is missing; spec_faults tells it")
    return variant


def kill_variant(spec: FlagSpec) -> str:
    """Return what a kill gives everyone. The spec is without faults."""
    return spec.kill_variant or safe_variant(spec)


def spec_faults(spec: FlagSpec, key: TopicKey, evaluators: dict[str, object] | None = None) -> list[Fault]:
    """Return every fault of a spec that lies in it alone, as (path, problem); empty where it is sound. What lies between flags
    (layers, prerequisites) is told when it is published.
    """
    found = [
        (f"definition.{path}".rstrip("."), problem) for path, problem in definition_faults(bytes(spec.definition), evaluators)
    ]
    if found:
        return found
    definition = spec.decoded()
    for field, variant in (("safeVariant", spec.safe_variant), ("killVariant", spec.kill_variant)):
        if variant is not None and variant not in definition.variants:
            found.append((field, f"{variant!r} is none of the variants ({', '.join(sorted(definition.variants)[:10])})"))
    if spec.safe_variant is None and definition.default_variant is None:
        found.append(("safeVariant", "is missing: defaultVariant is null, which is no variant to fall back to"))
    if spec.layer is not None and spec.layer.first + spec.layer.count > SLOTS:
        found.append(("layer", f"slots {spec.layer.first} to {spec.layer.first + spec.layer.count} of {SLOTS}"))
    if spec.layer is not None and spec.salt is not None:
        found.append(("salt", "a layer deals its users by its name: leave salt out"))
    found += [
        (f"prerequisites[{index}].flag", "is the flag itself")
        for index, one in enumerate(spec.prerequisites)
        if one.flag == key.name
    ]
    long = next((name for name in definition.variants if len(name) > LABEL_LENGTH_MAX), None)
    if long is not None:
        found.append(("definition.variants", f"{long[:20]}... has {len(long)} characters; exposures hold {LABEL_LENGTH_MAX}"))
    if EXPERIMENT in definition.metadata:
        found.append((f"definition.metadata.{EXPERIMENT}", "is written by the decision agent: declare spec.experiment"))
    if spec.experiment is not None:
        left_out = spec.layer is not None or bool(spec.prerequisites)
        outside = (spec.safe_variant or definition.default_variant) if left_out else None
        wrong = experiment_faults(spec.experiment, definition, outside, evaluators or {})
        found += [(f"experiment.{path}".rstrip("."), problem) for path, problem in wrong]
    if bool(spec.guard) == spec.immediate:
        found.append(("immediate", "give a guard (services that judge it), or immediate: true for a flag without one (G2)"))
    return found
