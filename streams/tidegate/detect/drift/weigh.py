"""From counts to evidence: fair shares, the spread of their null, what is left out, and the mixture over onsets.

Three tiers use the same counts. *Rollback*: without the canaries (of fewer than three: without the half minute) that incriminate
most; leaving out can only lower an e-value, so the guarantee survives one server with a defect or one incident. *Pause*: with
everything. *Licence*: evidence that the canary is not much worse, with everything, from a minute after the first release.
"""

import math

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect.drift import past as history
from tidegate.detect.drift.evalue import log_evidence, log_licence
from tidegate.detect.drift.gates import HOT, trailing
from tidegate.detect.drift.half_minute import FEW, LEFT_S, PULL, WORST_S
from tidegate.detect.drift.layout import Counts, cells, size_of
from tidegate.detect.drift.learned import Learned, column, placebo_floors
from tidegate.detect.drift.metrics import COUNT, FAMILIES, LICENCE, METRICS, Floats
from tidegate.detect.drift.past import Past

ALPHA = 0.01
"""Probability that a healthy rollout is ever rolled back by this evidence, all its stages together."""
CUSTOM_WEIGHT = 0.2
"""Part of that for the custom metrics that a plan guards, shared by them; errors and latency share the rest."""
BETA = 0.02
"""Probability that a canary as bad as is not tolerated ever gets a licence."""
LICENCE_THRESHOLD = math.log(1.0 / BETA)
COLD_MOST = 0.3
"""No licence while a cold start is more than so much of what is counted: of twice as many errors when warm it leaves less."""
DELETED = 0.1
"""Part of the canaries that is left out, at least one."""
WORTH = 5.0
"""Onsets whose standardised log ratio has a smaller square, which is about 2.5 nats at most, are not worked out: leaving them out
can only lower the evidence, and three times that is what it takes."""
RECENT = 3.0
"""So many rollouts are in what is learned of cold starts, about: older ones are forgotten."""
LEVEL_DRIFTS = 0.15
"""How far a service's rate of events is from what it was before the rollout, as a deviation of its log."""
DOUBT_FROM, DOUBT_MAX = 4.0, 1.0
_NONE = -math.inf


class Family(Struct, frozen=True, kw_only=True):
    """What one family of metrics says, with the counts behind its strongest metric and onset."""

    family: str
    metric: str
    log_e: float = 0.0
    log_e_pause: float = 0.0
    threshold: float = 0.0
    threshold_pause: float = 0.0
    onset_ms: int
    canary_events: float
    control_events: float
    share: float
    expected_share: float
    variance: float
    deleted: tuple[str, ...]
    cold: bool
    log_licence: float | None = None
    pauses: bool = False
    """Whoever guards it wants a person to look at it, and no rollback."""


class Weighed(Struct, frozen=True, kw_only=True):
    """All families, the strongest first; whether every licence is given; how long everybody has been in a burst."""

    families: tuple[Family, ...] = ()
    certified: bool = False
    burning_s: float = 0.0
    canaries: int = 0


class Split(Struct, frozen=True, eq=False):
    """Events on both sides as the e-value wants them, [onsets, metrics]; ``kept`` [onsets, groups, metrics]: 0 for who is left
    out.
    """

    canary: Floats
    control: Floats
    share: Floats
    variance: Floats
    kept: Floats
    cold: Floats


def weigh(counts: Counts, past: Past, learned: Learned, now_ms: int, *, custom: bool = False) -> Weighed:
    """Return what has been gathered against (and for) the canary up to ``now_ms``. ``custom``: the plan guards some, too."""
    if not counts.onsets or not counts.groups:
        return Weighed()
    since = _since(counts, past, learned)
    whole = _split(since, since.canary, since.beside)
    log_whole = evidence(whole)
    trimmed, log_trimmed = whole, log_whole
    if np.isfinite(log_whole).any():
        trimmed = _trimmed(since, now_ms)
        log_trimmed = evidence(trimmed)
    mass = np.log(np.array([onset.mass for onset in counts.onsets]))[:, None]
    waiting = math.log(max(1e-9, 1.0 - counts.begun))
    mixed = [np.logaddexp(log_sum(log_e + mass), waiting) for log_e in (log_trimmed, log_whole)]
    licence = _licence(counts, whole, now_ms)
    families = []
    alpha = ALPHA * (1.0 - CUSTOM_WEIGHT * custom) / len(FAMILIES)
    thresholds = [max(math.log(1.0 / alpha), floor) for floor in placebo_floors(learned, alpha)]
    for name, columns in FAMILIES.items():
        log_e, log_e_pause = (float(log_sum(one[columns, None])[0]) - math.log(columns.stop - columns.start) for one in mixed)
        found = _family(counts, trimmed, log_trimmed + mass, name)
        mine = [value for metric, value in licence.items() if METRICS.index(metric) in range(columns.start, columns.stop)]
        families.append(
            replace(
                found,
                log_e=log_e,
                log_e_pause=log_e_pause,
                threshold=thresholds[0],
                threshold_pause=thresholds[1],
                log_licence=min(mine) if mine else None,
            )
        )
    families.sort(key=lambda family: -family.log_e)
    given = [value >= LICENCE_THRESHOLD for value in licence.values()]
    return Weighed(
        families=tuple(families),
        certified=bool(given) and all(given),
        burning_s=_burning_s(counts),
        canaries=size_of(counts),
    )


