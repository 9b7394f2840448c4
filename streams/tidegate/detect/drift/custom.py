"""Evidence from custom ratios and gauges that a plan guards: canaries beside the controls that were restarted with them.

Null hypothesis: of all parts of a ratio (or of all that a gauge adds up to), given their sum, the canaries' share is
beta-binomial around what their exposure makes fair, with the spread between healthy servers as variance of its logit; alternative
and guarantee as in ``evalue``: at a spread that is known, an e-value at any time (conditional binomial: Lindon and Malek,
arXiv 2011.03567; Ville's inequality over time and, mixed, over onsets). Of such a metric nothing is known from quiet time, so the
spread is a prior, mixed with how far the controls of this rollout scatter, and learned from rollout to rollout; there the
guarantee is approximate.

* A *ratio*: its parts are events, its wholes exposure, as errors are of requests.
* A *gauge*: a second in which a server stands at the controls' level so far is one event, so the mean is compared, and hosts that
  differ do so as the null says. Seconds above an edge were the other choice; but a gauge hardly moves, a host is above an edge
  always or never, and of five beside five hosts even the most extreme order has a chance of 1 in 252, which no model of counts
  can know. No level (all controls at 0 or below) is no evidence; a limit with ``max`` covers that.

Node by node, so that the canary that incriminates most is left out (C4); with fewer than three on either side it pauses at most.
Higher is worse: that is what ``max`` and ``maxRatioToControl`` mean.

What can be seen at all, after however long: a ratio of about ``exp(sqrt(2 v n))``, where ``v`` is ``spread ** 2 * (1 / canaries +
1 / controls) + common ** 2`` and ``n`` 7.2 nats for a single metric (weight of family, mass of the first onset), 9.3 for eight.
Worked out, for a single metric, with as many controls as canaries, the worst canary left out:

| a server's spread (sd of the log of its rate) | 3 canaries | 5 | 10 | 20 |
|---|---|---|---|---|
| 0.54, the prior | 8.6 | 4.9 | 3.0 | 2.3 |
| 0.3 | 3.2 | 2.5 | 1.9 | 1.7 |
| 0.2, the least | 2.3 | 1.9 | 1.7 | 1.5 |

What begins later is also seen against what the same servers did since the release, so the spread between hosts matters less for
it, while its onsets have less prior mass.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from tidegate.detect.drift.arrays import grown, realigned
from tidegate.detect.drift.gates import capped
from tidegate.detect.drift.layout import Counts, strata_of
from tidegate.detect.drift.metrics import Floats
from tidegate.detect.drift.seconds import Kind, Second
from tidegate.kpi.pane import NodePane, ServicePane
from tidegate.wire.plans import Action, Guardrail

METRICS_MAX = 8
"""Of the metrics that a plan guards, the first so many; limits hold for all of them."""
NODES_MAX = 20
"""Canaries, and controls, that are looked at one by one, for their scatter."""
DENSE, DENSE_FROM = 0.5, 0.2
"""A gauge has a level where controls stand at a fifth of their mean or above for half the time: a queue that is empty but for
spells has none, and two canaries with spells would be more than any share of what controls have.
"""
AGE_S, AGE_TIMES = 10.0, 1.25
"""A control is of the same age within this factor, after adding ``AGE_S`` to both, however old it is: a gauge (memory, a
connection pool) may grow for an hour. Closer than for errors, since a gauge has no chance in it that would hide a fourth.
"""
BLOCK_MS = 30_000
"""How far a server leaves its own level is looked at between blocks of this length: shorter ones of a gauge all say the same."""


def _zeros(*shape: int) -> Floats:
    return np.zeros(shape)


Singles = NDArray[np.float32]


def _singles(*shape: int) -> Singles:
    return np.zeros(shape, dtype=np.float32)


class Guard(Struct, frozen=True):
    """A custom metric that is guarded, as its guardrail names it; ``pauses``: none of its guardrails may roll back."""

    metric: str
    pauses: bool = False


def guards_of(guardrails: Sequence[Guardrail]) -> tuple[Guard, ...]:
    """Return the custom metrics that guardrails name, the first ``METRICS_MAX``."""
    pauses: dict[str, bool] = {}
    for guardrail in guardrails:
        if guardrail.metric.startswith(("ratio.", "gauge.")):
            pauses[guardrail.metric] = pauses.get(guardrail.metric, True) and guardrail.action is Action.PAUSE
    return tuple(Guard(metric, only) for metric, only in pauses.items())[:METRICS_MAX]


class Custom(Struct, frozen=True, kw_only=True, eq=False):
    """Sums since the first release and as they stood at each onset. Rows of canaries and strata are those of ``Counts``.

    ``canary`` [2, groups, metrics] and ``control`` [2, strata, metrics]: events, exposure; the first stratum holds all controls.
    At most 18 onsets * 2 * (20 + 12) * 8 float32: 37 kB with eight metrics, twenty rows and twelve strata; 2 kB for one metric
    with five canaries.
    """

    metrics: tuple[str, ...] = ()
    canary: Floats = field(default_factory=lambda: _zeros(2, 0, 0))
    control: Floats = field(default_factory=lambda: _zeros(2, 0, 0))
    cold: Floats = field(default_factory=lambda: _zeros(0))
    """Of the canaries' exposure, what is owed to their cold start."""
    members: Floats = field(default_factory=lambda: _zeros(0, 0))
    """[strata, metrics]: controls that each was last compared with."""
    onsets_ms: tuple[int, ...] = ()
    canary_marks: Singles = field(default_factory=lambda: _singles(0, 2, 0, 0))
    control_marks: Singles = field(default_factory=lambda: _singles(0, 2, 0, 0))
    cold_marks: Singles = field(default_factory=lambda: _singles(0, 0))
    level: Floats = field(default_factory=lambda: _zeros(4, 0))
    """Parts and wholes of all controls, of a gauge values and seconds; seconds of controls in which there were any, and those in
    which a gauge was not next to nothing.
    """
    nodes: tuple[str, ...] = ()
    told: Singles = field(default_factory=lambda: _singles(0, 3, 2, 0))
    """[nodes, (all, this block, the one before), (events, exposure), metrics]."""
    canary_nodes: int = 0
    """So many of them, the first ones, are canaries."""
    block_ms: int = 0
    scatter: Floats = field(default_factory=lambda: _zeros(3, 0))
    """Between blocks: squared residuals, what they would be if events came one by one, degrees of freedom."""


