"""Evidence of one rollout as counts: events and exposures of each canary and of what it is compared with, since each onset.

A cell is a stratum in one of two channels. *Cold*: canaries that restarted lately, beside controls of the same age and stratum;
*warm*: the others, beside every server of the old version of their stratum. A second counts in a cell only where both sides
have something to count, so loads, bursts and incidents that a cell shares cancel.
"""

from typing import TypeVar

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from tidegate.detect.drift import gates as gate
from tidegate.detect.drift import past as history
from tidegate.detect.drift.arrays import grown
from tidegate.detect.drift.learned import Learned, cold_nodes, cold_share
from tidegate.detect.drift.metrics import COUNT, Floats
from tidegate.detect.drift.onsets import Onset, kept, onset_at
from tidegate.detect.drift.past import Past
from tidegate.detect.drift.seconds import WARM, Kind, Second
from tidegate.detect.drift.warming import Warming, warm

GROUPS_MAX = 20
"""Canaries are looked at one by one up to so many; of more, several of a stratum share a row, so that the state stays small."""
STRATA_MAX = 12
"""Strata beyond this share the last one."""
AGE_S, AGE_TIMES = 5.0, 1.6
"""A control is of the same age within this factor, after adding ``AGE_S`` to both: the first seconds differ most."""
BLOCK_S = 3
BLOCKS = 10
"""An incident of one server lasts up to 20 s; fewer than three canaries must say more than their worst half minute."""
CHECKS = 4
FEW = 3
PULL = 3.0
"""Events by which the rate of a cell is drawn to that of all cells: a cell with next to no events has no rate of its own."""
LICENCE_FROM_MS = 60_000
UNKNOWN = 1e-3
"""Rate of events that is taken where a service has no past."""
LEVEL_PULL = 10.0
ANY = "*"
"""The stratum of cold canaries without a control in their own."""


class Group(Struct, frozen=True, array_like=True):
    """One row of canaries: their stratum, that of the controls they are compared with while cold, and who they are."""

    stratum: int
    cold: int
    nodes: tuple[str, ...]


Singles = NDArray[np.float32]
Rows = TypeVar("Rows", NDArray[np.float32], NDArray[np.float64])


def _zeros(*shape: int) -> Floats:
    return np.zeros(shape)


def _singles(*shape: int) -> Singles:
    return np.zeros(shape, dtype=np.float32)


class Marks(Struct, frozen=True, kw_only=True, eq=False):
    """The arrays of ``Counts`` of the same names as they stood at each onset: float32, one more axis in front."""

    canary: Singles = field(default_factory=lambda: _singles(0, 2, 0, COUNT))
    others: Singles = field(default_factory=lambda: _singles(0, 2, 2, COUNT))
    controls: Singles = field(default_factory=lambda: _singles(0, 2, 1, COUNT))
    cold: Singles = field(default_factory=lambda: _singles(0, 2, COUNT))
    checks: Singles = field(default_factory=lambda: _singles(0, 2, CHECKS, COUNT))


class Placement(Struct, frozen=True):
    """What a second is counted for: the placement's name, and the nodes that are controls in it, whether they report or not."""

    name: str
    controls: tuple[str, ...] = ()


class Counts(Struct, frozen=True, kw_only=True, eq=False):
    """Rows of canaries: cold ones first, then the same again warm. Cells: strata and ``ANY`` cold, then the same again warm.

    ``canary`` [2, 2 groups, metrics], ``others`` [2, 2 cells, metrics]: events, exposures. ``cold`` [2 cells, metrics]: the
    part of the canaries' exposure that is owed to their cold start. ``controls`` [2, cells, metrics]: warm controls, which
    ``others`` leaves out, so that they can be compared with the fleet themselves.
    """

    placement: str = ""
    stage: int = 0
    stage_ms: int = 0
    first_ms: int = 0
    """When the first and when the present stage released their first canaries."""
    licence_ms: int = 0
    """The onset from which a licence is counted: the first one a minute or more after the first release."""
    begun: float = 0.0
    """Prior mass of all onsets so far, given up or not."""
    strata: tuple[str, ...] = (ANY,)
    groups: tuple[Group, ...] = ()
    canary: Floats = field(default_factory=lambda: _zeros(2, 0, COUNT))
    others: Floats = field(default_factory=lambda: _zeros(2, 2, COUNT))
    controls: Floats = field(default_factory=lambda: _zeros(2, 1, COUNT))
    cold: Floats = field(default_factory=lambda: _zeros(2, COUNT))
    checks: Floats = field(default_factory=lambda: _zeros(2, CHECKS, COUNT))
    """Warm controls once more, dealt out to a few groups of which any may be left out."""
    members: Floats = field(default_factory=lambda: _zeros(2))
    """Nodes that each cell was last compared with; ``unsure`` their mean variance of the host factor's log."""
    unsure: Floats = field(default_factory=lambda: _zeros(2, COUNT))
    known: Floats = field(default_factory=lambda: _zeros(0, COUNT))
    """The same of each group."""
    onsets: tuple[Onset, ...] = ()
    marks: Marks = field(default_factory=Marks)
    ring: Floats = field(default_factory=lambda: _zeros(0, 0, COUNT))
    """While there are fewer than three canaries: flat ``canary`` and ``others`` of the last blocks of 3 s; the last is open."""
    worst: Floats = field(default_factory=lambda: _zeros(0, 0, COUNT))
    """For each onset the half minute that incriminates most, in the same form."""
    gates: gate.Gates = field(default_factory=gate.Gates)
    warming: Warming = field(default_factory=Warming)
    requests: tuple[int, int] = (0, 0)
    """Of canaries and of what they were compared with."""


