"""From sums of custom metrics to evidence: each guarded one is a family of its own; see ``custom`` for the null hypothesis."""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect.drift.custom import Custom, Guard, gauges_of, inside_of
from tidegate.detect.drift.half_minute import FEW, PULL
from tidegate.detect.drift.layout import Counts
from tidegate.detect.drift.learned import SAFETY, Learned, Spread
from tidegate.detect.drift.metrics import METRICS, Floats
from tidegate.detect.drift.warming import TRUSTED
from tidegate.detect.drift.weigh import ALPHA, CUSTOM_WEIGHT, Family, Split, evidence, log_sum, without

PRIORS = {"ratio": Spread(host=0.5, node=0.2, common=0.06), "gauge": Spread(host=0.5, node=0.15, common=0.06)}
"""Of a metric that was never guarded before: two healthy servers often differ by half, and one from its own past by a fifth; in
what it measures by less than in what it counts.
"""
LEAST = 1.15
"""A ratio that is smaller is no evidence, however sure: that a new version needs a tenth more memory is a fact and no fault."""
RATIO_DISPERSION = 4.0
"""Before servers have shown theirs, parts are taken to come in bunches of two or three, as retries do; and a node-second is
never worth more than one event then, whatever a service counts in.
"""
GAUGE_DISPERSION, GAUGE_LEAST = 30.0, 6.0
"""So many seconds of a gauge are one event, before servers have shown how steady it is, and at least. A value that is up or down
by a share ``d`` for a time ``t`` is worth one event in ``2 t d ** 2`` seconds: by half for a minute is 30, by a fifth 5. What
lasts for longer is no chance but a server that is different, which the spread covers.
"""
TRUSTED_PAIRS = 10.0
"""What was assumed of dispersion counts as much as so many pairs of blocks: of five canaries and controls, a minute."""
TRUSTED_NODES = 5.0
"""What was known of the spread counts as much as so many controls: five say nearly half, twenty four fifths."""
EVENTS_MIN = 5.0
"""Tempered events that a control has on average before controls say how far servers are apart."""
KEPT_MAX = 32
"""Custom metrics of a service of which a spread is remembered; the one that was learned first goes first."""
_NONE = -math.inf


def weigh_custom(custom: Custom, counts: Counts, learned: Learned, guards: Sequence[Guard]) -> tuple[Family, ...]:
    """Return one family for each guarded metric, in their order; none before both sides have been heard."""
    if not custom.metrics or not counts.onsets or len(custom.onsets_ms) != len(counts.onsets):
        return ()
    tiers = _splits(custom, counts, learned)
    mass = np.log(np.array([onset.mass for onset in counts.onsets]))[:, None]
    log_e = [_log_e(split) + mass for split in tiers]
    mixed = [np.logaddexp(log_sum(one), math.log(max(1e-9, 1.0 - counts.begun))) for one in log_e]
    threshold = math.log(len(custom.metrics) / (ALPHA * CUSTOM_WEIGHT))
    return tuple(
        replace(
            _family(counts, tiers, log_e, (guard.metric, at)),
            log_e=float(mixed[0][at]),
            log_e_pause=float(mixed[1][at]),
            threshold=threshold,
            threshold_pause=threshold,
            pauses=guard.pauses,
        )
        for at, guard in enumerate(guards)
        if custom.level[1, at] > 0 and custom.canary[1, :, at].any()
    )


def _log_e(split: Split) -> Floats:
    fair = split.share / (1.0 - split.share) * split.control
    found: Floats = np.where(split.canary < LEAST * fair, _NONE, evidence(split))
    return found


