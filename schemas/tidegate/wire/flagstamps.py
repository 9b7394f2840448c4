"""Signatures of flags (G1): the value of a record is flagd's own; who stands for it is sealed in a header."""

from tidegate.wire.codec import Malformed
from tidegate.wire.documents import FlagStamp, Order, digest
from tidegate.wire.envelope import Refused, Signs, Trust, seal, unseal
from tidegate.wire.flags import TopicKey

HEADER = "tidegate-stamp"
"""Name of the record header that holds it."""
STAMP_BYTES_MAX = 16 << 10


def stamp(key: TopicKey, value: bytes | None, order: Order, fleet: str, *signers: Signs) -> bytes:
    """Return the header that goes with a value under a key; None is a tombstone."""
    root_version, epoch, generation = order.root_version, order.epoch, order.generation
    document = FlagStamp(
        fleet=fleet, key=str(key), root_version=root_version, epoch=epoch, generation=generation, sha256=_digest(value)
    )
    return seal(document, *signers)


def order_of(key: TopicKey, value: bytes | None, header: bytes | None, trust: Trust) -> Order:
    """Return the order of a record whose header a decision key of this fleet signed over just this key and value.

    Raises Refused where none did, or there is no header, and Malformed where it cannot be read. A reader acts on it only where
    the order is greater than that of what it holds under the key.
    """
    if header is None:
        raise Refused(f"{key} has no header {HEADER}: nobody stands for it")
    if len(header) > STAMP_BYTES_MAX:
        raise Malformed("", f"{len(header)} bytes; a stamp has at most {STAMP_BYTES_MAX}")
    found, _ = unseal(header, FlagStamp, trust)
    if found.key != str(key):
        raise Refused(f"the stamp of {found.key} stands at {key}")
    if found.sha256 != _digest(value):
        raise Refused(f"the stamp of {key} is over another value")
    return found.order


def _digest(value: bytes | None) -> str:
    return "" if value is None else digest(value)