def update(counts: Counts, past: Past, learned: Learned, second: Second, placement: Placement) -> Counts:
    """Return the counts after one more second of a placement. Its first new canary begins a stage, with its list of onsets."""
    before, start_ms = counts, second.end_ms - 1_000
    counts = _placed(counts, past, second, placement)
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
    stratum = _strata(counts, second)
    restarted = int(((second.kinds == Kind.CONTROL) & (second.age_s < WARM)).sum())
    cold = cold_nodes(learned, second.age_s, restarted)
    owed = np.where((second.age_s < learned.cold_s)[:, None], cold_share(learned, second.age_s), 0.0)
    who = gate.Who(second.nodes, stratum, second.kinds == Kind.CANARY, cold)
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


def _control_strata(past: Past, second: Second, placement: Placement) -> set[str]:
    """Return the strata in which there are controls: of those that do not report yet, where they were before."""
    known = dict(zip(past.nodes, past.strata, strict=True))
    told = {name for name, kind in zip(second.strata, second.kinds.tolist(), strict=True) if kind == Kind.CONTROL}
    return told | {known[name] for name in placement.controls if name in known}


def _placed(counts: Counts, past: Past, second: Second, placement: Placement) -> Counts:
    """Return the counts with room for the strata and canaries of this second."""
    strata = counts.strata
    for name in sorted({*second.strata} - {*strata}):
        if len(strata) < STRATA_MAX:
            strata = (*strata, name)
    if strata != counts.strata:
        counts = _wider(counts, strata)
    inside = {name for group in counts.groups for name in group.nodes}
    fresh = [at for at in np.flatnonzero(second.kinds == Kind.CANARY).tolist() if second.nodes[at] not in inside]
    if not fresh:
        return counts
    groups, controlled = list(counts.groups), _control_strata(past, second, placement)
    for at in fresh:
        own = _stratum(strata, second.strata[at])
        cold = own if second.strata[at] in controlled else 0
        same = [place for place, group in enumerate(groups) if (group.stratum, group.cold) == (own, cold)]
        if len(groups) < GROUPS_MAX or not same:
            groups.append(Group(own, cold, (second.nodes[at],)))
        else:
            place = min(same, key=lambda place: (len(groups[place].nodes), place))
            groups[place] = Group(groups[place].stratum, groups[place].cold, (*groups[place].nodes, second.nodes[at]))
    return _more_groups(counts, tuple(groups))


def _stratum(strata: tuple[str, ...], name: str) -> int:
    return strata.index(name) if name in strata else len(strata) - 1


def _strata(counts: Counts, second: Second) -> gate.Integers:
    at = {name: place for place, name in enumerate(counts.strata)}
    last = len(counts.strata) - 1
    return np.array([at.get(name, last) for name in second.strata], dtype=np.int64)


def _halves(rows: Rows, axis: int, size: int) -> Rows:
    """Return an array of which both halves along an axis have grown to ``size``."""
    one, other = np.split(rows, 2, axis=axis)
    return np.concatenate((grown(one, axis, size), grown(other, axis, size)), axis=axis)


