"""What the topic ``exposures`` holds: who saw which variant, and what came of it. The people are hashes.

Attributes have the names of OpenTelemetry's semantic conventions for feature flags, so that any consumer of such events can read
them. Both kinds of record have the key ``user``: what is to be joined stands in one partition, in order. A sender that got no
answer sends the same bytes again: who adds up drops the second of two equal records of a user.
"""

import hashlib
from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.codec import decode
from tidegate.wire.flags import Metadata
from tidegate.wire.names import Label, Name

EXPERIMENT = "tidegate.experiment"
"""In the metadata of a flag whose variants an experiment compares: a ``tidegate.wire.experiments.Trial``, written by decide."""
WATCHED = "tidegate.watched"
"""In the metadata of a flag whose ramp is judged: its SDKs report telemetry by variant."""
SALT = "tidegate.salt"
"""In the metadata of a set: what its users' hashes are salted with; without it the set's id. Another salt makes strangers of all
users, which is how they are forgotten.
"""
NUMBER_MAX = 1 << 53

User = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$(?!\n)", description="a blake2b-128 of 32 hexadecimal digits")]
Number = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]

_NAMES = {
    "set_id": "feature_flag.set.id",
    "flag": "feature_flag.key",
    "variant": "feature_flag.result.variant",
    "reason": "feature_flag.result.reason",
    "generation": "feature_flag.version",
    "user": "feature_flag.context.id",
    "experiment": EXPERIMENT,
}


class Exposure(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="exposure", tag_field="kind", rename=_NAMES):
    """Somebody was given a variant by a service; at most once a minute for each (flag, variant, user) of one process."""

    set_id: Name
    flag: Name
    variant: Label
    reason: Label
    generation: Number
    """Of the definition that gave it: the generation of the stamp with which it came."""
    user: User
    at_ms: Number
    node: Name
    service: Name
    experiment: Annotated[str, Meta(max_length=2_048)] = ""
    """What stood in the flag's metadata under ``tidegate.experiment``; empty: it is in none."""


class Outcome(Struct, frozen=True, kw_only=True, tag="outcome", tag_field="kind", rename=_NAMES):
    """Somebody did what a metric of an experiment counts. ``value`` is 1 where only that it happened matters."""

    metric: Label
    set_id: Name
    """Whose salt is in the hash: it joins exposures of this set."""
    user: User
    value: float
    at_ms: Number


def exposure_of(value: bytes) -> Exposure | Outcome:
    """Return what a record holds. Malformed where it is neither."""
    return decode(value, Exposure | Outcome)  # type: ignore[arg-type]


def salt_of(metadata: Metadata, set_id: str) -> str:
    """Return what the hashes of a set's users are salted with, given the set's metadata."""
    return str(metadata.get(SALT, set_id))


def user_hash(salt: str, targeting_key: str) -> str:
    """Return what stands for a user wherever we store one: a blake2b-128, keyed with the set's salt. 32 hexadecimal digits.

    >>> user_hash("web", "kim") == user_hash("web", "kim"), user_hash("web", "kim") == user_hash("shop", "kim")
    (True, False)
    """
    key = hashlib.blake2b(salt.encode(), digest_size=32).digest()
    return hashlib.blake2b(targeting_key.encode(errors="surrogatepass"), digest_size=16, key=key).hexdigest()


__all__ = [
    "EXPERIMENT",
    "SALT",
    "WATCHED",
    "Exposure",
    "Outcome",
    "exposure_of",
    "salt_of",
    "user_hash",
]
