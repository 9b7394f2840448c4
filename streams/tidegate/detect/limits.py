"""Guardrails (C1, C2): a limit is broken in n of the last m panes that had enough requests on both sides.

Three things keep small samples from deciding. The broken panes *together* must speak against the limit by a number of nats: few
for what an operator declares, who wants it fast, more for the default ones, which must hold still on any healthy service. The
control must be inside the limit in the same panes, or it is the environment. And no single node of three or more may carry it
(C4): n of the m panes must be broken without the worst, too.
"""

import math
from collections.abc import Sequence
from enum import Enum, auto

from msgspec import Struct

from tidegate.detect.findings import Finding, percent
from tidegate.detect.measure import QUANTILES, Measured, measure, totals
from tidegate.detect.shares import surprise_nats
from tidegate.kpi.pane import PANE_MS, NodePane
from tidegate.kpi.sums import Sums
from tidegate.wire.judgement import Outcome
from tidegate.wire.nodeseconds import Context
from tidegate.wire.plans import Action, Guardrail
from tidegate.wire.reasons import Reason

DECLARED_SHARE_NATS = 0.5
PARTS_MIN = 4
"""So many errors the broken panes of a share must hold: at 20 requests/s two unlucky ones would be 5 % in two panes."""
DECLARED_QUANTILE_NATS = 3.0
"""A control of 50 requests/s knows its own p95 of one pane within a fifth; three nats outweigh that and cost no time."""
DEFAULT_NATS = 5.0

DEFAULTS = (
    Guardrail(metric="errorRatio", max_ratio_to_control=3.0, of="8/10"),
    # An incident of one host that doubles its latency lasts up to 20 s; a regression outlasts it.
    Guardrail(metric="p95", max_ratio_to_control=1.5, of="25/30"),
)
"""Beside the gross trip (C1). Wide, because hosts differ: two healthy nodes often differ by half in errors."""


class Limit(Struct, frozen=True):
    """A guardrail, and how much its broken panes must say together before it counts as broken, in nats."""

    guardrail: Guardrail
    nats: float


class State(Enum):
    """Where a limit stands after a pane."""

    INSIDE = auto()
    BROKEN = auto()
    ONE_NODE = auto()
    """Broken or kept only because of one node (C4)."""
    BOTH = auto()
    """The control breaks it too (C2)."""


class Judged(Struct, frozen=True):
    """A limit's state, and the panes in which it was broken."""

    state: State
    bad: tuple[Measured, ...] = ()


def limits_of(context: Context) -> tuple[Limit, ...]:
    """Return the limits of a placement: declared ones first."""
    declared = tuple(
        Limit(guardrail, DECLARED_QUANTILE_NATS if guardrail.metric in QUANTILES else DECLARED_SHARE_NATS)
        for guardrail in context.guardrails
    )
    return declared + (tuple(Limit(guardrail, DEFAULT_NATS) for guardrail in DEFAULTS) if context.default_guardrails else ())


def longest_ms(context: Context) -> int:
    """Return how long the window of a limit can be, in ms: before that, a state that was lost knows less than it did (C7)."""
    return PANE_MS * max((_of(limit.guardrail)[1] for limit in limits_of(context)), default=0)


def remember(
    limit: Limit, window: tuple[Measured, ...], nodes: Sequence[NodePane], reference: Sums | None
) -> tuple[tuple[Measured, ...], bool]:
    """Return the window with this pane and whether the pane counted; a pane that does not count leaves the window as it is."""
    measured = measure(limit.guardrail, nodes, reference)
    if measured is None:
        return window, False
    return (*window, measured)[-_of(limit.guardrail)[1] :], True


def judge(limit: Limit, window: tuple[Measured, ...], size: int) -> Judged:
    """Return where a limit stands for a canary of ``size`` nodes."""
    bad = _broken(limit, window)
    if not bad or _nats(limit.guardrail, bad) < limit.nats:
        carried = size > 1 and _may_be_carried(limit, window) and _broken(limit, window, _largest(window))
        return Judged(State.ONE_NODE if carried else State.INSIDE)
    if size >= 3 and not _broken(limit, window, _worst(window)):
        return Judged(State.ONE_NODE, bad)
    part, whole = sum(pane.control_part for pane in bad), sum(pane.control_whole for pane in bad)
    if limit.guardrail.max is not None and whole > 0 and part > bad[-1].allowed * whole:
        return Judged(State.BOTH, bad)
    return Judged(State.BROKEN, bad)


