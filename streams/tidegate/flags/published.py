"""What is published of a flag: plain flagd definitions, so that stock clients in any language agree about everyone (G2, G5).

Nothing here decides when. Every function takes definitions as bytes and returns the bytes to publish, verbatim where nothing
has to be changed. Malformed tells the path and the remedy where no definition can say what is wanted.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from msgspec import Struct

from tidegate.flags.leaves import Outcome
from tidegate.wire.codec import Malformed, encode
from tidegate.wire.flagrules import Fault
from tidegate.wire.flags import VARIANTS_MAX, Definition, State, definition_of, variant_type
from tidegate.wire.flagspecs import SLOTS, FlagSpec

WEIGHT_ALL = 10_000
"""Weights are in hundredths of a percent."""
TOTAL = SLOTS * WEIGHT_ALL
"""Buckets of a ramp: a slot of a layer, split into weights. A bucket is 43 hashes of 2^32 wide."""

Pin = Literal["killed", "safe", "archived"]


class Share(Struct, frozen=True, kw_only=True):
    """Who has the new definition: ``weight`` (0 to 10,000, in 1/100 %) of ``count`` slots from slot ``first`` on, as ``salt``
    deals.

    A share that grows keeps everyone whom it has. Shares of different salts are independent; a salt is never a flag's key
    alone, so that they are independent of a flag's own fractional rule too.
    """

    salt: str
    weight: int
    first: int = 0
    count: int = SLOTS

    def __post_init__(self) -> None:
        if not (0 <= self.weight <= WEIGHT_ALL and self.first >= 0 and 1 <= self.count <= SLOTS - self.first):
            raise ValueError(f"weight {self.weight} of slots {self.first} to {self.first + self.count} is no share")


def share_of(spec: FlagSpec, key: str, weight: int) -> Share:
    """Return the share of a flag at a weight of 0 to 10,000 (1/100 %)."""
    if spec.layer is not None:
        return Share(salt=f"layer/{spec.layer.name}/", weight=weight, first=spec.layer.first, count=spec.layer.count)
    return Share(salt=f"{spec.salt or key}/", weight=weight)


def pinned(value: bytes, variant: str, why: Pin) -> bytes:
    """Return a definition that gives everyone one variant: targeting is dropped, and DISABLED is not used, for it would give
    the caller's default (G5). Variants and metadata stay; ``why`` is true in the metadata. Malformed where it has no such
    variant.
    """
    before = definition_of(value)
    if variant not in before.variants:
        raise Malformed("variants", f"{variant!r} is not among them: {', '.join(sorted(before.variants)[:10])}")
    return Definition(
        state=State.ENABLED, variants=before.variants, default_variant=variant, metadata=before.metadata | {why: True}
    ).encoded()


def ramped(new: bytes, old: bytes, share: Share) -> bytes:
    """Return the definition that gives the new one's outcome to those in the share and the old one's to all others.

    Who has no targeting key is in no share. Metadata are the new one's. While it holds, reasons are TARGETING_MATCH where the
    definitions would say STATIC, and null outcomes are each definition's own default. Malformed where a variant keeps its name
    and changes its value or type, or the two are too large as one.
    """
    if share.weight == 0:
        return old
    if share.weight == WEIGHT_ALL and share.count == SLOTS:
        return new
    after, before = definition_of(new), definition_of(old)
    one, other = Outcome(after), Outcome(before)
    default = None if one.default is None else other.default
    return checked(
        Definition(
            state=State.ENABLED,
            variants=_merged(after.variants, before.variants),
            default_variant=default,
            targeting={"if": [in_share(share), one.under(default), other.under(default)]},
            metadata=after.metadata,
        )
    )


def in_share(share: Share) -> dict[str, Any]:
    """Return the rule that is true for those in a share, in operators that every flagd client has."""
    begin, inside = share.first * WEIGHT_ALL, share.count * share.weight
    weights = [("out", begin), ("in", inside), ("out", TOTAL - begin - inside)]
    key = {"var": "targetingKey"}
    buckets = [[name, weight] for name, weight in weights if weight]
    return {"and": [{"!!": [key]}, {"==": [{"fractional": [{"cat": [share.salt, key]}, *buckets]}, "in"]}]}


def layer_faults(specs: Mapping[str, FlagSpec]) -> list[Fault]:
    """Return where flags of one layer hold the same slots, as (path, problem); ``specs`` are all of a set by their keys."""
    held: dict[str, list[tuple[int, int, str]]] = {}
    for key, spec in specs.items():
        if spec.layer is not None:
            held.setdefault(spec.layer.name, []).append((spec.layer.first, spec.layer.first + spec.layer.count, key))
    return [
        (f"{key}.layer", f"slots {first} to {min(end, before_end)} of {layer} are held by {before} already")
        for layer, ranges in held.items()
        for (_, before_end, before), (first, end, key) in pairwise(sorted(ranges))
        if first < before_end
    ]


def checked(definition: Definition) -> bytes:
    """Return a definition's bytes, if readers will take it; Malformed otherwise."""
    value = definition.encoded()
    try:
        definition_of(value)
    except Malformed as fault:
        raise Malformed(
            fault.path, f"{fault.problem}, as it would be published; pass the stages of one change before the next"
        ) from fault
    return value


def _merged(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    types = {variant_type(value) for value in (*new.values(), *old.values())}
    if len(types) > 1:
        raise Malformed("variants", "their type changes while some users have the old one; make a new flag for the new type")
    for name in sorted(new.keys() & old.keys()):
        if encode(new[name]) != encode(old[name]):
            raise Malformed(
                f"variants.{name}", "its value changes while some users have the old one; give the new value a new name"
            )
    merged = {**old, **new}
    if len(merged) > VARIANTS_MAX:
        raise Malformed("variants", f"{len(merged)} of the old and the new definition; at most {VARIANTS_MAX}")
    return merged


__all__ = ["Pin", "Share", "checked", "in_share", "layer_faults", "pinned", "ramped", "share_of"]
