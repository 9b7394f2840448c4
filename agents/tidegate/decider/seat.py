"""The author's seat as one life of the agent holds it: claims, heartbeats, resignation (E2, E3)."""

import contextlib

from msgspec.structs import replace

from tidegate.decider.leadership import Leadership, claimed, heard, may_claim
from tidegate.decider.timings import Timings
from tidegate.decider.witness import Witness
from tidegate.ports import Clock, Log, Record
from tidegate.wire.codec import Malformed
from tidegate.wire.documents import Claim, Heartbeat, KeyRole
from tidegate.wire.envelope import Refused, Signs, Trust, seal, unseal
from tidegate.wire.names import CLAIM, claim_key, epoch_spent

HEARTBEAT = "heartbeat"
LONG_AGO_S = -1e9


class Seat:
    """Who sits there, as the log says, and whether this process acts in it. An epoch is acted in at most once."""

    def __init__(self, log: Log, clock: Clock, signer: Signs, life: str, timings: Timings) -> None:
        self._log = log
        self._clock = clock
        self._signer = signer
        self._public = signer.public(KeyRole.DECISION)
        self.life = life
        self._timings = timings
        self.leadership = Leadership()
        self.witness = Witness(clock)
        self.epoch = 0
        """The epoch in which this process acts; 0: it stands by."""
        self._claimed = 0
        self._claim = b""
        self._claim_offset: int | None = None
        """Where our claim was read first."""
        self._evicted = False
        """Another record stands under the key of our claim, be it the same claim: compaction will leave that one, and who begins
        to read then knows no author, or the one whose claim for this epoch came second.
        """
        self._used = 0
        self._decided = 0
        """Epoch of the ledger. Records go on where claims do not: those of a revoked key are void, what was decided under
        them is not; and a claim that is written again stands elsewhere once the log is compacted.
        """
        self._spent = 0
        """The highest epoch that a claim names which does not count (``epoch_spent``)."""
        self._beats = 0
        self._beat_s = LONG_AGO_S

    def hear(self, key: str, record: Record, trust: Trust) -> None:
        """Take a claim or a heartbeat as read. Raises Malformed or Refused where it does not count."""
        now_s, value = self._clock.monotonic_s(), record.value
        if self._claimed and key == claim_key(self._claimed, self.life):
            self._evicted |= value != self._claim or self._stands_behind(record.offset)
        if value is None:
            return
        if key == HEARTBEAT:
            self.leadership = heard(self.leadership, unseal(value, Heartbeat, trust)[0], now_s)
            return
        try:
            claim = _claim_of(key, value, trust)
        except (Malformed, Refused):
            self._spent = epoch_spent(key, max(self._spent, self.leadership.epoch))
            raise
        if claim.life == self.life and claim.epoch <= self._spent:
            self._used = max(self._used, claim.epoch)
        self.leadership = claimed(self.leadership, claim, now_s)

    def decided(self, epoch: int) -> None:
        """Take the epoch of the ledger, as far as that has been folded."""
        self._decided = epoch

    async def rehear(self, trust: Trust) -> None:
        """Fold all claims anew under other keys: one that was refused may count now, and those of a revoked key do not (H1).

        Keys and claims are read from two topics, so a claim may be seen before the key document that entitles it.
        """
        reader = await self._log.reader(["desired"])
        try:
            records = await reader.read_to_end()
        finally:
            await reader.close()
        self.leadership, self._spent = Leadership(), 0
        for record in records:
            if record.value is not None and record.key is not None and record.key.startswith((CLAIM, HEARTBEAT)):
                with contextlib.suppress(Malformed, Refused):
                    self.hear(record.key, record, trust)

    def entitled(self, trust: Trust) -> bool:
        """Return whether this process's key may decide under a key document."""
        return trust.keys.get(self._signer.key_id) == self._public

    def revoked(self, trust: Trust) -> bool:
        """Return whether this process's key will never count again under a key document."""
        return self._public.public in trust.revoked

    @property
    def lost(self) -> bool:
        """Whether this process acts in an epoch that is another's, or void, or behind the ledger's, or whose claim is evicted by
        now (E6).
        """
        return bool(self.epoch) and (self._evicted or self._decided > self.epoch or not self._mine(self.epoch))

    @property
    def won(self) -> int:
        """The epoch that this life has won and nobody has acted in yet; 0: none."""
        epoch = self.leadership.epoch
        return epoch if epoch > max(self._used, self._decided) and self._mine(epoch) else 0

    @property
    def free(self) -> bool:
        """Whether this life may claim the next epoch: nobody sits there, or it has won the last and cannot act in it any more."""
        mine = bool(self.leadership.epoch) and self._mine(self.leadership.epoch) and not self.won
        return mine or may_claim(self.leadership, self._clock.monotonic_s(), self._timings.takeover_s)

    def excuse(self) -> None:
        """Begin to count the author's silence anew: the log was away, not the author."""
        if self.leadership.epoch:
            self.leadership = replace(self.leadership, heard_s=self._clock.monotonic_s())

    async def claim(self, trust: Trust, read_to: int) -> None:
        """Claim the next epoch, never the same twice (E2). Once the log has been read back ``won`` says what came of it."""
        epoch = self._claimed = max(self.leadership.epoch, self._claimed, self._spent, self._decided) + 1
        claim = Claim(fleet=trust.fleet, epoch=epoch, life=self.life, read_to=read_to, issued_ms=self._clock.now_ms())
        self._claim, self._claim_offset, self._evicted = seal(claim, self._signer), None, False
        await self._append(claim_key(epoch, self.life), self._claim)

    async def decline(self, fleet: str, digest: str) -> None:
        """Give up the epoch that was won, without having acted in it: another one may claim the next at once."""
        self.sit(self.won)
        try:
            await self.beat(fleet, digest, resigned=True)
        finally:
            self.rise()  # whoever got no answer leads no more than who got one

    def sit(self, epoch: int) -> None:
        """Act in an epoch from now on."""
        self.epoch = self._used = epoch
        self._beat_s = LONG_AGO_S

    def rise(self) -> None:
        """Stop acting, at once. A further act needs another epoch."""
        self.epoch = 0

    def beat_due_s(self) -> float:
        """Return in how many seconds the next heartbeat is due; at most 0: now."""
        return self._beat_s + self._timings.heartbeat_s - self._clock.monotonic_s()

    async def beat(self, fleet: str, digest: str, *, resigned: bool = False) -> None:
        """Say that the author is alive and what it stands for (E4)."""
        self._beats += 1
        heartbeat = Heartbeat(
            fleet=fleet,
            epoch=self.epoch,
            life=self.life,
            seq=self._beats,
            issued_ms=self._clock.now_ms(),
            digest=digest,
            resigned=resigned,
        )
        await self._append(HEARTBEAT, seal(heartbeat, self._signer))
        self._beat_s = self._clock.monotonic_s()

    async def _append(self, key: str, value: bytes) -> None:
        sent_s = self._clock.monotonic_s()
        self.witness.saw(sent_s, await self._log.append("desired", key, value))

    def _stands_behind(self, offset: int) -> bool:
        """Return whether our claim was written again, by somebody or by a broker, behind where it was read first."""
        if self._claim_offset is None:
            self._claim_offset = offset
        return offset > self._claim_offset

    def _mine(self, epoch: int) -> bool:
        return (self.leadership.epoch, self.leadership.life) == (epoch, self.life)


def _claim_of(key: str, value: bytes, trust: Trust) -> Claim:
    claim, _ = unseal(value, Claim, trust)
    if key != claim_key(claim.epoch, claim.life):
        raise Refused(f"a claim of {claim.life} for epoch {claim.epoch} stands under key {key}")
    return claim
