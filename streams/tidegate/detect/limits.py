"""Guardrails (C1, C2): a limit is broken in n of the last m panes that had enough requests on both sides.

Four things keep small samples and unequal luck from deciding, beyond the letter of C1:

* The panes together must speak against the limit by a number of nats (Chernoff's bound, see ``shares.surprise_nats``): few for
  what an operator declares, who wants it fast, more for the default ones, which must hold still on any healthy service.
* A ratio to the control is tested on *all* panes of the window, not on the broken ones: those are broken because the control
  happened to have no errors in them. Null hypothesis: of all errors together, the canary's share is at most what its ratio at
  the limit makes of it (conditional binomial; Przyborowski and Wilenski, Biometrika 31 (1940) 313). For the default ones errors
  are counted by the service's learned dispersion (quasi-likelihood, Wedderburn, Biometrika 61 (1974) 439; see ``bunches``), so
  that a bunch of retries is about one event. Guarantee: at most exp(-nats) at one look, as far as dispersion is known.
* The control must be inside the limit in the same panes, or it is the environment; and so must the canary's neighbours, the
  old version in its own zones (see ``neighbours``): of a lone canary the control often stands in another.
* No single node of three or more may carry it (C4): n of the m panes, and the window, must be broken without the worst, too.

A gauge is measured, not counted: its maximum is taken at its word. Of a ratio of one the means over all panes of the window must
speak, beyond what its values scatter, and beyond what its servers do: a value that is told again each second, as a queue's is, is
one value. With fewer than ``GAUGE_FEW`` on either side it pauses at most, for of three servers nobody knows how far they differ.
A control at 0 or below has no level to compare with: there only ``max`` says anything.
"""

import math
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from statistics import fmean

from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect.findings import Finding, percent
from tidegate.detect.measure import QUANTILES, Measured, is_gauge, measure, totals
from tidegate.detect.neighbours import Neighbours
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
DECLARED_GAUGE_NATS = 4.5
"""Three standard errors: of two healthy queues one was twice the other within a minute."""
FLAG_TIMES, FLAG_NATS = 3.0, 1.5
"""In a burst near the limit two halves of the same requests are often on either side of it, with no neighbours to tell; seldom so
that one surely fails three times as much. Of 5 % against 0.1 % nearly all errors are the one half's: it costs a second, if any.
"""
DEFAULT_NATS = 3.0
"""All errors of a lone canary at 5 % and 50 requests/s in ten panes are worth 3.6 beside a lone control that has none."""
DEFAULT_QUANTILE_NATS = 5.0
FEW = 3
"""With fewer canaries the luck of one cold cache against another's is not averaged out: twice the latency for a minute. Nor is
that of one queue against another.
"""
GAUGE_FEW = 5

DEFAULTS = (
    Guardrail(metric="errorRatio", max_ratio_to_control=3.0, of="8/10"),
    # An incident of one host that doubles its latency lasts up to 20 s; a regression outlasts it.
    Guardrail(metric="p95", max_ratio_to_control=1.5, of="25/30"),
)
"""Beside the gross trip (C1). Wide, because hosts differ: two healthy nodes often differ by half in errors."""


class Limit(Struct, frozen=True):
    """A guardrail, and how much its panes must say together before it counts as broken, in nats."""

    guardrail: Guardrail
    nats: float
    apart: float = 0.0
    """Nats by which an absolute limit on a share must see that the canary fails ``FLAG_TIMES`` as much as the control, beside the
    control's being inside it (C2).
    """
    default: bool = False
    """Errors that come in bunches are counted as such, and a lone canary's latency while its caches are cold is left to DRIFT."""


LONE_SLOWER = 1.3
"""Some machines of a fleet are of an older kind, and nothing averages out that the only canary stands on one."""

Counted = tuple[float, float]
"""Parts and wholes."""


class State(Enum):
    """Where a limit stands after a pane."""

    INSIDE = auto()
    BROKEN = auto()
    FEW = auto()
    """Broken, by a ratio of a gauge that too few servers tell."""
    ONE_NODE = auto()
    """Broken or kept only because of one node (C4)."""
    BOTH = auto()
    """The control breaks it too, or its neighbours do (C2)."""


class Judged(Struct, frozen=True):
    """A limit's state, the panes in which it was broken, and those that were counted together."""

    state: State
    bad: tuple[Measured, ...] = ()
    counted: tuple[Measured, ...] = ()