def _burning_s(counts: Counts) -> float:
    """Return for how long everybody of the old version has been in trouble, of metrics in which the canary is now, too: where it
    alone is well, it may be the cure.
    """
    burning = counts.gates.burning_s
    if not burning.any():
        return 0.0
    canaries = {node for group in counts.groups for node in group.nodes}
    mine = trailing(counts.gates)[[name in canaries for name in counts.gates.nodes]].sum(axis=0)
    return float((burning * (mine[0] > HOT * mine[1])).max())


def _own(learned: Learned, past: Past) -> Floats:
    """Return the variance of the log of a server's rate against its own past: what its restart drew anew, and wandering."""
    found: Floats = column(learned, "node") ** 2 + history.wander(past)
    return found


class Since(Struct, frozen=True, eq=False):
    """What was counted since each onset, and what is the same for both tiers.

    Counts are [onsets, (events, exposure), rows or cells, metrics]. ``beside``: what each cell is compared with; ``at``: its
    rate there, [onsets, cells, metrics].
    """

    counts: Counts
    canary: Floats
    beside: Floats
    cold: Floats
    inside: Floats
    at: Floats
    own: Floats
    learned: Learned
    tempered: Floats
    common: Floats
    """Variance that all warm canaries share, [onsets, metrics]."""


def _since(counts: Counts, past: Past, learned: Learned) -> Since:
    width = len(counts.strata)
    canary = counts.canary - counts.marks.canary
    others = counts.others - counts.marks.others
    controls = counts.controls - counts.marks.controls
    cold = counts.cold - counts.marks.cold
    inside = cells(counts)
    # Warm controls are servers of the fleet, too.
    beside = others.copy()
    beside[:, :, width:] += controls
    beside[:, :, :width] += _remembered(counts, learned, past, (inside[:width] @ canary[:, 1], beside, cold))
    total = beside.sum(axis=2)
    level = np.maximum(total[:, 0] + 0.5, 1e-9) / np.maximum(total[:, 1], 1e-9)
    own, tempered = _own(learned, past), history.dispersion(past)
    doubt = _doubt(others[:, :, width:].sum(axis=2), counts.checks - counts.marks.checks, own, tempered)
    return Since(
        counts=counts,
        canary=canary,
        beside=beside,
        cold=cold,
        inside=inside,
        at=(beside[:, 0] + PULL) / np.maximum(beside[:, 1] + PULL / level[:, None], 1e-9),
        own=own,
        learned=learned,
        tempered=tempered,
        common=column(learned, "common") ** 2 + doubt,
    )


def _trimmed(since: Since, now_ms: int) -> Split:
    """Return the split without the canaries that incriminate most; of fewer than three, without the half minute."""
    counts, size = since.counts, len(since.counts.groups)
    if size_of(counts) < FEW:
        return _split(since, *_outside(counts, since.canary, since.beside, now_ms))
    excess = since.canary[:, 0] - since.canary[:, 1] * (since.inside.T @ since.at)
    kept = without(excess[:, :size] + excess[:, size:])
    return replace(_split(since, since.canary * np.concatenate((kept, kept), axis=1)[:, None], since.beside), kept=kept)


def _split(since: Since, canary: Floats, beside: Floats) -> Split:
    """Return the counts since each onset as one split: ``canary`` and ``beside`` as in ``Since``, or less."""
    counts, width = since.counts, len(since.counts.strata)
    both = since.inside @ canary
    seen, weight, theirs, owed = both[:, 0], both[:, 1], beside[:, 0], beside[:, 1]
    good = (weight > 0) & (owed > 0)
    seen, weight, theirs, owed = (np.where(good, part, 0.0) for part in (seen, weight, theirs, owed))
    ratio = np.where(good, weight / np.maximum(owed, 1e-12), 0.0)
    sum_weight = np.maximum(weight.sum(axis=1), 1e-12)
    rate = (ratio * theirs).sum(axis=1) / sum_weight
    effective = sum_weight**2 / np.maximum((weight * ratio).sum(axis=1), 1e-12)
    share = sum_weight / (sum_weight + effective)
    likely = weight * since.at
    part = likely / np.maximum(likely.sum(axis=1, keepdims=True), 1e-12)
    warm = part[:, width:].sum(axis=1)
    return Split(
        canary=seen.sum(axis=1) / since.tempered,
        control=rate * effective / since.tempered,
        share=np.clip(share, 1e-9, 1 - 1e-9),
        variance=_variance(since, part, canary[:, 1]) + warm**2 * since.common,
        kept=np.ones((len(canary), len(counts.groups), COUNT)),
        cold=1.0 - warm,
    )


