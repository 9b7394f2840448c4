"""Evidence of one rollout as counts: events and exposures of each canary and of what it is compared with, since each onset.

A second counts in a cell only where both sides have something to count, so loads, bursts and incidents that a cell shares cancel.
"""

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect.drift import gates as gate
from tidegate.detect.drift import past as history
from tidegate.detect.drift.half_minute import rung
from tidegate.detect.drift.layout import CHECKS, Counts, Marks, Placement, Singles, placed, strata_of
from tidegate.detect.drift.learned import Learned, cold_nodes, cold_share
from tidegate.detect.drift.metrics import COUNT, Floats
from tidegate.detect.drift.onsets import kept, onset_at
from tidegate.detect.drift.past import Past
from tidegate.detect.drift.seconds import WARM, Kind, Second
from tidegate.detect.drift.warming import warm

AGE_S, AGE_TIMES = 5.0, 1.6
"""A control is of the same age within this factor, after adding ``AGE_S`` to both: the first seconds differ most."""
LICENCE_FROM_MS = 60_000
"""A licence counts from so long after the first release: before, a cold start hides what is to be shown."""
UNKNOWN = 1e-3
"""Rate of events that is taken where a service has no past."""
LEVEL_PULL = 10.0
"""Events by which the fleet's level of a few seconds is drawn to its usual one."""


def update(counts: Counts, past: Past, learned: Learned, second: Second, placement: Placement) -> Counts:
    """Return the counts after one more second of a placement. Its first new canary begins a stage, with its list of onsets."""
    before, start_ms = counts, second.end_ms - 1_000
    counts = placed(counts, past, second, placement)
    if counts.groups != before.groups and counts.placement != placement.name:
        counts = replace(
            counts,
            placement=placement.name,
            stage=counts.stage + 1,
            stage_ms=start_ms,
            first_ms=counts.first_ms or start_ms,
        )
    if not counts.groups:
        return counts
    counts = _onsets(counts, start_ms)
    stratum = strata_of(counts, second)
    restarted = int(((second.kinds == Kind.CONTROL) & (second.age_s < WARM)).sum())
    cold = cold_nodes(learned, second.age_s, restarted)
    owed = np.where((second.age_s < learned.cold_s)[:, None], cold_share(learned, second.age_s), 0.0)
    who = gate.Who(second.nodes, stratum, second.kinds == Kind.CANARY, second.kinds == Kind.CONTROL, cold)
    exposure = history.exposures(past, second.requests)
    factor, unsure = history.host_factors(past, second.nodes, learned)
    rates = history.rate(past) if len(past.nodes) else np.zeros(COUNT)
    level = np.where(rates > 0, rates, UNKNOWN)
    warm_part = 1.0 - np.where(cold[:, None], 0.0, owed)
    due = exposure * factor * level / warm_part
    raw, events = second.events, gate.capped(second.events, due)
    known = np.clip(2.0 - 8.0 * unsure, 0.0, 1.0)
    gates = gate.look(counts.gates, who, (events, due, known))
    # What has no past has no weather either: nobody knows what is unusual for it.
    valid = np.where(rates > 0, gate.counted(gates, who), 1.0) * (exposure > 0)
    weight = exposure * factor * valid
    events = events * valid
    allowed = weight / warm_part
    counts = replace(
        counts,
        gates=gates,
        warming=warm(counts.warming, second, learned, (raw * valid, weight * level * _level_now(gates), unsure)),
    )
    return _counted(counts, second, who, (events, allowed, unsure, owed))


def _level_now(gates: gate.Gates) -> Floats:
    """Return how far above its past the whole fleet of the old version is in these seconds, drawn to 1 by a few events."""
    found: Floats = (gates.strata[-1, 0] + LEVEL_PULL) / (gates.strata[-1, 1] + LEVEL_PULL)
    return found


class Sides(Struct, frozen=True, eq=False):
    """Who is where in a second, as matrices of 0 and 1: canaries by row [2 groups, canaries] and the cell of each,
    what stands beside [2 cells, nodes], and warm controls [strata, nodes].
    """

    canary: gate.Flags
    rows: gate.Integers
    placed: Floats
    cell: gate.Integers
    in_cell: Floats
    beside: Floats
    checked: Floats


def _sides(counts: Counts, second: Second, who: gate.Who) -> Sides:
    width, size = len(counts.strata), len(counts.groups)
    canary, control = second.kinds == Kind.CANARY, second.kinds == Kind.CONTROL
    row_of = {name: place for place, group in enumerate(counts.groups) for name in group.nodes}
    names = [name for name, mine in zip(second.nodes, canary.tolist(), strict=True) if mine]
    rows = np.array([row_of.get(name, -1) for name in names], dtype=np.int64)
    cold, mine_cold = who.cold, who.cold[canary]
    cold_of = np.array([group.cold for group in counts.groups], dtype=np.int64)
    at = np.where(mine_cold, rows, rows + size)
    cell = np.where(mine_cold, cold_of[rows] if size else rows, width + who.stratum[canary])
    placed_in = np.zeros((2 * size, len(rows)))
    placed_in[at, np.arange(len(at))] = (rows >= 0) & (_same_age(second, canary, control & cold) | ~mine_cold)
    in_cell = np.zeros((2 * width, 2 * size))
    in_cell[cell, at] = 1.0
    index = np.arange(len(second.nodes))
    beside, checked = np.zeros((2 * width, len(index))), np.zeros((width, len(index)))
    beside[who.stratum, index] = control & cold
    beside[0] = control & cold
    beside[width + who.stratum, index] = second.kinds == Kind.REST
    checked[who.stratum, index] = control & ~cold
    return Sides(canary, rows, placed_in, cell, in_cell, beside, checked)