def _splits(custom: Custom, counts: Counts, learned: Learned) -> tuple[Split, Split]:
    """Return the sums since each onset as a split, without the canaries that incriminate most, and whole."""
    canary, control = custom.canary - custom.canary_marks, custom.control - custom.control_marks
    inside, sizes = inside_of(counts), np.array([len(group.nodes) for group in counts.groups], dtype=np.float64)[:, None]
    known, tempered = [known_of(learned, metric) for metric in custom.metrics], dispersion(custom)
    own = _own(custom, counts, (sizes, tempered), known)
    canary[:, 1] *= own.canary
    control[:, 1] *= own.control
    total = control.sum(axis=2)
    level = (total[:, 0] + 0.5) / np.maximum(total[:, 1], 1e-9)
    at = (control[:, 0] + PULL) / np.maximum(control[:, 1] + PULL / level[:, None], 1e-9)
    fresh = np.minimum(1.0, (custom.cold - custom.cold_marks) / np.maximum(canary[:, 1].sum(axis=1), 1e-12))
    restart = (np.array([one.restart for one in known]) * fresh)[:, None] ** 2
    common = np.array([one.common for one in known]) ** 2

    def split(kept: Floats) -> Split:
        mine = canary * kept[:, None]
        both = inside @ mine
        seen, weight = both[:, 0], both[:, 1]
        good = (weight > 0) & (control[:, 1] > 0)
        theirs = np.where(good, control[:, 0], 0.0)
        scale = np.where(good, weight / np.maximum(control[:, 1], 1e-12), 0.0)
        sum_weight = np.maximum(weight.sum(axis=1), 1e-12)
        rate = (scale * theirs).sum(axis=1) / sum_weight
        effective = sum_weight**2 / np.maximum((weight * scale).sum(axis=1), 1e-12)
        likely = weight * at
        part = likely / np.maximum(likely.sum(axis=1, keepdims=True), 1e-12)
        there = (mine[:, 1] > 0) * sizes
        numbers = np.maximum(1.0, inside @ there)
        variance = (inside @ (there**2 * own.canary_variance)) / numbers**2 + own.control_variance
        variance = variance + restart * (1.0 / numbers + 1.0 / np.maximum(1.0, custom.members))
        return Split(
            canary=seen.sum(axis=1) / tempered,
            control=rate * effective / tempered,
            share=np.clip(sum_weight / (sum_weight + effective), 1e-9, 1 - 1e-9),
            variance=(part**2 * variance).sum(axis=1) + common,
            kept=kept,
            cold=np.ones_like(rate),
        )

    heard = ((custom.canary[1] > 0) * sizes).sum(axis=0), (custom.told[custom.canary_nodes :, 0, 1] > 0).sum(axis=0)
    enough = (heard[0] >= FEW) & (heard[1] >= FEW)
    return split(without(canary[:, 0] - canary[:, 1] * (inside.T @ at)) * enough), split(np.ones_like(canary[:, 0]))


class Own(Struct, frozen=True, eq=False):
    """What canaries by row and controls by stratum are like, as a factor, and how unsure its log is; [onsets, rows, metrics]."""

    canary: Floats
    canary_variance: Floats
    control: Floats
    control_variance: Floats


def _own(custom: Custom, counts: Counts, told: tuple[Floats, Floats], known: Sequence[Spread]) -> Own:
    """Return what servers are like from what they did between the stage's first release and each onset: what begins later is seen
    against a server's own past, too. Only from what came before an onset, so an e-value from there on stays one.
    """
    sizes, tempered = told
    stage = max(onset.early for onset in counts.onsets)
    first = min(at for at, onset in enumerate(counts.onsets) if onset.early == stage)
    later = np.array([onset.start_ms > counts.onsets[first].start_ms for onset in counts.onsets])
    mine, theirs = (
        (marks - marks[first]).astype(np.float64) * later.reshape(-1, 1, 1, 1)
        for marks in (custom.canary_marks, custom.control_marks)
    )
    cold = np.maximum(0.0, custom.cold_marks - custom.cold_marks[first]) * later[:, None]
    fresh = np.minimum(1.0, cold / np.maximum(mine[:, 1].sum(axis=1), 1e-12))
    node = np.array([one.node for one in known]) ** 2
    host = np.maximum(0.0, spread(custom, known, tempered) - node)
    then = node + (np.array([one.restart for one in known]) * fresh)[:, None] ** 2
    pooled = theirs.sum(axis=2)
    rate = pooled[:, :1] / np.maximum(pooled[:, 1:], 1e-12) / tempered

    def like(past: Floats, numbers: Floats) -> tuple[Floats, Floats]:
        events, due = past[:, 0] / tempered, past[:, 1] * rate
        chance = np.maximum(1.0 / (events + 0.5), 1.0 / np.maximum(due, 1e-9))
        seen = host / numbers / (host / numbers + then / numbers + chance)
        return np.exp(seen * np.log((events + 0.5) / (due + 0.5))), host / numbers * (1.0 - seen) + node / numbers

    return Own(*like(mine, sizes), *like(theirs, np.maximum(1.0, custom.members)))