def _remembered(counts: Counts, learned: Learned, past: Past, told: tuple[Floats, Floats, Floats]) -> Floats:
    """Return what earlier restarts add to the controls of cold cells: events and exposure, as much as they are worth.

    A gamma prior on the rate of a cold server of this service: as unsure as cold starts vary from rollout to rollout, in the part
    of events that they make up, and as the level of a service drifts. So controls say nearly all about the first seconds, in
    which a cold start is most of what is seen, and the fleet's own level more and more as it fades. It is known once, not once a
    stratum, so strata share it. Where controls are two standard deviations from it, what was learned does not fit, and they are
    believed alone.
    """
    exposure, beside, cold = told
    width = len(counts.strata)
    if not learned.curve:
        return np.zeros((len(exposure), 2, width, COUNT))
    part = exposure / np.maximum(exposure.sum(axis=1, keepdims=True), 1e-12)
    share = np.minimum(0.95, cold[:, :width] / np.maximum(exposure, 1e-12))
    tempered = history.dispersion(past)
    # The mean of few rollouts is unsure itself.
    few = 1.0 + 1.0 / min(max(1, learned.revision), RECENT)
    unsure = (column(learned, "warm") * share) ** 2 * few + LEVEL_DRIFTS**2
    level = np.where(counts.gates.strata[-1, 3] > 0, counts.gates.strata[-1, 3], 1.0)
    rate = np.maximum(history.rate(past) * level, 1e-9) / (1.0 - share)
    seen, due = beside[:, 0, :width].sum(axis=1), (beside[:, 1, :width] * rate).sum(axis=1)
    apart = np.log((seen + tempered) / (due + tempered)) ** 2
    fits = apart <= DOUBT_FROM * ((part * unsure).sum(axis=1) + tempered / (seen + tempered))
    worth = tempered / unsure * part * fits[:, None]
    return np.stack((worth, worth / rate), axis=1)


def without(excess: Floats) -> Floats:
    """Return 0 for the canaries that incriminate most, onset by onset and metric by metric; 1 for the others."""
    most = max(1, int(DELETED * excess.shape[1]))
    kept = np.ones_like(excess)
    rest = excess.copy()
    onsets, metrics = np.ogrid[: excess.shape[0], : excess.shape[2]]
    for _ in range(most):
        worst = rest.argmax(axis=1)
        rest[onsets, worst, metrics] = _NONE
        kept[onsets, worst, metrics] = excess[onsets, worst, metrics] <= 0
    return kept


def _outside(counts: Counts, canary: Floats, beside: Floats, now_ms: int) -> tuple[Floats, Floats]:
    """Return the counts without each onset's worst half minute; nothing at all of an onset younger than that."""
    worst = counts.worst
    width = 2 * 2 * len(counts.groups)
    if worst.shape[:2] != (len(counts.onsets), width + 2 * 2 * len(counts.strata)):
        return canary * 0.0, beside * 0.0
    old = np.array([now_ms - onset.start_ms >= (WORST_S + LEFT_S) * 1_000 for onset in counts.onsets])[:, None, None, None]
    mine = np.maximum(0.0, canary - worst[:, :width].reshape(canary.shape))
    theirs = np.maximum(0.0, beside - worst[:, width:].reshape(beside.shape))
    return mine * old, theirs * old


def _variance(since: Since, part: Floats, exposure: Floats) -> Floats:
    """Return the variance of the logit of the share: of each cell's canaries and of what they are compared with, by its part.

    A cell's log rate is a mean over its servers, so its variance falls with their number; the log of a sum of cells has the
    variance of its parts weighed by the squares of their shares.
    """
    counts, learned, inside = since.counts, since.learned, since.inside
    width = len(counts.strata)
    sizes = np.array([len(group.nodes) for group in counts.groups] * 2, dtype=np.float64)
    there = (exposure > 0) * sizes[:, None]
    numbers = np.maximum(1.0, inside @ there)
    unsure = (inside @ (there * np.concatenate((counts.known, counts.known)))) / numbers
    others = np.maximum(1.0, counts.members)[:, None]
    spread = (since.own + unsure) / numbers + (since.own + counts.unsure) / others
    still = np.minimum(1.0, since.cold / np.maximum(inside @ since.canary[:, 1], 1e-12))
    restart = (column(learned, "restart") * still) ** 2
    spread += restart / numbers
    spread[:, :width] += restart[:, :width] / others[:width]
    # Of one rollout all cold starts are large or small together; controls share that, the fleet does not.
    shared = (part[:, width:] * column(learned, "warm") * still[:, width:]).sum(axis=1) ** 2
    found: Floats = (part**2 * spread).sum(axis=1) + shared
    return found


