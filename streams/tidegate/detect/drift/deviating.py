"""Sub-cohorts of the canary (a zone, a kind of machine) that deviate from the rest of it: where a fault is, if not everywhere.

Null hypothesis, of each sub-cohort and metric: what the canary has more than its controls and neighbours, it has everywhere. Then
of all its events, given their number, the sub-cohort's are beta-binomial around its part of what was due, with the spread between
healthy servers, and how well the level of their surroundings is known, as variance of the logit. What is due is counted stratum
by stratum, so an incident of a zone that hits old and new alike deviates from nothing.

Guarantee: ``evalue``'s (Lindon and Malek, arXiv 2011.03567; Ville's inequality over all looks), mixed over the onsets with masses
of at most 1, and Bonferroni over ``COHORTS_MAX`` sub-cohorts, two families and their members: a healthy rollout, all its stages
together, names anything with probability ``ALPHA`` at most. Besides, what is left of a sub-cohort without its worst server must
deviate by itself (C4), which only makes that less. So one server is never taken for its zone; ``Family.deleted`` names it.

| knob | default | unit | why |
|---|---|---|---|
| ``ALPHA`` | 0.05 | probability | a name moves nothing, and must be there before the rollback is |
| ``COHORTS_MAX`` | 8 | sub-cohorts | zones and kinds of machine of most fleets; fixed, since stages may bring more |
| ``TIMES`` | 2 of errors, 1.5 of slow requests | ratio | less is true perhaps, but explains nothing; at most all can be slow |
| ``ROWS_MIN`` | 2 | rows | one server has no worst one to be left out |
| ``APART`` | 0.3 | sd of a log | how far the level of a zone may be from the others': at twice, its gate shuts |
| ``BELIEVED`` | 1 | events | what holds the level of its surroundings back where they are ill: gates shut seconds too late |
| ``LEFT_LEAST`` | 3 | nats | one in twenty, without the worst server: else any two servers would do, one of which is ill |
| ``NAMED_MAX`` | 3 | sub-cohorts | where more deviate it is no matter of zones |
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tidegate.detect.drift import past as history
from tidegate.detect.drift.evalue import log_evidence
from tidegate.detect.drift.gates import CAP_MIN, CAP_TIMES
from tidegate.detect.drift.layout import STRATA_MAX, Counts, cells
from tidegate.detect.drift.learned import Learned, column
from tidegate.detect.drift.metrics import METRICS, SLOW, Floats
from tidegate.detect.drift.past import Past

ALPHA = 0.05
COHORTS_MAX = 8
LOOKED = ("errors", *SLOW)
LEFT_LEAST = 3.0
TIMES = np.array([2.0 if metric == "errors" else 1.5 for metric in LOOKED])
ROWS_MIN = 2
WORTH = 0.8
"""A look is worth it from so much of ``TIMES``, before it is known what is due."""
APART, BELIEVED = 0.3, 1.0
CAPPED = 0.75
"""So near to the cap of ``gates.capped`` in the mean, many seconds are above it."""
NAMED_MAX = 3
_FAMILY = np.array([1 if metric == "errors" else len(SLOW) for metric in LOOKED])
THRESHOLDS = np.log(COHORTS_MAX * 2 * _FAMILY / ALPHA)
"""By metric: errors and latency share alike."""
_AT = [METRICS.index(metric) for metric in LOOKED]
_NONE = -np.inf


class Deviation(Struct, frozen=True, kw_only=True):
    """One sub-cohort. ``share`` and ``elsewhere``: of requests since ``onset_ms``, on the canary's servers in it and out of it.

    Both are of an average host that is warm. ``capped``: events of a second were left out as one bunch, so ``share`` is more.
    """

    zone: str
    hardware: str
    metric: str
    share: float
    elsewhere: float
    log_e: float
    onset_ms: int
    capped: bool = False


class _Rows(Struct, frozen=True, eq=False):
    """The canary row by row since each onset, [onsets, rows, looked-at metrics]; of the spread, variances of a log.

    ``own``: of a row against its own past; ``around``: of what is due of it, as it is counted from its surroundings. ``most`` is
    what is due where these are in trouble, as far as they say so.
    """

    seen: Floats
    due: Floats
    most: Floats
    weight: Floats
    own: Floats
    around: Floats
    cold: Floats
    """Part of what is due that is owed to a cold start."""


class _Sides(Struct, frozen=True, eq=False):
    """Each sub-cohort and the rest of the canary, [onsets, sub-cohorts, metrics]."""

    inside: Floats
    outside: Floats
    due_inside: Floats
    due_outside: Floats
    variance: Floats


def deviations(counts: Counts, past: Past, learned: Learned, now_ms: int) -> tuple[Deviation, ...]:
    """Return the sub-cohorts that deviate for the worse, the surest first, no server in two; at most ``NAMED_MAX``."""
    cohorts = cohorts_of(counts)
    if not cohorts or not counts.onsets or not len(past.nodes):
        return ()
    members = np.array([[float(row in inside) for row in range(len(counts.groups))] for inside in cohorts.values()])
    tempered = history.dispersion(past)[_AT]
    if not _worth_it(counts, members, tempered):
        return ()
    rows = _rows(counts, past, learned)
    log_e, onsets = _sure(rows, members, counts, (tempered, column(learned, "warm")[_AT]))
    metrics = (log_e - THRESHOLDS).argmax(axis=1)
    found = []
    for place, (name, metric) in enumerate(zip(cohorts, metrics.tolist(), strict=True)):
        if log_e[place, metric] >= THRESHOLDS[metric]:
            sure = int(onsets[place, metric]), metric, float(log_e[place, metric])
            found.append(_deviation(rows, counts, (name, members[place]), sure, now_ms))
    found.sort(key=lambda one: -one.log_e)
    told: set[int] = set()
    kept = []
    for one in found:
        inside = cohorts[one.zone, one.hardware]
        # A zone and the kind of machine that only it has are the same news.
        if not inside & told:
            told |= inside
            kept.append(one)
    return tuple(kept[:NAMED_MAX])


def _worth_it(counts: Counts, members: Floats, tempered: Floats) -> bool:
    """Return whether any sub-cohort has so many more events than the rest that it may be named, if nothing but chance is unsure;
    much sooner than it takes to say so. Half the square of a standardised log ratio is about what a likelihood ratio can reach.
    """
    size = len(counts.groups)
    since = np.maximum(0.0, counts.canary - counts.marks.canary)[..., _AT]
    rows = np.moveaxis(since[:, :, :size] + since[:, :, size:], 2, 0)
    inside = np.tensordot(members, rows, axes=(1, 0))
    outside = rows.sum(axis=0) - inside
    mine, theirs = inside[:, :, 0] / tempered + 0.5, outside[:, :, 0] / tempered + 0.5
    more = np.log(mine * outside[:, :, 1] + 1e-12) - np.log(theirs * inside[:, :, 1] + 1e-12)
    far = more**2 > 1.5 * THRESHOLDS * (1.0 / mine + 1.0 / theirs)
    return bool((far & (more > np.log(WORTH * TIMES)) & (inside[:, :, 1] > 0)).any())


def _sure(rows: _Rows, members: Floats, counts: Counts, known: tuple[Floats, Floats]) -> tuple[Floats, NDArray[np.intp]]:
    """Return the log e-value of each sub-cohort and metric, mixed over onsets, and the onset that says most; minus infinity where
    it does not deviate enough without its worst row. ``known``: dispersion, and how far cold starts vary, by metric.
    """
    tempered, warm = known
    whole = np.broadcast_to(members[None, :, :, None], (len(counts.onsets), *members.shape, len(LOOKED)))
    all_of_it, left = (_sides(rows, kept, members, warm) for kept in (whole, _without_worst(rows, whole)))
    log_e = _evidence(all_of_it, tempered) + np.log(np.array([onset.mass for onset in counts.onsets]))[:, None, None]
    onsets = log_e.argmax(axis=0)
    left_e, times = (np.take_along_axis(tier, onsets[None], axis=0)[0] for tier in (_evidence(left, tempered), _ratio(left)))
    mixed = np.logaddexp.reduce(log_e, axis=0)
    return np.where((left_e >= LEFT_LEAST) & (times >= TIMES), mixed, _NONE), onsets


def _deviation(
    rows: _Rows, counts: Counts, cohort: tuple[tuple[str, str], Floats], sure: tuple[int, int, float], now_ms: int
) -> Deviation:
    """Return a sub-cohort (name and members) with its numbers since an onset (``sure``: onset, metric, log e-value)."""
    ((zone, hardware), members), (onset, metric, log_e) = cohort, sure
    seen, due, weight = (part[onset, :, metric] for part in (rows.seen, rows.due, rows.weight))
    share, elsewhere = (float(seen @ side) / max(1e-12, float(weight @ side)) for side in (members, 1.0 - members))
    sizes = np.array([len(group.nodes) for group in counts.groups], dtype=np.float64)
    # Gates left out seconds of those that are ill; of the others hardly any, and a server has about as many requests as another.
    elapsed = max(1.0, (now_ms - counts.onsets[onset].start_ms) / 1_000.0)
    a_second = max(1e-12, float(weight @ (1.0 - members)) / float(sizes @ (1.0 - members)) / elapsed)
    seconds = max(1.0, float(weight @ members) / a_second)
    cap = max(CAP_MIN, CAP_TIMES * float(due @ members) / seconds)
    return Deviation(
        zone=zone,
        hardware=hardware,
        metric=LOOKED[metric],
        share=min(1.0, share),
        elsewhere=min(1.0, elsewhere),
        log_e=log_e,
        onset_ms=counts.onsets[onset].start_ms,
        capped=float(seen @ members) / seconds >= CAPPED * cap,
    )


def cohorts_of(counts: Counts) -> dict[tuple[str, str], frozenset[int]]:
    """Return the rows of each zone and of each kind of machine, by (zone, hardware), one of them empty; without those that are
    everybody, too small, or the same again.

    Strata beyond ``STRATA_MAX`` share the last, which is nobody's then.
    """
    found: dict[tuple[str, str], set[int]] = {}
    shared = STRATA_MAX - 1
    strata = [
        counts.strata[group.stratum].partition("/")[::2] if group.stratum != shared else ("", "") for group in counts.groups
    ]
    names = [*((zone, "") for zone, _ in strata), *(("", hardware) for _, hardware in strata)]
    for place, name in enumerate(names):
        if any(name):
            found.setdefault(name, set()).add(place % len(strata))
    kept: dict[frozenset[int], tuple[str, str]] = {}
    for name, rows in found.items():
        if ROWS_MIN <= len(rows) < len(counts.groups):
            kept.setdefault(frozenset(rows), name)
    return {name: rows for rows, name in [*kept.items()][:COHORTS_MAX]}


def _rows(counts: Counts, past: Past, learned: Learned) -> _Rows:
    """Return what each row has had and what was due of it, cold and warm together.

    The level of a cell is its gamma-Poisson posterior around that of all cells, which cancels between the sides.
    """
    width, size = len(counts.strata), len(counts.groups)
    # Marks have single precision: what has not changed since may be less than nothing by a hair.
    canary = np.maximum(0.0, counts.canary - counts.marks.canary)[..., _AT]
    beside = np.maximum(0.0, counts.others - counts.marks.others)[..., _AT]
    beside[:, :, width:] += np.maximum(0.0, counts.controls - counts.marks.controls)[..., _AT]
    cold = np.maximum(0.0, counts.cold - counts.marks.cold)[..., _AT]
    total = beside.sum(axis=2)
    level = (total[:, :1] + 0.5) / np.maximum(total[:, 1:], 1e-9)
    tempered, pull = history.dispersion(past)[_AT], 1.0 / APART**2
    told = beside[:, 0] / tempered
    at, believed = (level * (told + few) / (beside[:, 1] * level / tempered + few) for few in (pull, BELIEVED))
    inside = cells(counts)
    still = np.minimum(1.0, cold / np.maximum(inside @ canary[:, 1], 1e-9))
    spread = (column(learned, "node") ** 2 + history.wander(past))[_AT]
    others = np.maximum(1.0, counts.members)[:, None]
    surroundings = 1.0 / (told + pull) + (told / (told + pull)) ** 2 * (spread + counts.unsure[:, _AT]) / others
    due = canary[:, 1] * (inside.T @ at)
    most = canary[:, 1] * (inside.T @ np.maximum(at, believed))

    def folded(cell: Floats, power: int = 1) -> Floats:
        """Return what holds of each row, from what holds of its two cells, by their parts of what was due."""
        part = due / np.maximum(_both(due, size), 1e-12)[:, [*range(size)] * 2]
        return _both(part**power * (inside.T @ cell), size)

    numbers = np.array([len(group.nodes) for group in counts.groups], dtype=np.float64)[:, None]
    owed = folded(still)
    own = (spread + counts.known[:, _AT] + (column(learned, "restart")[_AT] * owed) ** 2) / numbers
    return _Rows(
        seen=_both(canary[:, 0], size),
        due=_both(due, size),
        most=_both(most, size),
        weight=_both(canary[:, 1], size),
        own=own,
        around=folded(surroundings, 2),
        cold=owed,
    )


def _both(rows: Floats, size: int) -> Floats:
    found: Floats = rows[:, :size] + rows[:, size:]
    return found


def _without_worst(rows: _Rows, whole: Floats) -> Floats:
    """Return ``whole`` with a 0 for each sub-cohort's row that has most more than the rest of the canary, by onset and metric."""
    seen, due = ((whole * part[:, None]).sum(axis=2) for part in (rows.seen, rows.due))
    outside, owed = (part.sum(axis=1)[:, None] - mine for part, mine in ((rows.seen, seen), (rows.due, due)))
    level = (outside / np.maximum(owed, 1e-12))[:, :, None]
    excess = np.where(whole > 0, rows.seen[:, None] - rows.due[:, None] * level, _NONE)
    kept = whole.copy()
    np.put_along_axis(kept, excess.argmax(axis=2)[:, :, None], 0.0, axis=2)
    return kept


