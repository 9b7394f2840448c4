"""What the demo sees of the log: the same records that an operator's tools read, with the times at which the broker
appended them.

A fold without hands: ``see`` takes records, properties answer. All times are milliseconds since the epoch.
"""

import base64
from collections.abc import Iterable
from typing import TypeVar

import msgspec
from msgspec import Struct

from tidegate.ports import Record
from tidegate.wire.codec import Malformed, decode
from tidegate.wire.decisions import Decision
from tidegate.wire.documents import Desired, Move, Report, ServiceReport
from tidegate.wire.envelope import Envelope
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.names import service_of
from tidegate.wire.telemetry import ServiceState

T = TypeVar("T", Desired, Report)

TOPICS = ("decisions", "desired", "flags", "verdicts", "reports", "kpis")


class Pane(Struct, frozen=True):
    """One closed second of the whole service, all cohorts together."""

    end_ms: int
    requests: int
    errors: int
    p95_ms: float
    """Of the cohort where it is highest."""

    @property
    def error_ratio(self) -> float:
        """Errors per request; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0


class _Kpi(Struct):
    subject: str
    cohort: str
    window_s: int
    end_ms: int
    requests: int
    errors: int
    p95_ms: float


class Seen(Struct, frozen=True):
    """A document and when the broker appended it."""

    at_ms: int
    what: Decision | Desired | Verdict


class Watch:
    """Everything seen so far of one subject."""

    def __init__(self, subject: str, service: str) -> None:
        self._subject = subject
        self._service = service
        self.decisions: list[Seen] = []
        self.commands: list[Seen] = []
        self.published: list[tuple[int, str]] = []
        """Records of flags: when, and of which."""
        self.failures: list[Seen] = []
        """Fails of every subject."""
        self.running: dict[str, ServiceReport] = {}
        self.reported_ms: dict[str, dict[str, int]] = {}
        """Version to node to the time of its first report as ready, in the latest stay of the node on that version."""
        self.panes: dict[int, Pane] = {}

    def see(self, records: Iterable[Record]) -> list[Decision]:
        """Fold records; return the decisions among them, in order."""
        news: list[Decision] = []
        for record in records:
            if record.value is None:
                continue
            match record.topic:
                case "decisions":
                    decision = decode(record.value, Decision)
                    self.decisions.append(Seen(record.time_ms, decision))
                    news.append(decision)
                case "desired" if record.key == self._subject:
                    self.commands.append(Seen(record.time_ms, _payload(record.value, Desired)))
                case "flags":
                    self.published.append((record.time_ms, record.key or ""))
                case "verdicts":
                    verdict = decode(record.value, Verdict)
                    if verdict.outcome is Outcome.FAIL:
                        self.failures.append(Seen(record.time_ms, verdict))
                case "reports":
                    self._report(_payload(record.value, Report), record.time_ms)
                case "kpis" if record.key == self._service:
                    self._kpi(decode(record.value, _Kpi))
                case _:
                    pass
        return news

    def _report(self, report: Report, at_ms: int) -> None:
        for service in report.services:
            if service.service != self._service:
                continue
            before = self.running.get(report.node)
            self.running[report.node] = service
            if service.state is ServiceState.READY and (
                before is None or before.state is not ServiceState.READY or before.version != service.version
            ):
                self.reported_ms.setdefault(service.version, {})[report.node] = at_ms

    def _kpi(self, kpi: _Kpi) -> None:
        if kpi.window_s != 1 or service_of(kpi.subject) is None:
            return
        before = self.panes.get(kpi.end_ms, Pane(kpi.end_ms, 0, 0, 0.0))
        self.panes[kpi.end_ms] = Pane(
            kpi.end_ms, before.requests + kpi.requests, before.errors + kpi.errors, max(before.p95_ms, kpi.p95_ms)
        )
        if len(self.panes) > 1_000:
            del self.panes[min(self.panes)]

    def verdict_ms(self, rollout: str) -> int | None:
        """Return when the first fail of a rollout was appended."""
        return next(
            (seen.at_ms for seen in self.failures if isinstance(seen.what, Verdict) and seen.what.rollout == rollout), None
        )

    def safe_ms(self, flag: str, since_ms: int) -> int | None:
        """Return when a flag was published at or after a time."""
        return next((at_ms for at_ms, key in self.published if key == flag and at_ms >= since_ms), None)

    def retreat(self, since_ms: int) -> Seen | None:
        """Return the first retreat that was commanded at or after a time."""
        return next(
            (
                seen
                for seen in self.commands
                if seen.at_ms >= since_ms and isinstance(seen.what, Desired) and seen.what.move is Move.RETREAT
            ),
            None,
        )

    def back_ms(self, version: str, since_ms: int) -> int | None:
        """Return when the last node that had to return reported the version again; None while one is missing or none
        had left.
        """
        if any(service.version != version or service.state is not ServiceState.READY for service in self.running.values()):
            return None
        return max((at_ms for at_ms in self.reported_ms.get(version, {}).values() if at_ms >= since_ms), default=None)

    def recovered_ms(self, after_ms: int, error_ratio_max: float, p95_ms_max: float) -> int | None:
        """Return the end of the first pane that began after a time and is in band."""
        for end_ms in sorted(self.panes):
            pane = self.panes[end_ms]
            if end_ms - 1_000 >= after_ms and pane.requests and pane.error_ratio <= error_ratio_max and pane.p95_ms <= p95_ms_max:
                return end_ms
        return None


def _payload(envelope: bytes, kind: type[T]) -> T:
    """Return what an envelope holds, unverified: the demo only watches, the nodes and deciders verify."""
    try:
        return msgspec.json.decode(base64.b64decode(decode(envelope, Envelope).payload), type=kind)
    except msgspec.DecodeError as error:
        raise Malformed("", str(error)) from error