def _doubt(fleet: Floats, checks: Floats, own: Floats, tempered: Floats) -> Floats:
    """Return by how much controls, which run the old version, differ from the fleet although nothing should: variance of a log.

    One draw of what restarting a cohort does here and now, where it is more than two standard deviations of what is known. It
    widens the null where what was learned does not fit, as after a cold start that lasts longer than any before. The group of
    controls that makes it largest is left out: an incident of one is not the rule.
    """
    level = fleet[:, :1] / np.maximum(fleet[:, 1:], 1e-12)
    whole = checks.sum(axis=2, keepdims=True)
    some = whole - checks if (checks[:, 1].sum(axis=(0, 2)) > 0).sum() > 1 else whole
    seen, due = some[:, 0], some[:, 1] * level
    apart = np.log((seen + 0.5) / (due + 0.5)) ** 2
    number = np.maximum(1.0, (checks[:, 1] > 0).sum(axis=1))[:, None]
    known = tempered * (1.0 / (due + 0.5) + 1.0 / (fleet[:, :1] + 0.5)) + own / number
    excess = np.where((due > 0) & (apart > DOUBT_FROM * known), np.minimum(apart - known, DOUBT_MAX), 0.0)
    found: Floats = excess.min(axis=1)
    return found


def evidence(split: Split) -> Floats:
    """Return the log e-value of each onset and metric; minus infinity where it cannot be worth anything."""
    both = split.canary + split.control
    due = both * split.share
    ratio = np.log((split.canary + 0.5) / (due + 0.5)) - np.log((split.control + 0.5) / (both - due + 0.5))
    chance = 1.0 / (split.canary + 0.5) + 1.0 / (split.control + 0.5)
    # Half the square of a standardised log ratio is about what a likelihood ratio can reach; twice that is never exceeded.
    worth = (ratio > 0) & (ratio**2 / (split.variance + chance) > WORTH) & (split.canary > 0)
    found = np.full(both.shape, _NONE)
    if worth.any():
        found[worth] = log_evidence(split.canary[worth], split.control[worth], split.share[worth], split.variance[worth])
    return found


def log_sum(rows: Floats) -> Floats:
    """Return the log of the sum of exponentials over the axis before the last."""
    top = np.maximum(rows.max(axis=-2), -700.0)
    found: Floats = top + np.log(np.exp(rows - top[..., None, :]).sum(axis=-2) + 1e-300)
    return found


def _licence(counts: Counts, split: Split, now_ms: int) -> dict[str, float]:
    """Return the log evidence that each guarded metric is better than what is not tolerated; empty while servers are cold."""
    at = next((place for place, onset in enumerate(counts.onsets) if onset.start_ms == counts.licence_ms), None)
    if at is None or now_ms <= counts.onsets[at].start_ms:
        return {}
    places = [place for place, _ in LICENCE.values()]
    of = (at, places)
    if (split.cold[of] > COLD_MOST).any():
        return {}
    tolerated = np.array([ratio for _, ratio in LICENCE.values()])
    found = log_licence(split.canary[of], split.control[of], split.share[of], split.variance[of], tolerated)
    return dict(zip(LICENCE, found.tolist(), strict=True))


def _family(counts: Counts, split: Split, log_e: Floats, name: str) -> Family:
    """Return the counts behind a family's strongest metric and onset."""
    columns = FAMILIES[name]
    onset, member = divmod(int(np.argmax(log_e[:, columns])), columns.stop - columns.start)
    metric = columns.start + member
    seen, other = float(split.canary[onset, metric]), float(split.control[onset, metric])
    kept = split.kept[onset, :, metric].tolist()
    deleted = [node for group, stays in zip(counts.groups, kept, strict=True) if not stays for node in group.nodes]
    return Family(
        family=name,
        metric=METRICS[metric],
        onset_ms=counts.onsets[onset].start_ms,
        canary_events=seen,
        control_events=other,
        share=seen / (seen + other) if seen + other else 0.0,
        expected_share=float(split.share[onset, metric]),
        variance=float(split.variance[onset, metric]),
        deleted=tuple(sorted(deleted)),
        cold=bool(split.cold[onset, metric] > 0.5),
    )