def _sides(rows: _Rows, kept: Floats, members: Floats, warm: Floats) -> _Sides:
    """Return both sides. ``kept`` [onsets, sub-cohorts, rows, metrics] of each sub-cohort; the rest is who is no member.

    The log of a sum of rows has the variance of its parts weighed by the squares of their shares. Cold starts of one rollout are
    large or small together, so they count by how much more one side owes to them.
    """
    rest = np.broadcast_to(1.0 - members[None, :, :, None], kept.shape)
    sums, spreads, owed = [], [], []
    # What is believed of the surroundings for the sub-cohort's good and not for the rest's can only lower the evidence.
    for side, owing in ((kept, rows.most), (rest, rows.due)):
        due = (side * owing[:, None]).sum(axis=2)
        part = side * owing[:, None] / np.maximum(due, 1e-12)[:, :, None]
        sums.append(((side * rows.seen[:, None]).sum(axis=2), due))
        # Rows of one stratum have the same surroundings, so those do not scatter less for there being more rows.
        spreads.append((part**2 * rows.own[:, None]).sum(axis=2) + (part * rows.around[:, None]).sum(axis=2))
        owed.append((part * rows.cold[:, None]).sum(axis=2))
    variance = spreads[0] + spreads[1] + (warm * (owed[0] - owed[1])) ** 2
    (inside, due_inside), (outside, due_outside) = sums
    return _Sides(inside, outside, due_inside, due_outside, variance)


