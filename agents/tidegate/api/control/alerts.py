"""Alerts of others, as Alertmanager posts them (its webhook, version 4): what fires makes rollouts of its service wait (D4), and
where the settings say so aborts them.

An alert becomes an alarm of writer ``api`` under its fingerprint, so that one that is posted again, or by two members of a
cluster, is one alarm. An abort is an intent whose id follows from the alert and its start: asked once each time that it fires.
What comes from Tidegate itself is passed over: an alarm of ours that came back would stop the fix of what it tells.
"""

import asyncio
import contextlib
import logging
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus

import structlog
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, Counter

from tidegate.api.control.answers import Answers, One
from tidegate.api.control.calls import Call, Reply, Route, Visitor
from tidegate.api.control.inbound import TEXT_LENGTH_MAX, Alert, Payload, ended, fires, id_of, ms_of, name_of, summary_of
from tidegate.api.control.mirror import Mirror
from tidegate.api.control.problems import Declined
from tidegate.api.roles import Right
from tidegate.ports import Clock, Log, SendUnknown
from tidegate.runtime.problem import Problem
from tidegate.runtime.settings import AlertSettings
from tidegate.wire.codec import encode
from tidegate.wire.documents import Intent, Verb, digest_of
from tidegate.wire.envelope import Signs, seal
from tidegate.wire.judgement import INBOUND_WRITER, Alarm, AlarmState, Severity
from tidegate.wire.names import duration_ms, is_name, service_of, service_subject

OWN_WRITERS = frozenset({"judge", "decide", "experiment", "notify", INBOUND_WRITER})
"""The label ``writer`` of what notify posts to Alertmanager."""
BODY_BYTES_MAX = 2 << 20
LOOK_EVERY_S = 30.0
OPEN_MAX = 100
"""Alarms from outside that fire at once, of each service: critical ones, and others."""
ABORTS_WITHIN_MS = 3_600_000
"""After its start: an id that is asked later may have been forgotten, and would abort the fix (``ledger.ANSWERED_KEPT``)."""
REMEMBERED_MS = 7 * 86_400_000
"""So long the history of one that is over is kept."""

log_of_api = structlog.wrap_logger(logging.getLogger("tidegate.api"))


class Taken(Struct, frozen=True, kw_only=True):
    """What became of a notification."""

    taken: int
    own: int
    """Tidegate's own, passed over."""
    aborts: tuple[str, ...]
    """Ids of the intents to abort: look them up under requests."""


