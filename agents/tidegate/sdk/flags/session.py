"""One life of a provider on one event loop: it follows the topic, keeps the set that is evaluated, sends events."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from tidegate.broker import Connection, KafkaLog
from tidegate.flagfeed import Follower, Held, News
from tidegate.flags.store import Flags, FlagSet
from tidegate.ports import Clock, Disk, Log, SystemClock, SystemDisk
from tidegate.sdk.flags.exposures import Events, Watch
from tidegate.sdk.flags.settings import FlagSettings
from tidegate.wire.envelope import Trust
from tidegate.wire.exposures import EXPERIMENT, WATCHED, salt_of

CLOSE_WITHIN_S = 2.0
"""What waits to be sent has so long when a service ends."""
RESTART_S = 5.0
EXPERIMENT_LENGTH_MAX = 2_048
"""What is longer was not written by decide; it is cut, and belongs to no experiment."""

log = logging.getLogger("tidegate.sdk")

Told = Callable[[News | Exception], None]


class Session:
    """Follows until it is cancelled. ``told`` hears, on the loop, of each change, and of an error that began it anew."""

    def __init__(self, settings: FlagSettings, trust: Trust, told: Told, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self._settings = settings
        self._clock = clock
        self._told = told
        self._flags = Flags()
        self._held = Held(trust, self._flags.put, frozenset({settings.flag_set}))
        self._disk = _disk(settings.snapshot, settings.flag_set)
        self._follower: Follower | None = None
        self._empty = FlagSet(settings.flag_set)
        self.events = Events(settings, clock)

    @property
    def found(self) -> FlagSet:
        """The set as it is known now: one object that its follower changes."""
        return self._flags.sets.get(self._settings.flag_set, self._empty)

    @property
    def follower(self) -> Follower | None:
        """What tells status and age; None before ``run``."""
        return self._follower

    async def run(self, log: Log | None = None) -> None:
        """Follow ``log``, by default the broker of the settings, for ever."""
        own = None
        if log is None:
            name = f"tidegate-flags-{self._settings.service or self._settings.flag_set}-{self._settings.node}"
            # A service is one of many: few connections, and waits that spread all of them after an outage.
            connection = Connection(self._settings.bootstrap, self._settings.prefix, self._settings.access)
            log = own = KafkaLog(connection, client_id=name, one_of_many=True)
        follower = self._follower = Follower(log, self._clock, self._held, self._hear, self._disk)
        sending = asyncio.create_task(self.events.send(log), name="tidegate-exposures")
        try:
            while True:
                await self._follow(follower)
                await self._clock.sleep(RESTART_S)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await self._last_words(log)
            if own is not None:
                await own.close()

    async def _follow(self, follower: Follower) -> None:
        try:
            await follower.follow()
        except Exception as error:  # a service goes on with the flags that it has, whatever is wrong here
            log.exception("following flags failed; it begins anew in %.0f s", RESTART_S)
            self._told(error)

    def _hear(self, news: News) -> None:
        if news.changed:
            watched = dict(self.events.watched)
            for key in news.changed:
                watch = self._watch(key.name)
                watched.pop(key.name, None)
                if watch is not None:
                    watched[key.name] = watch
            self.events.watched = watched
            self.events.salt = salt_of(self.found.metadata, self._settings.flag_set)
        self._told(news)

    def _watch(self, name: str) -> Watch | None:
        flag = self.found.flags.get(name)
        if flag is None or not self._settings.exposures or not (flag.metadata.get(WATCHED) or flag.metadata.get(EXPERIMENT)):
            return None
        kept = self._held.kept[str(self._settings.key(name))]
        experiment = str(flag.metadata.get(EXPERIMENT, ""))[:EXPERIMENT_LENGTH_MAX]
        return Watch(kept.order.generation, bool(flag.metadata.get(WATCHED)), experiment)

    async def _last_words(self, log: Log) -> None:
        if self.events.stats().waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    while await self.events.flush(log) and self.events.stats().waiting:
                        pass


def _disk(folder: Path | None, flag_set: str) -> Disk | None:
    if folder is None:
        return None
    try:
        # The processes of a service share the folder.
        return SystemDisk(folder / flag_set, writer=f"{os.getpid()}.new")
    except OSError as error:
        log.warning("no snapshot of flags is kept: %s: %s", folder, error.strerror)
        return None


__all__ = ["Session", "Told"]
