"""The author's values on ``flags``: sent when they change, each with its stamp, and again when the topic holds another (G1, E6).

What is to be sent is a function of the ledger; here it is kept what was sent. A turn sends so many values at once that a flood of
them delays neither a retreat nor a heartbeat; the newest decision goes first.
"""

import asyncio

import structlog
from msgspec import Struct

from tidegate.ports import Log
from tidegate.rollout.flag_levels import FlagLevel, FlagLevels, withheld
from tidegate.rollout.ledger import Ledger
from tidegate.wire.documents import Order
from tidegate.wire.envelope import Signs
from tidegate.wire.flagstamps import HEADER, stamp
from tidegate.wire.flagstates import flag_key

SENDS_PER_TURN = 200

log = structlog.get_logger("tidegate.decide")


class _Sent(Struct, frozen=True):
    value: bytes | None
    stamp: bytes
    offset: int


class Flags:
    """What one author has published of flags in its epoch."""

    def __init__(self, log: Log, signer: Signs) -> None:
        self._log = log
        self._signer = signer
        self._sent: dict[str, _Sent] = {}
        """By subject."""
        self._levels: dict[str, FlagLevel] = {}
        self._due: dict[str, None] = {}
        """Subjects whose value is to be sent, in order."""
        self._seen: tuple[object, object, int] | None = None
        """What was looked at last: flags and sets as the ledger had them, and the root version."""

    @property
    def waiting(self) -> bool:
        """Whether another turn is needed for what is due."""
        return bool(self._due)

    def forget(self) -> None:
        """Begin an epoch: everything is to be published again."""
        self._sent.clear()
        self._levels.clear()
        self._due.clear()
        self._seen = None

    def saw(self, key: str, value: bytes | None, header: bytes | None, offset: int) -> None:
        """Take a record of ``flags`` as read back: one behind ours that is not ours has evicted it."""
        subject = f"flag/{key}"
        sent = self._sent.get(subject)
        if sent is not None and offset > sent.offset and (value, header) != (sent.value, sent.stamp):
            del self._sent[subject]
            self._due[subject] = None

    def look(self, ledger: Ledger, root_version: int) -> bool:
        """Return whether a value is due: one that is not what was sent; under another key document all of them are."""
        seen = self._seen
        if seen is not None and (seen[0] is ledger.flags and seen[1] is ledger.flag_sets and seen[2] == root_version):
            return self.waiting
        if seen is not None and root_version != seen[2]:
            self._sent.clear()
        self._seen = ledger.flags, ledger.flag_sets, root_version
        levels = FlagLevels(ledger, self._levels)
        changed = []
        for subject in (*ledger.flag_sets, *ledger.flags):
            known = self._levels.get(subject)
            if known is not None and known.revision == levels.revision(subject) and subject in self._sent:
                continue
            if withheld(ledger, subject):
                continue
            level = self._levels[subject] = levels.level(subject)
            if level.fault:
                log.error(
                    "a flag cannot be published as it was decided; everyone has its safe variant", flag=subject, cause=level.fault
                )
            sent = self._sent.get(subject)
            if sent is None or sent.value != level.value:
                changed.append(subject)
        # Of one decision what it is about comes first, then what needs it.
        changed.sort(key=lambda one: (-self._levels[one].revision, _own(ledger, one) != self._levels[one].revision, one))
        self._due = dict.fromkeys((*changed, *self._due))
        return self.waiting

    async def publish(self, ledger: Ledger, root_version: int, fleet: str) -> int:
        """Send what ``look`` has found, up to a bound; return how many records that were.

        SendUnknown ends it; what was not confirmed is sent again by the next call.
        """
        turn = list(self._due)[:SENDS_PER_TURN]
        outcomes = await asyncio.gather(
            *(self._send(ledger, root_version, fleet, subject) for subject in turn), return_exceptions=True
        )
        for subject, outcome in zip(turn, outcomes, strict=True):
            if isinstance(outcome, _Sent):
                self._sent[subject] = outcome
                self._due.pop(subject, None)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return len(turn)

    async def _send(self, ledger: Ledger, root_version: int, fleet: str, subject: str) -> _Sent:
        key, level = flag_key(subject), self._levels[subject]
        header = stamp(key, level.value, Order(root_version, ledger.epoch, level.revision), fleet, self._signer)
        appended = await self._log.append("flags", str(key), level.value, headers={HEADER: header})
        return _Sent(level.value, header, appended.offset)


def _own(ledger: Ledger, subject: str) -> int:
    state = ledger.flags.get(subject) or ledger.flag_sets.get(subject)
    return state.seq if state is not None else 0