def update(custom: Custom, counts: Counts, seen: tuple[ServicePane, Second], guards: Sequence[Guard], cold_s: float) -> Custom:
    """Return the sums after one more second, which ``counts`` has counted already. ``seen``: as a pane, and the same as arrays;
    ``cold_s``: how long a cold start may last.
    """
    if not guards or not counts.onsets:
        return custom
    pane, second = seen
    metrics = tuple(guard.metric for guard in guards)
    custom = _laid_out(custom if custom.metrics == metrics else Custom(metrics=metrics), counts)
    compared = np.flatnonzero(second.kinds != Kind.REST)
    canary = second.kinds[compared] == Kind.CANARY
    values = _values(pane, metrics)
    if not canary.any() or canary.all() or len(values) != len(compared):
        return custom
    custom, events, exposure = _events(custom, values, canary)
    told = np.stack((events, exposure), axis=1)
    custom = _scattered(custom, second, told)
    owed = _owed(second.age_s[compared[canary]], cold_s)
    return _counted(custom, counts, second, (told, owed))


def _owed(age_s: Floats, cold_s: float) -> Floats:
    """Return which part of a canary's events its cold start adds; as ``learned.cold_share`` where no curve is known."""
    found: Floats = np.where(age_s < cold_s, 0.8 * np.exp(-4.0 * age_s / max(1.0, cold_s)), 0.0)
    return found


