"""What counted on ``keys``, and which of it something else has taken the place of (E6).

``keys`` is compacted: garbage, a tombstone, or an old record sent again evicts the record that counted, and whoever begins to
read then misses a link of the chain of key documents, or a node's retirement. Decide writes back the very bytes that were signed,
and signs nothing itself. Readers follow the topic in its order, so behind a key document that stands there anew, whoever wrote it
again, comes again what counted after it; not so tokens and what they enrolled, since these count by the time at which they stand
there. Where that makes a new reader refuse one, an operator enrols the node.
"""

from msgspec.structs import replace

from tidegate.ports import Log, Record
from tidegate.wire.codec import Malformed
from tidegate.wire.envelope import Refused, Trust
from tidegate.wire.keys import links, trust_after, trust_of, unseal_root, version_of


class Kept:
    """Bounded by the keys of the compacted topic."""

    def __init__(self) -> None:
        self._counted: dict[str, bytes] = {}
        """In the order in which they began to count, which is the order that a reader needs."""
        self._owed: set[str] = set()

    def trust_after(self, trust: Trust, record: Record) -> Trust:
        """Return the trust after a record of ``keys``. Raises Malformed or Refused where it does not count."""
        key, value = record.key or "", record.value or b""
        try:
            after = trust if record.value is None else trust_after(trust, key, value, record.time_ms)
        except (Malformed, Refused):
            self._lose(key)
            raise
        if after.root_version > trust.root_version:
            for link, envelope in links(trust, after, value):
                self._count(link, envelope)
        elif version_of(key) <= trust.root_version and (
            after is not trust or value == self._counted.get(key) or _is_known(trust, key, value)
        ):
            self._count(key, value)
        else:
            self._lose(key)
        return after

    async def publish(self, log: Log) -> int:
        """Write back what was evicted; return how many records that were. SendUnknown ends it, and the next call goes on."""
        written = 0
        for key in [one for one in self._counted if one in self._owed] if self._owed else ():
            await log.append("keys", key, self._counted[key])
            self._owed.discard(key)
            written += 1
        return written

    def _count(self, key: str, value: bytes) -> None:
        if value == self._counted.get(key):
            self._owed.update(self._behind(key))
        else:
            self._counted.pop(key, None)
            self._counted[key] = value
        self._owed.discard(key)

    def _lose(self, key: str) -> None:
        if key in self._counted:
            self._owed.update((key, *self._behind(key)))

    def _behind(self, key: str) -> list[str]:
        """Return what must stand behind a key document; nothing where it is none."""
        if not version_of(key):
            return []
        places = list(self._counted)
        return [one for one in places[places.index(key) + 1 :] if "/" not in one]


def _is_known(trust: Trust, key: str, value: bytes) -> bool:
    """Return whether a record that changes nothing says what is trusted already; of key documents only the newest is known."""
    version = version_of(key)
    if not version:
        return bool(value)
    try:
        root = unseal_root(value, None)
    except (Malformed, Refused):
        return False
    if root.version != version or version != trust.root_version:
        return False
    named = trust_of(root)
    known = {name: one for name, one in trust.keys.items() if name in named.keys}
    return replace(trust, keys=known, enrolments={}, tokens={}) == named
