"""The whole service burns: the guard that is absolute (C2), for what a comparison of canary and control cannot see.

A canary that drags a shared database down makes everyone fail alike; so does an incident that has nothing to do with it. Either
way nobody can be compared, and more of the new version must not come. So while canary and old version both fail far more than the
service did before the rollout, it is held, and paused when that lasts; never rolled back, for nothing says who did it.

| knob | default | why |
|---|---|---|
| ``MARGIN`` | 3 % of requests above the usual | a shared burst of a healthy fleet adds 0.5 to 3 % |
| ``RATIO`` | three times the usual | where a tenth fails every day, 13 % is no news |
| ``BURN_RATE`` | 14.4 times what ``slo`` allows | an hour of it spends 2 % of a month's budget (SRE Workbook, chapter 5) |
| ``UNKNOWN`` | 20 % of requests, without a baseline | as gross as the gross trip (C1) |
| ``PAUSE_PANES`` of ``PANES`` | 25 of 30 s | half of all bursts are over by then |
| ``HOLD_PANES`` | 10 s | a pass in the middle of a burn would be an accident |

A limit, no statistic: there is no null hypothesis. What it is worth in bursts is measured in ``tests/detect/test_guard.py``.
``defaultGuardrails: false`` leaves only what ``slo`` says.
"""

from collections.abc import Sequence
from statistics import median

from msgspec import Struct

from tidegate.detect.baseline import REQUESTS_MIN, Baseline
from tidegate.detect.findings import Finding, percent
from tidegate.kpi.pane import NodePane
from tidegate.kpi.sums import Sums
from tidegate.wire.judgement import Outcome
from tidegate.wire.nodeseconds import Context
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

MARGIN = 0.03
RATIO = 3.0
BURN_RATE = 14.4
UNKNOWN = 0.20
PANES = 30
PAUSE_PANES = 25
HOLD_PANES = 10
ERRORS_MIN = 10
"""So many errors the last ``HOLD_PANES`` must hold on the old version: fewer are no burn of a service."""
BLOCKS_MIN = 3
"""Minutes of a baseline of which the middle one is a usual one."""


class Told(Struct, frozen=True, array_like=True):
    """What one pane counted on the new version, and on the old one (control and rest together)."""

    canary_requests: int
    canary_errors: int
    requests: int
    errors: int


def remember(panes: tuple[Told, ...], canary: Sequence[NodePane], others: Sequence[Sums | None]) -> tuple[Told, ...]:
    """Return the last 30 panes with this one."""
    told = [one for one in others if one is not None]
    new = Told(
        sum(node.requests for node in canary),
        sum(node.errors for node in canary),
        sum(one.requests for one in told),
        sum(one.errors for one in told),
    )
    return (*panes, new)[-PANES:]


def usual_ratio(baseline: Baseline) -> float | None:
    """Return the share of requests that failed before the rollout: in the middle one of its minutes, so that a fault which began
    shortly before is not what is usual. None where too little was seen.
    """
    ratios = [sums.error_ratio for _, sums in baseline.blocks if sums.requests >= REQUESTS_MIN]
    if len(ratios) >= BLOCKS_MIN:
        return median(ratios)
    return baseline.total.error_ratio if baseline.total is not None else None


def bound(context: Context, usual: float | None) -> float | None:
    """Return the share of failing requests above which a service burns; None where nothing says so."""
    found = []
    if context.default_guardrails:
        found.append(max(usual + MARGIN, RATIO * usual) if usual is not None else UNKNOWN)
    if context.slo is not None:
        found.append(BURN_RATE * (1.0 - context.slo / 100.0))
    return min(found, default=None)


def burned(before: Sums, context: Context, baseline: Baseline) -> bool:
    """Return whether a service burned already when a rollout of it began."""
    limit = bound(context, usual_ratio(baseline))
    return limit is not None and before.errors >= ERRORS_MIN and before.error_ratio > limit


def judge_service(panes: Sequence[Told], context: Context, baseline: Baseline) -> Finding | None:
    """Return what it means that old version and new fail alike, or None where one of them is well."""
    recent = panes[-HOLD_PANES:]
    if not any(one.errors for one in recent):
        return None
    usual = usual_ratio(baseline)
    limit = bound(context, usual)
    if limit is None:
        return None
    bad = [one for one in panes if one.errors > limit * one.requests]
    if len(bad) >= PAUSE_PANES and _both(panes, limit):
        return _told(panes, limit, usual, Action.PAUSE, flag=context.of_flag)
    if sum(one.errors for one in recent) >= ERRORS_MIN and _both(recent, limit):
        return _told(recent, limit, usual, None, flag=context.of_flag)
    return None


def _sums(panes: Sequence[Told]) -> tuple[int, int, int, int]:
    return (
        sum(one.canary_requests for one in panes),
        sum(one.canary_errors for one in panes),
        sum(one.requests for one in panes),
        sum(one.errors for one in panes),
    )


def _both(panes: Sequence[Told], limit: float) -> bool:
    canary_requests, canary_errors, requests, errors = _sums(panes)
    return canary_errors > limit * canary_requests and errors > limit * requests


def _told(panes: Sequence[Told], limit: float, usual: float | None, action: Action | None, *, flag: bool) -> Finding:
    canary_requests, canary_errors, requests, errors = _sums(panes)
    canary, old = canary_errors / canary_requests, errors / requests
    before = f"; before the rollout {percent(usual)} did" if usual is not None else ""
    sides = ("control", "canary") if flag else ("old version", "new one")
    return Finding(
        outcome=Outcome.FAIL if action else Outcome.HOLD,
        reason=Reason.ENVIRONMENT,
        action=action,
        metric="errorRatio",
        canary=canary,
        control=old,
        limit=limit,
        sentence=f"The whole service burns: in {len(panes)} s {percent(old)} of the {sides[0]}'s requests failed and "
        f"{percent(canary)} of the {sides[1]}'s{before}. Nobody can be compared, so the rollout waits until it is over.",
    )
