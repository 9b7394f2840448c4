"""The author's values on ``flags``: sent when they change, each with its stamp, and again when the topic holds another (G1, E6).

What is to be sent is a function of the ledger; here it is kept what was sent. A turn sends so many values at once that a flood of
them delays neither a retreat nor a heartbeat; the newest decision goes first.
"""

import asyncio
from collections.abc import Mapping

import structlog
from msgspec import Struct

from tidegate.ports import Log
from tidegate.rollout.flag_levels import FlagLevel, FlagLevels, needs, withheld
from tidegate.rollout.ledger import Ledger
from tidegate.wire.documents import Order
from tidegate.wire.envelope import Signs
from tidegate.wire.flagstamps import HEADER, stamp
from tidegate.wire.flagstates import FlagState, SharedState, flag_key
from tidegate.wire.names import FLAG_PREFIX

SENDS_PER_TURN = 200

log = structlog.get_logger("tidegate.decide")


class _Sent(Struct, frozen=True):
    value: bytes | None
    stamp: bytes
    offset: int


class _Seen(Struct, frozen=True):
    """What was looked at last. A state that is the same object is the same state."""

    flags: Mapping[str, FlagState]
    flag_sets: Mapping[str, SharedState]
    root_version: int


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
        self._linked: set[str] = set()
        """Flags that need others."""
        self._seen: _Seen | None = None

    @property
    def waiting(self) -> bool:
        """Whether another turn is needed for what is due."""
        return bool(self._due)

    def forget(self) -> None:
        """Begin an epoch: everything is to be published again."""
        self._sent.clear()
        self._levels.clear()
        self._due.clear()
        self._linked.clear()
        self._seen = None

    def saw(self, key: str, value: bytes | None, header: bytes | None, offset: int) -> None:
        """Take a record of ``flags`` as read back: one behind ours that is not ours has evicted it."""
        subject = f"{FLAG_PREFIX}{key}"
        sent = self._sent.get(subject)
        if sent is not None and offset > sent.offset and (value, header) != (sent.value, sent.stamp):
            del self._sent[subject]
            self._due[subject] = None

    def look(self, ledger: Ledger, root_version: int) -> bool:
        """Return whether a value is due: one that is not what was sent; under another key document all of them are. It costs what
        has changed, and those flags that need others.
        """
        seen = self._seen
        if seen is not None and root_version != seen.root_version:
            self._sent.clear()
            seen = None
        if seen is not None and seen.flags is ledger.flags and seen.flag_sets is ledger.flag_sets:
            return self.waiting
        changed = self._changed(ledger, seen or _Seen({}, {}, root_version))
        self._seen = _Seen(ledger.flags, ledger.flag_sets, root_version)
        # Of one decision what it is about comes first, then what needs it.
        changed.sort(key=lambda one: (-self._levels[one].revision, _own(ledger, one) != self._levels[one].revision, one))
        self._due = dict.fromkeys((*changed, *self._due))
        return self.waiting

    def _changed(self, ledger: Ledger, seen: _Seen) -> list[str]:
        levels, found = FlagLevels(ledger, self._levels), []
        looked = [one for one, state in ledger.flag_sets.items() if seen.flag_sets.get(one) is not state]
        for subject, state in ledger.flags.items():
            if seen.flags.get(subject) is not state:
                looked.append(subject)
                (self._linked.add if needs(state) else self._linked.discard)(subject)
        for subject in dict.fromkeys((*looked, *self._linked)):
            if withheld(ledger, subject):
                continue
            level = self._levels[subject] = levels.level(subject)
            if level.fault:
                log.error("a flag cannot be published as decided; everyone has its safe variant", flag=subject, cause=level.fault)
            sent = self._sent.get(subject)
            if sent is None or sent.value != level.value:
                found.append(subject)
        return found

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
