"""Reading ``keys`` and ``desired``: to the end captured now, then on; every record verified before it is folded (F1)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

import structlog

from tidegate.ports import Clock, Log, LogReader, Record
from tidegate.reconcile.accept import Arrived, Heard, Refusal, hear, standing, void_claim
from tidegate.reconcile.lease import Pulse
from tidegate.wire.codec import Malformed
from tidegate.wire.documents import BreakGlass, Claim, Desired, Heartbeat, PublicKey, Roster, digest, digest_of
from tidegate.wire.envelope import Refused, Trust, unseal
from tidegate.wire.keys import links, trust_after, version_of
from tidegate.wire.names import service_subject
from tidegate.wire.plans import Plan
from tidegate.wire.reasons import Reason

POLL_S = 1.0
"""What comes ends a poll, and so does a request to catch up: this only bounds how late a silent connection is noticed."""

HEARTBEAT = "heartbeat"
DIFFERING_TOLD = 3
"""One heartbeat may differ where compaction has left of the log what was said after it."""
WITHHELD = (
    "the author's heartbeats stand for other commands than were read here: some are withheld or lost; it goes forward in nothing"
)

log_of_node = structlog.get_logger("node")

Body = Claim | Desired | Plan | Roster | BreakGlass


class Reading:
    """What the control topics say about the services of one node, kept up to date by ``follow``."""

    def __init__(self, log: Log, clock: Clock, trust: Trust, services: Iterable[str], news: Callable[[], None]) -> None:
        self._log = log
        self._clock = clock
        self._subjects = frozenset(service_subject(service) for service in services)
        self._news = news
        self._reader: LogReader | None = None
        self._reread = False
        self._asked: list[asyncio.Future[None]] = []
        self._polling: asyncio.Task[object] | None = None
        """Who waits for news, while it may be interrupted."""
        self._beat = (0, 0)
        """Epoch and number of the last heartbeat."""
        self._beat_heard = False
        self._differing = 0
        """So many heartbeats in a row stand for other commands than were read before them."""
        self._beat_s = clock.monotonic_s()
        self.trust = trust
        self.root = ""
        """Envelope of the newest root document read from ``keys``."""
        self.heard = Heard()
        self.caught_up = False
        self.refused: Counter[str] = Counter()
        """How many records did not count, by reason."""

    async def follow(self) -> None:
        """Read for ever. Whatever is asked for by ``catch_up`` is answered between two polls, the first of which it ends."""
        try:
            while True:
                if self._reread:
                    await self._close()
                if self._reader is None:
                    await self._open()
                elif self._asked:
                    asked, self._asked = self._asked, []
                    self._take(await self._reader.read_to_end())
                    if self._reread:
                        # Under the keys that were just read something else may count: only then it is all that was said.
                        self._asked = asked + self._asked
                        continue
                    for future in asked:
                        if not future.done():
                            future.set_result(None)
                else:
                    self._take(await self._poll(self._reader))
        finally:
            await self._close()

    async def catch_up(self) -> None:
        """Return when everything up to an end captured after this call is folded. Waits for as long as the broker is away."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append(future)
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
        await future

    @property
    def pulse(self) -> Pulse:
        """What is heard of the author."""
        silent_ms = round((self._clock.monotonic_s() - self._beat_s) * 1_000)
        return Pulse(silent_ms=silent_ms, heard=self._beat_heard, agrees=not self._differing)

    @property
    def withheld(self) -> str:
        """Why this node knows that it does not read all that is said; empty: it does not know so."""
        return WITHHELD if self._differing >= DIFFERING_TOLD else ""

    async def _poll(self, reader: LogReader) -> list[Record]:
        """Return what comes next; nothing where somebody asks to catch up before it does."""
        self._polling = task = asyncio.current_task()
        try:
            return await reader.poll(POLL_S)
        except asyncio.CancelledError:
            # Not by a task of its own for each poll, as they are many: whoever else cancels this one has counted, too.
            interrupted = self._polling is None
            if task is None or not interrupted or task.uncancel() > 0:
                raise
            return []
        finally:
            self._polling = None

    async def _open(self) -> None:
        self._reader = await self._log.reader(["keys", "desired"])
        records = await self._reader.read_to_end()
        # Keys first: a document may be older than the key document that entitles its signer.
        self._take([one for one in records if one.topic == "keys"], live=False)
        self._reread = False
        self.heard = Heard(root_version=self.trust.root_version)
        self._take([one for one in records if one.topic == "desired"], live=False)
        self.caught_up = True
        self._news()

    async def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    def _take(self, records: list[Record], *, live: bool = True) -> None:
        for record in records:
            if record.value is None or record.key is None:
                continue
            if record.topic == "keys":
                self._reread |= self._take_root(record.key, record.value)
            elif self._reread:
                continue
            elif record.key == HEARTBEAT:
                self._take_heartbeat(record.value, live=live)
            else:
                self._take_desired(record.key, record.value)
        if records:
            self._news()

    def _take_root(self, key: str, value: bytes) -> bool:
        before = self.trust
        if version_of(key) <= before.root_version:
            return False
        try:
            self.trust = trust_after(before, key, value, 0)
        except (Malformed, Refused) as error:
            self.refused[_reason(error)] += 1
            log_of_node.warning("key document refused", root_version=key, problem=str(error))
            return False
        counted = links(before, self.trust, value)
        if not counted:
            return False
        self.root = counted[-1][1].decode()
        # What was refused for want of a key may count now, and the other way round: until all of it has been read again nothing
        # was heard, so that no advance is accepted by the plan of a key that was revoked.
        self.heard = Heard()
        self._beat = (0, 0)
        log_of_node.info("key document accepted", root_version=self.trust.root_version)
        return True

    def _take_heartbeat(self, value: bytes, *, live: bool) -> None:
        """Hear the author of the epoch at hand say something new (E4). What stood there before this life proves nothing."""
        try:
            heartbeat, signer = unseal(value, Heartbeat, self.trust)
        except (Malformed, Refused) as error:
            self._refuse(HEARTBEAT, Refusal(reason=_reason(error), sentence=str(error)))
            return
        beat = (heartbeat.epoch, heartbeat.seq)
        if (heartbeat.epoch, signer.id) != (self.heard.epoch, self.heard.author) or beat <= self._beat:
            return
        self._beat = beat
        if heartbeat.resigned:
            return
        self._differing = 0 if heartbeat.digest == standing(self.heard) else self._differing + 1
        if live:
            self._beat_heard, self._beat_s = True, self._clock.monotonic_s()

    def _take_desired(self, key: str, value: bytes) -> None:
        kind, _, rest = key.partition("/")
        subject = key if kind == "svc" else rest
        mine = subject in self._subjects or kind == "claim"
        if not mine and kind != "svc":  # the commands of others are heard too: a heartbeat stands for all of them
            return
        try:
            opened = _open(kind, value, self.trust)
        except (Malformed, Refused) as error:
            if kind == "claim":
                self.heard = void_claim(self.heard, key)
            if mine:
                self._refuse(subject, Refusal(reason=_reason(error), sentence=f"{key}: {error}"))
            return
        if opened is None:
            return
        document, signer = opened
        # A plan is named by what the operator signed, the rest by what it says (E4).
        name = digest(value) if isinstance(document, Plan) else digest_of(document)
        self.heard, refusal = hear(self.heard, Arrived(key=key, document=document, signer=signer, digest=name))
        if refusal is not None and mine:
            self._refuse(subject, refusal)

    def _refuse(self, subject: str, refusal: Refusal) -> None:
        self.refused[refusal.reason] += 1
        log_of_node.warning("document refused", subject=subject, reason=refusal.reason, problem=refusal.sentence)


def _reason(error: Malformed | Refused) -> Reason:
    return Reason.BAD_SIGNATURE if isinstance(error, Refused) else Reason.BAD_DOCUMENT


def _open(kind: str, value: bytes, trust: Trust) -> tuple[Body, PublicKey] | None:
    """Return the verified document under a key of some kind, None for kinds that say nothing about what should run."""
    match kind:
        case "svc":
            return unseal(value, Desired, trust)
        case "plan":
            return unseal(value, Plan, trust)
        case "roster":
            return unseal(value, Roster, trust)
        case "claim":
            return unseal(value, Claim, trust)
        case "breakglass":
            return unseal(value, BreakGlass, trust)
        case _:
            return None