def _wider(counts: Counts, strata: tuple[str, ...]) -> Counts:
    size = len(strata)
    marks = replace(
        counts.marks,
        others=_halves(counts.marks.others, 2, size),
        controls=grown(counts.marks.controls, 2, size),
        cold=_halves(counts.marks.cold, 1, size),
    )
    level = counts.gates.strata
    wider = np.concatenate((grown(level[:-1], 0, size), level[-1:]))
    return replace(
        counts,
        strata=strata,
        others=_halves(counts.others, 1, size),
        controls=grown(counts.controls, 1, size),
        cold=_halves(counts.cold, 0, size),
        members=_halves(counts.members, 0, size),
        unsure=_halves(counts.unsure, 0, size),
        marks=marks,
        gates=replace(counts.gates, strata=wider),
        ring=_relaid(counts.ring, counts, (len(counts.groups), size)),
        worst=_relaid(counts.worst, counts, (len(counts.groups), size)),
    )


def _more_groups(counts: Counts, groups: tuple[Group, ...]) -> Counts:
    size = len(groups)
    return replace(
        counts,
        groups=groups,
        canary=_halves(counts.canary, 1, size),
        known=grown(counts.known, 0, size),
        marks=replace(counts.marks, canary=_halves(counts.marks.canary, 2, size)),
        ring=_relaid(counts.ring, counts, (size, len(counts.strata))),
        worst=_relaid(counts.worst, counts, (size, len(counts.strata))),
    )


def _relaid(flat: Floats, counts: Counts, sizes: tuple[int, int]) -> Floats:
    """Return flat rows of canaries and others (``ring``, ``worst``) with room for more of both."""
    if not flat.size:
        return _zeros(0, 0, COUNT)
    width = 4 * len(counts.groups)
    mine = _halves(flat[:, :width].reshape(len(flat), 2, -1, COUNT), 2, sizes[0])
    theirs = _halves(flat[:, width:].reshape(len(flat), 2, -1, COUNT), 2, sizes[1])
    return np.concatenate((mine.reshape(len(flat), -1, COUNT), theirs.reshape(len(flat), -1, COUNT)), axis=1)


def cells(counts: Counts) -> Floats:
    """Return which row of canaries is in which cell, float64[2 cells, 2 groups] of 0 and 1."""
    width, size = len(counts.strata), len(counts.groups)
    found = np.zeros((2 * width, 2 * size))
    for place, group in enumerate(counts.groups):
        found[group.cold, place] = 1.0
        found[width + group.stratum, size + place] = 1.0
    return found


def _counted(counts: Counts, second: Second, who: gate.Who, told: tuple[Floats, Floats, Floats, Floats]) -> Counts:
    events, weight, unsure, owed = told
    stratum, cold = who.stratum, who.cold
    width, size = len(counts.strata), len(counts.groups)
    canary, control = second.kinds == Kind.CANARY, second.kinds == Kind.CONTROL
    row_of = {name: place for place, group in enumerate(counts.groups) for name in group.nodes}
    rows = np.array(
        [row_of.get(name, -1) for name, mine in zip(second.nodes, canary.tolist(), strict=True) if mine], dtype=np.int64
    )
    cold_of = np.array([group.cold for group in counts.groups], dtype=np.int64)
    # Who is where: canaries by row, the others by cell.
    at = np.where(cold[canary], rows, rows + size)
    cell = np.where(cold[canary], cold_of[rows] if size else rows, width + stratum[canary])
    placed = np.zeros((2 * size, int(canary.sum())))
    placed[at, np.arange(len(at))] = (rows >= 0) & (_same_age(second, canary, control & cold) | ~cold[canary])
    in_cell = np.zeros((2 * width, 2 * size))
    in_cell[cell, at] = 1.0
    beside = np.zeros((2 * width, len(second.nodes)))
    place = stratum
    index = np.arange(len(second.nodes))
    beside[place, index] = control & cold
    beside[0] = control & cold
    beside[width + place, index] = second.kinds == Kind.REST
    checked = np.zeros((width, len(second.nodes)))
    checked[place, index] = control & ~cold
    mine_x, mine_e = placed @ events[canary], placed @ weight[canary]
    theirs_x, theirs_e = beside @ events, beside @ weight
    control_x, control_e = checked @ events, checked @ weight
    # Both sides or none, cell by cell and metric by metric; warm controls stand with the fleet.
    fleet_e = theirs_e + np.concatenate((np.zeros_like(control_e), control_e))
    both = ((in_cell @ mine_e > 0) & (fleet_e > 0)).astype(np.float64)
    open_rows = in_cell.T @ both
    added = np.stack((mine_x * open_rows, mine_e * open_rows))
    beside_added = np.stack((theirs_x * both, theirs_e * both))
    checked_added = np.stack((control_x, control_e)) * both[width:] * (theirs_e[width:] > 0)
    alone = np.stack((control_x, control_e)) * both[width:] * (theirs_e[width:] <= 0)
    beside_added[:, width:] += alone
    told_in = np.zeros((2 * width, int(canary.sum())))
    told_in[cell, np.arange(len(cell))] = placed.sum(axis=0)
    compared = beside.copy()
    compared[width:] += checked
    numbers = compared.sum(axis=1)
    mean = compared @ unsure / np.maximum(1.0, numbers)[:, None]
    live = numbers > 0
    groups_known = counts.known
    if len(rows):
        groups_known = groups_known.copy()
        groups_known[rows[rows >= 0]] = unsure[canary][rows >= 0]
    total = second.requests[:, 0]
    counts = replace(
        counts,
        canary=counts.canary + added,
        others=counts.others + beside_added,
        controls=counts.controls + checked_added,
        checks=counts.checks + _dealt(control & ~cold, events, weight),
        cold=counts.cold + told_in @ (weight[canary] * owed[canary]) * both,
        members=np.where(live, numbers, counts.members),
        unsure=np.where(live[:, None], mean, counts.unsure),
        known=groups_known,
        requests=(counts.requests[0] + int(total[canary].sum()), counts.requests[1] + int(total[~canary].sum())),
    )
    theirs = beside_added.copy()
    theirs[:, width:] += checked_added
    return _rung(counts, np.concatenate((added.reshape(-1, COUNT), theirs.reshape(-1, COUNT))), second.end_ms)


