"""Who falls into which share: flagd's fractional bucketing, of both generations that are live.

bucket = murmur3_x86_32(bytes, seed 0) * total >> 32, in integers. v2 hashes the utf-8 of flag key + targeting key, or of an
explicit string; v3 the canonical CBOR of [flag key, targeting key], or of an explicit value of any type, whole floats as
integers (flagd ADR fractional-non-string-rand-units). Both are told from the same words, but every user falls elsewhere.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cbor2
import mmh3

from tidegate.wire.flagrules import WEIGHTS_SUM_MAX
from tidegate.wire.flags import Bucketing


class Draw(NamedTuple):
    """One drawing: ``bucket`` of ``total``, and the variant whose share it falls into."""

    variant: Any
    bucket: int
    total: int


def draw(arguments: Sequence[Any], data: Any, bucketing: Bucketing) -> Draw | None:
    """Return what ``fractional`` draws; None where it gives null: no targeting key, an entry that cannot be read, no weight.

    ``arguments`` are evaluated already. ``data`` is the context; AttributeError where it is none, as in flagd's own evaluator.
    """
    if not arguments:
        return None
    number = hash_v2(arguments, data) if bucketing is Bucketing.V2 else hash_v3(arguments, data)
    if number is None:
        return None
    shares = _shares(arguments, bucketing)
    total = sum(weight for _, weight in shares)
    if not 0 < total <= WEIGHTS_SUM_MAX:
        return None
    bucket = number * total >> 32
    end = 0
    for variant, weight in shares:
        end += weight
        if bucket < end:
            return Draw(variant, bucket, total)
    return None


def hash_v2(arguments: Sequence[Any], data: Any) -> int | None:
    """Return the hash of who is dealt, by the second generation; None where it is nobody.

    >>> hash_v2([["on", 1]], {"targetingKey": "u4", "$flagd": {"flagKey": "checkout-v2"}})
    181610295
    """
    text = arguments[0]
    if not isinstance(text, str):
        key = data.get("targetingKey")
        text = f"{data.get('$flagd', {}).get('flagKey', '')}{key}" if isinstance(key, str) and key else ""
    # Encoded here: given a text with half a surrogate pair, which JSON can hold, mmh3 5.3.1 brings the whole process down.
    return mmh3.hash(text.encode(), signed=False) if text else None


def hash_v3(arguments: Sequence[Any], data: Any) -> int | None:
    """Return the hash of who is dealt, by the third generation; None where it is nobody.

    >>> hash_v3([["on", 1]], {"targetingKey": "u5", "$flagd": {"flagKey": "checkout-v2"}})
    262304708
    """
    value = arguments[0]
    if isinstance(value, list | tuple):
        key = data.get("targetingKey")
        if not isinstance(key, str) or not key:
            return None
    if value is None:
        return None
    try:
        if isinstance(value, list | tuple):
            return mmh3.hash(b"\x82" + _text(data.get("$flagd", {}).get("flagKey", "")) + _text(key), signed=False)
        return mmh3.hash(cbor2.dumps(_whole(value), canonical=True), signed=False)
    except (cbor2.CBOREncodeError, RecursionError, ValueError):
        return None


def _text(value: str) -> bytes:
    """Return a text as CBOR; the short ones here, since the library takes as long as all the rest of an evaluation."""
    data = value.encode()
    size = len(data)
    if size > 255:
        return cbor2.dumps(value)
    return (bytes((0x60 + size,)) if size < 24 else bytes((0x78, size))) + data


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(item) for item in value]
    if isinstance(value, float) and value.is_integer() and -(2**63) <= value <= 2**64 - 1:
        return int(value)
    return value


def _shares(arguments: Sequence[Any], bucketing: Bucketing) -> list[tuple[Any, int]]:
    """Return (variant, weight); empty where one entry cannot be read. Negative weights count nothing: a ramp may compute them."""
    first = arguments[0]
    named = isinstance(first, str) if bucketing is Bucketing.V2 else not isinstance(first, list | tuple)
    shares = []
    for entry in arguments[1:] if named else arguments:
        if not isinstance(entry, list | tuple) or not 1 <= len(entry) <= 2:
            return []
        weight = entry[1] if len(entry) == 2 else 1
        if type(weight) is not int:
            return []
        shares.append((entry[0], max(0, weight)))
    return shares