class Alerts:
    """The route. ``signer``: of role ``api``; None: nothing can be aborted."""

    def __init__(
        self,
        mirror: Mirror,
        log: Log,
        clock: Clock,
        signer: Signs | None,
        *,
        settings: AlertSettings,
        registry: CollectorRegistry,
    ) -> None:
        self._mirror = mirror
        self._log = log
        self._clock = clock
        self._signer = signer
        self._settings = settings
        self._lasts_ms = duration_ms(settings.lasts)
        self._answers = Answers(mirror)
        self._counts = Counter(
            "tidegate_api_alerts",
            "Alerts of Alertmanager, by what became of them (taken, own, refused).",
            ("outcome",),
            registry=registry,
        )
        for outcome in ("taken", "own", "refused"):
            self._counts.labels(outcome)  # from 0 on, or nobody sees the first one

    def routes(self) -> list[Route]:
        """Return it."""
        return [
            Route(
                method="POST",
                path="/alertmanager",
                right=Right.ALERT,
                summary="Take alerts as Alertmanager's webhook posts them",
                handle=self._take,
                answer=One[Taken],
                body=Payload,
                body_bytes_max=BODY_BYTES_MAX,
            )
        ]

    async def tidy(self) -> None:
        """End what was not told again for too long, and forget what was over long ago; for ever."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            if self._mirror.not_ready() is None:
                with contextlib.suppress(SendUnknown):  # the next turn looks again
                    await self.tidy_now()

    async def tidy_now(self) -> None:
        """Do so once. An end may never have been told; and an alert has labels such as a pod's name, so that its alarm may never
        fire again: without tombstones the topic, and whoever reads it, would keep all there ever were. SendUnknown.
        """
        now_ms, view = self._mirror.now_ms, self._mirror.model.view
        for key, told_ms in list(self._mirror.told_ms.items()):
            alarm = view.alarms.get(key)
            if alarm is not None and now_ms - told_ms > self._lasts_ms:
                log_of_api.warning("an alert was not told again; it is over", alarm=key, lasts=self._settings.lasts)
                await self._log.append("alarms", key, encode(replace(alarm, state=AlarmState.RESOLVED, end_ms=now_ms)))
            elif alarm is None and now_ms - told_ms > REMEMBERED_MS:
                await self._log.append("alarms", key, None)

    async def _take(self, call: Call) -> Reply:
        payload: Payload = call.body
        known, faults = self._services(), list[tuple[str, str]]()
        taken: list[tuple[Alert, Alarm | None]] = []
        room, own = self._room(), 0
        for at, alert in enumerate(payload.alerts):
            if alert.labels.get("writer") in OWN_WRITERS:
                own += 1
            elif why := _refusal(alert, call.visitor, known):
                faults.append((f"body.alerts[{at}].labels.service", why))
            else:
                alarm = self._alarm(alert)
                taken.append((alert, alarm if alarm is None or room(alarm) else None))
        if payload.truncated_alerts:
            faults.append(("body.truncatedAlerts", f"{payload.truncated_alerts} alerts are missing: set max_alerts: 0"))
        try:
            await self._write(alarm for _, alarm in taken if alarm is not None)
            aborts = await self._abort((alert for alert, _ in taken), call.visitor.name)
        except SendUnknown as error:
            raise Declined(HTTPStatus.SERVICE_UNAVAILABLE, "the broker did not confirm it", "send the same again") from error
        self._tell(call.visitor.name, {"taken": len(taken), "own": own, "refused": len(faults)}, aborts)
        if faults:  # what is sound was taken all the same
            remedy = "give alerts that are to stop rollouts the label service, with the name of one that Tidegate knows"
            raise Declined(HTTPStatus.UNPROCESSABLE_ENTITY, "some alerts were not taken", remedy, faults=faults)
        return self._answers.one(Taken(taken=len(taken), own=own, aborts=tuple(aborts)))

    def _services(self) -> set[str]:
        model = self._mirror.model
        rolled = {service_of(subject) or "" for subject in model.ledger.subjects}
        return rolled | {one.service for seen in model.view.reports.values() for one in seen.report.services}

    def _alarm(self, alert: Alert) -> Alarm | None:
        """Return the record to write; None: nothing is new."""
        view, key = self._mirror.model.view, f"{INBOUND_WRITER}/{id_of(alert)}"
        before = view.alarms.get(key) or view.ended.get(key)
        if alert.status == "resolved":
            return ended(alert, before, self._mirror.now_ms)
        alarm = fires(alert, before, critical=self._aborts(alert))
        fresh = self._mirror.now_ms - self._mirror.told_ms.get(key, 0) < self._lasts_ms / 4
        return None if alarm == before and fresh else alarm

    def _room(self) -> Callable[[Alarm], bool]:
        """Return what says whether an alarm is one of those that are kept, after those before it in one post. Where so many of a
        service fire already, one more would change nothing.
        """
        firing = self._mirror.model.view.alarms
        open_now = Counts(
            (one.service, one.severity is Severity.CRITICAL) for one in firing.values() if one.writer == INBOUND_WRITER
        )

        def room(alarm: Alarm) -> bool:
            if alarm.state is AlarmState.RESOLVED or alarm.key in firing:
                return True
            kind = alarm.service, alarm.severity is Severity.CRITICAL
            open_now[kind] += 1
            return open_now[kind] <= OPEN_MAX

        return room

    def _aborts(self, alert: Alert) -> bool:
        return any(wanted.items() <= alert.labels.items() for wanted in self._settings.aborts)

    async def _write(self, alarms: Iterable[Alarm]) -> None:
        for alarm in alarms:
            await self._log.append("alarms", alarm.key, encode(alarm))

    async def _abort(self, alerts: Iterable[Alert], actor: str) -> list[str]:
        """Ask for what alerts that fire are to abort, each once for each time it fires; return the ids."""
        found: list[str] = []
        for alert in alerts:
            subject = service_subject(alert.labels["service"])
            young = self._mirror.now_ms - ms_of(alert.starts_at) < ABORTS_WITHIN_MS
            if alert.status == "firing" and young and self._aborts(alert) and subject in self._mirror.model.ledger.subjects:
                intent = self._intent(alert, subject, actor)
                found.append(intent.id)
                if intent.id not in self._mirror.asked and self._mirror.answer(intent.id) is None:
                    await self._log.append("intents", subject, await self._sealed(intent))
        return found

    def _intent(self, alert: Alert, subject: str, actor: str) -> Intent:
        return Intent(
            id=f"alert-{digest_of([id_of(alert), ms_of(alert.starts_at), subject])[:32]}",
            fleet=self._mirror.model.trust.fleet,
            subject=subject,
            verb=Verb.ABORT,
            generation=self._mirror.model.ledger.generation(subject),
            actor=actor,
            reason=f"{name_of(alert)} fires: {summary_of(alert)}"[:TEXT_LENGTH_MAX],
            issued_ms=self._mirror.now_ms,
        )

    async def _sealed(self, intent: Intent) -> bytes:
        if self._signer is None:
            raise Declined(
                HTTPStatus.SERVICE_UNAVAILABLE, "this process holds no key of role api", "see: tidegate keys list; then restart"
            )
        try:
            return await asyncio.to_thread(seal, intent, self._signer)
        except Problem as problem:
            raise Declined(HTTPStatus.SERVICE_UNAVAILABLE, str(problem), problem.remedy) from problem

    def _tell(self, by: str, counts: Mapping[str, int], aborts: list[str]) -> None:
        log_of_api.info("alerts", by=by, aborts=aborts or None, **counts)
        for outcome, number in counts.items():
            self._counts.labels(outcome).inc(number)


def _refusal(alert: Alert, visitor: Visitor, known: set[str]) -> str:
    """Return why an alert is not taken; empty: it is."""
    service = alert.labels.get("service", "")
    if not service:
        return f"is missing: whose rollouts is {name_of(alert)} about?"
    if not is_name(service) or service not in known or not visitor.may(Right.ALERT, service_subject(service)):
        return f"no service {service[:TEXT_LENGTH_MAX]!r} is known, or not for this token"
    return ""


__all__ = ["Alerts", "Taken"]
