"""Plans: what an operator writes and signs. The YAML file, the signed document and the code use these same words.

Unknown keys are refused with their path: a misspelt guardrail must not pass as no guardrail.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.absence import AbsenceRules, absence_faults
from tidegate.wire.names import Duration, Label, Name, Sha256, Share, duration_ms
from tidegate.wire.probes import Probe, probe_faults

STAGES_MAX = 50
WAVES_MAX = 20
ZONES_MAX = 100
DEADLINE_MOST_MS = 366 * 86_400_000
"""Of ``progressDeadline``: with it commands get an end, and a time beyond what documents hold would make each unreadable."""
LEASE_LEAST_MS = 30_000


class Action(StrEnum):
    """What a broken guardrail asks for."""

    ROLLBACK = "rollback"
    PAUSE = "pause"


class ControlMode(StrEnum):
    """How controls are treated (B3): restarted with their canaries, only observed, or not used."""

    RESTART = "restart"
    OBSERVE = "observe"
    NONE = "none"


class WhenBusy(StrEnum):
    """What becomes of a plan while another rollout of its subject runs (D7)."""

    QUEUE = "queue"
    REFUSE = "refuse"


class GateDefault(StrEnum):
    """What a gate does when its time is over and nobody answered."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    HOLD = "hold"


class Gate(StrEnum):
    """What licenses the promotion of a stage (C5)."""

    NO_EVIDENCE = "noEvidence"
    """Bake over, minimum requests, and nothing speaks against it."""
    CERTIFIED = "certified"
    """Besides, evidence that it is no worse than what is tolerated: a statistical licence."""


class Artifact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """One version of a service: where it comes from and what it must be. ``uri`` is a path, ``file://`` or
    ``http(s)://`` address.
    """

    version: Name
    sha256: Sha256
    size_bytes: Annotated[int, Meta(ge=0)] = 0
    uri: Annotated[str, Meta(max_length=2048)] = ""
    config_sha256: Sha256 | None = None
    config_uri: Annotated[str, Meta(max_length=2048)] = ""