def _ratio(side: _Sides) -> Floats:
    """Return how many times what is due a sub-cohort has, as a multiple of the rest's; half an event keeps it finite."""
    found: Floats = (side.inside / np.maximum(side.due_inside, 1e-12)) / (
        (side.outside + 0.5) / np.maximum(side.due_outside, 1e-12)
    )
    return found


def _evidence(side: _Sides, tempered: Floats) -> Floats:
    """Return the log e-value of each onset, sub-cohort and metric; minus infinity where it cannot reach the threshold."""
    inside, outside = side.inside / tempered, side.outside / tempered
    good = (side.due_inside > 0) & (side.due_outside > 0) & (inside > 0)
    share = np.clip(side.due_inside / np.maximum(side.due_inside + side.due_outside, 1e-12), 1e-9, 1 - 1e-9)
    due = (inside + outside) * share
    ratio = np.log((inside + 0.5) / (due + 0.5)) - np.log((outside + 0.5) / (inside + outside - due + 0.5))
    chance = 1.0 / (inside + 0.5) + 1.0 / (outside + 0.5)
    # The square of a standardised log ratio is never exceeded by what a likelihood ratio can reach, as in ``weigh``.
    worth = good & (ratio > 0) & (ratio**2 / (side.variance + chance) > LEFT_LEAST)
    found = np.full(worth.shape, _NONE)
    if worth.any():
        found[worth] = log_evidence(inside[worth], outside[worth], share[worth], side.variance[worth])
    return found
