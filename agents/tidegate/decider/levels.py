"""The levels of one author on the log: published when they change, and again when they are not what the log holds (E6).

A level is a key of ``desired`` and the bytes that belong there. Publishing it twice is harmless, so a send without an answer is
simply sent again. Compaction keeps the last record of a key, not the greatest: where another author's late record, or a
tombstone, stands last, ours is published again.
"""

from msgspec import Struct

from tidegate.ports import Log
from tidegate.rollout.ledger import Ledger
from tidegate.rollout.levels import desired_of, plan_of, roster_of
from tidegate.wire.decisions import SubjectState
from tidegate.wire.envelope import Signs, seal

PLAN, ROSTER = "plan/", "roster/"


class _Sent(Struct):
    value: bytes
    offset: int


class _Basis(Struct, frozen=True):
    """What the levels of a subject are made of: while it is the same, so are they, and none is signed again."""

    epoch: int
    root_version: int
    state: SubjectState


class Levels:
    """What one author has published in its epoch."""

    def __init__(self, log: Log, signer: Signs) -> None:
        self._log = log
        self._signer = signer
        self._sent: dict[str, _Sent] = {}
        self._published: dict[str, _Basis] = {}

    def forget(self) -> None:
        """Begin an epoch: everything is to be published again."""
        self._sent.clear()
        self._published.clear()

    def saw(self, key: str, value: bytes | None, offset: int) -> None:
        """Take a record of ``desired`` as read back: one behind ours that is not ours has evicted it."""
        sent = self._sent.get(key)
        if sent is not None and offset > sent.offset and value != sent.value:
            del self._sent[key]
            self._published.pop(key.removeprefix(PLAN).removeprefix(ROSTER), None)

    async def publish(self, ledger: Ledger, root_version: int, fleet: str) -> int:
        """Publish what is missing, plan and roster of a subject before its command; return how many records that were.

        SendUnknown ends it; what was not confirmed is sent again by the next call.
        """
        written = 0
        for subject, state in sorted(ledger.subjects.items()):
            basis = _Basis(ledger.epoch, root_version, state)
            if not state.generation or self._published.get(subject) == basis:
                continue
            for key, value in self._wanted(ledger, subject, root_version, fleet):
                written += await self._put(key, value)
            self._published[subject] = basis
        return written

    async def _put(self, key: str, value: bytes) -> int:
        sent = self._sent.pop(key, None)
        if sent is None or sent.value != value:
            sent = _Sent(value, (await self._log.append("desired", key, value)).offset)
            self._sent[key] = sent
            return 1
        self._sent[key] = sent
        return 0

    def _wanted(self, ledger: Ledger, subject: str, root_version: int, fleet: str) -> list[tuple[str, bytes]]:
        plan, roster = plan_of(ledger, subject), roster_of(ledger, subject)
        found = [(f"{PLAN}{subject}", plan)] if plan is not None else []
        if roster is not None:
            found.append((f"{ROSTER}{subject}", seal(roster, self._signer)))
        found.append((subject, seal(desired_of(ledger, subject, root_version, fleet), self._signer)))
        return found
