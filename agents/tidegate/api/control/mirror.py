"""The read model of the control API: the same fold that the command line has, kept up to date, with its age.

Rebuilt from the log at each start. Memory is bounded by nodes, subjects and the windows below; of the topic ``decisions`` the
model keeps every record, for a takeover may make some void (E3).
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping

import structlog
from msgspec import Struct
from msgspec.structs import replace

from tidegate.api.control.happenings import Kind, Window
from tidegate.api.control.measured import Measured
from tidegate.api.control.recent import TOPICS as RECENT
from tidegate.api.control.recent import Recent
from tidegate.experiments.pooled import Counted
from tidegate.model import TOPICS, Model, Told
from tidegate.model.flags import flag_summary
from tidegate.model.rollouts import decision_row
from tidegate.ports import Clock, Log, LogReader, Record
from tidegate.rollout.ledger import is_void
from tidegate.rollout.view import SeenReport
from tidegate.runtime.problem import Problem
from tidegate.wire.codec import Malformed, decode
from tidegate.wire.decisions import DecisionKind
from tidegate.wire.documents import Intent, Report, digest, digest_of
from tidegate.wire.envelope import Refused, Trust, unseal
from tidegate.wire.experiments import sums_of
from tidegate.wire.judgement import INBOUND_WRITER, Alarm, Verdict
from tidegate.wire.names import service_subject

POLL_S = 0.25
CHECK_EVERY_S = 1.0
TURN = 200
"""Records after which others on the loop have their turn."""
ASKED_KEPT = 10_000
VERDICTS_KEPT = 100
"""Of each subject."""

log_of_api = structlog.wrap_logger(logging.getLogger("tidegate.api"))


class Asked(Struct, frozen=True):
    """A plan or an intent that stands in the log. ``says``: a digest of what it asks for, whenever it was asked."""

    subject: str
    says: str
    at_ms: int
    actor: str = ""
    """Of an intent."""


class Mirror:
    """Lives on one event loop. Who holds ``model`` over an await sees it change."""

    def __init__(self, log: Log, clock: Clock, trust: Trust) -> None:
        self._log = log
        self._clock = clock
        self._current_s: float | None = None
        """When what is held was known to be all there is."""
        self._offsets: Mapping[tuple[str, int], int] = {}
        self._answers: dict[str, Told] = {}
        self._waiting: dict[str, set[asyncio.Future[Told | None]]] = {}
        self._closed = False
        self._wanted_s = float("-inf")
        """When somebody last wanted to know all there is."""
        self._checked = asyncio.Event()
        self._verdicts: dict[str, list[Verdict]] = {}
        self.model = Model(trust)
        self.recent = Recent()
        self.measured = Measured()
        self.counted = Counted()
        """Of experiments."""
        self.window = Window()
        self.asked: dict[str, Asked] = {}
        """By digest of a plan or policy, or id of an intent; the newest."""
        self.told_ms: dict[str, int] = {}
        """By key of an alarm from outside: when its last record was appended."""
        self.caught_up = asyncio.Event()
        self.trouble = ""
        """Why nothing more is read; empty: it is."""

    @property
    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self._clock.now_ms()

    @property
    def lag_s(self) -> float | None:
        """Seconds since what is held was known to be all there is; None: the end was not reached yet."""
        return None if self._current_s is None else max(0.0, self._clock.monotonic_s() - self._current_s)

    @property
    def offsets(self) -> dict[str, int]:
        """``topic/partition`` to the next offset that will be read."""
        return {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(self._offsets.items())}

    def not_ready(self) -> str | None:
        """Why nothing can be told yet, or None."""
        if self.trouble:
            return self.trouble
        return "the log has not been read to its end yet" if self._current_s is None else None

    def verdicts(self, subject: str) -> list[Verdict]:
        """Return the last verdicts on a subject, the newest first."""
        return self._verdicts.get(subject, [])[::-1]

    def answer(self, asked: str) -> Told | None:
        """Return the decision that answers a plan (by its digest) or an intent (by its id); None while there is none."""
        return self._answers.get(asked)

    async def wait(self, asked: str, within_s: float) -> Told | None:
        """Wait for the decision that answers; None where none comes in time."""
        found = self.answer(asked)
        if found is not None or self._closed:
            return found
        future: asyncio.Future[Told | None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(asked, set())
        waiting.add(future)
        try:
            done, _ = await asyncio.wait([future], timeout=within_s)
            return future.result() if done else None
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(asked) is waiting:
                del self._waiting[asked]

    async def until_current(self, within_s: float) -> bool:
        """Wait until everything was read that stood in the log when this was called; False where that is not so in time."""
        asked_s = self._wanted_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(within_s):
                while self._current_s is None or self._current_s < asked_s:
                    await self._checked.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Let nobody wait any more: the process is about to end."""
        self._closed = True
        for future in [one for waiting in self._waiting.values() for one in waiting]:
            if not future.done():
                future.set_result(None)

    async def follow(self) -> None:
        """Keep it up to date, for ever. A broker that is away only lets the lag grow; a log that is broken ends the reading, and
        ``trouble`` says why.
        """
        both = [asyncio.ensure_future(one) for one in (self._follow_log(), self._follow_recent())]
        try:
            await asyncio.gather(*both)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _follow_log(self) -> None:
        reader = await self._log.reader((*TOPICS, "plans", "intents", "experiments"))
        try:
            await self._read(reader)
        except Problem as problem:
            self.trouble = str(problem)
            log_of_api.exception("the control API knows nothing more", problem=str(problem), remedy=problem.remedy)
        finally:
            await reader.close()

    async def _read(self, reader: LogReader) -> None:
        checked_s = self._clock.monotonic_s()
        await self._take(_as_it_came(await reader.read_to_end()))
        while True:
            self._current_s = checked_s
            self.caught_up.set()
            self._checked.set()
            self._checked = asyncio.Event()
            while self._wanted_s <= checked_s and self._clock.monotonic_s() - checked_s < CHECK_EVERY_S:
                await self._take(await reader.poll(POLL_S))
                self._offsets = reader.positions()
            checked_s = self._clock.monotonic_s()
            await self._take(await reader.read_to_end())
            self._offsets = reader.positions()

    async def _follow_recent(self) -> None:
        # Days of panes lie in these topics; pictures need the last minutes.
        reader = await self._log.reader(RECENT, start="recent")
        try:
            while True:
                records = await reader.poll(POLL_S)
                self.recent.see(records)
                self.measured.see(records, self.now_ms)
        finally:
            await reader.close()

    async def _take(self, records: list[Record]) -> None:
        # Keys count before what they signed.
        self.model.see(one for one in records if one.topic == "keys")
        for begin in range(0, len(records), TURN):
            for record in records[begin : begin + TURN]:
                if record.topic != "keys":
                    self._fold(record)
            self.window.ring()
            await asyncio.sleep(0)

    def _fold(self, record: Record) -> None:
        self.window.passed(record)
        if record.value is None:
            self.told_ms.pop(record.key or "", None)
            self.model.see([record])
            return
        if record.topic in ("plans", "intents"):
            self._note(record, record.value)
            return
        if record.topic == "experiments":
            with contextlib.suppress(Malformed):
                self.counted.see(sums_of(record.value))
            return
        before = self.model.view.reports
        told = self.model.see([record])
        match record.topic:
            case "decisions":
                self._decided(record, told)
            case "reports":
                self._reported(record, before)
            case "verdicts" | "alarms":
                self._judged(record, record.value)

    def _decided(self, record: Record, told: Iterable[Told]) -> None:
        for one in told:
            decision = one.decision
            if decision.kind is DecisionKind.TAKEOVER:
                cut = ((decision.epoch, decision.cut),)
                self._answers = {name: one for name, one in self._answers.items() if not is_void(one.offset, one.decision, cut)}
            if decision.answers:
                self._answers[decision.answers] = one
                _bound(self._answers, ASKED_KEPT)
                for future in self._waiting.pop(decision.answers, ()):
                    if not future.done():
                        future.set_result(one)
            if one.offset != record.offset:
                continue  # it counts again, and was an event when it was read
            subjects = (decision.subject,) if decision.subject else ()
            if decision.flag is not None:
                about = flag_summary(self.model, decision.flag, decision.now_ms, {decision.seq: one})
                self.window.add(Kind.FLAG, record, subjects, about)
            else:
                self.window.add(Kind.DECISION, record, subjects, decision_row(one))

    def _reported(self, record: Record, before: Mapping[str, SeenReport]) -> None:
        after = self.model.view.reports
        if after is before:
            return  # it did not count
        seen = after.get(record.key or "")
        last = before.get(record.key or "")
        if seen is None or (last is not None and _says(last.report) == _says(seen.report)):
            return
        subjects = tuple(service_subject(one.service) for one in seen.report.services)
        self.window.add(Kind.REPORT, record, subjects, seen.report)

    def _judged(self, record: Record, value: bytes) -> None:
        try:
            if record.topic == "alarms":
                alarm = decode(value, Alarm)
                subjects = (alarm.subject,) if alarm.subject else about(alarm.service)
                if alarm.writer == INBOUND_WRITER:
                    self.told_ms[alarm.key] = record.time_ms
                self.window.add(Kind.ALARM, record, subjects, alarm)
                return
            verdict = decode(value, Verdict)
        except Malformed:
            return
        kept = self._verdicts.setdefault(verdict.subject, [])
        kept.append(verdict)
        del kept[:-VERDICTS_KEPT]
        self.window.add(Kind.VERDICT, record, (verdict.subject,), verdict)

    def _note(self, record: Record, value: bytes) -> None:
        if record.topic == "plans":
            self.asked[digest(value)] = Asked(record.key or "", "", record.time_ms)
        else:
            try:
                intent, _ = unseal(value, Intent, self.model.trust)
            except (Malformed, Refused):
                return
            self.asked.setdefault(intent.id, Asked(intent.subject, says(intent), record.time_ms, intent.actor))
        _bound(self.asked, ASKED_KEPT)


def says(intent: Intent) -> str:
    """Return a digest of what an intent asks for, whenever and of whatever state it is asked."""
    hush = replace(intent.hush, until_ms=0) if intent.hush is not None else None
    return digest_of(replace(intent, generation=0, issued_ms=0, hush=hush))


def about(service: str) -> tuple[str, ...]:
    """Return the subjects of what is of a service; none of what is of the fleet."""
    return (service_subject(service),) if service else ()


def _says(report: Report) -> tuple[object, ...]:
    return report.services, report.zone, report.labels, report.frozen, report.boot


def _bound(kept: dict[str, Told] | dict[str, Asked], most: int) -> None:
    while len(kept) > most:
        del kept[next(iter(kept))]  # the oldest


def _as_it_came(records: list[Record]) -> list[Record]:
    """Return records of many partitions by time, each partition in its order: what is kept of them then is the newest of all."""
    newest: dict[tuple[str, int], int] = {}
    times = []
    for record in records:
        part = record.topic, record.partition
        newest[part] = max(newest.get(part, 0), record.time_ms)
        times.append(newest[part])
    return [records[index] for index in sorted(range(len(records)), key=times.__getitem__)]


__all__ = ["Asked", "Mirror", "about", "says"]