def finding_of(limit: Limit, judged: Judged, compared_with: str) -> Finding | None:
    """Return what a limit has to say, or None where it is kept.

    Both outside: environment, hold; but a limit declared with ``action: pause`` is an absolute one that pauses whoever else
    breaks it (C2). Compared with the baseline or with nothing, a limit pauses (C3).
    """
    match judged.state:
        case State.INSIDE:
            return None
        case State.ONE_NODE:
            return _told(limit, judged, Reason.ONE_NODE_ONLY, None, "one node alone decides this; no single node carries it")
        case State.BOTH if limit.guardrail.action is Action.PAUSE:
            return _told(
                limit, judged, Reason.ENVIRONMENT, Action.PAUSE, f"and so does the {compared_with}: this limit pauses anyway"
            )
        case State.BOTH:
            return _told(
                limit, judged, Reason.ENVIRONMENT, None, f"and so does the {compared_with}: not the release but its world"
            )
        case State.BROKEN:
            action = limit.guardrail.action if compared_with == "control" else Action.PAUSE
            return _told(limit, judged, Reason.LIMIT_BROKEN, action, f"compared with: {compared_with or 'nothing'}")


def _told(limit: Limit, judged: Judged, reason: Reason, action: Action | None, why: str) -> Finding:
    guardrail = limit.guardrail
    if not judged.bad:
        return Finding(outcome=Outcome.HOLD, reason=reason, metric=guardrail.metric, sentence=f"{guardrail.metric}: {why}.")
    bad, last = judged.bad, judged.bad[-1]
    canary, control, bound = last.canary, last.control, last.bound
    if guardrail.metric not in QUANTILES and not guardrail.metric.startswith("gauge."):
        canary = sum(part for pane in bad for _, part, _ in pane.nodes) / sum(whole for pane in bad for _, _, whole in pane.nodes)
        whole = sum(pane.control_whole for pane in bad)
        control = sum(pane.control_part for pane in bad) / whole if whole else None
        if guardrail.max_ratio_to_control is not None and control is not None:
            bound = guardrail.max_ratio_to_control * control
    shown = f"{_shown(guardrail.metric, canary)} exceeds {_shown(guardrail.metric, bound)}"
    there = f", there {_shown(guardrail.metric, control)}" if control is not None else ""
    return Finding(
        outcome=Outcome.FAIL if action else Outcome.HOLD,
        reason=reason,
        action=action,
        metric=guardrail.metric,
        canary=canary,
        control=control,
        limit=bound,
        sentence=f"{guardrail.metric} {shown} in {len(bad)} of the last {_of(guardrail)[1]} panes; {why}{there}.",
    )


def _shown(metric: str, value: float) -> str:
    if metric in QUANTILES:
        return f"{value:.1f} ms"
    return f"{value:.4g}" if metric.startswith("gauge.") else percent(value)


def _of(guardrail: Guardrail) -> tuple[int, int]:
    broken, window = guardrail.of.split("/")
    return int(broken), int(window)


def _broken(limit: Limit, window: tuple[Measured, ...], without: str = "") -> tuple[Measured, ...]:
    """Return the panes that break a limit, if they are n; counting without one node ('': with all)."""
    bad = []
    for pane in window:
        part, whole, _ = totals(pane)
        if without:
            part = sum(item[1] for item in pane.nodes if item[0] != without)
            whole = sum(item[2] for item in pane.nodes if item[0] != without)
        if whole > 0 and part > pane.allowed * whole:
            bad.append(pane)
    return tuple(bad) if len(bad) >= _of(limit.guardrail)[0] else ()


def _may_be_carried(limit: Limit, window: tuple[Measured, ...]) -> bool:
    """Return whether a limit could be broken without one node, whichever: the rule is no, and a look at each node is dear."""
    broken = 0
    for pane in window:
        part, whole, largest = totals(pane)
        broken += part > pane.allowed * (whole - largest)
    return broken >= _of(limit.guardrail)[0]


def _nats(guardrail: Guardrail, bad: Sequence[Measured]) -> float:
    """Return how strongly panes together speak against a limit."""
    if guardrail.metric.startswith("gauge."):
        return math.inf  # a gauge is measured, not counted: it has no small-sample arithmetic of its own
    part = sum(item[1] for pane in bad for item in pane.nodes)
    whole = sum(item[2] for pane in bad for item in pane.nodes)
    if guardrail.metric in QUANTILES:
        return surprise_nats(part, whole, bad[-1].allowed)
    if part < PARTS_MIN:
        return 0.0
    if guardrail.max_ratio_to_control is None:
        return surprise_nats(part, whole, bad[-1].allowed)
    # Two counts: of all errors together, at most this share falls on the canary if its ratio is at most the limit.
    control_part, control_whole = sum(pane.control_part for pane in bad), sum(pane.control_whole for pane in bad)
    weight = guardrail.max_ratio_to_control * whole
    return surprise_nats(part, part + control_part, weight / (weight + control_whole))


def _worst(window: tuple[Measured, ...]) -> str:
    excess: dict[str, float] = {}
    for pane in window:
        for node, part, whole in pane.nodes:
            excess[node] = excess.get(node, 0.0) + part - pane.allowed * whole
    return max(sorted(excess), key=lambda node: excess[node])


def _largest(window: tuple[Measured, ...]) -> str:
    weight: dict[str, float] = {}
    for pane in window:
        for node, _, whole in pane.nodes:
            weight[node] = weight.get(node, 0.0) + whole
    return max(sorted(weight), key=lambda node: weight[node], default="")
