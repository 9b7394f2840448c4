"""One target: what it was told, kept on disk; when it is told more; and how often a failed send is tried again."""

import asyncio
import random

import msgspec
import structlog

from tidegate.alarms.board import Board
from tidegate.alarms.notices import Desk, Notice, delivered, due, wake_at
from tidegate.notify.faults import told
from tidegate.notify.metrics import Metrics
from tidegate.notify.targets import Target, Undelivered
from tidegate.ports import Clock, Disk

RETRY_FIRST_S = 1.0
RETRY_MOST_S = 60.0
TURN_MOST_S = 30.0
SEND_WITHIN_S = 15.0

log = structlog.get_logger("tidegate.notify")


class TargetDesk:
    """Tells one target, alone with its backoff: another's trouble is not its own. A crash between a send and its note on disk
    sends the same notice again, under the same id.
    """

    def __init__(self, target: Target, clock: Clock, disk: Disk, metrics: Metrics) -> None:
        self.target = target
        self._clock = clock
        self._disk = disk
        self._metrics = metrics
        self._file = f"notify-{target.name}.json"
        self._desk = self._recalled()
        self._failed = 0
        self._news = asyncio.Event()
        self._board = Board()
        metrics.failing.labels(target.name).set(0)

    def show(self, board: Board) -> None:
        """Let the desk know how things stand."""
        self._board = board
        self._news.set()

    async def run(self) -> None:
        """Tell, for ever."""
        while True:
            self._news.clear()
            await self._turn()
            await self._wait()

    async def _turn(self) -> None:
        policy = self.target.policy
        self._desk, notices = due(self._desk, self._board, policy, self._clock.now_ms())
        failed = ""
        for notice in notices:
            failed = await self._send(notice) or failed
        waiting = sum(bool(group.news_ms) for group in self._desk.groups.values())
        self._metrics.waiting.labels(self.target.name).set(waiting)
        self._failed = self._failed + 1 if failed else 0 if notices else self._failed
        self._metrics.failing.labels(self.target.name).set(self._failed)
        if failed and self._failed == 1:
            log.warning("a target does not take notices; trying for ever", target=self.target.name, cause=failed)

    async def _send(self, notice: Notice) -> str:
        """Send one notice; return why it was not taken, or nothing."""
        now_ms = self._clock.now_ms()
        failed = await self._tried(notice, now_ms)
        if failed:
            self._metrics.sent.labels(self.target.name, "failed").inc()
            return failed
        self._desk = delivered(self._desk, notice, now_ms)
        self._note()
        self._metrics.sent.labels(self.target.name, "taken").inc()
        self._metrics.taken.labels(self.target.name).set(now_ms / 1000)
        say = log.debug if notice.repeats else log.info
        say(
            "told",
            target=self.target.name,
            group=notice.group or None,
            id=notice.id,
            firing=len(notice.firing),
            over=len(notice.over),
            after_failures=self._failed or None,
        )
        return ""

    async def _tried(self, notice: Notice, now_ms: int) -> str:
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self.target.send(notice, now_ms)
        except (Undelivered, TimeoutError) as error:
            return str(error) or f"no whole answer within {SEND_WITHIN_S:g} s"
        except Exception as fault:  # noqa: BLE001 - a fault in one kind of target must not silence the others
            log.warning("a target broke", target=self.target.name, cause=told(fault))
            return told(fault)
        return ""

    async def _wait(self) -> None:
        """Wait for news or for time to be news; after a failed send, for the backoff alone: news do not hurry it."""
        if self._failed:
            backoff_s = min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** (min(self._failed, 10) - 1))
            await self._clock.sleep(backoff_s * (0.5 + random.random() / 2))  # noqa: S311 - no secret
            return
        wake_ms = wake_at(self._desk, self._board, self.target.policy, self._clock.now_ms())
        wait_s = TURN_MOST_S if wake_ms is None else (wake_ms - self._clock.now_ms()) / 1000
        waits = [
            asyncio.ensure_future(self._news.wait()),
            asyncio.ensure_future(self._clock.sleep(min(TURN_MOST_S, max(0.0, wait_s)))),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _note(self) -> None:
        """Keep what was told. A disk that is full costs a notice told twice after a restart, and no notice."""
        try:
            self._disk.write(self._file, msgspec.json.encode(self._desk))
        except OSError as error:
            log.warning("what a target was told cannot be kept", target=self.target.name, file=self._file, cause=str(error))

    def _recalled(self) -> Desk:
        data = self._disk.read(self._file)
        if data is None:
            return Desk()
        try:
            return msgspec.json.decode(data, type=Desk)
        except msgspec.DecodeError:
            log.warning("what a target was told cannot be read; it is told again", target=self.target.name, file=self._file)
            return Desk()