def limits_of(context: Context) -> tuple[Limit, ...]:
    """Return the limits of a placement: declared ones first."""
    apart = FLAG_NATS if context.of_flag else 0.0
    declared = tuple(Limit(guardrail, _declared_nats(guardrail), apart) for guardrail in context.guardrails)
    if not context.default_guardrails:
        return declared
    nats = (DEFAULT_NATS, DEFAULT_QUANTILE_NATS)
    return declared + tuple(Limit(guardrail, least, default=True) for guardrail, least in zip(DEFAULTS, nats, strict=True))


def _declared_nats(guardrail: Guardrail) -> float:
    if is_gauge(guardrail):
        return DECLARED_GAUGE_NATS
    return DECLARED_QUANTILE_NATS if guardrail.metric in QUANTILES else DECLARED_SHARE_NATS


def length(limit: Limit) -> int:
    """Return how many panes a limit looks at."""
    return _of(limit.guardrail)[1]


def longest_ms(context: Context) -> int:
    """Return how long the window of a limit can be, in ms: before that, a state that was lost knows less than it did (C7)."""
    return PANE_MS * max(map(length, limits_of(context)), default=0)


def waits(limit: Limit, size: int, *, cold: bool) -> bool:
    """Return whether a limit does not count a pane of a canary of ``size`` nodes; ``cold``: one of them restarted of late."""
    return cold and limit.default and size < FEW and limit.guardrail.metric in QUANTILES


def remember(
    limit: Limit, window: tuple[Measured, ...], nodes: Sequence[NodePane], others: tuple[Sums | None, Neighbours]
) -> tuple[Measured, ...]:
    """Return the window with this pane, which a pane that does not count leaves as it is. ``others``: reference, neighbours."""
    reference, neighbours = others
    if limit.default and len(nodes) < FEW:
        neighbours = replace(neighbours, slower=LONE_SLOWER)
    measured = measure(limit.guardrail, nodes, reference, neighbours)
    return window if measured is None else (*window, measured)[-_of(limit.guardrail)[1] :]


def judge(limit: Limit, window: tuple[Measured, ...], size: int, dispersion: float = 1.0) -> Judged:
    """Return where a limit stands for a canary of ``size`` nodes. ``dispersion``: variance over mean of the service's errors."""
    bad = _broken(limit, window)
    counted = window if limit.guardrail.max_ratio_to_control is not None else bad
    if not bad or _nats(limit, bad, counted, dispersion) < limit.nats or not _apart(limit, window, dispersion):
        carried = size > 1 and _may_be_carried(limit, window) and _broken(limit, window, _largest(window))
        return Judged(State.ONE_NODE if carried else State.INSIDE)
    if size >= 3:
        worst = _worst(window)
        without = _broken(limit, window, worst)
        if not without or (
            limit.guardrail.max_ratio_to_control is not None
            and limit.guardrail.metric not in QUANTILES
            and not _exceeds(limit.guardrail, counted, worst)
        ):
            return Judged(State.ONE_NODE, bad, counted)
    if _is_few(limit.guardrail, bad):
        return Judged(State.FEW, bad, counted)
    both = limit.guardrail.max is not None and _outside(_control(bad), bad)
    near = limit.guardrail.max is not None and _outside(_near(bad), bad)
    return Judged(State.BOTH if both or near else State.BROKEN, bad, counted)


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
        case State.FEW:
            why = f"compared with: {compared_with}, of fewer than {GAUGE_FEW} servers, which may differ so by themselves"
            return _told(limit, judged, Reason.LIMIT_BROKEN, Action.PAUSE, why)
        case State.BROKEN:
            action = limit.guardrail.action if compared_with == "control" else Action.PAUSE
            return _told(limit, judged, Reason.LIMIT_BROKEN, action, f"compared with: {compared_with or 'nothing'}")


def _told(limit: Limit, judged: Judged, reason: Reason, action: Action | None, why: str) -> Finding:
    guardrail = limit.guardrail
    if not judged.bad:
        return Finding(outcome=Outcome.HOLD, reason=reason, metric=guardrail.metric, sentence=f"{guardrail.metric}: {why}.")
    last = judged.bad[-1]
    canary, control, bound = last.canary, last.control, last.bound
    if _is_share(guardrail):
        part, whole = _canary(judged.counted)
        canary = part / whole
        part, whole = _control(judged.counted)
        control = part / whole if whole else None
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
        sentence=f"{guardrail.metric} {shown} in {len(judged.bad)} of the last {_of(guardrail)[1]} panes; {why}{there}.",
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