def _laid_out(custom: Custom, counts: Counts) -> Custom:
    """Return the sums with a row for each group and stratum, and a mark for each onset: where they stand when it begins."""
    rows, strata, width = len(counts.groups), len(counts.strata), len(custom.metrics)
    onsets_ms = tuple(onset.start_ms for onset in counts.onsets)
    if custom.canary.shape == (2, rows, width) and custom.control.shape[1] == strata and custom.onsets_ms == onsets_ms:
        return custom

    def wide(array: Floats, axis: int, size: int) -> Floats:
        return grown(grown(array, axis, size), array.ndim - 1, width)

    canary, control, cold = wide(custom.canary, 1, rows), wide(custom.control, 1, strata), grown(custom.cold, 0, width)
    before = (
        grown(grown(custom.canary_marks, 2, rows), 3, width),
        grown(grown(custom.control_marks, 2, strata), 3, width),
        grown(custom.cold_marks, 1, width),
    )
    known = {start_ms: at for at, start_ms in enumerate(custom.onsets_ms)}
    marks = [
        np.array([old[known[start_ms]] if start_ms in known else now for start_ms in onsets_ms], dtype=np.float32)
        for old, now in zip(before, (canary, control, cold), strict=True)
    ]
    return replace(
        custom,
        canary=canary,
        control=control,
        cold=cold,
        members=wide(custom.members, 0, strata),
        onsets_ms=onsets_ms,
        canary_marks=marks[0],
        control_marks=marks[1],
        cold_marks=marks[2],
        level=grown(custom.level, 1, width),
        told=grown(custom.told, 3, width),
        scatter=grown(custom.scatter, 1, width),
    )


def _values(pane: ServicePane, metrics: Sequence[str]) -> Floats:
    """Return part and whole of each metric, of a gauge its value and 1: float64[canaries and controls, 2, metrics]; 0 of 0 where
    a node does not say.
    """
    kinds = [metric.partition(".")[::2] for metric in metrics]
    found = [
        [_value(node, kind, name) for kind, name in kinds]
        for cohort in (pane.cohorts.get("canary"), pane.cohorts.get("control"))
        if cohort is not None
        for node in cohort.reporting()
    ]
    return np.array(found, dtype=np.float64).reshape(-1, len(metrics), 2).transpose(0, 2, 1)


def _value(node: NodePane, kind: str, name: str) -> tuple[float, float]:
    if kind == "ratio":
        return node.ratios.get(name, (0, 0))
    value = node.gauges.get(name)
    return (max(0.0, value), 1.0) if value is not None else (0.0, 0.0)


def gauges_of(custom: Custom) -> NDArray[np.bool_]:
    """Return which of the metrics are gauges."""
    return np.array([metric.startswith("gauge.") for metric in custom.metrics], dtype=np.bool_)


def _events(custom: Custom, values: Floats, canary: NDArray[np.bool_]) -> tuple[Custom, Floats, Floats]:
    """Return events and exposure, each [nodes, metrics]: those of a gauge in units of the controls' level up to now."""
    parts, wholes = values[:, 0], values[:, 1]
    control, said = values[~canary], wholes[~canary] > 0
    mean = (custom.level[0] + control[:, 0].sum(axis=0)) / np.maximum(custom.level[1] + control[:, 1].sum(axis=0), 1e-12)
    dense = said & (control[:, 0] > 0) & (control[:, 0] >= DENSE_FROM * mean)
    level = custom.level + np.stack((control[:, 0].sum(axis=0), control[:, 1].sum(axis=0), said.sum(axis=0), dense.sum(axis=0)))
    # Fixed before the second is looked at, but for the very first.
    unit = np.where(custom.level[1] > 0, custom.level, level)
    rate = unit[0] / np.maximum(unit[1], 1e-12)
    gauge = gauges_of(custom)
    size = np.where(gauge, rate * (unit[3] >= DENSE * unit[2]), 1.0)
    exposure = np.where(size > 0, wholes, 0.0)
    events = np.where(exposure > 0, parts / np.where(size > 0, size, 1.0), 0.0)
    due = exposure * np.where(gauge, 1.0, rate)
    return replace(custom, level=level), capped(events, due), exposure


def _scattered(custom: Custom, second: Second, told: Floats) -> Custom:
    """Return what servers say of themselves. ``told``: this second, [canaries and controls, (events, exposure), metrics]."""
    at = [np.flatnonzero(second.kinds == kind)[:NODES_MAX] for kind in (Kind.CANARY, Kind.CONTROL)]
    names = tuple(second.nodes[place] for place in np.concatenate(at).tolist())
    before = realigned(custom.told, names, custom.nodes)
    block_ms = second.end_ms - second.end_ms % BLOCK_MS
    scatter, mine = custom.scatter, len(at[0])
    if block_ms != custom.block_ms:
        if custom.block_ms == block_ms - BLOCK_MS:
            blocks = before[:, 1:].astype(np.float64)
            scatter = scatter + _residuals(blocks[:mine]) + _residuals(blocks[mine:])
        before = np.stack((before[:, 0], before[:, 1] * 0, before[:, 1]), axis=1)
    now = told[np.concatenate(at)].astype(np.float32)
    found = before + np.stack((now, now, now * 0), axis=1)
    return replace(custom, nodes=names, canary_nodes=mine, told=found, block_ms=block_ms, scatter=scatter)


