"""The ledger as read from ``decisions``: record by record, and anew from the beginning where a takeover voids some (E3)."""

from tidegate.ports import Log, Record
from tidegate.rollout.ledger import BrokenChain, Ledger, apply, rebuild
from tidegate.wire.codec import Malformed, decode
from tidegate.wire.decisions import Decision


class Book:
    """The ledger, and how far the log that it comes from has been folded."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.next_offset = 0
        self.broken = ""
        """Why nobody may lead on this log; empty: the chain is whole."""
        self._torn = False
        """A record did not follow: the ledger is to be folded anew."""

    def read(self, record: Record) -> None:
        """Take a record of the topic. One that is known already changes nothing."""
        if record.offset < self.next_offset:
            return
        self.next_offset = record.offset + 1
        raw = record.value or b""
        try:
            if not self._torn:
                self.ledger = apply(self.ledger, decode(raw, Decision), raw)
        except (BrokenChain, Malformed):
            self._torn = True
        # A chain that could not be mended may be whole with this record: a takeover, for example, voids what did not follow.
        self.broken = ""

    def wrote(self, decision: Decision, raw: bytes) -> None:
        """Take a record that this process has just appended at ``next_offset``."""
        self.ledger = apply(self.ledger, decision, raw)
        self.next_offset += 1

    async def mend(self, log: Log) -> None:
        """Fold the whole log anew where a record did not follow. ``broken`` says it where that does not help."""
        if not self._torn or self.broken:
            return
        reader = await log.reader(["decisions"])
        try:
            records = await reader.read_to_end()
        finally:
            await reader.close()
        try:
            self.ledger = rebuild((record.offset, record.value or b"") for record in records)
        except (BrokenChain, Malformed) as error:
            self.broken = str(error)
            return
        self._torn = False
        self.next_offset = records[-1].offset + 1 if records else 0
