"""Alerts of others, as Alertmanager posts them (its webhook, version 4): what fires makes rollouts of its service wait (D4), and
where the settings say so aborts them.

An alert becomes an alarm of writer ``api`` under its fingerprint, so that one that is posted again, or by two members of a
cluster, is one alarm. With an alarm that begins an abort is asked for, before it is written: so a post that failed half way may
be made again, and one that is made again while the alarm stands does not abort the fix. What comes from Tidegate itself is passed
over: an alarm of ours that came back would stop the fix of what it tells.
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
READ_WITHIN_S = 5.0
OPEN_MAX = 100
"""Alarms from outside that are kept while they fire, of each service: critical ones, and others."""
ABORTS_WITHIN_MS = 3_600_000
"""After its start. What begins to be told later was told before and forgotten; what is under way may be the fix."""
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


class _News(Struct, frozen=True):
    """An alert that says something new, and the alarm that is to be written."""

    alert: Alert
    alarm: Alarm
    aborts: bool
    begins: bool


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
        fire again: without tombstones the topic, and whoever reads it, would keep all there ever were. What is not remembered
        (``ENDED_KEPT`` of the view) goes at once. SendUnknown.
        """
        now_ms = self._mirror.now_ms
        for key in list(self._mirror.told_ms):
            # Looked at one by one: each may fire again while what came before it is written.
            view, told_ms = self._mirror.model.view, self._mirror.told_ms.get(key, now_ms)
            alarm = view.alarms.get(key)
            if alarm is not None and now_ms - told_ms > self._lasts_ms:
                log_of_api.warning("an alert was not told again; it is over", alarm=key, lasts=self._settings.lasts)
                await self._log.append("alarms", key, encode(replace(alarm, state=AlarmState.RESOLVED, end_ms=now_ms)))
            elif alarm is None and (now_ms - told_ms > REMEMBERED_MS or key not in view.ended):
                await self._log.append("alarms", key, None)

    async def _take(self, call: Call) -> Reply:
        payload: Payload = call.body
        await self._read_what_began(payload.alerts)
        known, faults, news = self._services(), list[tuple[str, str]](), list[_News]()
        taken = own = 0
        for at, alert in enumerate(payload.alerts):
            if alert.labels.get("writer") in OWN_WRITERS:
                own += 1
            elif why := _refusal(alert, call.visitor, known):
                faults.append((f"body.alerts[{at}].labels.service", why))
            else:
                taken += 1
                news += self._news(alert)
        if payload.truncated_alerts:
            faults.append(("body.truncatedAlerts", f"{payload.truncated_alerts} alerts are missing: set max_alerts: 0"))
        try:
            aborts = await self._abort(news, call.visitor.name)
            for one in filter(self._room(), news):
                await self._log.append("alarms", one.alarm.key, encode(one.alarm))
        except SendUnknown as error:
            raise Declined(HTTPStatus.SERVICE_UNAVAILABLE, "the broker did not confirm it", "send the same again") from error
        self._tell(call.visitor.name, {"taken": taken, "own": own, "refused": len(faults)}, aborts)
        if faults:  # what is sound was taken all the same
            remedy = "give alerts that are to stop rollouts the label service, with the name of one that Tidegate knows"
            raise Declined(HTTPStatus.UNPROCESSABLE_ENTITY, "some alerts were not taken", remedy, faults=faults)
        return self._answers.one(Taken(taken=taken, own=own, aborts=tuple(aborts)))

    async def _read_what_began(self, alerts: Iterable[Alert]) -> None:
        """Read on where an alert ends whose beginning is not known: another process may have written that a moment ago. What then
        is still unknown was never kept, and its end is not written. Declined (503) where the log is not read in time.
        """
        firing = self._mirror.model.view.alarms
        ends = (one for one in alerts if one.status == "resolved" and one.labels.get("writer") not in OWN_WRITERS)
        if any(_key(one) not in firing for one in ends) and not await self._mirror.until_current(READ_WITHIN_S):
            raise Declined(HTTPStatus.SERVICE_UNAVAILABLE, "the log could not be read to its end", "send the same again")

    def _services(self) -> set[str]:
        model = self._mirror.model
        rolled = {service_of(subject) or "" for subject in model.ledger.subjects}
        return rolled | {one.service for seen in model.view.reports.values() for one in seen.report.services}

    def _news(self, alert: Alert) -> Iterable[_News]:
        """Yield what an alert says that is new: that it begins, that it is over, or, now and then, that it still fires."""
        view, key, now_ms = self._mirror.model.view, _key(alert), self._mirror.now_ms
        before = view.alarms.get(key) or view.ended.get(key)
        aborts = any(wanted.items() <= alert.labels.items() for wanted in self._settings.aborts)
        if alert.status == "resolved":
            over = ended(alert, before, critical=aborts, now_ms=now_ms)
            if over is not None:
                yield _News(alert, over, aborts, begins=False)
            return
        alarm = fires(alert, before, critical=aborts)
        begins = before is None or before.state is AlarmState.RESOLVED or before.start_ms != alarm.start_ms
        if begins or alarm != before or now_ms - self._mirror.told_ms.get(key, 0) > self._lasts_ms / 4:
            yield _News(alert, alarm, aborts, begins=begins)

    def _room(self) -> Callable[[_News], bool]:
        """Return what says whether an alarm is one of those that are kept, after those before it in one post. Where so many of a
        service fire already, one more would change nothing.
        """
        firing = self._mirror.model.view.alarms
        open_now = Counts(_kind(one) for one in firing.values() if one.writer == INBOUND_WRITER)

        def room(one: _News) -> bool:
            if one.alarm.state is AlarmState.RESOLVED or one.alarm.key in firing:
                return True
            open_now[_kind(one.alarm)] += 1
            return open_now[_kind(one.alarm)] <= OPEN_MAX

        return room

    async def _abort(self, news: Iterable[_News], actor: str) -> list[str]:
        """Ask to abort the rollout of each service of which an alarm begins that aborts; return the ids. It names the plan: what
        waits behind that one may be the fix.
        """
        asked: dict[str, str] = {}
        for one in news:
            subject = service_subject(one.alarm.service)
            young = self._mirror.now_ms - one.alarm.start_ms < ABORTS_WITHIN_MS
            ledger = self._mirror.model.ledger
            last = ledger.plans.get(ledger.subject(subject).plan_digest)
            if one.begins and one.aborts and young and last is not None and subject not in asked:
                intent = self._intent(one.alert, subject, last.plan.id, actor)
                await self._log.append("intents", subject, await self._sealed(intent))
                asked[subject] = intent.id
        return [*asked.values()]

    def _intent(self, alert: Alert, subject: str, plan_id: str, actor: str) -> Intent:
        return Intent(
            id=f"alert-{digest_of([id_of(alert), ms_of(alert.starts_at), subject])[:32]}",
            fleet=self._mirror.model.trust.fleet,
            subject=subject,
            verb=Verb.ABORT,
            generation=self._mirror.model.ledger.generation(subject),
            actor=actor,
            reason=f"{name_of(alert)} fires: {summary_of(alert)}"[:TEXT_LENGTH_MAX],
            target=plan_id,
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


def _key(alert: Alert) -> str:
    return f"{INBOUND_WRITER}/{id_of(alert)}"


def _kind(alarm: Alarm) -> tuple[str, bool]:
    return alarm.service, alarm.severity is Severity.CRITICAL


def _refusal(alert: Alert, visitor: Visitor, known: set[str]) -> str:
    """Return why an alert is not taken; empty: it is."""
    service = alert.labels.get("service", "")
    if not service:
        return f"is missing: whose rollouts is {name_of(alert)} about?"
    if not is_name(service) or service not in known or not visitor.may(Right.ALERT, service_subject(service)):
        return f"no service {service[:TEXT_LENGTH_MAX]!r} is known, or not for this token"
    return ""


__all__ = ["Alerts", "Taken"]
