"""Where a flag stands, for a person: what was decided of it, by whom, what its ramp waits for, what the judge says."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from tidegate.model.model import Model, Told
from tidegate.model.summary import Blocker
from tidegate.rollout.flag_levels import spec_in_force
from tidegate.rollout.ramp_forward import ramp_blockers
from tidegate.wire.documents import Phase
from tidegate.wire.flags import State
from tidegate.wire.flagspecs import kill_variant, safe_variant
from tidegate.wire.flagstates import FlagState, Off, RampResult
from tidegate.wire.judgement import Verdict
from tidegate.wire.names import duration_ms, judged
from tidegate.wire.reasons import Reason


class FlagSummary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One flag now. Weights are of 10,000; times are milliseconds, since the epoch where they are points in time."""

    flag: str
    """``<set>/<flag>``."""
    generation: int
    phase: Phase
    result: RampResult = RampResult.NONE
    variants: tuple[str, ...] = ()
    safe_variant: str = ""
    kill_variant: str = ""
    gives_safe: bool = False
    """Whether its definition itself gives everyone the safe variant."""
    disabled: bool = False
    weight: int = 0
    held: int = 0
    """The weight that stages have given."""
    stage: int = 0
    """Counted from 1; 0: no ramp is under way."""
    stages: int = 0
    bake_left_ms: int = 0
    paused_reason: Reason | None = None
    killed: bool = False
    off: Off = Off.NONE
    archived: bool = False
    guard: tuple[str, ...] = ()
    proposed: str = ""
    """Id of the intent that set it last."""
    set_by: str = ""
    set_why: str = ""
    actor: str = ""
    """Who made it as it is; empty: the rules did."""
    why: str = ""
    at_ms: int = 0
    blockers: tuple[Blocker, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    """The newest of each guarded service, on this very share."""
    alarms: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()


def flag_summary(model: Model, state: FlagState, now_ms: int, told: Mapping[int, Told] | None = None) -> FlagSummary:
    """Return where a flag stands. ``told``: ``by_number`` of the model, where it is asked for many flags."""
    spec, definition = state.spec, state.spec.decoded()
    safe = safe_variant(spec)
    last = (by_number(model) if told is None else told).get(state.seq)
    found = FlagSummary(
        flag=str(state.key),
        generation=state.generation,
        phase=state.phase,
        result=state.result,
        variants=tuple(definition.variants),
        safe_variant=safe,
        kill_variant=kill_variant(spec_in_force(state)),
        gives_safe=not definition.targeting and definition.default_variant == safe,
        disabled=definition.state is State.DISABLED,
        weight=state.weight,
        held=state.held,
        paused_reason=state.paused_reason,
        killed=state.killed,
        off=state.off,
        archived=state.archived,
        guard=spec.guard,
        proposed=state.proposed,
        set_by=state.proposer,
        set_why=state.why,
        actor=state.proposer,
        why=state.why,
        at_ms=state.decided_ms,
        blockers=tuple(Blocker(*one) for one in ramp_blockers(model.ledger, model.view, state.subject, now_ms)),
        alarms=tuple(key for key, alarm in sorted(model.view.alarms.items()) if alarm.subject == state.subject),
        quarantined=state.quarantined,
    )
    if last is not None and last.decision.subject == state.subject:
        found = replace(found, actor=last.decision.actor, why=last.decision.message, at_ms=last.at_ms)
    return _ramping(found, model, state, now_ms) if state.under_way and state.ramp is not None else found


def by_number(model: Model) -> dict[int, Told]:
    """Return the decisions that are remembered by their numbers."""
    return {one.decision.seq: one for one in model.told}


def ramp_stage(state: FlagState) -> tuple[int, int]:
    """Return the stage of a ramp under way, counted from 1, and how many it has; zeros where none is."""
    return (state.stage + 1, len(state.ramp.stages)) if state.under_way and state.ramp is not None else (0, 0)


def _ramping(found: FlagSummary, model: Model, state: FlagState, now_ms: int) -> FlagSummary:
    stages = state.ramp.stages if state.ramp is not None else ()
    left_ms = 0 if state.gate_passed else state.baking_since_ms + duration_ms(stages[state.stage].bake) - now_ms
    newest = (model.view.verdicts.get(judged(state.subject, service)) for service in state.spec.guard)
    stage, of = ramp_stage(state)
    return replace(
        found,
        stage=stage,
        stages=of,
        bake_left_ms=max(0, left_ms),
        verdicts=tuple(one for one in newest if one is not None and one.placement == state.placement),
    )