def _counted(counts: Counts, second: Second, who: gate.Who, told: tuple[Floats, Floats, Floats, Floats]) -> Counts:
    """Count a second in each cell in which both sides have something to count. Warm controls stand with the fleet."""
    events, weight, unsure, owed = told
    width, sides = len(counts.strata), _sides(counts, second, who)
    canary, rows = sides.canary, sides.rows
    mine = np.stack((sides.placed @ events[canary], sides.placed @ weight[canary]))
    theirs = np.stack((sides.beside @ events, sides.beside @ weight))
    checks = np.stack((sides.checked @ events, sides.checked @ weight))
    fleet = theirs.copy()
    fleet[:, width:] += checks
    both = ((sides.in_cell @ mine[1] > 0) & (fleet[1] > 0)).astype(np.float64)
    mine, theirs, fleet, checks = mine * (sides.in_cell.T @ both), theirs * both, fleet * both, checks * both[width:]
    # Where there is nobody else, warm controls are the fleet, and nothing is left to check them against.
    alone = theirs[1, width:] <= 0
    theirs[:, width:] += checks * alone
    told_in = np.zeros((2 * width, len(rows)))
    told_in[sides.cell, np.arange(len(rows))] = sides.placed.sum(axis=0)
    compared = sides.beside.copy()
    compared[width:] += sides.checked
    numbers = compared.sum(axis=1)
    mean = compared @ unsure / np.maximum(1.0, numbers)[:, None]
    known = counts.known.copy()
    known[rows[rows >= 0]] = unsure[canary][rows >= 0]
    total = second.requests[:, 0]
    counts = replace(
        counts,
        canary=counts.canary + mine,
        others=counts.others + theirs,
        controls=counts.controls + checks * ~alone,
        checks=counts.checks + _dealt(sides.checked.sum(axis=0) > 0, events, weight),
        cold=counts.cold + told_in @ (weight[canary] * owed[canary]) * both,
        members=np.where(numbers > 0, numbers, counts.members),
        unsure=np.where((numbers > 0)[:, None], mean, counts.unsure),
        known=known,
        requests=(counts.requests[0] + int(total[canary].sum()), counts.requests[1] + int(total[~canary].sum())),
    )
    return rung(counts, np.concatenate((mine.reshape(-1, COUNT), fleet.reshape(-1, COUNT))), second.end_ms)


def _dealt(controls: gate.Flags, events: Floats, weight: Floats) -> Floats:
    at = np.flatnonzero(controls)
    found = np.zeros((2, CHECKS, COUNT))
    for group in range(CHECKS):
        mine = at[group::CHECKS]
        found[:, group] = events[mine].sum(axis=0), weight[mine].sum(axis=0)
    return found


def _same_age(second: Second, canary: gate.Flags, cold_controls: gate.Flags) -> gate.Flags:
    """Return which canaries have a control of about their age."""
    mine, theirs = second.age_s[canary] + AGE_S, second.age_s[cold_controls] + AGE_S
    if not len(theirs):
        return np.zeros(len(mine), dtype=np.bool_)
    ratio = mine[:, None] / theirs[None, :]
    near: gate.Flags = np.any((ratio <= AGE_TIMES) & (ratio >= 1.0 / AGE_TIMES), axis=1)
    return near


def _onsets(counts: Counts, start_ms: int) -> Counts:
    """Begin the onset that is due with the second that starts now, and give up those whose time is over."""
    new = onset_at((start_ms - counts.stage_ms) // 1_000, counts.stage, start_ms)
    keep = kept(counts.onsets, start_ms, counts.licence_ms)
    if new is None and len(keep) == len(counts.onsets):
        return counts
    onsets = tuple(counts.onsets[place] for place in keep)
    worst = counts.worst[keep] if len(counts.worst) == len(counts.onsets) else counts.worst[:0]
    marks, more = counts.marks, int(new is not None)
    if new is not None:
        onsets = (*onsets, new)
        worst = np.concatenate((worst, np.zeros((1, *worst.shape[1:]), dtype=np.float32)))
    return replace(
        counts,
        onsets=onsets,
        begun=counts.begun + (new.mass if new is not None else 0.0),
        licence_ms=counts.licence_ms or (start_ms if new is not None and start_ms >= counts.first_ms + LICENCE_FROM_MS else 0),
        worst=worst,
        marks=Marks(
            canary=_marked(marks.canary[keep], counts.canary, more),
            others=_marked(marks.others[keep], counts.others, more),
            controls=_marked(marks.controls[keep], counts.controls, more),
            cold=_marked(marks.cold[keep], counts.cold, more),
            checks=_marked(marks.checks[keep], counts.checks, more),
        ),
    )


def _marked(marks: Singles, now: Floats, more: int) -> Singles:
    return np.concatenate((marks, now[None].astype(np.float32))) if more else marks
