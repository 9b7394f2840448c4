"""What is judged: a service by its nodes, a flag by its variants on each service of its guard."""

from msgspec.structs import replace

from tidegate.detect import paired
from tidegate.detect.state import SubjectJudgement
from tidegate.judge.state import JudgeState
from tidegate.kpi.pane import ServicePane
from tidegate.wire.names import service_subject
from tidegate.wire.nodeseconds import Context

EARLY_SERVERS_MAX = 64
"""Slices of a second are read row by row, and open seconds are looked at several times."""


def judgement_of(state: JudgeState, context: Context) -> SubjectJudgement:
    """Return what is known of a subject; lost where its attempt began before this state did (C7). Of a flag whose ramp begins it
    is what is known of the service.
    """
    known = state.subjects.get(context.name, SubjectJudgement())
    if context.of_flag and context.placement and known.rollout != context.rollout:
        own = state.subjects.get(service_subject(context.service), SubjectJudgement())
        known = replace(paired.begin(own), lost=known.lost and not known.rollout)
    return replace(known, lost=True) if not known.rollout and context.started_ms < state.begun_ms else known


def is_large(state: JudgeState, context: Context) -> bool:
    """Return whether a flag has so many servers that looking at a second before its grace is over costs more than it saves."""
    known = state.subjects.get(context.name) if context.of_flag else None
    return known is not None and len(known.served) > EARLY_SERVERS_MAX


def as_judged(context: Context) -> Context:
    """Return a context as the rules take it. What the service was before a flag's ramp is the baseline of its control (C3)."""
    if not context.of_flag:
        return context
    control = next((cohort.version for cohort in context.cohorts if cohort.name == "control"), "")
    return replace(context, rest_version=control)


def seen_by(context: Context, pane: ServicePane) -> ServicePane:
    """Return the part of a service's pane that a context is about."""
    return pane.flags[context.subject].sides if context.of_flag else pane