def _residuals(blocks: Floats) -> Floats:
    """Return squared residuals of two blocks of one cohort, what they would be by chance, and degrees of freedom, [3, metrics].

    The level of each server is taken out, and what the median server did from block to block, so that hosts may differ, and
    bursts, days, cold starts and a fault of all canaries may come and go; but one server's spell is its own.
    """
    new, old = blocks[:, 0], blocks[:, 1]
    there = (new[:, 1] > 0) & (old[:, 1] > 0)
    if not there.any():
        return np.zeros((3, there.shape[1]))
    times = (new[:, 0] + 0.5) * old[:, 1] / np.maximum((old[:, 0] + 0.5) * new[:, 1], 1e-12)
    common = np.array([np.median(column[mask]) if mask.any() else 1.0 for column, mask in zip(times.T, there.T, strict=True)])
    share = common * new[:, 1] / np.maximum(common * new[:, 1] + old[:, 1], 1e-12)
    both = (new[:, 0] + old[:, 0]) * there
    number = there.sum(axis=0) - 1.0
    free = number / np.maximum(1.0, number + 1.0)
    square, chance = (new[:, 0] * there - both * share) ** 2, both * share * (1.0 - share)
    found: Floats = np.stack((square.sum(axis=0), chance.sum(axis=0) * free, number)) * (number > 0)
    return found


def _counted(custom: Custom, counts: Counts, second: Second, heard: tuple[Floats, Floats]) -> Custom:
    """Count a second in each stratum in which both sides have something to count. ``heard``: events and exposure of canaries and
    controls, and what canaries owe to being cold.
    """
    told, owed = heard
    compared = np.flatnonzero(second.kinds != Kind.REST)
    canary = second.kinds[compared] == Kind.CANARY
    near = _near(second.age_s[compared[canary]], second.age_s[compared[~canary]])
    row_of = {name: place for place, group in enumerate(counts.groups) for name in group.nodes}
    rows = np.array([row_of.get(second.nodes[at], -1) for at in compared[canary].tolist()], dtype=np.int64)
    placed = np.zeros((len(counts.groups), len(rows)))
    placed[rows, np.arange(len(rows))] = near.any(axis=1) & (rows >= 0)
    strata, index = strata_of(counts, second)[compared[~canary]], np.arange(near.shape[1])
    beside = np.zeros((len(counts.strata), len(index)))
    beside[strata, index] = near.any(axis=0)
    beside[0] = near.any(axis=0)
    mine = np.einsum("rn,nkm->krm", placed, told[canary])
    theirs = np.einsum("sn,nkm->ksm", beside, told[~canary])
    inside = inside_of(counts)
    both = ((inside @ mine[1] > 0) & (theirs[1] > 0)).astype(np.float64)
    open_rows = inside.T @ both
    return replace(
        custom,
        canary=custom.canary + mine * open_rows,
        control=custom.control + theirs * both,
        cold=custom.cold + ((placed * owed) @ told[canary, 1] * open_rows).sum(axis=0),
        members=np.where(both > 0, beside @ (told[~canary, 1] > 0), custom.members),
    )


def _near(mine_s: Floats, theirs_s: Floats) -> NDArray[np.bool_]:
    """Return which canary is of the age of which control, [canaries, controls]."""
    times = (mine_s[:, None] + AGE_S) / (theirs_s[None, :] + AGE_S)
    near: NDArray[np.bool_] = (times <= AGE_TIMES) & (times >= 1.0 / AGE_TIMES)
    return near


def inside_of(counts: Counts) -> Floats:
    """Return which row of canaries is compared in which stratum, float64[strata, groups] of 0 and 1."""
    found = np.zeros((len(counts.strata), len(counts.groups)))
    found[[group.cold for group in counts.groups], np.arange(len(counts.groups))] = 1.0
    return found