def _dealt(controls: gate.Flags, events: Floats, weight: Floats) -> Floats:
    at = np.flatnonzero(controls)
    found = _zeros(2, CHECKS, COUNT)
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


def _rung(counts: Counts, added: Floats, end_ms: int) -> Counts:
    """Keep the last half minute in blocks, and for each onset its worst one, while there are fewer than three canaries."""
    if size_of(counts) >= FEW:
        return replace(counts, ring=_zeros(0, 0, COUNT), worst=_zeros(0, 0, COUNT)) if counts.ring.size else counts
    flat = added[None]
    ring = counts.ring if counts.ring.shape[1] == flat.shape[1] else flat[:0]
    if not len(ring) or end_ms // 1_000 % BLOCK_S == 0:
        ring = np.concatenate((ring[1 - BLOCKS :], flat))
    else:
        ring = np.concatenate((ring[:-1], ring[-1:] + flat))
    return _worst(replace(counts, ring=ring), end_ms)


def size_of(counts: Counts) -> int:
    """Return how many canaries there have been."""
    return sum(len(group.nodes) for group in counts.groups)


def _worst(counts: Counts, end_ms: int) -> Counts:
    """Compare the half minute that ends now with the worst so far, onset by onset."""
    worst = counts.worst
    if worst.shape[:2] != (len(counts.onsets), counts.ring.shape[1]):
        worst = np.zeros((len(counts.onsets), counts.ring.shape[1], COUNT))
    if not len(worst):
        return counts
    sums = np.cumsum(counts.ring[::-1], axis=0)
    blocks = [min(len(sums), max(1, -(-(end_ms - onset.start_ms) // (BLOCK_S * 1_000)))) for onset in counts.onsets]
    found = sums[np.array(blocks) - 1]
    both = np.stack((found, worst))
    mine = 2 * 2 * len(counts.groups)
    inside = cells(counts)
    canary = both[:, :, :mine].reshape(2, len(worst), 2, -1, COUNT)
    others = counts.others - counts.marks.others
    others[:, :, len(counts.strata) :] += counts.controls - counts.marks.controls
    level = (others[:, 0].sum(axis=1) + 0.5) / np.maximum(others[:, 1].sum(axis=1), 1e-9)
    at = (others[:, 0] + PULL * 1.0) / np.maximum(others[:, 1] + PULL / level[:, None], 1e-9)
    excess = ((inside @ canary[:, :, 0]) - (inside @ canary[:, :, 1]) * at).sum(axis=2)
    better = excess[0] > excess[1]
    return replace(counts, worst=np.where(better[:, None], found, worst))


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
        worst = np.concatenate((worst, np.zeros((1, *worst.shape[1:]))))
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
