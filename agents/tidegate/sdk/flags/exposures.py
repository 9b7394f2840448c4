"""Who saw which variant of a watched flag, and what came of it: noted by any thread, sent by one.

Bounds: 10,000 events wait, the oldest goes first and is counted; one exposure a minute for each (flag, variant, user), for which
at most twice 65,536 are remembered. No targeting key leaves the process: only its hash, salted for the set.
"""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Iterable, Mapping

from msgspec import Struct
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagValueType
from openfeature.hook import Hook, HookContext, HookHints

from tidegate.ports import Clock, Log, SendUnknown
from tidegate.sdk import slices
from tidegate.sdk.flags.settings import FlagSettings
from tidegate.sdk.plain import number_of, text_of
from tidegate.wire.codec import encode
from tidegate.wire.exposures import Exposure, Outcome, user_hash
from tidegate.wire.names import FLAG_PREFIX, is_name

WAITING_MAX = 10_000
WINDOW_S = 60.0
SEEN_MAX = 1 << 16
BATCH_MAX = 500
BATCH_EVERY_S = 0.2
RETRY_S = 1.0


class EventStats(Struct, frozen=True):
    """Events made so far = sent + dropped + waiting. ``sent`` means acknowledged by the broker."""

    made: int
    sent: int
    dropped: int
    waiting: int


class Watch(Struct, frozen=True):
    """Why it is noted who sees a flag."""

    generation: int
    judged: bool
    """Requests are told apart by its variants."""
    experiment: str = ""
    """What its exposures say of the experiment that it is in."""


class Events:
    """Exposures and outcomes of one provider."""

    def __init__(self, settings: FlagSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[Exposure | Outcome] = deque()
        self._flying = 0
        self._seen: tuple[set[int], set[int]] = (set(), set())
        """The window at hand and the one before it: of (flag, variant, user) a hash."""
        self._window_s = clock.monotonic_s()
        self._made = self._sent = self._dropped = 0
        self.watched: Mapping[str, Watch] = {}
        """By flag; replaced as a whole by whoever follows."""
        self.salt = settings.flag_set

    def saw(self, flag: str, details: FlagEvaluationDetails[FlagValueType], targeting_key: str | None) -> None:
        """Note that somebody was given a variant. Cheap where that flag is not watched, or it was noted lately."""
        watch, variant = self.watched.get(flag), details.variant
        if watch is None or variant is None:
            return
        set_id = self._settings.flag_set
        if watch.judged:
            slices.note(f"{FLAG_PREFIX}{set_id}/{flag}={variant}")
        if not targeting_key or not is_name(self._settings.service) or not is_name(self._settings.node):
            return
        if not self._new(hash((flag, variant, targeting_key, watch.experiment))):
            return
        self._put(
            Exposure(
                set_id=set_id,
                flag=flag,
                variant=variant,
                reason=str(details.reason),
                generation=watch.generation,
                user=user_hash(self.salt, targeting_key),
                at_ms=self._clock.now_ms(),
                node=self._settings.node,
                service=self._settings.service,
                experiment=watch.experiment,
            )
        )

    def track(self, metric: str, targeting_key: str | None, value: float | None) -> None:
        """Note what somebody did; nothing while no flag of the set is watched, for nobody, or of what cannot travel."""
        name, amount = text_of(metric), number_of(1.0 if value is None else value)
        if not self.watched or not targeting_key or name is None or amount is None or not math.isfinite(amount):
            return
        self._put(
            Outcome(
                metric=name,
                set_id=self._settings.flag_set,
                user=user_hash(self.salt, targeting_key),
                value=amount,
                at_ms=self._clock.now_ms(),
            )
        )

    def stats(self) -> EventStats:
        """Return the counts so far."""
        with self._lock:
            return EventStats(self._made, self._sent, self._dropped, len(self._waiting) + self._flying)

    async def send(self, log: Log) -> None:
        """Send what waits, in batches, for ever. What got no answer is sent again."""
        while True:
            await self._clock.sleep(BATCH_EVERY_S)
            if not await self.flush(log):
                await self._clock.sleep(RETRY_S)

    async def flush(self, log: Log) -> bool:
        """Send up to a batch of what waits; return whether all of it was acknowledged."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
            self._flying = len(batch)
        unsent = batch
        try:
            answers = await asyncio.gather(*(_send(log, one) for one in batch))
            unsent = [one for one, answered in zip(batch, answers, strict=True) if not answered]
        finally:
            self._back(len(batch) - len(unsent), unsent)
        return not unsent

    def _back(self, sent: int, unsent: Iterable[Exposure | Outcome]) -> None:
        with self._lock:
            self._flying = 0
            self._sent += sent
            self._waiting.extendleft(reversed(list(unsent)))
            self._trim()

    def _put(self, event: Exposure | Outcome) -> None:
        with self._lock:
            self._made += 1
            self._waiting.append(event)
            self._trim()

    def _trim(self) -> None:
        while len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()
            self._dropped += 1

    def _new(self, seen: int) -> bool:
        now_s = self._clock.monotonic_s()
        with self._lock:
            recent, before = self._seen
            if len(recent) >= SEEN_MAX or now_s - self._window_s >= WINDOW_S:
                # What was noted within the window before this one is still known: one note in one to two windows.
                passed = now_s - self._window_s >= 2 * WINDOW_S
                recent, before = set(), set() if passed else recent
                self._seen, self._window_s = (recent, before), now_s
            if seen in recent or seen in before:
                return False
            recent.add(seen)
            return True


class ExposureHook(Hook):
    """Tells ``Events`` of each evaluation, when everything else is done."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def finally_after(
        self,
        hook_context: HookContext,
        details: FlagEvaluationDetails[FlagValueType],
        hints: HookHints,  # noqa: ARG002 - theirs
    ) -> None:
        """Note who was given what."""
        self._events.saw(hook_context.flag_key, details, hook_context.evaluation_context.targeting_key)


async def _send(log: Log, event: Exposure | Outcome) -> bool:
    try:
        await log.append("exposures", event.user, encode(event))
    except SendUnknown:
        return False
    return True


__all__ = ["EventStats", "Events", "ExposureHook", "Watch"]
