"""What is served: the flags of all sets as they are known now, and a bell for whoever waits for the next change."""

import asyncio
import logging
from collections import Counter

import msgspec
import structlog

from tidegate.flagfeed import Follower, Held, News, Status
from tidegate.flags.store import Flags, FlagSet
from tidegate.ports import Clock, Disk, Log
from tidegate.wire.envelope import Trust
from tidegate.wire.flags import EVALUATORS, METADATA, file_of_set

log_of_api = structlog.wrap_logger(logging.getLogger("tidegate.api"))


class Board:
    """Lives on one event loop. Every reader sees the newest state; changes that come faster than it looks are one to it."""

    def __init__(self, log: Log, clock: Clock, trust: Trust, disk: Disk | None = None) -> None:
        self._flags = Flags()
        self._follower = Follower(log, clock, Held(trust, self._flags.put), self._hear, disk)
        self._changes: Counter[str] = Counter()
        self._files: dict[str, tuple[int, bytes]] = {}
        self._bell = asyncio.Event()
        self._clock = clock
        self._logged = Status.NOT_READY

    async def follow(self) -> None:
        """Keep it up to date, for ever. A broker that is away ends nothing."""
        await self._follower.follow()

    @property
    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self._clock.now_ms()

    @property
    def ready(self) -> bool:
        """Whether anything is known of the flags: before, no set is empty, all are unknown."""
        return self._follower.status is not Status.NOT_READY

    @property
    def age_s(self) -> float | None:
        """Seconds since what is served was known to be all there is; None: nothing is known yet."""
        return self._follower.age_s

    @property
    def stale_s(self) -> float | None:
        """The age of the last known good where that is what is served; None: it is what is on the topic, or nothing."""
        return self._follower.age_s if self._follower.status is Status.STALE else None

    def not_ready(self) -> str | None:
        """Why requests cannot be answered yet, or None."""
        return None if self.ready else "flags were not read yet: no broker has answered, and there is no snapshot"

    def note(self) -> str:
        """Return how old what is served is, where that is the last known good; else nothing."""
        stale_s = self.stale_s
        return "" if stale_s is None else f"no broker answers; flags are the last known good, of {stale_s:.0f} s ago"

    def set(self, set_id: str) -> FlagSet:
        """Return a set; an empty one where nothing was ever published in it. It changes under who holds it over an await."""
        return self._flags.sets.get(set_id) or FlagSet(set_id)

    def changes(self, set_id: str) -> int:
        """Return how often a set has changed in this process's life."""
        return self._changes[set_id]

    def file(self, set_id: str) -> bytes:
        """Return a set as flagd's JSON, definitions verbatim. Made once for each change that somebody asks about."""
        changes = self.changes(set_id)
        known = self._files.get(set_id)
        if known is not None and known[0] == changes:
            return known[1]
        found = self._flags.sets.get(set_id)
        if found is None:
            return b'{"flags":{}}'
        shared = {EVALUATORS: found.evaluators_value, METADATA: msgspec.json.encode(found.metadata)}
        file = file_of_set({key: flag.value for key, flag in found.flags.items()} | shared).encoded()
        self._files[set_id] = (changes, file)
        return file

    async def changed(self, set_id: str, seen: int) -> int:
        """Wait until a set has changed more than ``seen`` times; return how often by now."""
        while (changes := self.changes(set_id)) <= seen:
            await self._bell.wait()
        return changes

    async def until_ready(self) -> None:
        """Wait until anything is known."""
        while not self.ready:
            await self._bell.wait()

    def _hear(self, news: News) -> None:
        self._changes.update({key.set_id for key in news.changed})
        self._log(news.status)
        self._bell.set()
        self._bell = asyncio.Event()

    def _log(self, status: Status) -> None:
        if status is self._logged:
            return
        self._logged = status
        if status is Status.STALE:
            log_of_api.warning("no broker answers; the last known good is served", age_s=round(self.age_s or 0.0, 1))
        elif status is Status.READY:
            log_of_api.info("what is served is all that is on the topic")


__all__ = ["Board"]
