"""Following ``keys`` and ``flags``: to the end captured now, then on, telling how old what is held is.

Last known good: with the broker gone, or never there, what was read before stays in force and its age grows.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from enum import StrEnum

import structlog
from msgspec import Struct

from tidegate.flagfeed.held import Held
from tidegate.ports import Clock, Disk, Log, LogReader, Record
from tidegate.wire.codec import Malformed
from tidegate.wire.flags import TopicKey, topic_key
from tidegate.wire.flagstamps import HEADER

POLL_S = 1.0
CHECK_EVERY_S = 3.0
"""A topic of flags may rest for days: so often it is asked whether there is more."""
STALE_AFTER_S = 12.0
"""Four checks without an answer."""
TICK_S = 0.5
RECORDS_PER_TURN = 100
"""A signature costs a tenth of a millisecond or two; others on the same loop have their turn after so many."""
SAVE_PAUSE_S = 2.0
"""Between two snapshots. A change after a rest is saved at the next tick: a kill is on disk when the process is killed."""
SAVE_EVERY_S = 600.0
"""So that the age that a snapshot tells is right within ten minutes."""
SNAPSHOT = "flags.snapshot"

log = structlog.wrap_logger(logging.getLogger("tidegate.flags"))


class Status(StrEnum):
    """What may be said of the flags that are held."""

    NOT_READY = "not_ready"
    """Nothing was read yet, and no snapshot."""
    READY = "ready"
    """All that is on the topic."""
    STALE = "stale"
    """The last known good; see its age."""


class News(Struct, frozen=True):
    """What has changed: values of these keys, or the status."""

    changed: tuple[TopicKey, ...]
    status: Status


class Follower:
    """Keeps ``held`` up to date. ``told`` hears each change, on the loop of ``follow``; it must not block, and not raise.

    ``disk``: where the snapshot lies, if one is to be kept. ``age_s`` and ``status`` may be asked from any thread.
    """

    def __init__(self, log: Log, clock: Clock, held: Held, told: Callable[[News], None], disk: Disk | None = None) -> None:
        self._log = log
        self._clock = clock
        self._told = told
        self._disk = disk
        self._current_s: float | None = None
        """When what is held was all there is."""
        self._caught_up = False
        self._status = Status.NOT_READY
        """As it was told last."""
        self._saved_changes = 0
        self._saved_s = clock.monotonic_s()
        self.held = held
        self.trouble = ""
        """Why the snapshot cannot be read or written; empty: it can."""

    @property
    def age_s(self) -> float | None:
        """Seconds since what is held was known to be all there is; None where nothing is held."""
        return None if self._current_s is None else max(0.0, self._clock.monotonic_s() - self._current_s)

    @property
    def status(self) -> Status:
        """Return what may be said of what is held now."""
        age_s = self.age_s
        if age_s is None:
            return Status.NOT_READY
        return Status.READY if self._caught_up and age_s <= STALE_AFTER_S else Status.STALE

    async def follow(self) -> None:
        """Take the snapshot, then read for ever. A broker that is away ends nothing; after an error it may be called again."""
        self._caught_up, self._status = False, Status.NOT_READY  # so that it is told anew
        self._restore()
        beside = [asyncio.create_task(self._watch())]
        if self._disk is not None:
            beside.append(asyncio.create_task(self._save()))
        try:
            while True:
                reader = await self._log.reader(["keys", "flags"])
                try:
                    await self._read(reader)
                finally:
                    await reader.close()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            if self._disk is not None and self._caught_up and self.held.changes > self._saved_changes:
                self._write(self._disk, self._snapshot())

    async def _read(self, reader: LogReader) -> None:
        """Read until another key document counts: then what was refused for want of a key is read again."""
        records = await reader.read_to_end()
        # Keys first: a flag may be older than the key document that entitles its signer.
        self._take_roots(records)
        await self._take(records)
        checked_s = self._be_current(caught_up=True)
        while True:
            records = await reader.poll(POLL_S)
            check = self._clock.monotonic_s() - checked_s >= CHECK_EVERY_S
            if check:
                records += await reader.read_to_end()
            if self._take_roots(records):
                return
            await self._take(records)
            if check:
                checked_s = self._be_current(caught_up=True)

    def _take_roots(self, records: Iterable[Record]) -> bool:
        return sum(self.held.take_root(one.key, one.value) for one in records if one.topic == "keys") > 0

    async def _take(self, records: Iterable[Record]) -> None:
        flags = [one for one in records if one.topic == "flags"]
        for begin in range(0, len(flags), RECORDS_PER_TURN):
            turn = flags[begin : begin + RECORDS_PER_TURN]
            changed = [self.held.take(one.key, one.value, one.headers.get(HEADER)) for one in turn]
            if any(changed):
                self._tell(tuple(key for key in changed if key is not None))
            await asyncio.sleep(0)

    def _be_current(self, *, caught_up: bool, ago_s: float = 0.0) -> float:
        self._current_s = self._clock.monotonic_s() - ago_s
        self._caught_up = caught_up
        self._tell(())
        return self._current_s

    def _tell(self, changed: tuple[TopicKey, ...]) -> None:
        status = self.status
        if changed or status is not self._status:
            self._status = status
            self._told(News(changed, status))

    async def _watch(self) -> None:
        """See that it grows stale: nothing else happens then."""
        while True:
            await self._clock.sleep(TICK_S)
            self._tell(())

    def _restore(self) -> None:
        if self._disk is None or self.held.kept:
            return
        try:
            data = self._disk.read(SNAPSHOT)
            if data is None:
                return
            current_ms = self.held.restore(data)
        except (Malformed, OSError) as error:
            self._fail("snapshot of flags not read", error)
            return
        self._saved_changes = self.held.changes
        if self.held.kept:
            # A clock that was set back makes it look newer than it is, never of the future.
            self._be_current(caught_up=False, ago_s=max(0.0, (self._clock.now_ms() - current_ms) / 1_000))
            self._tell(tuple(topic_key(key) for key in self.held.kept))

    async def _save(self) -> None:
        disk = self._disk
        while disk is not None:
            await self._clock.sleep(TICK_S)
            rest_s = self._clock.monotonic_s() - self._saved_s
            due = rest_s >= (SAVE_PAUSE_S if self.held.changes > self._saved_changes else SAVE_EVERY_S)
            if due and self._caught_up:
                await asyncio.to_thread(self._write, disk, self._snapshot())

    def _snapshot(self) -> bytes:
        self._saved_changes, self._saved_s = self.held.changes, self._clock.monotonic_s()
        return self.held.snapshot(self._clock.now_ms() - round((self.age_s or 0.0) * 1_000))

    def _write(self, disk: Disk, data: bytes) -> None:
        try:
            disk.write(SNAPSHOT, data)
        except OSError as error:
            self._saved_changes = -1  # again at the next turn
            self._fail("snapshot of flags not written", error)
        else:
            self.trouble = ""

    def _fail(self, what: str, error: Exception) -> None:
        if str(error) != self.trouble:
            self.trouble = str(error)
            log.warning(what, problem=self.trouble)


__all__ = ["SNAPSHOT", "STALE_AFTER_S", "Follower", "News", "Status"]
