"""The ledger as read from ``decisions``: folded record by record, folded anew where a takeover voids some of them (E3)."""

from tidegate.ports import Record
from tidegate.rollout.ledger import BrokenChain, Ledger, apply, rebuild
from tidegate.wire.codec import Malformed, decode
from tidegate.wire.decisions import Decision


class Book:
    """The ledger and the log that it came from. ``broken`` says why nobody may lead on it; empty: it is whole."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.broken = ""
        self.next_offset = 0
        self._records: list[tuple[int, bytes]] = []

    def read(self, record: Record) -> None:
        """Take a record of the topic. What this process wrote itself is known already and changes nothing."""
        raw = record.value or b""
        self.next_offset = record.offset + 1
        if self._records and self._records[-1][0] >= record.offset:
            return
        self._records.append((record.offset, raw))
        self._fold(raw)

    def wrote(self, offset: int, decision: Decision, raw: bytes) -> None:
        """Take a record that this process has just appended at ``offset``."""
        self._records.append((offset, raw))
        self.ledger = apply(self.ledger, decision, raw)

    def _fold(self, raw: bytes) -> None:
        try:
            self.ledger = apply(self.ledger, decode(raw, Decision), raw)
        except (BrokenChain, Malformed):
            try:
                self.ledger = rebuild(self._records)
                self.broken = ""
            except (BrokenChain, Malformed) as error:
                self.broken = str(error)