def dispersion(custom: Custom) -> Floats:
    """Return by how much events scatter more than chance, by metric (quasi-likelihood: Wedderburn, Biometrika 61 (1974) 439)."""
    gauge, seconds = gauges_of(custom), np.maximum(custom.level[2], 1.0)
    ratio = np.maximum(RATIO_DISPERSION, custom.level[0] / seconds)
    assumed = np.where(gauge, GAUGE_DISPERSION, ratio)
    square, chance, number = custom.scatter
    seen = np.where(chance > 0, square / np.where(chance > 0, chance, 1.0), assumed / SAFETY)
    found = (TRUSTED_PAIRS * assumed + number * SAFETY * seen) / (TRUSTED_PAIRS + number)
    tempered: Floats = np.maximum(found, np.where(gauge, GAUGE_LEAST, 1.0))
    return tempered


class Apart(Struct, frozen=True, eq=False):
    """How far controls are apart: variance of the logs of their rates beyond chance, and how many there are, by metric."""

    variance: Floats
    number: Floats


def _apart(custom: Custom, tempered: Floats) -> Apart:
    controls = custom.told[custom.canary_nodes :, 0].astype(np.float64) / tempered
    events, exposure = controls[:, 0], controls[:, 1]
    there = exposure > 0
    number = there.sum(axis=0).astype(np.float64)
    some = np.maximum(1.0, number)
    due = exposure * (events.sum(axis=0) / np.maximum(exposure.sum(axis=0), 1e-12))
    logs = np.where(there, np.log((events + 0.5) / (due + 0.5)), 0.0)
    middle = logs.sum(axis=0) / some
    square = (np.where(there, logs - middle, 0.0) ** 2).sum(axis=0) / np.maximum(1.0, number - 1.0)
    chance = np.where(there, 1.0 / (events + 0.5), 0.0).sum(axis=0) / some
    enough = (number >= FEW) & (events.sum(axis=0) >= EVENTS_MIN * some)
    return Apart(np.maximum(0.0, square - chance), np.where(enough, number, 0.0))


def known_of(learned: Learned, metric: str) -> Spread:
    """Return what is known of a custom metric, its prior where nothing is."""
    return learned.spreads.get(metric) or PRIORS[metric.partition(".")[0]]


def spread(custom: Custom, known: Sequence[Spread], tempered: Floats) -> Floats:
    """Return the variance of the log of a healthy server's rate, by metric: what is known, and how far controls are apart."""
    before = np.array([one.host**2 + one.node**2 for one in known])
    apart = _apart(custom, tempered)
    free = np.maximum(0.0, apart.number - 1.0)
    found: Floats = (TRUSTED_NODES * before + free * SAFETY * apart.variance) / (TRUSTED_NODES + free)
    return found


def teach_custom(learned: Learned, custom: Custom) -> Learned:
    """Return what is known after a rollout is over: how far its controls, which run the old version, were apart."""
    if not custom.metrics:
        return learned
    apart, spreads = _apart(custom, dispersion(custom)), dict(learned.spreads)
    for metric, variance, number in zip(custom.metrics, apart.variance.tolist(), apart.number.tolist(), strict=True):
        if number:
            before = known_of(learned, metric)
            both = (TRUSTED * (before.host**2 + before.node**2) + number * SAFETY * variance) / (TRUSTED + number)
            spreads.pop(metric, None)
            spreads[metric] = replace(before, host=float(f"{max(0.0, both - before.node**2) ** 0.5:.4g}"))
    own = [metric for metric in spreads if metric not in METRICS]
    for metric in own[: max(0, len(own) - KEPT_MAX)]:
        del spreads[metric]
    return replace(learned, spreads=spreads)


def _family(counts: Counts, tiers: tuple[Split, Split], log_e: Sequence[Floats], which: tuple[str, int]) -> Family:
    """Return the sums behind a metric's strongest onset; with all canaries where they are too few for one to be left out."""
    metric, at = which
    tier = 0 if tiers[0].canary[:, at].any() else 1
    split, onset = tiers[tier], int(np.argmax(log_e[tier][:, at]))
    of = (onset, at)
    seen, other = float(split.canary[of]), float(split.control[of])
    kept = split.kept[onset, :, at].tolist()
    deleted = [node for group, stays in zip(counts.groups, kept, strict=True) if not stays for node in group.nodes]
    return Family(
        family=metric,
        metric=metric,
        onset_ms=counts.onsets[onset].start_ms,
        canary_events=seen,
        control_events=other,
        share=seen / (seen + other) if seen + other else 0.0,
        expected_share=float(split.share[of]),
        variance=float(split.variance[of]),
        deleted=tuple(sorted(deleted)),
        cold=True,
    )
