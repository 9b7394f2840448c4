"""Flags in words, the same in every command: how one stands, and what its users get."""

from tidegate.cli.tell import age, clock
from tidegate.flags.published import WEIGHT_ALL
from tidegate.model import FlagSummary
from tidegate.rollout.flag_levels import spec_in_force
from tidegate.rollout.ramp import shown
from tidegate.wire.documents import Phase
from tidegate.wire.flags import State
from tidegate.wire.flagspecs import FlagSpec, kill_variant, safe_variant
from tidegate.wire.flagstates import FlagState, Off

CALLERS = "the caller's own default"
BEFORE = "what was there before"


def standing(one: FlagSummary) -> str:
    """Return how a flag stands in a few words. What everyone gets whatever the definition says comes first."""
    if one.archived:
        return "archived"
    if one.killed:
        return "killed"
    if one.off is not Off.NONE:
        return "switched off" if one.off is Off.SWITCHED_OFF else "off, its code went back"
    stage = f"{shown(one.weight)}, stage {one.stage}/{one.stages}"
    match one.phase:
        case Phase.IDLE:
            return "waits to begin"
        case Phase.RUNNING:
            return f"ramping {stage}"
        case Phase.PAUSED:
            return f"paused {stage} ({(one.paused_reason or 'asked').replace('_', ' ')})"
        case _:
            return _at_rest(one)


def gets(state: FlagState) -> str:
    """Return what users get of a flag now, as a sentence without its full stop."""
    spec = state.spec
    if state.archived:
        return f"everyone gets {safe_variant(spec)}, for good"
    if state.killed:
        return f"everyone gets {kill_variant(spec_in_force(state))}"
    if state.off is not Off.NONE:
        return f"everyone gets {safe_variant(spec_in_force(state))}"
    outside = _outside(state)
    if not state.weight:
        return f"everyone gets {outside}"
    if state.weight == WEIGHT_ALL and spec.layer is None:
        return f"everyone gets {_whole(spec)}"
    part = f"{shown(state.weight)} of its slots of layer {spec.layer.name}" if spec.layer is not None else shown(state.weight)
    return f"{part} get {_whole(spec)}, everyone else {outside}"


def lines(one: FlagSummary, state: FlagState, now_ms: int) -> list[str]:
    """Return where a flag stands in lines of plain text: what its ramp waits for, what the judge says, what is to be done."""
    who = f" by {one.actor}" if one.actor else ""
    found = [f"{one.flag}: {standing(one)}   generation {one.generation}", f"  {gets(state)}"]
    found.append(f"  since {clock(one.at_ms)}{who}: {one.why}" if one.why else f"  since {clock(one.at_ms)}{who}")
    if one.set_why not in ("", one.why):
        found.append(f"  set by {one.set_by or 'nobody named'}: {one.set_why}")
    pinned = one.archived or one.killed or one.off is not Off.NONE
    if one.stages and pinned:
        found.append(f"  its ramp stands at {shown(one.weight)}, stage {one.stage} of {one.stages}")
    elif one.stages:
        left = f"bakes for {age(one.bake_left_ms)} more" if one.bake_left_ms else "its bake is over"
        found.append(f"  stage {one.stage} of {one.stages}: {shown(one.weight)}, {left}")
    # Of a ramp that stands behind a kill nothing helps but a restore.
    found += [f"  waits: {blocker.sentence}" for blocker in one.blockers if not (one.stages and pinned)]
    for verdict in one.verdicts:
        ago = age(max(0, now_ms - verdict.last_pane_ms))
        said = f"{verdict.outcome} ({verdict.reason.replace('_', ' ')}) {verdict.sentence}".rstrip()
        found.append(f"  verdict on {verdict.service} {ago} ago: {said}")
    found += [f"  alarm: {alarm}" for alarm in one.alarms]
    if one.quarantined:
        found.append(f"  quarantined: {', '.join(one.quarantined)}; lift it with: tidegate flag release {one.flag} DIGEST")
    if pinned and not one.archived:
        found.append(f"  what was there comes back with: tidegate flag restore {one.flag}")
    return found


def _at_rest(one: FlagSummary) -> str:
    if one.disabled:
        return "disabled"
    if one.gives_safe or not one.weight:
        return "safe variant for all"
    return "on" if one.weight == WEIGHT_ALL else f"on at {shown(one.weight)}"


def _outside(state: FlagState) -> str:
    before = state.before
    if before is None:
        return safe_variant(state.spec)
    return BEFORE if state.before_weight < WEIGHT_ALL or before.decoded().targeting else _whole(before)


def _whole(spec: FlagSpec) -> str:
    definition = spec.decoded()
    if definition.state is State.DISABLED:
        return CALLERS
    found = "what its targeting says" if definition.targeting else definition.default_variant or CALLERS
    return f"{found} (where a prerequisite is not met: {safe_variant(spec)})" if spec.prerequisites else found
