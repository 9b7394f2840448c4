"""What a console begins with: who asks, everything at a glance, one timeline, and series for charts."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tidegate.api.control.answers import PAGE, PAGE_MAX, After, Answers, Limit, One, Page, first, reading
from tidegate.api.control.calls import Call, Reply, Route
from tidegate.api.control.mirror import Mirror
from tidegate.api.control.problems import badly_asked
from tidegate.api.control.reads import concerns
from tidegate.api.roles import Right, Role, rights_of
from tidegate.model.alarms import AlarmRow, alarm_rows
from tidegate.model.overview import FlagGlance, FleetGlance, RolloutGlance, flag_glances, fleet_glance, rollout_glances
from tidegate.model.series import Series
from tidegate.model.timeline import Entry, EntryKind, Place, timeline
from tidegate.wire.judgement import AlarmState

GLANCES_MAX = PAGE_MAX
"""Of rollouts, flags and alarms each; all of them are in pages of their own."""


class Me(Struct, frozen=True, kw_only=True):
    """Who asks."""

    name: str
    """Of the token: it stands as actor in what is asked for. Empty: no token is needed here."""
    role: Role
    scopes: tuple[str, ...]
    """Patterns of services and flags, with rights or all of the role's; none: everything."""
    rights: tuple[Right, ...]
    """What may be done to the subject that was named; else what may be done to anything at all."""
    expires_ms: int
    """Milliseconds since the epoch; 0: it does not end by itself."""
    fleet: str


class OfMe(Struct, frozen=True, forbid_unknown_fields=True):
    """Rights on what."""

    subject: Annotated[str, Meta(max_length=300)] = ""
    """As in ``svc/shop`` or ``flag/web/dark``."""


class Overview(Struct, frozen=True, kw_only=True):
    """Everything at a glance, of what may be seen. Of rollouts, flags and alarms at most 1,000 each."""

    fleet: FleetGlance
    rollouts: tuple[RolloutGlance, ...]
    flags: tuple[FlagGlance, ...]
    alarms: tuple[AlarmRow, ...]
    """Those that fire, the newest first."""
    more: bool
    """Whether something was left out for its number."""


class OfTimeline(Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries, the newest first."""

    limit: Limit = PAGE
    before: Annotated[str, Meta(max_length=600)] = ""
    """``next`` of the page before."""
    kinds: Annotated[str, Meta(max_length=100)] = ""
    """Some of rollout, flag, alarm, fleet, with commas; empty: all."""
    subject: Annotated[str, Meta(max_length=300)] = ""
    people: bool = False
    """Only what a person asked for."""


class OfSeries(Struct, frozen=True, forbid_unknown_fields=True):
    """Which windows."""

    window_s: Literal[1, 10, 60] = 1
    cohort: After = ""
    since_ms: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


class ServiceSeries(Struct, frozen=True, kw_only=True):
    """Of each cohort one series: 10 minutes of 1 s windows, half an hour of 10 s, three hours of 60 s."""

    service: str
    window_s: int
    cohorts: tuple[Series, ...]


class Views:
    """The routes."""

    def __init__(self, mirror: Mirror, answers: Answers) -> None:
        self._mirror = mirror
        self._answers = answers

    def routes(self) -> list[Route]:
        """Return them."""
        return [
            reading("/me", "Who asks, and what that may do", self._me, One[Me], OfMe),
            reading("/overview", "Everything at a glance", self._overview, One[Overview]),
            reading("/timeline", "What happened, the newest first", self._timeline, Page[Entry], OfTimeline),
            reading("/services/{service}/series", "KPIs by cohort, in columns", self._series, One[ServiceSeries], OfSeries),
        ]

    async def _me(self, call: Call) -> Reply:
        me = call.visitor
        rights = rights_of(me.role, me.scopes, call.query.subject)
        return self._answers.one(
            Me(
                name=me.name,
                role=me.role,
                scopes=me.scopes,
                rights=tuple(one for one in Right if one in rights),
                expires_ms=me.expires_ms,
                fleet=self._mirror.model.trust.fleet,
            )
        )

    async def _overview(self, call: Call) -> Reply:
        model, now_ms, sees = self._mirror.model, self._mirror.now_ms, call.visitor.sees
        rollouts, flags = rollout_glances(model, now_ms, sees), flag_glances(model, sees)
        firing = (one for one in alarm_rows(model, now_ms) if one.state is AlarmState.FIRING and sees(*concerns(one)))
        overview = Overview(
            fleet=fleet_glance(model, now_ms, sees),
            rollouts=tuple(first(rollouts, GLANCES_MAX)),
            flags=tuple(first(flags, GLANCES_MAX)),
            alarms=tuple(first(firing, GLANCES_MAX)),
            more=any(True for one in (rollouts, flags, firing) for _ in one),
        )
        return self._answers.one(overview)

    async def _timeline(self, call: Call) -> Reply:
        asked: OfTimeline = call.query
        kinds, before = _kinds(asked.kinds), _place(asked.before)
        found = (
            one
            for one in timeline(self._mirror.model, before)
            if one.kind in kinds
            and asked.subject in ("", one.subject)
            and (one.actor or not asked.people)
            and call.visitor.sees(*filter(None, [one.subject]))
        )
        page = first(found, asked.limit + 1)
        shown = page[: asked.limit]
        behind = f"{shown[-1].at_ms}/{shown[-1].id}" if len(page) > asked.limit else None
        return self._answers.page(shown, behind)

    async def _series(self, call: Call) -> Reply:
        asked: OfSeries = call.query
        service, found = call.path["service"], self._mirror.recent.series(call.path["service"], asked.window_s, asked.since_ms)
        cohorts = tuple(one for one in found if asked.cohort in ("", one.cohort))
        return self._answers.one(ServiceSeries(service=service, window_s=asked.window_s, cohorts=cohorts))


def _kinds(text: str) -> frozenset[str]:
    named = frozenset(filter(None, text.split(",")))
    unknown = sorted(named - frozenset(EntryKind))
    if unknown:
        raise badly_asked("kinds", f"{unknown[0][:50]!r} is none of {', '.join(EntryKind)}")
    return named or frozenset(EntryKind)


def _place(text: str) -> Place | None:
    at_ms, _, name = text.partition("/")
    if text and not (at_ms.isascii() and at_ms.isdigit() and len(at_ms) < 18 and name):
        raise badly_asked("before", "is no place in the timeline: send next of the page before")
    return (int(at_ms), name) if text else None


__all__ = ["Views"]
