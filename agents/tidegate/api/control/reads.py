"""What may be read. Every answer carries the age of what it tells; what a visitor's scopes leave out is not there for it."""

from typing import Annotated

from msgspec import Meta, Raw, Struct

from tidegate.api.control.answers import PAGE, After, Answers, Limit, One, Page, first, missing, reading
from tidegate.api.control.calls import Call, Reply, Route, named
from tidegate.api.control.mirror import Mirror, about
from tidegate.model import FlagSummary, Summary, flag_summary, summary
from tidegate.model.alarms import (
    AlarmRow,
    PolicyRow,
    SilenceRow,
    alarm_rows,
    held_silences,
    policies_in_force,
    policy_row,
    silence_row,
)
from tidegate.model.experiments import Known, Look, Status, known, looks_of
from tidegate.model.flags import by_number
from tidegate.model.nodes import NodeRow, node_rows
from tidegate.model.rollouts import DecisionRow, RolloutRow, decision_row, rollout_row
from tidegate.wire.codec import encode
from tidegate.wire.decisions import GroupState
from tidegate.wire.flagchanges import FlagRamp
from tidegate.wire.flagstates import FlagState
from tidegate.wire.judgement import AlarmState, Kpi, Score, Verdict
from tidegate.wire.names import FLAG_PREFIX, service_subject


class FlagRow(Struct, frozen=True, kw_only=True):
    """One flag: where it stands, what was set, and the ramp that is under way, waits, or was last."""

    summary: FlagSummary
    spec: Raw
    ramp: FlagRamp | None


class Asking(Struct, frozen=True, kw_only=True):
    """What became of a plan or an intent. No decision: it stands in the log, and a decision agent will answer it."""

    id: str
    subject: str
    asked_ms: int | None
    decision: DecisionRow | None


class ExperimentRow(Struct, frozen=True, kw_only=True):
    """One experiment: its numbers, what is proposed, and by treatment how the estimate of the primary metric came about."""

    status: Status
    looks: dict[str, list[Look]]


class OfRollouts(Struct, frozen=True, forbid_unknown_fields=True):
    """Which services."""

    limit: Limit = PAGE
    after: After = ""


class OfDecisions(Struct, frozen=True, forbid_unknown_fields=True):
    """Those before a number, the newest first."""

    limit: Limit = PAGE
    before: Annotated[int, Meta(ge=0, le=1 << 53)] | None = None


class OfNodes(Struct, frozen=True, forbid_unknown_fields=True):
    """Which nodes; a page ends between nodes, so it may have a few rows more than its limit."""

    limit: Limit = PAGE
    after: After = ""
    service: After = ""
    cohort: After = ""


class OfPanes(Struct, frozen=True, forbid_unknown_fields=True):
    """Which panes, the newest first."""

    limit: Limit = PAGE
    cohort: After = ""
    window_s: Annotated[int, Meta(ge=0, le=86_400)] = 1
    """0: of all lengths."""


class OfScores(Struct, frozen=True, forbid_unknown_fields=True):
    """Which scores, the newest first."""

    limit: Limit = PAGE
    cohort: After = ""
    metric: After = ""


class OfVerdicts(Struct, frozen=True, forbid_unknown_fields=True):
    """The newest first."""

    limit: Limit = 20


class OfAlarms(Struct, frozen=True, forbid_unknown_fields=True):
    """Which alarms."""

    limit: Limit = PAGE
    all: bool = False
    """Also those that are over."""
    service: After = ""


class OfSilences(Struct, frozen=True, forbid_unknown_fields=True):
    """Which silences."""

    limit: Limit = PAGE
    all: bool = False
    """Also those that are over."""


class OfFlags(Struct, frozen=True, forbid_unknown_fields=True):
    """Which flags."""

    limit: Limit = PAGE
    after: After = ""
    set: After = ""


