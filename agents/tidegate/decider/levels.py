"""The levels of one author on the log: published when they change, and again when they are not what the log holds (E6).

A level is a key of ``desired`` and the bytes that belong there. Publishing it twice is harmless, so a send without an
answer is
simply sent again. Compaction keeps the last record of a key, not the greatest: where another author's late record
stands last, ours is published again.
"""

from collections.abc import Iterable

from msgspec import Struct

from tidegate.ports import Appended, Log
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.levels import desired_of, plan_of, roster_of
from tidegate.wire.envelope import Signer, seal

PLAN, ROSTER = "plan/", "roster/"


class _Sent(Struct):
    value: bytes
    offset: int


class Levels:
    """What one author has published in its epoch."""

    def __init__(self, log: Log, signer: Signer) -> None:
        self._log = log
        self._signer = signer
        self._sent: dict[str, _Sent] = {}
        self._evicted: set[str] = set()

    def forget(self) -> None:
        """Begin an epoch: everything is to be published again."""
        self._sent.clear()
        self._evicted.clear()

    def saw(self, key: str, value: bytes | None, offset: int) -> None:
        """Take a record of ``desired`` as read back: one behind ours that is not ours has evicted it."""
        sent = self._sent.get(key)
        if sent is not None and offset > sent.offset and value != sent.value:
            self._evicted.add(key)

    async def publish(self, ledger: Ledger, root_version: int, fleet: str) -> int:
        """Publish what is missing, plan and roster of a subject before its command; return how many records.
        SendUnknown ends it.
        """
        written = 0
        for key, value in _wanted(ledger, root_version, fleet, self._signer):
            sent = self._sent.get(key)
            if sent is not None and sent.value == value and key not in self._evicted:
                continue
            self._sent.pop(key, None)
            appended: Appended = await self._log.append("desired", key, value)
            self._sent[key] = _Sent(value, appended.offset)
            self._evicted.discard(key)
            written += 1
        return written


def _wanted(ledger: Ledger, root_version: int, fleet: str, signer: Signer) -> Iterable[tuple[str, bytes]]:
    for subject, state in sorted(ledger.subjects.items()):
        if not state.generation:
            continue
        plan, roster = plan_of(ledger, subject), roster_of(ledger, subject)
        if plan is not None:
            yield f"{PLAN}{subject}", plan
        if roster is not None:
            yield f"{ROSTER}{subject}", seal(roster, signer)
        yield subject, seal(desired_of(ledger, subject, root_version, fleet), signer)
