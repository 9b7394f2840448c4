"""What one process holds of ``flags``: the highest order of each key, under the newest key document (G1). No I/O.

A value stays until one of a higher order replaces it: neither a record that does not count nor another key document takes a flag
away from a running service, since without it callers would get their own defaults. A restart verifies everything anew.
"""

import logging
from collections import Counter
from collections.abc import Callable

import msgspec
import structlog
from msgspec import Struct

from tidegate.wire.codec import Malformed
from tidegate.wire.documents import Order
from tidegate.wire.envelope import Refused, Trust
from tidegate.wire.flags import TopicKey, topic_key
from tidegate.wire.flagstamps import order_of
from tidegate.wire.keys import links, trust_after, version_of
from tidegate.wire.reasons import Reason

SNAPSHOT_VERSION = 1

log = structlog.wrap_logger(logging.getLogger("tidegate.flags"))

Sink = Callable[[TopicKey, bytes | None], None]
"""Folds one value, None for a tombstone; Malformed, and nothing changed, where it cannot be used."""


class Kept(Struct, frozen=True):
    """What stands under one key."""

    value: bytes | None
    stamp: bytes
    order: Order


class _Saved(Struct, array_like=True, frozen=True):
    key: str
    value: bytes | None
    stamp: bytes


class _Snapshot(Struct, frozen=True):
    version: int
    current_ms: int
    """When this was all there is, by the clock of who wrote it."""
    roots: list[tuple[str, bytes]]
    """Key documents that followed the one that the writer was told of, with their keys on the topic."""
    records: list[_Saved]


class Held:
    """Verified records, each handed to ``sink`` when it begins to count. ``sets``: only these are looked at; empty: all."""

    def __init__(self, trust: Trust, sink: Sink, sets: frozenset[str] = frozenset()) -> None:
        self._sink = sink
        self._sets = sets
        self._roots: list[tuple[str, bytes]] = []
        self.trust = trust
        self.kept: dict[str, Kept] = {}
        self.refused: Counter[Reason] = Counter()
        """How many records did not count, by reason."""
        self.changes = 0
        """How many did."""

    def take_root(self, key: str | None, value: bytes | None) -> bool:
        """Take a record of ``keys``; return whether a key document begins to count. Then records that did not before may."""
        before = self.trust
        if key is None or value is None or version_of(key) <= before.root_version:
            return False
        try:
            self.trust = trust_after(before, key, value, 0)
        except (Malformed, Refused) as error:
            self._refuse(f"keys {key}", error)
            return False
        counted = links(before, self.trust, value)
        self._roots += counted
        self.changes += bool(counted)
        return bool(counted)

    def take(self, text: str | None, value: bytes | None, stamp: bytes | None) -> TopicKey | None:
        """Take a record of ``flags``; return its key where it counts, and says something new."""
        try:
            key = topic_key(text or "")
            if self._sets and key.set_id not in self._sets:
                return None
            known = self.kept.get(str(key))
            order = self._newer(key, value, stamp, known)
            if order is None:
                return None
            self._sink(key, value)
        except (Malformed, Refused) as error:
            self._refuse(f"flags {text}", error)
            return None
        self.kept[str(key)] = Kept(value, stamp or b"", order)
        self.changes += 1
        return key if known is None or known.value != value else None

    def _newer(self, key: TopicKey, value: bytes | None, stamp: bytes | None, known: Kept | None) -> Order | None:
        """Return the order of a record that stands before what is known, None where it does not. Malformed, Refused."""
        if known is not None and (known.value, known.stamp) == (value, stamp):
            return None  # read again
        order, root_version = order_of(key, value, stamp, self.trust), self.trust.root_version
        if order.root_version > root_version:
            # By it a stolen key would stand before all that the author says from now on (TUF: fast-forward).
            raise Refused(f"the stamp of {key} names root version {order.root_version}, known is {root_version}")
        if known is None or order > known.order:
            return order
        if order == known.order and value != known.value:
            raise Refused(f"another value claims the order of what stands at {key}: the first is kept (E1)")
        return None

    def snapshot(self, current_ms: int) -> bytes:
        """Return everything with the signatures that stand for it, so that a reader need not believe the file."""
        records = [_Saved(key, kept.value, kept.stamp) for key, kept in self.kept.items()]
        return msgspec.msgpack.encode(_Snapshot(SNAPSHOT_VERSION, current_ms, self._roots, records))

    def restore(self, data: bytes) -> int:
        """Take what a snapshot holds, each record verified as if it came from the topic; return when it was current, in ms since
        the epoch. Malformed where it is no snapshot that is known here.
        """
        try:
            found = msgspec.msgpack.decode(data, type=_Snapshot)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Malformed("", f"no snapshot of flags: {error}") from error
        if found.version != SNAPSHOT_VERSION:
            raise Malformed("version", f"{found.version} is not known here; it is {SNAPSHOT_VERSION}")
        for version, root in found.roots:
            self.take_root(version, root)
        for one in found.records:
            self.take(one.key, one.value, one.stamp)
        return found.current_ms

    def _refuse(self, what: str, error: Malformed | Refused) -> None:
        reason = Reason.BAD_SIGNATURE if isinstance(error, Refused) else Reason.BAD_DOCUMENT
        self.refused[reason] += 1
        log.warning("record refused", record=what[:200], reason=str(reason), problem=str(error)[:500])


__all__ = ["Held", "Kept", "Sink"]
