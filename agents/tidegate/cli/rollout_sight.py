"""The stages of a plan with what each could see, as rows: from a plan, a number of nodes and what a service is like."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from tidegate.cli.rollout_traffic import WINDOW_S, Traffic
from tidegate.detect import known
from tidegate.detect.detectability import SEEN, sight
from tidegate.detect.drift.state import Drift
from tidegate.detect.expected import Nodes, Service
from tidegate.rollout.stages import Sizes, sizes
from tidegate.wire.names import duration_ms
from tidegate.wire.plans import ControlMode, Plan, Rollback


class Stage(Struct, frozen=True, kw_only=True):
    """One stage and what it sees. None: nothing within the bake."""

    stage: int
    nodes: int
    controls: int
    bake_s: float
    error_ratio: float | None
    """Smallest error ratio of the canary that is caught; ``latency_shift``: smallest share by which it must be slower."""
    latency_shift: float | None
    seconds_to_1_percent: float | None
    seconds_to_5_percent: float | None
    seconds_to_20_percent: float | None
    priors: bool
    """Whether how far healthy servers differ is a prior, since no rollout has taught it or nobody could be asked."""
    warnings: tuple[str, ...]


def service_of(kpis: Sequence[Traffic], rate: float | None, errors: float | None, drift: Drift | None = None) -> Service:
    """Return what a service is like: what a person says, else what the KPIs of the old version say, all cohorts together, else
    what the judge has learned.
    """
    found = Service(rate=rate or 0.0)
    if drift is not None:
        found = known.service_of(drift, found)
    if kpis:
        requests, failed = sum(one.requests for one in kpis), sum(one.errors for one in kpis)
        most = max(kpis, key=lambda one: one.requests)
        found = replace(
            found,
            rate=rate or requests / WINDOW_S / sum(one.nodes for one in kpis),
            error_ratio=(failed + 0.5) / (requests + 1),
            p50_ms=most.p50_ms,
            p95_ms=most.p95_ms,
            p99_ms=most.p99_ms,
        )
    return found if errors is None else replace(found, error_ratio=errors)


def basis(service: Service, drift: Drift | None, priors: str) -> str:
    """Return in a line whether these numbers rest on what was learned. ``priors``: why not."""
    learned = service.learned
    if drift is None:
        return f"how healthy servers differ: priors ({priors})"
    if not learned.revision:
        return f"how healthy servers differ: priors, mostly ({learned.restarts} restarts and {drift.past.minutes} quiet min seen)"
    return f"how healthy servers differ: learned of {learned.restarts} restarts and {drift.past.minutes} quiet min"


def stages_of(plan: Plan, whole: int, service: Service, *, first: bool, waves: tuple[int, ...] = ()) -> list[Stage]:
    """Return each stage on a roster of ``whole``. ``first``: no version is there to compare with (B7). ``waves``: how many nodes
    are in the plan's waves up to each.
    """
    if not first and plan.rollback is None:
        # The ledger fills in what it goes back to; which version that is does not matter here.
        plan = replace(plan, rollback=Rollback(artifact=plan.artifact))
    return [_stage(plan, place, sizes(plan, place, whole, waves), whole, service) for place in range(len(plan.stages))]


def _stage(plan: Plan, place: int, size: Sizes, whole: int, service: Service) -> Stage:
    stage = plan.stages[place]
    # Controls that are only observed are not of the canary's age.
    controls = size.control if plan.control is ControlMode.RESTART else 0
    others = 0 if plan.rollback is None else whole - size.canary
    bake_s = duration_ms(stage.bake) / 1_000
    seen = sight(Nodes(canaries=size.canary, controls=controls, others=others, order=place + 1), service, bake_s)
    requests = size.canary * (service.rate + _probes_a_second(plan)) * bake_s
    short = f"{requests:.0f} requests in {bake_s:g} s of bake, of minRequests {stage.min_requests}: it will wait for the others"
    one, five, twenty = seen.seconds
    return Stage(
        stage=place + 1,
        nodes=size.canary,
        controls=controls,
        bake_s=bake_s,
        error_ratio=seen.error_ratio,
        latency_shift=seen.latency_shift,
        seconds_to_1_percent=one,
        seconds_to_5_percent=five,
        seconds_to_20_percent=twenty,
        priors=not service.learned.revision,
        warnings=(*seen.warnings, *((short,) if requests < stage.min_requests else ())),
    )


def _probes_a_second(plan: Plan) -> float:
    """Return the probes of a node that count toward ``minRequests``, per second."""
    return 1_000 / duration_ms(plan.probe.interval) if plan.probe is not None and plan.probe.counts else 0.0


def row(one: Stage) -> dict[str, object]:
    """Return a stage as a row for people."""
    seconds = (one.seconds_to_1_percent, one.seconds_to_5_percent, one.seconds_to_20_percent)
    return {
        "stage": one.stage,
        "nodes": one.nodes,
        "controls": one.controls,
        "bake": f"{one.bake_s:g} s",
        "errors from": "nothing" if one.error_ratio is None else f"{one.error_ratio:.2%}",
        "slower by": "nothing" if one.latency_shift is None else f"{one.latency_shift:.0%}",
        **{f"{size:.0%} after": "-" if s is None else f"{s:g} s" for size, s in zip(SEEN, seconds, strict=True)},
    }


def notes(stages: Sequence[Stage]) -> list[str]:
    """Return the warnings in lines, each once, with the stages that it is about."""
    by_text: dict[str, list[str]] = {}
    for one in stages:
        for text in one.warnings:
            by_text.setdefault(text, []).append(str(one.stage))
    return [f"stage {', '.join(places)}: {text}" for text, places in by_text.items()]
