"""What DRIFT remembers of one service: its quiet past, what was learned of restarts, and the counts of the rollout under way."""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect.drift import past as history
from tidegate.detect.drift.counts import update
from tidegate.detect.drift.custom import Custom, guards_of
from tidegate.detect.drift.custom import update as update_custom
from tidegate.detect.drift.custom_weigh import teach_custom, weigh_custom
from tidegate.detect.drift.layout import Counts, Placement
from tidegate.detect.drift.learned import Learned
from tidegate.detect.drift.past import Past
from tidegate.detect.drift.seconds import second_of, table_of
from tidegate.detect.drift.warming import teach
from tidegate.detect.drift.weigh import Weighed, weigh
from tidegate.kpi.pane import ServicePane
from tidegate.wire.plans import Guardrail

_NO_COUNTS = Counts()
_NO_CUSTOM = Custom()


class Drift(Struct, frozen=True, kw_only=True, eq=False, omit_defaults=True):
    """Plain data and arrays. ``rollout`` empty: nothing is under way, and a checkpoint has no counts then."""

    past: Past = Past()
    learned: Learned = Learned()
    rollout: str = ""
    version: str = ""
    counts: Counts = _NO_COUNTS
    largest: tuple[float, float] = (0.0, 0.0)
    """Log e-values of errors and latency, trimmed and whole, the largest of this rollout."""
    custom: Custom = _NO_CUSTOM
    """Of the ratios and gauges that its plan guards."""


def learn(drift: Drift, pane: ServicePane) -> Drift:
    """Return what is known after a second in which nothing was rolled out. The end of a rollout is where it teaches."""
    if drift.rollout or drift.counts is not _NO_COUNTS:
        drift = finish(drift, _version(pane))
    rest = pane.cohorts.get("rest")
    if rest is None:
        return drift
    table, counts = rest.crowd.table, rest.crowd.sums.counts
    if table is None or (rest.nodes and any(node.telemetry for node in rest.nodes.values())):
        table, counts = table_of(rest, drift.past.edges), rest.sums.counts
    return replace(drift, past=history.learn(drift.past, table, pane.end_ms, counts)) if table.nodes else drift


def begin(drift: Drift, rollout: str, version: str) -> Drift:
    """Return the state at the begin of an attempt; an older one still under way ends unfinished: it teaches no placebo."""
    if drift.rollout == rollout:
        return drift
    if drift.rollout:
        drift = finish(drift, "")
    return replace(drift, rollout=rollout, version=version, counts=_NO_COUNTS, largest=(0.0, 0.0), custom=_NO_CUSTOM)


def anew(drift: Drift) -> Drift:
    """Return the state without what was counted so far, its share of the error budget spent: the next second begins a stage."""
    return replace(drift, counts=Counts(stage=drift.counts.stage), custom=_NO_CUSTOM)


def finish(drift: Drift, running: str) -> Drift:
    """Return what is known after a rollout: healthy to the end where the whole service runs its version now."""
    promoted = bool(drift.version) and running == drift.version
    tempered = history.dispersion(drift.past)
    learned = teach(drift.learned, drift.counts.warming, tempered, promoted=promoted, largest=drift.largest)
    learned = teach_custom(learned, drift.custom)
    return replace(drift, learned=learned, rollout="", version="", counts=_NO_COUNTS, largest=(0.0, 0.0), custom=_NO_CUSTOM)


def observe(
    drift: Drift, pane: ServicePane, placement: str, ages_s: Mapping[str, float], guardrails: Sequence[Guardrail] = ()
) -> tuple[Drift, Weighed]:
    """Return the state after a second of a rollout, and what has been gathered. ``ages_s``: as in ``second_of``; ``guardrails``:
    of the plan, where they name ratios or gauges those are evidence, too.
    """
    second = second_of(pane, drift.past.edges, ages_s)
    control = pane.cohorts.get("control")
    placed = Placement(placement, control.expected if control is not None else ())
    counts = update(drift.counts, drift.past, drift.learned, second, placed)
    guards = guards_of(guardrails)
    custom = update_custom(drift.custom, counts, (pane, second), guards, drift.learned.cold_s)
    weighed = weigh(counts, drift.past, drift.learned, pane.end_ms, custom=bool(guards))
    trimmed, whole = drift.largest
    for family in weighed.families:
        trimmed, whole = max(trimmed, family.log_e), max(whole, family.log_e_pause)
    if guards:
        more = weigh_custom(custom, counts, drift.learned, guards)
        weighed = replace(weighed, families=tuple(sorted((*weighed.families, *more), key=lambda family: -family.log_e)))
    return replace(drift, counts=counts, largest=(trimmed, whole), custom=custom), weighed


def _version(pane: ServicePane) -> str:
    rest = pane.cohorts.get("rest")
    return (rest.version or rest.crowd.version) if rest is not None else ""