class Guardrail(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """A limit on the canary (C1, C2). Exactly one of ``max`` and ``maxRatioToControl``.

    ``metric`` is ``errorRatio``, ``p50``, ``p95``, ``p99`` (ms), ``gauge.<name>`` (mean over nodes) or
    ``ratio.<name>``. ``of`` = ``n/m`` means: broken in n of the last m closed panes that had ``minRequests`` on
    both sides.
    """

    metric: Annotated[
        str,
        Meta(
            pattern=r"^(errorRatio|p50|p95|p99|gauge\.[A-Za-z0-9._-]{1,64}|ratio\.[A-Za-z0-9._-]{1,64})$(?!\n)",
            description="errorRatio, p50, p95, p99, gauge.<name> or ratio.<name>",
        ),
    ]
    max: Annotated[float, Meta(ge=0)] | None = None
    max_ratio_to_control: Annotated[float, Meta(gt=1)] | None = None
    of: Annotated[str, Meta(pattern=r"^[1-9][0-9]?/[1-9][0-9]?$(?!\n)", description="a share of panes, as in 2/3")] = "2/3"
    min_requests: Annotated[int, Meta(ge=1)] = 20
    action: Action = Action.ROLLBACK


class Pause(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """A gate after a stage: a person (or the deadline's default) lets the rollout go on. No duration: it waits for a
    person.
    """

    duration: Duration | None = None
    default: GateDefault = GateDefault.HOLD
    ask: Name | None = None
    """An outgoing gate by its name in ``notify.gates``: its answer counts like a person's, and a refusal rolls back (I2)."""


class Stage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """One step. Exactly one of ``setNodes`` (a number of nodes), ``setWave`` (all nodes up to and with this wave of zones,
    counted from 1) and ``setWeight`` (percent of the roster, B1).
    """

    set_nodes: Annotated[int, Meta(ge=1)] | None = None
    set_wave: Annotated[int, Meta(ge=1, le=WAVES_MAX)] | None = None
    set_weight: Annotated[int, Meta(ge=1, le=100)] | None = None
    bake: Duration = "60s"
    min_requests: Annotated[int, Meta(ge=0)] = 100
    max_unavailable: Share | None = None
    """How many nodes of the stage may be away at once; none: the plan's."""
    gate: Gate = Gate.NO_EVIDENCE
    pause: Pause | None = None


class Rollback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Where a retreat goes. ``maxUnavailable`` unset: all nodes at once (D6)."""

    artifact: Artifact
    max_unavailable: Share | None = None


class Plan(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    omit_defaults=True,
    tag="Rollout",
    tag_field="kind",
):
    """A rollout of one service, as signed. ``rollback`` is absent only for the first plan of a service (B7)."""

    id: Name
    fleet: Name
    service: Name
    artifact: Artifact
    rollback: Rollback | None = None
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1, max_length=STAGES_MAX)]
    waves: Annotated[
        tuple[Annotated[tuple[Label, ...], Meta(min_length=1, max_length=ZONES_MAX)], ...], Meta(max_length=WAVES_MAX)
    ] = ()
    """Zones, in waves: no node of a later wave is reached before all of the earlier ones. Zones that no wave names come last;
    without waves all zones take turns (B1).
    """
    guardrails: tuple[Guardrail, ...] = ()
    """Beside these the default ones hold (C1) unless ``defaultGuardrails`` is false."""
    default_guardrails: bool = True
    control: ControlMode = ControlMode.RESTART
    absence: AbsenceRules = AbsenceRules()
    """What becomes of a rollout whose rows do not come (C6)."""
    probe: Probe | None = None
    """What node agents ask their own copies of the service (I2), until another plan is accepted; none: nothing."""
    lease: Duration | None = None
    """A canary that has heard nothing of the decision agent for so long goes back by itself; none: it keeps what it runs."""
    on_fail: Action = Action.ROLLBACK
    max_unavailable: Share = "25%"
    progress_deadline: Duration = "10m"
    watch: Duration = "5m"
    """How long the old version stays pinned and judgement goes on after the last stage."""
    when_busy: WhenBusy = WhenBusy.QUEUE
    fast: bool = False
    """Back to a version that was settled before, further than undo goes: one stage of everyone, without bake, verdict or gate; no
    freeze, budget or dwell stops it (H2). Guardrails judge it like any other.
    """
    second_approver: bool = False
    """It begins only when somebody else than who signed it approves of it."""
    despite_alarms: bool = False
    """It is the fix: it starts and advances while critical alarms of its service are open, which no other plan does. ``reason``
    must say why. Guardrails judge it like any other.
    """
    issued_ms: Annotated[int, Meta(ge=0)] = 0
    slo: Annotated[float, Meta(gt=0, lt=100)] | None = None
    """Percent of the service's requests that shall succeed over 30 days, as in 99.9: alarms tell when errors come too fast for
    it. None: no such alarm. The last plan accepted says it.
    """
    expires_ms: Annotated[int, Meta(ge=0)]
    """After this a plan that has not begun is refused, and no advance of it is applied any more."""
    actor: Label = ""
    reason: Label = ""


def faults(plan: Plan) -> list[tuple[str, str]]:
    """Return every fault that types cannot see, as (path, problem); empty where the plan is sound."""
    found: list[tuple[str, str]] = []
    for index, stage in enumerate(plan.stages):
        at = f"stages[{index}]"
        if sum(one is not None for one in (stage.set_nodes, stage.set_wave, stage.set_weight)) != 1:
            found.append((at, "give exactly one of setNodes, setWave and setWeight"))
        if stage.set_wave is not None and stage.set_wave > len(plan.waves):
            found.append((f"{at}.setWave", f"is {stage.set_wave}; the plan has {len(plan.waves)} waves"))
        before = plan.stages[index - 1] if index else None
        for field in ("set_nodes", "set_wave", "set_weight"):
            now, then = getattr(stage, field), getattr(before, field) if before else None
            if now is not None and then is not None and now <= then:
                found.append((f"{at}.{_camel(field)}", f"must exceed the stage before it ({then}); a stage only grows"))
        if stage.pause is not None and stage.pause.ask is not None and stage.pause.duration is None:
            found.append((f"{at}.pause.duration", f"is missing: {stage.pause.ask} may never answer, and then default holds"))
    if plan.stages[-1].set_weight != 100:
        found.append(
            (f"stages[{len(plan.stages) - 1}].setWeight", "the last stage must be setWeight: 100, or the fleet stays split")
        )
    if plan.fast and (len(plan.stages) > 1 or plan.stages[0].pause is not None):
        found.append(("stages", "a fast plan has one stage, setWeight: 100, and no pause: it skips the slow path"))
    if plan.fast and plan.rollback is None:
        found.append(("fast", "the first plan of a service goes back to nothing; leave it out"))
    if plan.despite_alarms and not plan.reason:
        found.append(("despiteAlarms", "needs a reason: say it in the plan or with --reason"))
    found += _wave_faults(plan.waves)
    found += guardrail_faults(plan.guardrails)
    found += absence_faults(plan.absence)
    if plan.probe is not None:
        found += probe_faults(plan.probe)
    if duration_ms(plan.progress_deadline) > DEADLINE_MOST_MS:
        found.append(("progressDeadline", f"is at most {DEADLINE_MOST_MS // 86_400_000}d; nodes would refuse the command"))
    if plan.lease is not None and duration_ms(plan.lease) < LEASE_LEAST_MS:
        found.append(("lease", f"must be at least {LEASE_LEAST_MS // 1_000}s: a change of decision agents takes up to 15 s"))
    if plan.rollback is not None and plan.rollback.artifact.version == plan.artifact.version:
        found.append(
            (
                "rollback.artifact.version",
                f"rolling back from {plan.artifact.version} to itself changes nothing; name the version that runs now",
            )
        )
    return found


def guardrail_faults(guardrails: tuple[Guardrail, ...]) -> list[tuple[str, str]]:
    """Return every fault of limits that types cannot see, as (path, problem)."""
    found: list[tuple[str, str]] = []
    for index, guardrail in enumerate(guardrails):
        at = f"guardrails[{index}]"
        if (guardrail.max is None) == (guardrail.max_ratio_to_control is None):
            found.append((at, "give exactly one of max and maxRatioToControl"))
        broken, window = map(int, guardrail.of.split("/"))
        if broken > window:
            found.append((f"{at}.of", f"{guardrail.of} asks for more broken panes than it looks at"))
    return found


def _wave_faults(waves: tuple[tuple[str, ...], ...]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    first: dict[str, str] = {}
    for number, wave in enumerate(waves):
        for index, zone in enumerate(wave):
            at = f"waves[{number}][{index}]"
            if first.setdefault(zone, at) != at:
                found.append((at, f"zone {zone} is in {first[zone]} already"))
    return found


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)