class Reads:
    """The routes that read."""

    def __init__(self, mirror: Mirror, answers: Answers) -> None:
        self._mirror = mirror
        self._answers = answers

    def routes(self) -> list[Route]:
        """Return them."""
        return [
            reading("/rollouts", "Where every service stands", self._rollouts, Page[Summary], OfRollouts),
            reading("/rollouts/{service}", "One service's rollout in full", self._rollout, One[RolloutRow]),
            reading("/rollouts/{service}/decisions", "Its decisions", self._decisions, Page[DecisionRow], OfDecisions),
            reading("/rollouts/{service}/verdicts", "Judgements with evidence", self._verdicts, Page[Verdict], OfVerdicts),
            reading("/services/{service}/kpis", "Measured values of late", self._kpis, Page[Kpi], OfPanes),
            reading("/services/{service}/scores", "How unusual they were", self._scores, Page[Score], OfScores),
            reading("/fleet", "Nodes with what they run", self._fleet, Page[NodeRow], OfNodes),
            reading("/alarms", "Alarms, those that fire first", self._alarms, Page[AlarmRow], OfAlarms),
            reading("/silences", "Silences and what they hid", self._silences, Page[SilenceRow], OfSilences),
            reading("/policies", "Freezes, budgets, approvals in force", self._policies, Page[PolicyRow]),
            reading("/flags", "Where flags stand", self._flags, Page[FlagSummary], OfFlags),
            reading("/flags/{set}/{flag}", "One flag with its share and ramp", self._flag, One[FlagRow]),
            reading("/groups", "Groups of plans, in waves", self._groups, Page[GroupState]),
            reading("/groups/{group}", "One group", self._group, One[GroupState]),
            reading("/experiments", "Experiments with their numbers", self._experiments, Page[Status]),
            reading("/experiments/{experiment}", "One, with its estimates over time", self._experiment, One[ExperimentRow]),
            reading("/requests/{id}", "What became of a plan or an intent", self._request, One[Asking]),
        ]

    async def _rollouts(self, call: Call) -> Reply:
        model, asked = self._mirror.model, call.query
        seen = [one for one in sorted(model.ledger.subjects) if call.visitor.sees(one) and one > service_subject(asked.after)]
        rows = [summary(model, one, self._mirror.now_ms) for one in seen[: asked.limit]]
        return self._answers.page(rows, rows[-1].service if len(seen) > asked.limit else None)

    async def _rollout(self, call: Call) -> Reply:
        found = rollout_row(self._mirror.model, call.path["service"], self._mirror.now_ms)
        if found is None:
            raise missing(f"nothing was rolled out of service {call.path['service']}", "see /api/v1/rollouts")
        return self._answers.one(found, found.summary.generation)

    async def _decisions(self, call: Call) -> Reply:
        asked = call.query
        told = self._mirror.model.decisions(named(call.path))
        before = [one for one in reversed(told) if asked.before is None or one.decision.seq < asked.before]
        page = before[: asked.limit]
        return self._answers.page(
            [decision_row(one) for one in page], str(page[-1].decision.seq) if len(before) > len(page) else None
        )

    async def _verdicts(self, call: Call) -> Reply:
        return self._answers.page(self._mirror.verdicts(named(call.path))[: call.query.limit])

    async def _kpis(self, call: Call) -> Reply:
        asked = call.query
        found = (
            one
            for one in self._mirror.recent.kpis(call.path["service"])
            if asked.cohort in ("", one.cohort) and asked.window_s in (0, one.window_s)
        )
        return self._answers.page(first(found, asked.limit))

    async def _scores(self, call: Call) -> Reply:
        asked = call.query
        found = (
            one
            for one in self._mirror.recent.scores(call.path["service"])
            if asked.cohort in ("", one.cohort) and asked.metric in ("", one.metric)
        )
        return self._answers.page(first(found, asked.limit))

    async def _fleet(self, call: Call) -> Reply:
        asked = call.query
        rows: list[NodeRow] = []
        for one in node_rows(self._mirror.model, self._mirror.now_ms, asked.after):
            if len(rows) >= asked.limit and rows[-1].node != one.node:
                return self._answers.page(rows, rows[-1].node)
            if call.visitor.sees(*about(one.service)) and asked.service in ("", one.service) and asked.cohort in ("", one.cohort):
                rows.append(one)
        return self._answers.page(rows)

    async def _alarms(self, call: Call) -> Reply:
        asked = call.query
        rows = (
            one
            for one in alarm_rows(self._mirror.model, self._mirror.now_ms)
            if (asked.all or one.state is AlarmState.FIRING)
            and asked.service in ("", one.service)
            and call.visitor.sees(*concerns(one))
        )
        return self._answers.page(first(rows, asked.limit))

    async def _silences(self, call: Call) -> Reply:
        asked, now_ms, model = call.query, self._mirror.now_ms, self._mirror.model
        held = [one for one in reversed(held_silences(model)) if asked.all or one.until_ms > now_ms]
        rows = (silence_row(one, model, now_ms) for one in held if call.visitor.sees(*about(one.silence.hush.service)))
        return self._answers.page(first(rows, asked.limit))

    async def _policies(self, call: Call) -> Reply:
        model, now_ms = self._mirror.model, self._mirror.now_ms
        rows = [policy_row(model.ledger, one, now_ms) for one in policies_in_force(model.ledger)]
        return self._answers.page([one for one in rows if call.visitor.sees(*map(service_subject, one.policy.services))])

    async def _flags(self, call: Call) -> Reply:
        model, asked, now_ms = self._mirror.model, call.query, self._mirror.now_ms
        seen = [
            state
            for subject, state in sorted(model.ledger.flags.items())
            if asked.set in ("", state.key.set_id) and call.visitor.sees(subject) and subject > f"{FLAG_PREFIX}{asked.after}"
        ]
        told = by_number(model)
        rows = [flag_summary(model, state, now_ms, told) for state in seen[: asked.limit]]
        return self._answers.page(rows, rows[-1].flag if len(seen) > asked.limit else None)

    async def _flag(self, call: Call) -> Reply:
        state = self._mirror.model.ledger.flags.get(named(call.path))
        if state is None:
            raise missing(f"there is no flag {call.path['set']}/{call.path['flag']}", "see /api/v1/flags")
        return self._answers.one(self._flag_row(state), state.generation)

    async def _groups(self, call: Call) -> Reply:
        found = sorted(self._mirror.model.ledger.groups.items())
        mine = (one for name, one in found if call.visitor.sees(name, *(member.subject for member in one.members)))
        return self._answers.page(list(mine))

    async def _group(self, call: Call) -> Reply:
        state = self._mirror.model.ledger.groups.get(named(call.path))
        if state is None:
            raise missing(f"there is no group {call.path['group']}", "see /api/v1/groups")
        return self._answers.one(state, state.generation)

    async def _experiments(self, call: Call) -> Reply:
        return self._answers.page([one.status for one in self._seen_experiments(call)])

    async def _experiment(self, call: Call) -> Reply:
        name = call.path["experiment"]
        one = next((one for one in self._seen_experiments(call) if one.declared.name == name), None)
        if one is None:
            raise missing(f"there is no experiment {name}", "see /api/v1/experiments")
        return self._answers.one(ExperimentRow(status=one.status, looks=looks_of(one)))

    def _seen_experiments(self, call: Call) -> list[Known]:
        found = known(self._mirror.model, self._mirror.counted.pooled())
        return [one for one in found if call.visitor.sees(one.subject)]

    async def _request(self, call: Call) -> Reply:
        name = call.path["id"]
        asked, answer = self._mirror.asked.get(name), self._mirror.answer(name)
        subject = answer.decision.subject if answer is not None else asked.subject if asked is not None else ""
        own = call.visitor.name and asked is not None and asked.actor == call.visitor.name
        if (asked is None and answer is None) or not (own or call.visitor.sees(*filter(None, [subject]))):
            raise missing(
                f"no plan or intent {name} is known", "it never arrived, or is older than the last 10,000: look at the decisions"
            )
        decision = decision_row(answer) if answer is not None else None
        return self._answers.one(Asking(id=name, subject=subject, asked_ms=asked.at_ms if asked else None, decision=decision))

    def _flag_row(self, state: FlagState) -> FlagRow:
        found = flag_summary(self._mirror.model, state, self._mirror.now_ms)
        return FlagRow(summary=found, spec=Raw(encode(state.spec)), ramp=state.ramp)


def concerns(one: AlarmRow) -> tuple[str, ...]:
    """Return the subjects of an alarm; none of one that is of the fleet."""
    return (one.subject,) if one.subject else about(one.service)


__all__ = ["Asking", "Reads", "concerns"]