def _nats(limit: Limit, bad: Sequence[Measured], counted: Sequence[Measured], dispersion: float) -> float:
    """Return how strongly panes together speak against a limit."""
    guardrail = limit.guardrail
    if is_gauge(guardrail):
        return _gauge_nats(guardrail.max_ratio_to_control, counted) if guardrail.max_ratio_to_control is not None else math.inf
    if not _is_share(guardrail):
        return surprise_nats(*_canary(bad), bad[-1].allowed)
    if _canary(bad)[0] < PARTS_MIN:
        return 0.0
    if guardrail.max_ratio_to_control is None:
        return surprise_nats(*_canary(bad), bad[-1].allowed)
    bunch = dispersion if limit.default else 1.0
    ratio = guardrail.max_ratio_to_control
    nats = _ratio_nats(_canary(counted), _control(counted), ratio, bunch)
    near = _near(bad)
    return min(nats, _ratio_nats(_canary(bad), near, ratio, bunch)) if near[1] else nats


def _apart(limit: Limit, window: Sequence[Measured], dispersion: float) -> bool:
    """Return whether an absolute limit on a share has seen the canary fail more than the control, not just beyond the limit.

    On all panes of the window, as a ratio to the control is: the broken ones are those in which the control was lucky.
    """
    control = _control(window)
    if not limit.apart or not _is_share(limit.guardrail) or limit.guardrail.max is None or not control[1]:
        return True
    return _ratio_nats(_canary(window), control, FLAG_TIMES, dispersion) >= limit.apart


def _ratio_nats(canary: Counted, other: Counted, ratio: float, bunch: float) -> float:
    """Return how strongly two counts speak against a ratio.

    Of all errors together, at most this share falls on the canary if its ratio is at most the limit.
    """
    weight = ratio * canary[1]
    return surprise_nats(canary[0] / bunch, (canary[0] + other[0]) / bunch, weight / (weight + other[1]))


def _gauge_nats(ratio: float, panes: Sequence[Measured]) -> float:
    """Return how strongly the values of a gauge speak against a ratio of the means: what the tail of Student's t is worth,
    ``n / 2 * log(1 + t ** 2 / (n - 1))``; of all values, or of one for each server, whichever says less.

    Their scatter is the canary's; of a control that stands at the limit the scatter, times the ratio, is as large.
    """
    servers: dict[str, list[float]] = {}
    for pane in panes:
        for node, value, count in pane.nodes:
            servers.setdefault(node, []).append(value / count)
    told, means = [value for values in servers.values() for value in values], [fmean(values) for values in servers.values()]
    part, whole = _control(panes)
    excess = fmean(told) - ratio * part / whole
    if excess <= 0:
        return 0.0
    return min(_student_nats(excess, told, whole), _student_nats(excess, means, whole / len(panes)))


def _student_nats(excess: float, values: Sequence[float], others: float) -> float:
    number, mean = len(values), fmean(values)
    squares = math.fsum((value - mean) ** 2 for value in values)  # statistics.variance counts in fractions: six times as long
    scatter = squares * (1 / number + 1 / others)
    return number / 2 * math.log1p(excess**2 / scatter) if scatter > 0 else math.inf


def _exceeds(guardrail: Guardrail, counted: Sequence[Measured], without: str) -> bool:
    """Return whether all panes together exceed a ratio to the control without one node."""
    part, whole = _sums((part, whole) for pane in counted for node, part, whole in pane.nodes if node != without)
    control = _control(counted)
    return part * control[1] > (guardrail.max_ratio_to_control or 0.0) * control[0] * whole


def _is_share(guardrail: Guardrail) -> bool:
    return guardrail.metric not in QUANTILES and not is_gauge(guardrail)


def _is_few(guardrail: Guardrail, bad: Sequence[Measured]) -> bool:
    """Return whether a ratio of a gauge rests on too few servers' values of a second, on either side."""
    few = any(min(totals(pane)[1], pane.control_whole) < GAUGE_FEW for pane in bad)
    return few and is_gauge(guardrail) and guardrail.max_ratio_to_control is not None


def _outside(other: Counted, bad: Sequence[Measured]) -> bool:
    return other[1] > 0 and other[0] > bad[-1].allowed * other[1]


def _canary(panes: Sequence[Measured]) -> Counted:
    return _sums((part, whole) for pane in panes for _, part, whole in pane.nodes)


def _control(panes: Sequence[Measured]) -> Counted:
    return _sums((pane.control_part, pane.control_whole) for pane in panes)


def _near(panes: Sequence[Measured]) -> Counted:
    return _sums(pane.near for pane in panes if pane.near is not None)


def _sums(counts: Iterable[Counted]) -> Counted:
    part = whole = 0.0
    for one in counts:
        part, whole = part + one[0], whole + one[1]
    return part, whole


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
